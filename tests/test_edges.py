"""Where the closed form ends: contact with the floor, the boundary, infeasible thresholds."""

import numpy as np
import pytest
import suite

import unlearnlab as ul


def test_contact_reports_the_floor_and_what_it_does():
    problem = suite.problem("FU", 1)
    solution = ul.solve(problem)
    certificate = solution.certificate
    assert certificate.regime == "contact"
    assert certificate.ok
    assert certificate.floor == 25.0
    t = solution.model.log_masses - problem.retain.log_masses
    assert t.min() == pytest.approx(-25, abs=1e-6)
    deeper = ul.solve(ul.ForwardKL(problem.retain, problem.forget, problem.thresholds, floor=50.0))
    assert solution.objective_at_twice_floor == pytest.approx(deeper.objective, rel=1e-7)
    assert deeper.objective <= solution.objective + 1e-9  # a larger set of densities
    assert "25 nats" in repr(solution)


def test_without_a_floor_heavier_tails_leave_no_multiplier():
    """q_1 = N(0, 2²) has heavier tails than q = N(0, 1): c < 0 far out for every λ > 0."""
    grid = ul.Grid(-12, 12, 2001)
    q, q1 = (ul.GaussianMixture([1.0], [0.0], [s]).on(grid) for s in (1.0, 2.0))
    problem = ul.ForwardKL(q, [q1], relative=1.2)
    solution = ul.solve(problem)
    c = 1 - solution.multipliers[0] * np.exp(q1.log_masses - q.log_masses)
    assert c.min() < 0
    assert solution.certificate.regime == "contact"
    assert solution.certificate.ok


@pytest.mark.parametrize("mode", [0.0, 1.0])
def test_floor_reached_by_a_shared_mode_is_exact(mode):
    """At b near k + T the component is all but gone, and λ sits within an ulp of its weight."""
    grid = ul.Grid(-10, 10, 2001)
    q = ul.GaussianMixture([0.25, 0.75], [-4.0, mode], [0.5, 0.8]).on(grid)
    q1 = ul.GaussianMixture([1.0], [-4.0], [0.5]).on(grid)
    start = ul.kl(q1, q)
    for above in (5.0, 15.0, 22.0, 24.5):
        solution = ul.solve(ul.ForwardKL(q, [q1], [start + above]))
        assert solution.certificate.ok, above
        assert solution.constraints[0] == pytest.approx(start + above, rel=1e-8)
        assert solution.multipliers[0] == pytest.approx(0.25, abs=0.01)


def test_exact_subtraction_keeps_digits_that_densities_lose():
    """Next to λ = π_1 the target is known to all digits only when weights are subtracted."""
    grid = ul.Grid(-10, 10, 2001)
    q_mix = ul.GaussianMixture([0.3, 0.7], [-3.0, 3.0], [0.5, 0.5])
    q1_mix = ul.GaussianMixture([1.0], [-3.0], [0.5])
    left = 2.0**-30  # 0.3 − 2⁻³⁰ is a double
    lam = 0.3 - left
    exact = ul.GaussianMixture(
        [left / (0.7 + left), 0.7 / (0.7 + left)], [-3.0, 3.0], [0.5, 0.5]
    ).on(grid)
    by_weight = ul.ForwardKL(q_mix.on(grid), [q1_mix.on(grid)], [1.0]).target([lam])
    arrays = [grid.density(mix.on(grid).log_density) for mix in (q_mix, q1_mix)]
    by_density = ul.ForwardKL(arrays[0], [arrays[1]], [1.0]).target([lam])
    near = abs(grid.axes[0] + 3) < 1

    def error(p):
        return np.abs(p.log_masses - exact.log_masses)[near].max()

    assert error(by_weight) < 1e-12
    assert error(by_density) > 1e-8


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_ceilings_are_where_feasibility_ends(factor):
    grid = ul.Grid(-8, 8, 400)
    q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.7, 0.7]).on(grid)
    q1 = ul.GaussianMixture([0.9, 0.1], [2, 0], [0.7, 2.0]).on(grid)
    for make in (ul.ReverseKL, ul.ForwardKL):
        ceiling = make(q, [q1], [1.0]).ceilings()
        problem = make(q, [q1], factor * ceiling)
        if factor < 1:
            assert ul.solve(problem).constraints[0] >= factor * ceiling[0] * (1 - 1e-8)
        else:
            with pytest.raises(ul.InfeasibleError, match="no distribution meets") as caught:
                ul.solve(problem)
            np.testing.assert_allclose(caught.value.ceiling, ceiling)


def test_jointly_infeasible_thresholds_come_with_a_ray():
    """Two forget densities that cover the line: each can be avoided, both cannot."""
    q = ul.Discrete([0.5, 0.5])
    forget = [ul.Discrete([0.9, 0.1]), ul.Discrete([0.1, 0.9])]
    problem = ul.Likelihood(q, forget, [0.3, 0.3])
    assert (problem.ceilings() < problem.thresholds).all()
    with pytest.raises(ul.InfeasibleError, match="but not together") as caught:
        ul.solve(problem)
    ray = caught.value.ray
    least = min(ray @ [0.9, 0.1], ray @ [0.1, 0.9])  # of λᵀE_p[ℓ] over p, at the two atoms
    assert least > ray @ problem.thresholds


def test_reverse_infeasible_on_few_atoms_is_feasible_on_many():
    """−log q_1 of the rarest cell is the ceiling; halving the cells raises it by log 2."""
    values = []
    for cells in (100, 200, 400):
        grid = ul.Grid(-8, 8, cells)
        q, q1 = (ul.GaussianMixture([1.0], [m], [1.0]).on(grid) for m in (0.0, 1.0))
        values.append(ul.ReverseKL(q, [q1], [1.0]).ceilings()[0])
    # Half a cell further out as well, where q_1 falls by |x − 1|·(half a cell).
    np.testing.assert_allclose(np.diff(values), np.log(2) + 9 * np.array([0.04, 0.02]), atol=0.02)


def test_refining_the_grid_removes_an_atomic_gap():
    """b just above what 41 cells reach with Λ < 1; 401 cells reach it."""

    def problem(cells):
        grid = ul.Grid(-8, 8, cells)
        q = ul.GaussianMixture([1.0], [0.0], [1.0]).on(grid)
        q1 = ul.GaussianMixture([1.0], [0.0], [1.5]).on(grid)
        return ul.ReverseKL(q, [q1], [2.5])

    coarse, fine = ul.solve(problem(41)), ul.solve(problem(401))
    assert coarse.certificate.regime == "atomic"
    assert not coarse.certificate.ok
    assert coarse.certificate.gap > 1e-6
    assert "refine the grid" in repr(coarse)
    assert fine.certificate.regime == "regular"
    assert fine.certificate.ok
