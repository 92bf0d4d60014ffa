"""Trade-off curves: optimal where they claim to be, matched where they say so, on any backend."""

import os
import sys

import joblib
import numpy as np
import pytest
from joblib.parallel import register_parallel_backend
from scipy.optimize import minimize_scalar

import unlearnlab as ul

LEVELS = {
    "ReverseKL": [1.2, 1.6, 2.0, 3.0],
    "ForwardKL": [1.2, 2.0, 3.0, 4.0],
    "Likelihood": [0.8, 0.5, 0.2, 0.05],
}


def make(kind, cells=1001, dim=1):
    if dim == 1:
        grid = ul.Grid(-9, 9, cells)
        q = ul.GaussianMixture([0.4, 0.3, 0.2, 0.1], [-4, -1, 1.5, 4], [0.7] * 4).on(grid)
        forget = [ul.GaussianMixture([1], [mean], [0.7]).on(grid) for mean in (-1, 1.5, 4)]
    else:
        grid = ul.Grid((-5, -5), (5, 5), (60, 60))
        means = [[-1.5, -1.5], [1.5, -1.5], [0, 1.5]]
        q = ul.GaussianMixture([0.5, 0.3, 0.2], means, [0.7] * 3).on(grid)
        forget = [ul.GaussianMixture([1], [mean], [0.7]).on(grid) for mean in means[1:]]
    return getattr(ul, kind)(retain=q, forget=forget, relative=1.0)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("kind", LEVELS)
def test_constrained_wins_at_the_worst_and_equal_weights_in_total(kind, dim):
    problem, levels = make(kind, dim=dim), LEVELS[kind]
    worst = ul.tradeoff(problem, levels)
    assert (worst.gains > -1e-9).all() and worst.gains.max() > 1e-3
    total = ul.tradeoff(problem, levels, match="total")
    assert (total.gains < 1e-9).all() and total.gains.min() < -5e-5
    base = problem.baseline()
    for i, level in enumerate(levels):
        # The constrained curve holds what solve() says, and every constraint is met.
        solution = ul.solve(problem.with_thresholds(level * base))
        assert worst.constrained.deviation[i] == pytest.approx(solution.objective, rel=1e-9)
        relative = worst.constrained.constraints[i] / base
        assert (problem.sense * (relative - level) >= -1e-8 * level).all()
        # The other is a target of equal multipliers that forgets as much.
        for result in (worst, total):
            lam = result.equal.multipliers[i]
            assert np.ptp(lam) == 0
            there = problem.evaluate(problem.target(lam))
            jump = 1e-5 if kind == "ForwardKL" else 1e-9  # between neighbouring λ
            assert there.objective == pytest.approx(result.equal.deviation[i], abs=jump)
        reached = problem.sense * (worst.equal.levels[i] - worst.constrained.levels[i])
        assert abs(reached) <= 1e-9
    assert (worst.constrained.deviation == total.constrained.deviation).all()


def test_matched_equal_multipliers_against_a_search_of_their_own():
    """The smallest deviation among equal multipliers that reach the level, found by brute force."""
    problem = make("ReverseKL")
    base, level = problem.baseline(), 2.0
    result = ul.tradeoff(problem, [level])
    lam = float(result.equal.multipliers[0, 0])

    def miss(one):
        values = problem.evaluate(problem.target([one] * 3)).constraints / base
        return abs(values.min() - level)

    found = minimize_scalar(miss, bounds=(1e-6, 0.33), method="bounded", options={"xatol": 1e-10})
    assert lam == pytest.approx(found.x, abs=1e-7)


def test_the_slope_of_the_curve_is_the_price():
    problem = make("Likelihood")
    h, at = 1e-4, 0.3
    result = ul.tradeoff(problem, [at - h, at, at + h])
    slope = (result.constrained.deviation[2] - result.constrained.deviation[0]) / (2 * h)
    price = -(result.constrained.multipliers[1] @ problem.baseline())
    assert slope == pytest.approx(price, rel=1e-5)


def test_mirror_images_need_no_different_weights():
    grid = ul.Grid(-8, 8, 1001)
    q = ul.GaussianMixture([0.25, 0.5, 0.25], [-3, 0, 3], [0.7] * 3).on(grid)
    forget = [ul.GaussianMixture([1], [mean], [0.7]).on(grid) for mean in (-3, 3)]
    problem = ul.Likelihood(retain=q, forget=forget, relative=1.0)
    assert ul.tradeoff(problem, [0.5, 0.1]).gains == pytest.approx([0, 0], abs=1e-8)


def test_levels_that_equal_multipliers_never_reach_are_infinite_gains():
    """Reverse KL against opposite sides: with equal weights the pushes cancel."""
    grid = ul.Grid(-12, 12, 2001)
    q = ul.GaussianMixture([1.0], [0], [1]).on(grid)
    forget = [ul.GaussianMixture([1.0], [mean], [1]).on(grid) for mean in (-1.0, 1.0)]
    problem = ul.ReverseKL(retain=q, forget=forget, relative=1.0)
    result = ul.tradeoff(problem, [1.0, 2.0])
    assert result.constrained.reached.all()
    lost = ~result.equal.reached
    assert lost.tolist() == [False, True] and np.isposinf(result.gains[lost]).all()
    levels, deviation = result.curves()["equal multipliers"]
    assert len(levels) == len(deviation) == (~lost).sum()


class Counting(joblib._parallel_backends.ThreadingBackend):
    """A backend of one's own, as a cluster's would be."""

    calls = 0

    def submit(self, func, callback=None):
        Counting.calls += 1
        return super().submit(func, callback)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_any_backend_gives_the_same_points(backend):
    problem = make("Likelihood", cells=301)
    alone = ul.tradeoff(problem, LEVELS["Likelihood"])
    with joblib.parallel_config(backend=backend, n_jobs=2):
        together = ul.tradeoff(problem, LEVELS["Likelihood"])
    explicit = ul.tradeoff(problem, LEVELS["Likelihood"], jobs=2)
    for other in (together, explicit):
        assert other.constrained.deviation == pytest.approx(alone.constrained.deviation, abs=1e-12)
        assert other.equal.deviation == pytest.approx(alone.equal.deviation, abs=1e-9)


def test_a_backend_of_ones_own_can_be_put_under_it():
    register_parallel_backend("counting", Counting)
    with joblib.parallel_config(backend="counting", n_jobs=2):
        ul.tradeoff(make("Likelihood", cells=301), [0.5, 0.2, 0.1])
    assert Counting.calls >= 3


def test_a_worker_that_dies_is_named():
    parent = os.getpid()

    class Doomed(ul.Likelihood):
        def with_thresholds(self, thresholds):
            if os.getpid() != parent:
                os._exit(1)
            return super().with_thresholds(thresholds)

    healthy = make("Likelihood", cells=301)
    problem = Doomed(healthy.retain, healthy.forget, relative=1.0)
    with pytest.raises(RuntimeError, match="a worker process died before all 2 points"):
        ul.tradeoff(problem, [0.5, 0.2], jobs=2)
    assert len(ul.tradeoff(healthy, [0.5, 0.2], jobs=2).gains) == 2  # and the next run works


def test_points_without_a_certificate_are_marked():
    q, q1 = ul.Discrete([0.300, 0.695, 0.005]), ul.Discrete([0.69, 0.30, 0.01])
    problem = ul.ReverseKL(retain=q, forget=[q1], thresholds=[1.0])
    low, high = 1.1 / problem.baseline()[0], 2.0 / problem.baseline()[0]
    with pytest.warns(UserWarning, match="certificate is not ok: what is shown is an upper bound"):
        result = ul.tradeoff(problem, [low, high])
    assert result.constrained.ok.tolist() == [True, False]
    assert result.constrained.deviation[1] == pytest.approx(1.8274, abs=1e-4)


@pytest.mark.parametrize("jobs", [1, 2])
def test_infeasible_levels_are_named(jobs):
    with pytest.raises(ul.InfeasibleError, match=r"relative=1000: no distribution") as error:
        ul.tradeoff(make("ReverseKL", cells=301), [1.5, 1000.0], jobs=jobs)
    assert error.value.ceiling.shape == error.value.ray.shape == (3,)


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [np.nan], [np.inf], [[1.0, 2.0]]])
def test_levels_must_be_positive_numbers(bad):
    with pytest.raises(ValueError, match="relative must hold positive finite numbers"):
        ul.tradeoff(make("Likelihood", cells=301), bad)


def test_other_bad_input():
    problem = make("Likelihood", cells=301)
    with pytest.raises(TypeError, match="relative must be a list of numbers"):
        ul.tradeoff(problem, "half")
    with pytest.raises(ValueError, match="match must be 'worst' or 'total'; got 'best'"):
        ul.tradeoff(problem, [0.5], match="best")
    with pytest.raises(TypeError, match="problem must be"):
        ul.tradeoff("LU", [0.5])
    same = ul.ReverseKL(problem.retain, [problem.retain], thresholds=[0.0])
    with pytest.raises(ValueError, match="positive values at q"):
        ul.tradeoff(same, [2.0])


def test_a_level_for_constraints_of_both_senses_is_refused():
    """One level would loosen E_p[g] ≥ c where it tightens E_p[f] ≤ b."""
    grid = ul.Grid(-8, 8, 201)
    q = ul.GaussianMixture([1], [0], [1]).on(grid)
    right, left = (lambda x: x[:, 0] > 1), (lambda x: x[:, 0] < -1)
    problem = ul.Moments(q, at_most=[(right, 0.1)], at_least=[(left, 0.1)])
    with pytest.raises(ValueError, match="problem has at_least= beside its other constraints"):
        ul.tradeoff(problem, [0.5])


def test_the_bar_stays_off_where_it_would_break_a_notebook_test(capsys, monkeypatch):
    problem = make("Likelihood", cells=301)
    ul.tradeoff(problem, [0.5, 0.2])
    assert capsys.readouterr().err == ""
    ul.tradeoff(problem, [0.5, 0.2], progress=True)
    assert "2/2" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ul.tradeoff(problem, [0.5, 0.2])
    assert "trade-off" in capsys.readouterr().err


@pytest.mark.parametrize("floor", [25.0, 100.0])
def test_where_the_forward_target_jumps_the_level_is_still_matched(floor):
    """With one forget distribution both curves are one family: no gain, and none lost."""
    grid = ul.Grid(0, 1, 100)
    half = np.where(np.arange(100) < 50, 0.0, -np.inf)
    box = grid.density(np.zeros(100)), grid.density(half)
    problem = ul.ForwardKL(box[0], [box[1]], relative=1.0, floor=floor)
    for match in ("worst", "total"):
        result = ul.tradeoff(problem, [5.0, 20.0, 0.5 * floor], match=match)
        assert result.equal.levels == pytest.approx(result.constrained.levels, rel=1e-9)
        assert result.gains == pytest.approx(np.zeros(3), abs=1e-6)


def test_levels_of_many_decades_are_matched():
    grid = ul.Grid(-8, 8, 2001)
    q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.5, 0.5]).on(grid)
    problem = ul.Likelihood(q, [ul.GaussianMixture([1], [2], [0.5]).on(grid)], relative=1.0)
    result = ul.tradeoff(problem, [1e-3, 1e-6, 1e-9, 1e-12])
    assert result.constrained.ok.all() and result.equal.reached.all()
    assert result.gains == pytest.approx(np.zeros(4), abs=1e-7)


def test_jobs_are_counted_in_whole_numbers():
    with pytest.raises(ValueError, match="jobs must be a whole number other than 0, or None"):
        ul.tradeoff(make("Likelihood", cells=301), [0.5], jobs="two")
