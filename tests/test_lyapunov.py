"""Combs: every integral combined, within bounds; averages lose the Jensen–Shannon term."""

import numpy as np
import pytest

import unlearnlab as ul


def three_modes(cells, dim=1):
    if dim == 1:
        grid = ul.Grid(-8, 8, cells)
        q = ul.GaussianMixture([1 / 3] * 3, [-3, 0, 3], [0.6] * 3).on(grid)
        return q, [ul.GaussianMixture([1], [mean], [0.6]).on(grid) for mean in (0, 3)]
    grid = ul.Grid((-6, -6), (6, 6), (cells, cells))
    q = ul.GaussianMixture([1 / 3] * 3, [[-2, 0], [2, 0], [0, 2]], [0.8] * 3).on(grid)
    return q, [ul.GaussianMixture([1], [[x, 0]], [0.9]).on(grid) for x in (2, -2)]


def make(kind, cells, m=1, dim=1):
    q, forget = three_modes(cells, dim)
    relative = {"ReverseKL": 1.8, "ForwardKL": 3.0, "Likelihood": 0.2}[kind]
    return getattr(ul, kind)(retain=q, forget=forget[:m], relative=relative)


def sums(problem, p, parts=None):
    """Objective and constraints of cell masses p by plain sums over (parts of) cells."""
    share = 1.0 if parts is None else parts
    q = problem.retain.probabilities
    qs = [other.probabilities for other in problem.forget]
    if isinstance(problem, ul.ForwardKL):
        values = [q * np.log(q / p), *(qi * np.log(qi / p) for qi in qs)]
    elif isinstance(problem, ul.ReverseKL):
        values = [p * np.log(p / q), *(p * np.log(p / qi) for qi in qs)]
    else:
        volume = problem.retain.cell_volume
        values = [p * np.log(p / q), *(p * qi / volume for qi in qs)]
    return np.array([(share * value).sum() for value in [*values, p]])


KINDS = ("ReverseKL", "ForwardKL", "Likelihood")
CASES = [(kind, m, dim) for kind in KINDS for m in (1, 2) for dim in (1, 2)]


@pytest.mark.parametrize(("kind", "m", "dim"), CASES)
@pytest.mark.parametrize("theta", [0.05, 0.5, 0.8])
def test_combs_keep_every_integral(kind, m, dim, theta):
    problem = make(kind, 1500 if dim == 1 else 40, m, dim)
    ((p, other),) = ul.boundary_pairs(problem, 1, seed=m)
    comb = ul.lyapunov_split(p, other, theta, problem)
    between = (comb.shares > 0) & (comb.shares < 1)
    assert between.sum() <= m + 2
    a, b = p.probabilities, other.probabilities
    wanted = theta * sums(problem, a) + (1 - theta) * sums(problem, b)
    assert comb.wanted == pytest.approx(wanted, abs=1e-12)
    # Rounded: the comb's own cells, summed again; within the bound, and not by its slack alone.
    rounded = sums(problem, np.where(comb.mask, a, b))
    assert comb.errors == pytest.approx(np.abs(rounded - wanted), abs=1e-10)
    assert (comb.errors <= comb.bounds).all()
    # Fractional cells divided by their shares: exact.
    x = comb.shares
    split = sums(problem, a, x) + sums(problem, b, 1 - x)
    assert np.abs(split - wanted).max() < 1e-9
    assert comb.split_errors.max() < 1e-9
    # Renormalising costs no more than the mass error times what it multiplies.
    found = problem.evaluate(comb.density)
    values = np.array([found.objective, *found.constraints])
    allowed = comb.bounds[:-1] + 2 * comb.bounds[-1] * (1 + np.abs(wanted[:-1]))
    assert (np.abs(values - wanted[:-1]) <= allowed).all()


@pytest.mark.parametrize("kind", KINDS)
def test_errors_shrink_like_one_over_the_number_of_cells(kind):
    bounds = {}
    for cells in (200, 632, 2000, 6325, 20000):
        problem = make(kind, cells)
        pairs = list(ul.boundary_pairs(problem, 2, seed=1))
        combs = [ul.lyapunov_split(*pair, 0.3, problem) for pair in pairs]
        assert all((comb.errors <= comb.bounds).all() for comb in combs)
        bounds[cells] = np.array([comb.bounds for comb in combs])
    ratio = bounds[200] / bounds[20000]
    assert (ratio > 80).all() and (ratio < 125).all()  # 100 times the cells


@pytest.mark.parametrize("kind", KINDS)
def test_refining_the_grid_makes_the_errors_vanish(kind):
    """The same two densities, constant on 200 cells, on ever finer grids."""
    problem = make(kind, 200)
    ((p, other),) = ul.boundary_pairs(problem, 1, seed=4)
    first = None
    for k in (1, 10, 100):
        grid = ul.Grid(-8, 8, 200 * k)

        def fine(model, grid=grid, k=k):
            return grid.density(np.repeat(model.log_density, k))

        finer = type(problem)(fine(problem.retain), [fine(problem.forget[0])], problem.thresholds)
        comb = ul.lyapunov_split(fine(p), fine(other), 0.3, finer)
        first = comb.bounds if first is None else first
        assert comb.bounds == pytest.approx(first / k, rel=1e-6)
        assert (comb.errors <= first / k).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_combs_stay_in_the_epigraph_and_averages_leave_it_by_jensen_shannon(dim):
    problem = make("ReverseKL", 2000 if dim == 1 else 60, dim=dim)
    threshold = problem.thresholds[0]
    for p, other in ul.boundary_pairs(problem, 25, seed=7):
        for model in (p, other):
            assert problem.evaluate(model).constraints[0] == pytest.approx(threshold, rel=1e-9)
        comb = ul.lyapunov_split(p, other, 0.4, problem)
        combed, averaged = problem.evaluate(comb.density), problem.evaluate(comb.average)
        slack = comb.bounds + comb.bounds[-1] * (1 + np.abs(comb.wanted))
        assert combed.objective <= comb.wanted[0] + 2 * slack[0]
        assert combed.constraints[0] >= threshold - 2 * slack[1]
        shannon = 0.4 * ul.kl(p, comb.average) + 0.6 * ul.kl(other, comb.average)
        assert shannon > 1e-3  # or the test would say nothing
        assert threshold - averaged.constraints[0] == pytest.approx(shannon, abs=1e-9)
        assert comb.wanted[0] - averaged.objective == pytest.approx(shannon, abs=1e-9)
        # Weak duality: no comb, however clever, beats the optimum by more than its error.
        assert combed.objective >= ul.solve(problem).objective - 2 * slack[0]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_feasible_and_seeded(kind):
    problem = make(kind, 500, m=2)
    pairs = list(ul.boundary_pairs(problem, 3, seed=2))
    again = list(ul.boundary_pairs(problem, 3, seed=2))
    for pair, same in zip(pairs, again, strict=True):
        for model, twin in zip(pair, same, strict=True):
            assert (model.log_masses == twin.log_masses).all()
            values = problem.evaluate(model).constraints
            violation = problem.sense * (problem.thresholds - values) / problem.thresholds
            assert violation.max() == pytest.approx(0, abs=1e-9)


def test_equal_densities_and_empty_cells_are_legal():
    grid = ul.Grid(-4, 4, 300)
    q = ul.GaussianMixture([0.5, 0.5], [-1, 1], [0.5, 0.5]).on(grid)
    q1 = ul.GaussianMixture([1.0], [1], [0.5]).on(grid)
    problem = ul.Likelihood(q, [q1], relative=0.5)
    x = grid.axes[0]
    p = grid.density(np.where(x < -0.5, q.log_density, -np.inf))
    other = ul.solve(problem).model
    comb = ul.lyapunov_split(p, other, 0.5, problem)
    assert (comb.errors <= comb.bounds).all()
    assert ul.lyapunov_split(other, other, 0.5, problem).errors.max() < 1e-12


def test_errors_name_the_argument():
    problem = make("ReverseKL", 300)
    ((p, other),) = ul.boundary_pairs(problem, 1)
    for theta in (0, 1, -0.5, 1.5, 2):
        with pytest.raises(ValueError, match="theta must lie strictly between 0 and 1"):
            ul.lyapunov_split(p, other, theta, problem)
    with pytest.raises(ValueError, match="theta must be finite"):
        ul.lyapunov_split(p, other, np.nan, problem)
    with pytest.raises(TypeError, match="theta must be numbers"):
        ul.lyapunov_split(p, other, "half", problem)
    with pytest.raises(ValueError, match=r"p_prime lives on .*problem lives on"):
        ul.lyapunov_split(p, make("ReverseKL", 301).retain, 0.5, problem)
    with pytest.raises(ValueError, match=r"p_prime is infeasible: KL\(p‖q_i\) = "):
        ul.lyapunov_split(p, problem.retain, 0.5, problem)
    with pytest.raises(ValueError, match="p is infeasible"):
        ul.lyapunov_split(problem.retain, p, 0.5, problem)
    with pytest.raises(TypeError, match="p must be a model"):
        ul.lyapunov_split(p.probabilities, other, 0.5, problem)
    with pytest.raises(TypeError, match="problem must be"):
        ul.lyapunov_split(p, other, 0.5, "RU")
    half = p.with_log_masses(np.where(np.arange(300) < 150, -np.inf, -np.log(150)))
    forward = make("ForwardKL", 300)
    with pytest.raises(ValueError, match=r"p has KL\(q‖p\) = inf; it must be finite"):
        ul.lyapunov_split(half, other, 0.5, forward)


def test_atoms_have_no_combs():
    q, q1 = ul.Discrete([0.3, 0.695, 0.005]), ul.Discrete([0.69, 0.3, 0.01])
    problem = ul.ReverseKL(retain=q, forget=[q1], thresholds=[1.0])
    p = ul.solve(problem).model
    with pytest.raises(ValueError, match=r"p lives on atoms .*split\(k\)"):
        ul.lyapunov_split(p, p, 0.5, problem)
    with pytest.raises(ValueError, match="lives on atoms"):
        next(ul.boundary_pairs(problem, 1))


def test_pairs_need_a_boundary():
    problem = make("Likelihood", 300)
    with pytest.raises(ValueError, match="q meets thresholds"):
        next(ul.boundary_pairs(problem.with_thresholds(np.array([10.0])), 1))
    with pytest.raises(ValueError, match="pairs must be a whole number"):
        next(ul.boundary_pairs(problem, 0))
    with pytest.raises(ValueError, match="too demanding"):
        next(ul.boundary_pairs(make("ReverseKL", 300).with_thresholds(np.array([1e5])), 1))


@pytest.mark.filterwarnings("ignore:one of 20 cells holds")
def test_densities_over_many_decades_on_few_cells():
    grid = ul.Grid(0, 1, 2)

    def density(*logs):
        return grid.density(list(logs))

    q, first, second = density(0, -14), density(0, -3), density(0, 0)
    p, other = density(-5, 0), density(-13, 0)
    free = ul.ForwardKL(q, [first, second], relative=1.0)
    reach = [free.evaluate(model).constraints for model in (p, other)]
    problem = free.with_thresholds(np.minimum(*reach))
    comb = ul.lyapunov_split(p, other, 0.5, problem)
    assert (comb.errors <= comb.bounds).all()
    # 300 random peaked ones
    rng = np.random.default_rng(0)
    grid = ul.Grid(0, 1, 20)
    for _ in range(300):
        q, first, p, other = (grid.density(rng.normal(0, 20, 20)) for _ in range(4))
        free = ul.ReverseKL(q, [first], thresholds=[0.0])
        comb = ul.lyapunov_split(p, other, rng.uniform(0.01, 0.99), free)
        assert (comb.errors <= comb.bounds).all()
        assert ((comb.shares > 0) & (comb.shares < 1)).sum() <= 3


def test_a_comb_of_equal_densities_describes_itself():
    problem = make("ReverseKL", 300)
    ((p, _),) = ul.boundary_pairs(problem, 1)
    assert "nan" not in repr(ul.lyapunov_split(p, p, 0.5, problem))


def test_contributions_sum_to_the_evaluation_where_statistics_overflow():
    grid = ul.Grid(0, 1, 4)
    q, q1 = grid.density([0, 0, 0, -400]), grid.density(np.zeros(4))
    p = grid.density([0, 0, 0, -50])
    problem = ul.Likelihood(q, [q1], [1e170], statistic="ratio")
    found = problem.evaluate(p)
    sums = problem.contributions(p.log_masses).sum(axis=0)
    assert sums == pytest.approx([found.objective, *found.constraints], rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_know_where_mass_is_missing(kind):
    """A cell without p costs nothing in the reverse divergences, and everything in the forward."""
    problem = make(kind, 300)
    q = problem.retain.log_masses
    log_p = np.where(np.arange(300) == 120, -np.inf, q)
    p = problem.retain.with_log_masses(log_p - np.log(np.exp(log_p).sum()))
    found = problem.evaluate(p)
    total = problem.contributions(p.log_masses).sum(axis=0)
    assert total == pytest.approx([found.objective, *found.constraints], rel=1e-9, abs=1e-12)
    assert np.isinf(total[0]) == (kind == "ForwardKL")
