"""Starting from a solution nearby changes the way, not the answer."""

import pickle

import numpy as np
import pytest
from suite import problem

import unlearnlab as ul


@pytest.mark.parametrize("kind", ["RU", "FU", "LU"])
def test_the_answer_does_not_depend_on_the_start(kind):
    checked = 0
    for seed in range(40):
        asked = problem(kind, seed)
        try:
            alone = ul.solve(asked)
            near = ul.solve(asked.with_thresholds(asked.thresholds * (1 - 0.02 * asked.sense)))
        except ul.InfeasibleError:
            continue
        if not alone.certificate.ok:
            continue
        helped = ul.solve(asked, near=near)
        assert helped.certificate.ok
        assert helped.objective == pytest.approx(alone.objective, rel=1e-7, abs=1e-9)
        checked += 1
    assert checked >= 20


def test_a_far_start_or_one_of_another_kind_does_no_harm():
    asked = problem("FU", 3)
    alone, tried = ul.solve(asked), 0
    for kind in ("RU", "FU", "LU"):
        for seed in (8, 13, 18, 23):
            try:
                other = ul.solve(problem(kind, seed))
            except ul.InfeasibleError:
                continue
            helped = ul.solve(asked, near=other)
            assert helped.certificate.ok
            assert helped.objective == pytest.approx(alone.objective, rel=1e-7)
            tried += 1
    assert tried >= 6


def test_infeasible_stays_infeasible():
    grid = ul.Grid(-6, 6, 400)
    q, q1 = (ul.GaussianMixture([1], [mean], [1]).on(grid) for mean in (0, 1))
    asked = ul.ForwardKL(q, [q1], thresholds=[5.0])
    near = ul.solve(asked)
    beyond = asked.with_thresholds(asked.ceilings() * 1.01)
    with pytest.raises(ul.InfeasibleError):
        ul.solve(beyond, near=near)
    with pytest.raises(ValueError, match="as many constraints, 1; it has 2"):
        ul.solve(asked, near=ul.solve(problem("LU", 1)))


def test_the_optimum_at_twice_the_floor_waits_until_it_is_asked_for():
    grid = ul.Grid(-8, 8, 500)
    narrow, wide = (ul.GaussianMixture([1], [0], [s]).on(grid) for s in (1, 2))
    solution = ul.solve(ul.ForwardKL(retain=narrow, forget=[wide], relative=8.0))
    assert "objective_at_twice_floor" not in vars(solution)
    again = pickle.loads(pickle.dumps(solution))
    deeper = ul.solve(ul.ForwardKL(narrow, [wide], relative=8.0, floor=50.0))
    for one in (solution, again):
        assert one.objective_at_twice_floor == pytest.approx(deeper.objective, rel=1e-6)
    assert ul.solve(problem("LU", 0)).objective_at_twice_floor is None
    assert np.isfinite(solution.to_dict()["objective_at_twice_floor"])


def test_a_start_that_is_not_near_costs_time_alone():
    """A solution next to the ceiling, with multipliers in the millions, is no help: start cold."""
    grid = ul.Grid(-8, 8, 401)
    rng = np.random.default_rng(21)

    def mixture(k):
        weights, means = rng.dirichlet(np.ones(k)), rng.uniform(-4, 4, k)
        return ul.GaussianMixture(weights, means, rng.uniform(0.5, 1.2, k)).on(grid)

    asked = ul.ForwardKL(mixture(3), [mixture(2)], relative=1.0)
    base, ceiling = asked.baseline(), asked.ceilings()
    near = ul.solve(asked.with_thresholds(base + (1 - 1e-9) * (ceiling - base)))
    asked = asked.with_thresholds(base + 0.5 * (ceiling - base))
    alone, helped = ul.solve(asked), ul.solve(asked, near=near)
    assert alone.certificate.ok and helped.certificate.ok
    assert helped.objective == pytest.approx(alone.objective, rel=1e-7)
    with pytest.raises(TypeError, match="near must be a Solution"):
        ul.solve(asked, near=[1.0])


def test_in_contact_a_gap_up_to_its_limit_is_no_fault_of_the_grid():
    grid = ul.Grid(-8, 8, 500)
    narrow, wide = (ul.GaussianMixture([1], [0], [s]).on(grid) for s in (1, 2))
    problem = ul.ForwardKL(retain=narrow, forget=[wide], relative=8.0)
    solution = ul.solve(problem)
    certificate = ul.certify(problem, solution.model, solution.multipliers * (1 - 1e-5))
    assert 1e-9 < certificate.gap < 1e-7
    assert certificate.regime == "contact" and certificate.ok
