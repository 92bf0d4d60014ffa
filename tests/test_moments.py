"""Moment problems: closed forms, another solver, and the same problem on every rung."""

import functools
import json
import os
import subprocess
import sys

import cvxpy
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from students import Shifted, gaussian

import unlearnlab as ul
from unlearnlab.training import finetune
from unlearnlab.training.objective import primal_dual

GRID = ul.Grid(-9, 9, 3001)
NORMAL = ul.GaussianMixture([1], [0], [1]).on(GRID)


def first(x):
    return x[:, 0]


def right(x):
    return x[:, 0] > 1


@pytest.mark.parametrize("sense", [-1, 1])
@pytest.mark.parametrize("b", [0.5, -0.25, 1e-3])
def test_the_mean_of_a_gaussian_is_shifted(sense, b):
    """q = N(0, 1), E_p[x] on one side of b: p* = N(b, 1), P* = b²/2 and λ* = |b| if it binds."""
    side = {"at_least" if sense > 0 else "at_most": [(first, b)]}
    solution = ul.solve(ul.Moments(NORMAL, **side))
    binds = sense * b > 0
    assert solution.certificate.ok
    assert solution.certificate.regime == ("regular" if binds else "inactive")
    assert solution.objective == pytest.approx(b**2 / 2 if binds else 0.0, abs=1e-9)
    assert solution.multipliers[0] == pytest.approx(abs(b) if binds else 0.0, abs=1e-7)


@pytest.mark.parametrize("b", [0.1, 0.0])
def test_an_event_is_made_rare_or_removed(b):
    """E_p[1_A] ≤ b: the binary divergence of b and Q(A); at 0, −log(1 − Q(A))."""
    mass = float(NORMAL.probabilities @ right(GRID.points))
    solution = ul.solve(ul.Moments(NORMAL, at_most=[(right, b)]))
    known = (1 - b) * np.log((1 - b) / (1 - mass)) + (b * np.log(b / mass) if b else 0.0)
    assert solution.certificate.ok and solution.objective == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_twenty_constraints_agree_with_a_conic_solver(seed):
    """min KL(p‖q) over 60 atoms, f and g of either sign, as a relative-entropy programme."""
    rng = np.random.default_rng(seed)
    q = ul.Discrete(rng.dirichlet(np.ones(60)))
    tables = rng.normal(size=(20, 60))
    inside = rng.dirichlet(np.ones(60)) * 0.5 + 0.5 * q.probabilities  # so that it is feasible
    values = tables @ inside
    pairs = [(functools.partial(np.take, row), float(b)) for row, b in zip(tables, values)]  # noqa: B905
    problem = ul.Moments(q, at_most=pairs[:11], at_least=pairs[11:])
    solution = ul.solve(problem)
    assert solution.certificate.ok and (problem.violations(solution.constraints) <= 1e-8).all()
    p = cvxpy.Variable(60)
    asked = [tables[:11] @ p <= values[:11], tables[11:] @ p >= values[11:], cvxpy.sum(p) == 1]
    other = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(cvxpy.rel_entr(p, q.probabilities))), asked)
    other.solve(solver="CLARABEL")
    assert solution.objective == pytest.approx(other.value, rel=1e-5, abs=1e-7)
    assert (solution.multipliers > 1e-6).sum() > 3  # several bind


def test_a_mixture_of_senses_that_nothing_meets_comes_with_its_proof():
    """E[x²] ≤ ½ and E[|x|] ≥ 0.9 contradict Jensen's inequality."""
    square, size = (lambda x: x[:, 0] ** 2), (lambda x: np.abs(x[:, 0]))
    problem = ul.Moments(NORMAL, at_most=[(square, 0.5)], at_least=[(size, 0.9)])
    with pytest.raises(ul.InfeasibleError, match="not together") as caught:
        ul.solve(problem)
    ray = caught.value.ray
    x = GRID.points
    # For every point, and so for every p: ray·(f − b, c − g) > 0.
    assert (ray[0] * (square(x) - 0.5) + ray[1] * (0.9 - size(x))).min() > 0
    np.testing.assert_allclose(caught.value.ceiling, [0, np.abs(x).max()], atol=1e-12)
    with pytest.raises(ul.InfeasibleError, match=r"E_p\[at_least\[0\]\] can reach at most"):
        ul.solve(ul.Moments(NORMAL, at_least=[(right, 1.5)]))


def mixtures():
    q = ul.GaussianMixture([0.4, 0.3, 0.3], [-3.0, 0.0, 3.0], [0.6] * 3)
    return q, ul.GaussianMixture([1.0], [0.0], [0.6])


def above(x):
    return x[:, 0] > 1.5


def test_forget_this_and_keep_that_on_grids_and_pools(tmp_path):
    """The middle mode goes, the right one keeps its share: with and without at_least."""
    kept = {"at_least": [(above, 0.45)], "statistic": "ratio"}
    grid = ul.Grid(-7, 7, 2001)
    q, q1 = (one.on(grid) for one in mixtures())
    exact = ul.solve(ul.Likelihood(q, [q1], relative=0.1, **kept))
    assert exact.certificate.ok and exact.constraints[1] == pytest.approx(0.45, abs=1e-9)
    on_samples = [one.diffused() for one in mixtures()]
    problem = ul.Likelihood(on_samples[0], [on_samples[1]], [exact.problem.thresholds[0]], **kept)
    found = ul.solve(problem)
    assert found.certificate.ok
    np.testing.assert_allclose(found.multipliers, exact.multipliers, rtol=0.05, atol=0.02)
    again = ul.load(exact.save(tmp_path / "kept"))
    assert again.to_dict()["multipliers"] == exact.to_dict()["multipliers"]
    assert again.problem.constraints[1].sense == 1 and again.certificate.ok
    with pytest.raises(ValueError, match="cannot be evaluated at 5 others"):
        again.problem.functions[0].function(np.zeros((5, 1)))


def test_a_function_is_called_once_for_a_pool():
    """With its bootstrap of forty problems and its certificate."""
    calls = []

    def counted(x):
        calls.append(len(x))
        return x[:, 0] > 0

    normal = gaussian(0.0)
    solution = ul.solve(ul.Moments(normal, at_most=[(counted, 0.2)]), pool=2048)
    assert calls == [2048] and solution.certificate.ok
    assert solution.multipliers[0] == pytest.approx(np.log(4), abs=0.02)  # odds 1 to ¼


def shifts(b):
    return ul.Moments(gaussian(0.0), at_most=[(first, b)])


@pytest.mark.parametrize("method", ["primal-dual", "tilt"])
def test_students_meet_a_moment(method):
    """q = N(0, 1), E_p[x] ≤ −½: the best student is N(−½, 1), the best λ is ½."""
    how = {"primal-dual": {"steps": 300, "dual_lr": 0.1}, "tilt": {"steps": 300, "pool": 4096}}
    run = finetune(shifts(-0.5), Shifted(), method=method, lr=2e-2, batch=256, **how[method])
    assert run.status == "converged", run
    assert float(run.student.mean) == pytest.approx(-0.5, abs=0.05)
    if method == "tilt":  # along paths, which D.3 pays for, a shift costs more
        assert run.multipliers[0] == pytest.approx(0.5, abs=0.05)


def test_training_reads_what_the_solver_reads():
    problem = ul.Moments(gaussian(0.0), at_least=[(first, 0.2)], at_most=[(right, 0.1)])
    x = problem.retain.sample(16, seed=1)
    seen = primal_dual(ul.Moments)([problem], 16).values(x)[0]
    np.testing.assert_allclose(seen, np.column_stack([right(x), first(x)]), atol=1e-7)


def test_another_function_does_not_continue_a_run(tmp_path):
    def run(function, resume=True):
        problem = ul.Moments(gaussian(0.0), at_most=[(function, -0.5)])
        how = {"steps": 4, "batch": 8, "evaluate": False, "progress": False}
        return finetune(problem, Shifted(), folder=tmp_path, resume=resume, **how)

    run(lambda x: x[:, 0], resume=False)
    with pytest.raises(ValueError, match="its functions code is"):
        run(lambda x: x[:, 0] ** 3)
    for scale in (2.0, 3.0):  # one source, another number in it
        with pytest.raises(ValueError, match="its functions code is"):
            run(lambda x, scale=scale: scale * x[:, 0])


def test_a_key_says_that_functions_are_the_same(tmp_path):
    def run(function, key, resume=True):
        problem = ul.Moments(gaussian(0.0), at_most=[(ul.Function(function, key=key), -0.5)])
        how = {"steps": 4, "batch": 8, "evaluate": False, "progress": False}
        return finetune(problem, Shifted(), folder=tmp_path, resume=resume, **how)

    before = run(lambda x: x[:, 0], "mean", resume=False)
    after = run(lambda y: torch.flatten(y), "mean")
    assert (before.multipliers == after.multipliers).all()
    with pytest.raises(ValueError, match=r"its functions\[1\] is 'mean', here it is 'another'"):
        run(lambda x: x[:, 0], "another")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ul.Moments(NORMAL), ValueError, "give at least one constraint"),
        (lambda: ul.Moments(NORMAL, at_most=[first]), TypeError, r"at_most\[0\] must be a pair"),
        (lambda: ul.Moments(NORMAL, at_most=first), TypeError, "at_most must be a list of pairs"),
        (lambda: ul.Moments(NORMAL, at_most=[(first, np.nan)]), ValueError, "must be finite"),
        (lambda: ul.Moments(NORMAL, [NORMAL], [1.0]), ValueError, "forget is of Likelihood"),
        (
            lambda: ul.solve(ul.Moments(NORMAL, at_least=[(lambda x: x, 0)])),
            ValueError,
            r"at_least\[0\] must return one finite number for each of 3001 points; got an array",
        ),
        (
            lambda: ul.solve(ul.Moments(NORMAL, at_most=[(lambda x: np.log(x[:, 0] - 20), 0)])),
            ValueError,
            r"at_most\[0\] must return .* got 3001 NaN",
        ),
        (
            lambda: finetune(shifts(-0.5), Shifted(), method=ul.baselines.ESD),
            ValueError,
            "ESD needs models to forget; Moments has none",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_digits_take_a_moment_too():
    """Mean brightness of the digits: the pool's λ is the root of one weighted mean."""
    model = ul.digits.load_model("unconditional")
    bright = {"at_most": [(lambda x: x.flatten(1).mean(1), -0.5)]}
    problem = ul.Moments(model, **bright)
    runs = {"tilt": {"pool": 32}, "primal-dual": {"sampling_steps": 4}}
    for method, how in runs.items():
        run = finetune(problem, model, method=method, steps=2, batch=4, evaluate=False, **how)
        assert run.status != "diverged" and run.multipliers.shape == (1,)
    found = ul.solve(problem, pool=32)
    v = found.evidence.target.x.flatten(1).mean(1).double().numpy()

    def excess(lam):
        weights = np.exp(-lam * (v - v.mean()))
        return weights @ v / weights.sum() + 0.5

    assert v.mean() > -0.5 and found.certificate.ok
    assert found.multipliers[0] == pytest.approx(brentq(excess, 0, 1e3), rel=1e-6)


def test_a_function_that_is_refused_is_refused_again():
    problem = ul.Moments(NORMAL, at_most=[(lambda x: 1e200 * x[:, 0], 0.0)])
    for _ in range(2):
        with pytest.raises(ValueError, match="whose square is no double"):
            ul.solve(problem)


TOLD = """
import json, unlearnlab as ul
from unlearnlab.identity import content
class Threshold:
    def __init__(self, at): self.at = at
def above(limit): return lambda x: (x[:, 0] > limit.at) & ("a" not in {"b", "c", "d"})
print(json.dumps([content(ul.Function(above(Threshold(at)))) for at in (1.0, 1.0, 2.0)]))
"""


def test_a_function_is_the_same_in_another_process_and_not_with_another_number():
    def told(seed):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", TOLD],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        return json.loads(done.stdout)

    first, again = told("1"), told("2")
    assert first == again and first[0] == first[1] != first[2]


def test_a_function_that_refers_to_itself_is_told():
    def made(limit):
        def loop(x):
            return loop, limit

        return loop

    one, again, other = (
        ul.Moments(NORMAL, at_most=[(made(limit), 0.0)]).identity() for limit in (1, 1, 2)
    )
    assert one == again != other


def test_a_model_that_has_changed_is_solved_anew():
    """No pool is kept that any change of a model could make stale.

    Its draws are Gaussian, of a spread that depends on the sampler: λ = (mean + ½)/variance.
    """
    state = {"mean": 0.0}
    schedule = ul.Schedule()

    def noise(x_t, t):
        alpha, sigma = schedule.at(t, x_t)
        return sigma * (x_t - alpha * state["mean"])

    model = ul.wrap(noise, schedule, 1)
    problem = ul.Moments(model, at_most=[(first, -0.5)])
    for mean in (0.0, 1.0):
        state["mean"] = mean
        x = model.sample(8192, seed=5, quasi=True)[:, 0].double()
        known = float((x.mean() + 0.5) / x.var())
        assert known == pytest.approx(mean + 0.5, rel=0.1)
        assert ul.solve(problem, pool=4096).multipliers[0] == pytest.approx(known, rel=0.02)
