"""Extreme but legal input: a right answer or an honest status, and never NaN.

All reference values are plain NumPy on log masses; nothing here trusts the package's own sums.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

import unlearnlab as ul

KINDS = {"RU": ul.ReverseKL, "FU": ul.ForwardKL, "LU": ul.Likelihood}
GRID = ul.Grid(-5.0, 5.0, 101)
X = GRID.points[:, 0]
NORMAL = -0.5 * X**2


def on(grid, values):
    """A density from log values, however much of it lies in one cell."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*cells holds")
        return grid.density(np.asarray(values, dtype=float))


def normal(values):
    top = values.max()
    return values - top - np.log(np.exp(values - top).sum())


def kl(log_p, log_q):
    """Σ p log(p/q) in log masses."""
    held = log_p > -np.inf
    return float(np.exp(log_p[held]) @ (log_p[held] - log_q[held]))


def values(kind, log_p, log_q, log_f, volume=1.0, ratio=False, temperature=1.0):
    """Objective and constraints of p from log masses."""
    if kind == "RU":
        return kl(log_p, log_q), np.array([kl(log_p, f) for f in log_f])
    if kind == "FU":
        return kl(log_q, log_p), np.array([kl(f, log_p) for f in log_f])
    held = log_p > -np.inf
    base = log_q[held] if ratio else np.log(volume)
    terms = [np.exp(log_p[held] + (f[held] - base) / temperature) for f in log_f]
    return kl(log_p, log_q), np.array([term.sum() for term in terms])


def dual(kind, lam, b, log_q, log_f, floor=25.0):
    """g(λ) on few atoms with q, q_i > 0, written out from the definitions."""
    q, f = np.exp(log_q), np.exp(log_f)
    r = (log_q - log_f).T
    if kind == "LU":
        return -np.log(q @ np.exp(-f.T @ lam)) - lam @ b
    if kind == "RU":
        slack = 1 - lam.sum()
        if slack <= 1e-12:
            return lam @ b + (-slack * log_q - r @ lam).min()
        top = (r @ lam / slack).max()
        return lam @ b - slack * (top + np.log(q @ np.exp(r @ lam / slack - top)))
    c, least = 1 - (f / q).T @ lam, np.exp(-floor)

    def mass(log_eta):
        return q @ np.maximum(c / np.exp(log_eta), least) - 1

    t = np.full(len(q), -floor)
    if c.max() > 0:
        low = np.log(q @ np.maximum(c, 0)) - 1e-9
        log_eta = brentq(mass, low - 1, low + 1, xtol=1e-15)
        t = np.log(np.maximum(c / np.exp(log_eta), least))
    return -(q * c) @ t + lam @ (b - np.array([kl(fi, log_q) for fi in log_f]))


def audit(problem, *, must_be_ok=True):
    """Solve and hold the answer against sums of our own; returns the solution."""
    solution = ul.solve(problem)
    kind = next(k for k, c in KINDS.items() if isinstance(problem, c))
    log_p, log_q = solution.model.log_masses, problem.retain.log_masses
    options = {}
    if kind == "LU":
        options = {"ratio": problem.statistic == "ratio", "temperature": problem.temperature}
    objective, constraints = values(
        kind,
        log_p,
        log_q,
        [f.log_masses for f in problem.forget],
        problem.retain.cell_volume,
        **options,
    )
    c, b = solution.certificate, problem.thresholds
    assert np.isfinite([c.primal, c.dual, c.gap, c.violation, c.complementarity]).all(), c
    assert np.isfinite(solution.multipliers).all() and (solution.multipliers >= 0).all()
    assert np.isfinite(solution.model.probabilities).all()
    assert abs(np.exp(log_p).sum() - 1) < 1e-9 * (1 if c.ok else 1e3)
    assert abs(solution.objective - objective) <= 1e-9 * max(1e-3, objective)
    violation = (+1 if kind != "LU" else -1) * (b - constraints) / np.where(b > 0, b, 1.0)
    assert abs(c.violation - violation.max()) <= 1e-9 * max(1, abs(c.violation))
    if violation.max() <= 0:
        assert c.gap >= -1e-9, "a feasible p lies below the dual value"
    if c.ok:
        assert violation.max() <= 1.1e-8
        assert objective - c.dual <= 1.1e-7 * max(1e-3, objective)
        held = log_q > -np.inf
        assert kind != "FU" or (log_p[held] - log_q[held]).min() >= -problem.floor - 1e-8
    else:  # only where atoms leave a gap, and then the label says so
        assert not must_be_ok and c.regime not in ("regular", "inactive"), c
    return solution


HOLE = np.where(X > 3, -np.inf, 0.0)
FAR = np.where(X > 3, 1.0, 0.0)
CASES = {
    "ratio of 1e4 nats": (NORMAL, NORMAL - 0.3 * X - 1e4 * FAR),
    "ratio of -1e4 nats": (NORMAL - 1e4 * FAR, -0.5 * (X - 1) ** 2),
    "ratios of +-1e4 nats": (NORMAL, 2e3 * X),
    "steep and narrow": (-1e4 * np.abs(X - 0.3), -1e4 * np.abs(X + 0.3)),
    "retained weight of 1e-300": (NORMAL + np.log(1e-300) * FAR, -0.5 * (X - 1) ** 2),
    "forgotten weight of 1e-300": (NORMAL, -0.5 * (X - 1) ** 2 + np.log(1e-300) * FAR),
    "retained weight of e^-2000": (NORMAL - 2000 * FAR, -0.5 * (X - 1) ** 2),
    "one cell in e^-2000": (np.where(np.arange(101) == 50, 0.0, -2000.0), NORMAL),
    "nothing retained beyond 3": (NORMAL + HOLE, -0.5 * (X - 1) ** 2),
    "nothing forgotten beyond 3": (NORMAL, -0.5 * (X - 1) ** 2 + HOLE),
    "nothing of either beyond 3": (NORMAL + HOLE, -0.5 * (X - 1) ** 2 + HOLE),
}
UNCOVERED = {("RU", "nothing forgotten beyond 3"), ("FU", "nothing retained beyond 3")}


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["RU", "FU", "LU", "LU ratio"])
def test_extreme_densities_are_solved(kind, case, share):
    log_q, log_f = (normal(a) for a in CASES[case])
    kind, *ratio = kind.split()
    q, f = on(GRID, log_q), on(GRID, log_f)
    if (kind, case) in UNCOVERED:
        with pytest.raises(ul.SupportError, match=r"zero in \d+ cells where"):
            KINDS[kind](q, [f], 1.0)
        return
    held = log_q > -np.inf
    if kind == "LU":
        logs = log_f[held] - (log_q[held] if ratio else np.log(GRID.cell_volume))
        mean = normal(log_q[held]) + logs
        start = mean.max() + np.log(np.exp(mean - mean.max()).sum())
        # From E_q[ℓ] down by at most 20 nats, and into the range of doubles.
        least = max(logs.min() + 1e-3, start - 20)
        log_b = np.clip(start - share * 0.95 * (start - least), -690, 600)
        statistic = "ratio" if ratio else "density"
        assert audit(ul.Likelihood(q, [f], np.exp(log_b), statistic=statistic)).certificate.ok
        return
    at_q = kl(log_q, log_f) if kind == "RU" else kl(log_f, log_q)
    most = at_q + 20 if kind == "FU" else -log_f[held].min()
    audit(KINDS[kind](q, [f], at_q + share * (most - at_q)), must_be_ok=kind == "FU")


def far_away(log_q):
    """A density off to the right, with a little of q everywhere."""
    return np.logaddexp(normal(-2 * (X - 3) ** 2) + np.log(1 - 1e-6), log_q + np.log(1e-6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "means",
    [np.linspace(-2, 1, 20), np.linspace(-2, -0.5, 20), [1.0] * 3, [-1.0, 1.0, -1.0]],
    ids=["both sides", "one side", "equal", "two equal"],
)
def test_many_and_duplicate_forget_distributions_are_solved(kind, means):
    log_q = normal(NORMAL)
    log_f = [normal(-0.5 * (X - mean) ** 2) for mean in means]
    p = far_away(log_q)
    objective, b = values(kind, p, log_q, log_f, GRID.cell_volume)
    problem = KINDS[kind](on(GRID, log_q), [on(GRID, f) for f in log_f], b)
    solution = audit(problem)
    assert solution.certificate.dual <= solution.objective + 1e-9
    assert solution.objective <= objective + 1e-9  # p meets the thresholds
    if len(set(means)) == 1:  # duplicates say nothing that one does not
        alone = audit(KINDS[kind](problem.retain, problem.forget[:1], b[:1]))
        assert abs(alone.objective - solution.objective) < 1e-7 * solution.objective
        assert abs(alone.multipliers.sum() - solution.multipliers.sum()) < 1e-5


def least_on_pairs(log_q, log_f, b):
    """min KL(p‖q) subject to KL(p‖q_1) ≥ b over densities on one or two cells."""
    first, second = np.triu_indices(len(log_q), 1)
    best = (-log_q)[-log_f >= b].min(initial=np.inf)
    for s in np.linspace(-12, 12, 2001):
        a, rest = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(s))
        entropy = a * np.log(a) + rest * np.log(rest)
        reach = entropy - a * log_f[first] - rest * log_f[second]
        cost = entropy - a * log_q[first] - rest * log_q[second]
        best = min(best, cost[reach >= b].min(initial=np.inf))
    return best


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("case", ["steep and narrow", "one cell in e^-2000"])
def test_an_atomic_answer_is_as_good_as_any_on_two_cells(case, share):
    # With one constraint and Λ > 1 the optimum has at most two atoms: the gap must be no larger.
    log_q, log_f = (normal(a) for a in CASES[case])
    at_q = kl(log_q, log_f)
    b = at_q + share * (-log_f.min() - at_q)
    solution = audit(ul.ReverseKL(on(GRID, log_q), [on(GRID, log_f)], b), must_be_ok=False)
    best = least_on_pairs(log_q, log_f, b)
    assert solution.certificate.dual <= best * (1 + 1e-9)
    assert solution.objective <= best * (1 + 1e-3)


THIRD = np.nextafter(1 / 3, 0)  # what E_p[1/3] comes to when it is rounded down
HARD = {
    # One of two atoms must be emptied, but E[e^t] = 1 leaves its mass nowhere to go: a true gap.
    "FU gap": ("FU", [0.015, 0.985], [[0.12, 0.88]], [1 - 6e-6, 6e-6], None),
    "FU q between": ("FU", [0.12, 0.88], [[0.05, 0.95], [0.27, 0.73]], [0.5, 0.5], [0.45, 0.1]),
    "FU q between, turned": ("FU", [0.12, 0.88], [[0.27, 0.73], [0.05, 0.95]], [0.5, 0.5], None),
    "LU constant": (
        "LU",
        [0.35, 0.34, 0.31],
        [[1 / 3] * 3, [0.35, 0.27, 0.38], [0.29, 0.44, 0.27]],
        [0.36, 0.29, 0.35],
        [THIRD, 0.337, 0.3268],
    ),
    "RU point": ("RU", [0.25, 0.75], [[0.5, 0.5], [0.1, 0.9]], [0.5, 0.5], None),
    "RU corner": (
        "RU",
        [0.29, 0.71],
        [[0.88, 0.12], [0.88, 0.12], [0.08, 0.92]],
        [0.95, 0.05],
        None,
    ),
    "RU gap": (
        "RU",
        [0.0003, 0.9463, 0.0064, 0.047],
        [[0.9502, 0.0473, 0.0001, 0.0024], [0.00005, 0.0007, 0.99605, 0.0032]],
        [0.3348, 0.6632, 0.0006, 0.0014],
        None,
    ),
    "RU far": ("RU", [0.0835, 0.9165], [[0.165, 0.835], [2.7e-4, 0.99973]], [1e-3, 0.999], None),
}


@pytest.mark.parametrize("case", HARD.values(), ids=HARD.keys())
def test_where_a_feasible_density_exists_one_is_returned(case):
    kind, q, f, p, b = case
    log_q, log_f, log_p = np.log(q), np.log(f), np.log(p)
    objective, reached = values(kind, log_p, log_q, log_f)
    b = reached if b is None else np.array(b)
    problem = KINDS[kind](ul.Discrete(q), [ul.Discrete(one) for one in f], b)
    solution = audit(problem, must_be_ok=kind == "LU")
    assert solution.certificate.violation <= 1e-8
    assert solution.certificate.dual <= objective + 1e-8


@pytest.mark.parametrize("kind", ["RU", "FU"])
def test_tiny_thresholds_are_met(kind):
    q, near = on(GRID, NORMAL), on(GRID, NORMAL + 1e-6 * X)
    at_q, equal = audit(KINDS[kind](q, [near], 1e-14)), audit(KINDS[kind](q, [q], 0.0))
    assert at_q.certificate.regime == equal.certificate.regime == "inactive"
    moved = audit(KINDS[kind](q, [near], 1e-12))  # KL(q‖near) is 5e-13
    assert moved.certificate.regime == "regular"
    # Two Gaussians 1e-6 apart: P* = ½(√(2b) − 1e-6)², which is below the rounding of nats.
    assert 0 <= moved.objective < 1e-12


def test_a_tiny_likelihood_threshold_is_met():
    q, f = normal(NORMAL), normal(-0.5 * (X + 4) ** 2)
    solution = audit(ul.Likelihood(on(GRID, q), [on(GRID, f)], 1e-12))
    p = solution.model.log_masses
    assert np.exp(p) @ np.exp(f - np.log(GRID.cell_volume)) <= 1e-12 * (1 + 1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-6])
def test_thresholds_beside_the_ceiling(kind, step):
    q, f = np.log([0.5, 0.3, 0.2]), np.log([0.1, 0.2, 0.7])
    retain, forget = (ul.Discrete(np.exp(a)) for a in (q, f))
    if kind == "LU":
        ceiling, inside = 0.1, 1 + step
    elif kind == "RU":
        ceiling, inside = -np.log(0.1), 1 - step
    else:
        least = np.exp(-25.0)
        v = np.log(least * np.exp(q) + np.array([1.0, 0, 0]) * (1 - least))
        ceiling, inside = kl(f, v), 1 - step
    assert abs(KINDS[kind](retain, [forget], 0.5).ceilings()[0] - ceiling) < 1e-12 * ceiling
    with pytest.raises(ul.InfeasibleError) as caught:
        ul.solve(KINDS[kind](retain, [forget], ceiling * (2 - inside)))
    assert np.allclose(caught.value.ceiling, ceiling, rtol=1e-12)
    solution = audit(KINDS[kind](retain, [forget], ceiling * inside), must_be_ok=kind != "RU")
    assert solution.model.probabilities[0] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_of_one_cell_has_one_density(kind):
    q = ul.Grid(0, 2, 1).density([3.0])
    assert q.probabilities == pytest.approx([1.0])
    if kind == "LU":
        assert audit(ul.Likelihood(q, [q], 0.6)).objective == 0  # the density is ½
        with pytest.raises(ul.InfeasibleError, match=r"0\.5"):
            ul.solve(ul.Likelihood(q, [q], 0.4))
    else:
        assert audit(KINDS[kind](q, [q], 0.0)).objective == 0
        with pytest.raises(ValueError, match="equals retain"):
            KINDS[kind](q, [q], 0.1)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_of_two_cells_agrees_with_a_scan(kind, share):
    grid = ul.Grid(0, 1, 2)
    q, f = np.log([0.7, 0.3]), np.log([0.4, 0.6])
    s = np.linspace(-25, 25, 1_000_001)  # logits of the first cell
    log_p = np.stack([-np.logaddexp(0, -s), -np.logaddexp(0, s)])
    p = np.exp(log_p)
    if kind == "FU":
        cost, reach = np.exp(q) @ (q[:, None] - log_p), np.exp(f) @ (f[:, None] - log_p)
        at_q, most = kl(f, q), 8.0
    else:
        cost = (p * (log_p - q[:, None])).sum(axis=0)
        reach = (p * (log_p - f[:, None])).sum(axis=0) if kind == "RU" else -2 * np.exp(f) @ p
        at_q, most = (kl(q, f), -np.log(0.4)) if kind == "RU" else (-2 * 0.46, -2 * 0.4)
    b = at_q + share * (most - at_q)
    best = cost[reach >= b].min()
    solution = audit(KINDS[kind](on(grid, q), [on(grid, f)], abs(b)), must_be_ok=kind != "RU")
    assert solution.certificate.dual <= best + 1e-9
    assert abs(solution.objective - best) < 1e-3 * max(best, 1e-2)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_gaussians_in_any_dimension(dim):
    # P*(b) = ½(√(2b) − |μ|)² and λ* = 1 − |μ|/√(2b) in every dimension.
    grid = ul.Grid([-8.0] * dim, [8.0] * dim, 33 if dim == 3 else 65)
    mean = np.array([0.6, 0.0, -0.8])[:dim]
    size = np.linalg.norm(mean)
    q = on(grid, -0.5 * (grid.points**2).sum(axis=1))
    f = on(grid, -0.5 * ((grid.points - mean) ** 2).sum(axis=1))
    solution = audit(ul.ReverseKL(q, [f], 2.0))
    assert abs(solution.objective - 0.5 * (2 - size) ** 2) < 1e-8
    assert abs(solution.multipliers[0] - (1 - size / 2)) < 1e-8
    for problem in (
        ul.ForwardKL(q, [f], 3.0),
        ul.Likelihood(q, [f], relative=0.01),
        ul.Likelihood(q, [f], 0.01, statistic="ratio"),
    ):
        assert audit(problem).certificate.regime in ("regular", "contact")


@pytest.mark.parametrize("kind", KINDS)
def test_atoms_without_mass_change_nothing(kind):
    q, f = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
    b = {"RU": 1.5, "FU": 1.5, "LU": 0.2}[kind]
    alone = audit(KINDS[kind](ul.Discrete(q), [ul.Discrete(f)], b))
    padded = [ul.Discrete(np.insert(a, [0, 2, 3], 0.0)) for a in (q, f)]
    solution = audit(KINDS[kind](padded[0], [padded[1]], b))
    assert abs(solution.objective - alone.objective) < 1e-10
    assert np.abs(solution.multipliers - alone.multipliers).max() < 1e-7
    assert (solution.model.probabilities[[0, 3, 5]] == 0).all()


@pytest.mark.parametrize("statistic", ["density", "ratio"])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("relative", [0.9, 1e-3])
def test_likelihood_at_any_temperature(statistic, temperature, relative):
    q, f = normal(NORMAL), normal(-0.5 * ((X - 1) / 0.7) ** 2)
    logs = (f - q if statistic == "ratio" else f - np.log(GRID.cell_volume)) / temperature
    least, terms = logs.min(), q + logs
    start = terms.max() + np.log(np.exp(terms - terms.max()).sum())
    b = np.exp(max(start + np.log(relative), least + 0.1))
    options = {"statistic": statistic, "temperature": temperature}
    problem = ul.Likelihood(on(GRID, q), [on(GRID, f)], b, **options)
    assert np.allclose(problem.baseline(), np.exp(start), rtol=1e-9)
    solution = audit(problem)
    assert solution.certificate.regime == ("regular" if b < np.exp(start) else "inactive")


@pytest.mark.parametrize("floor", [1.0, 25.0, 600.0])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_forward_kl_at_any_floor(floor, share):
    q, f = normal(NORMAL), normal(-0.5 * ((X - 1) / 0.7) ** 2)
    at_q = kl(f, q)
    problem = ul.ForwardKL(on(GRID, q), [on(GRID, f)], at_q + share * floor, floor=floor)
    solution = audit(problem)
    t = solution.model.log_masses - q
    assert t.min() >= -floor - 1e-9
    assert problem.ceilings()[0] == pytest.approx(at_q + floor, rel=0.02)


# Random problems on few atoms


@st.composite
def atoms(draw):
    """(kind, log q, log q_i, feasible log p, thresholds it meets, problem)."""
    kind, n = draw(st.sampled_from(list(KINDS))), draw(st.integers(2, 6))
    logs = st.lists(st.floats(-12, 0), min_size=n, max_size=n).map(lambda a: normal(np.array(a)))
    log_q, log_p = draw(logs), draw(logs)
    log_f = np.array(draw(st.lists(logs, min_size=1, max_size=3)))
    b = values(kind, log_p, log_q, log_f)[1] * draw(st.sampled_from([1.0, 0.9, 0.3]))
    if kind == "LU":
        b = values(kind, log_p, log_q, log_f)[1] * draw(st.sampled_from([1.0, 1.1, 2.0]))
    else:
        b = np.where(np.abs(log_f - log_q).max(axis=1) < 1e-9, 0.0, np.maximum(b, 0.0))
    forget = [ul.Discrete(np.exp(f)) for f in log_f]
    problem = KINDS[kind](ul.Discrete(np.exp(log_q)), forget, b)
    return kind, log_q, log_f, log_p, b, problem


shares = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(np.array)
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@few
@given(atoms(), shares, st.floats(0, 3))
def test_weak_duality(case, lam, size):
    kind, log_q, log_f, log_p, b, problem = case
    lam = size * lam[: len(b)] / lam[: len(b)].sum()
    objective = values(kind, log_p, log_q, log_f)[0]
    value = problem.dual_value(lam)
    assert value <= objective + 1e-9 * (1 + objective + lam @ b)
    assert value == pytest.approx(dual(kind, lam, b, log_q, log_f), rel=1e-8, abs=1e-9)


@few
@given(atoms(), shares, st.floats(0, 0.95), st.integers(0, 2**32 - 1))
def test_the_target_minimises_the_lagrangian(case, lam, size, seed):
    kind, log_q, log_f, _, b, problem = case
    lam = size * lam[: len(b)] / lam[: len(b)].sum()

    def lagrangian(log_p):
        objective, constraints = values(kind, log_p, log_q, log_f)
        return objective + (-1 if kind == "LU" else 1) * lam @ (b - constraints)

    try:
        target = problem.target(lam).log_masses
    except ValueError as error:  # only where no cell keeps mass
        assert kind == "FU" and "no mass" in str(error)
        assert (np.exp(log_q) - lam @ np.exp(log_f)).max() <= 1e-12
        return
    least = lagrangian(target)
    assert least == pytest.approx(problem.dual_value(lam), rel=1e-8, abs=1e-8)
    rng = np.random.default_rng(seed)
    for step in (1.0, 0.1, 1e-3):
        other = np.log(rng.dirichlet(np.ones(len(log_q)), size=20) + 1e-9)
        for log_d in other:  # mixtures with q-floored densities stay above FU's floor
            log_d = np.logaddexp(log_d, log_q - 20)
            mixed = normal(np.logaddexp(np.log1p(-0.999 * step) + target, np.log(step) + log_d))
            assert lagrangian(mixed) >= least - 1e-9 * (1 + abs(least))


@few
@given(atoms())
def test_a_certificate_that_says_ok_is_right(case):
    kind, log_q, log_f, log_p, b, problem = case
    solution = audit(problem, must_be_ok=kind == "LU")
    c, lam = solution.certificate, solution.multipliers
    assert c.violation <= 1e-8  # log_p is feasible, so what is returned must be
    again = ul.certify(problem, solution.model, lam)
    assert (again.primal, again.dual, again.ok, again.regime) == (c.primal, c.dual, c.ok, c.regime)
    ours = dual(kind, lam, b, log_q, log_f)
    assert c.dual == pytest.approx(ours, rel=1e-7, abs=1e-9)
    objective = values(kind, log_p, log_q, log_f)[0]
    assert c.dual <= objective + 1e-9 * (1 + objective)
    if c.ok:
        assert solution.objective <= objective + 1e-7 * (1e-3 + objective)
        assert abs(solution.objective - ours) <= 2e-7 * max(1e-3, solution.objective)
