"""Extreme but legal input: a right answer or an honest status, and never NaN."""

import numpy as np
import pytest
from reference import GRID, KINDS, NORMAL, X, audit, kl, normal, on, values

import unlearnlab as ul

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


@pytest.mark.parametrize("cap", [0.3, 0.7])
@pytest.mark.parametrize("statistic", ["density", "ratio"])
def test_a_capped_likelihood_is_the_smaller_of_two(statistic, cap):
    """Against sums written out here."""
    q, f = (on(GRID, one) for one in (-(X**2) / 2, -((X - 1.5) ** 2) / 0.5))
    how = {"statistic": statistic, "temperature": 2.0, "cap": cap}
    ell = f.log_density - (q.log_density if statistic == "ratio" else 0)
    ell = np.minimum(np.exp(ell / 2), cap)
    problem = ul.Likelihood(q, [f], relative=0.5, **how)
    assert problem.baseline()[0] == pytest.approx(q.probabilities @ ell, rel=1e-12)
    solution = ul.solve(problem)
    by_hand = q.probabilities * np.exp(-solution.multipliers[0] * ell)
    np.testing.assert_allclose(solution.model.probabilities, by_hand / by_hand.sum(), atol=1e-12)
    assert solution.certificate.ok
    assert solution.constraints[0] == pytest.approx(solution.model.probabilities @ ell, rel=1e-9)
    assert 0 < (ell == cap).mean() < 1
    assert ul.verify(problem, starts=4).primal >= solution.certificate.dual - 1e-6


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_a_cap_at_the_inverse_mass_of_a_part_changes_nothing(share):
    """q = πq_1 + (1 − π)r has q_1/q ≤ 1/π: the same problem, and a smaller cap makes another."""
    part, rest = (on(GRID, -((X - mean) ** 2)) for mean in (1.0, -1.0))
    q = part.with_log_masses(np.log(share * part.probabilities + (1 - share) * rest.probabilities))
    free, same, other = (
        ul.solve(ul.Likelihood(q, [part], thresholds=[0.5], statistic="ratio", cap=cap))
        for cap in (None, 1 / share, 0.7 / share)
    )
    assert same.objective == pytest.approx(free.objective, rel=1e-12)
    assert other.objective < 0.99 * free.objective
