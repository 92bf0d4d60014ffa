"""Solutions against answers by hand, against CVXPY, and against finite differences."""

from dataclasses import asdict

import cvxpy as cp
import numpy as np
import pytest
import scipy.special
import suite

import unlearnlab as ul

GRID = ul.Grid(-14, 14, 4001)


def gaussian(mean, std=1.0):
    return ul.GaussianMixture([1.0], [mean], [std]).on(GRID)


def mean_and_variance(p):
    x, w = p.grid.axes[0], p.probabilities
    mean = w @ x
    return mean, w @ (x - mean) ** 2


@pytest.mark.parametrize("mu", [1.0, -0.5])
@pytest.mark.parametrize("threshold", [0.6, 2.0, 5.0, 9.0])
def test_two_unit_gaussians_reverse(mu, threshold):
    """λ* = 1 − |μ|/√(2b), P* = ½(√(2b) − |μ|)², p* = N(−μλ/(1−λ), 1)."""
    solution = ul.solve(ul.ReverseKL(gaussian(0), [gaussian(mu)], [threshold]))
    root = np.sqrt(2 * threshold)
    lam = 1 - abs(mu) / root
    assert solution.multipliers[0] == pytest.approx(lam, abs=1e-6)
    assert solution.objective == pytest.approx(0.5 * (root - abs(mu)) ** 2, abs=1e-6)
    mean, variance = mean_and_variance(solution.model)
    assert mean == pytest.approx(-mu * lam / (1 - lam), abs=1e-6)
    assert variance == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("mu", "s", "lam"), [(1.0, 1.5, 0.6), (1.0, 0.8, 0.5), (-1.0, 0.6, 0.2)])
def test_unlike_widths_reverse(mu, s, lam):
    """p_λ has precision (1 − λ/s²)/(1−λ) and mean −λμ/(s²−λ)."""
    target = ul.ReverseKL(gaussian(0), [gaussian(mu, s)], [1.0]).target([lam])
    mean, variance = mean_and_variance(target)
    assert mean == pytest.approx(-lam * mu / (s**2 - lam), abs=1e-6)
    assert 1 / variance == pytest.approx((1 - lam / s**2) / (1 - lam), abs=1e-6)


def test_collinear_ratios_reach_the_boundary():
    """N(0,1) against N(1,1) and N(−2,1) at b = (1.5, 1): λ* = (2/3, 1/3), P* = 1/3, Λ = 1."""
    solution = ul.solve(ul.ReverseKL(gaussian(0), [gaussian(1), gaussian(-2)], [1.5, 1.0]))
    certificate = solution.certificate
    assert certificate.regime == "boundary"
    assert certificate.ok
    np.testing.assert_allclose(solution.multipliers, [2 / 3, 1 / 3], atol=1e-9)
    assert solution.objective == pytest.approx(1 / 3, abs=1e-9)
    np.testing.assert_allclose(solution.constraints, [1.5, 1.0], atol=1e-8)
    mean, variance = mean_and_variance(solution.model)
    assert mean == pytest.approx(-2 / 3, abs=1e-6)
    assert variance == pytest.approx(0.4725, abs=1e-4)


def test_shared_component_is_subtracted_by_weight():
    """p_λ ∝ (π_1 − λ)g_1 + Σπ_jg_j; at λ = π_1 the component is gone."""
    weights, means = np.array([0.2, 0.5, 0.3]), [-4.0, 0.0, 4.0]
    q = ul.GaussianMixture(weights, means, [0.7] * 3).on(GRID)
    problem = ul.ForwardKL(q, [gaussian(-4.0, 0.7)], [1.0])
    for lam in (0.1, 0.19, 0.2):
        rest = np.array([0.2 - lam, 0.5, 0.3]) / (1 - lam)
        expected = ul.GaussianMixture(rest, means, [0.7] * 3).on(GRID)
        got = problem.target([lam])
        np.testing.assert_allclose(got.probabilities, expected.probabilities, atol=1e-12)
    at_floor = problem.target([0.2]).log_masses - q.log_masses
    assert at_floor.min() == pytest.approx(-problem.floor, abs=1e-6)


def test_likelihood_of_disjoint_modes():
    """With ℓ constant on the forgotten mode, p keeps the share b/ℓ of it: P* is a binary KL."""
    q = ul.Discrete([0.5, 0.3, 0.2])
    q1 = ul.Discrete([0.0, 0.0, 1.0])
    solution = ul.solve(ul.Likelihood(q, [q1], [0.05]))
    np.testing.assert_allclose(solution.model.probabilities[2], 0.05, atol=1e-9)
    expected = 0.05 * np.log(0.05 / 0.2) + 0.95 * np.log(0.95 / 0.8)
    assert solution.objective == pytest.approx(expected, abs=1e-9)


def test_figure_1_reverse_pushes_the_other_modes_and_likelihood_does_not():
    """Three equal Gaussians, forget an outer one: the middle mode moves under RU, not under LU."""
    q = ul.GaussianMixture([1 / 3] * 3, [-3, 0, 3], [0.6] * 3).on(GRID)
    q1 = gaussian(3, 0.6)

    def middle(problem):
        p = ul.solve(problem).model
        x = p.grid.axes[0]
        near = abs(x) < 1.5
        return x[near][p.probabilities[near].argmax()]

    assert middle(ul.ReverseKL(q, [q1], relative=3.0)) < -0.1
    assert abs(middle(ul.Likelihood(q, [q1], relative=0.05))) < 0.02


@pytest.mark.parametrize("relative", [0.5, 0.05, [0.3, 0.02]])
def test_likelihood_agrees_with_clarabel(relative):
    grid = ul.Grid(-8, 8, 300)
    q = ul.GaussianMixture([0.2, 0.5, 0.3], [-3, 0, 3], [0.6, 0.8, 0.7]).on(grid)
    forget = [ul.GaussianMixture([1.0], [mean], [0.7]).on(grid) for mean in (3, -2)]
    problem = ul.Likelihood(q, forget[: np.size(relative)], relative=relative)
    solution = ul.solve(problem)
    p, log_q = cp.Variable(300), q.log_masses
    # KL(p‖q) = −H(p) − Σ p log q
    objective = -cp.sum(cp.entr(p)) - log_q @ p
    constraints = [np.exp(one.log_density) @ p for one in problem.forget]
    bounds = [c <= b for c, b in zip(constraints, problem.thresholds, strict=True)]
    program = cp.Problem(cp.Minimize(objective), [cp.sum(p) == 1, *bounds])
    program.solve(solver=cp.CLARABEL)
    assert program.status == "optimal"
    theirs = np.maximum(p.value, 0)  # an interior point, to its tolerance
    value = (scipy.special.xlogy(theirs, theirs) - theirs * log_q).sum()
    assert solution.objective == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(solution.model.probabilities, p.value, atol=1e-5)
    np.testing.assert_allclose(solution.multipliers, [c.dual_value for c in bounds], rtol=1e-3)


@pytest.mark.parametrize("kind", ["RU", "FU", "LU"])
@pytest.mark.parametrize("seed", [1, 3, 5])
def test_multipliers_are_slopes(kind, seed):
    """∂P*/∂b_i = λ_i (RU, FU), −λ_i (LU), by central differences of the primal values."""
    problem = suite.problem(kind, seed)
    solution = ul.solve(problem)
    options = asdict(problem.options)
    for i in range(problem.m):
        step = 1e-4 * problem.thresholds[i] * np.eye(problem.m)[i]

        def value(thresholds):
            moved = type(problem)(problem.retain, problem.forget, thresholds, **options)
            return ul.solve(moved).objective

        slope = value(problem.thresholds + step) - value(problem.thresholds - step)
        slope *= problem.sense / (2 * step[i])
        worth = solution.multipliers[i] * problem.thresholds[i]  # nats: LU multipliers have units
        assert slope * problem.thresholds[i] == pytest.approx(worth, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", ["RU", "FU", "LU"])
def test_dual_derivatives(kind):
    """Gradient in the multipliers is the violation; FU's and LU's Hessians by differences."""
    problem = suite.problem(kind, 2, cells=400)
    lam = np.full(problem.m, 0.05) / (problem.thresholds if kind == "LU" else 1)
    at = problem.dual(_strength(problem, lam), problem.table)
    for i in range(problem.m):
        h = 1e-5 * lam[i] * np.eye(problem.m)[i]
        difference = problem.dual_value(lam + h) - problem.dual_value(lam - h)
        assert difference / (2 * h[i]) == pytest.approx(at.violation[i], rel=1e-5)
        if kind != "RU":
            ahead, behind = (
                problem.dual(point, problem.table).gradient for point in (lam + h, lam - h)
            )
            scale = np.abs(at.hessian).max()
            np.testing.assert_allclose(
                (ahead - behind) / (2 * h[i]), at.hessian[i], atol=1e-4 * scale
            )


def _strength(problem, multipliers):
    return (
        multipliers / (1 - multipliers.sum())
        if problem.sense > 0 and isinstance(problem, ul.ReverseKL)
        else multipliers
    )


@pytest.mark.parametrize(
    ("kind", "multipliers", "excess"),
    [
        (ul.ReverseKL, [0.2, 0.3], lambda p, target: 0.5 * ul.kl(p, target)),
        (ul.ForwardKL, [0.05, 0.1], lambda p, target: 0.85 * ul.kl(target, p)),
        (ul.Likelihood, [2.0, 5.0], ul.kl),
    ],
)
def test_what_a_density_loses_in_the_lagrangian(kind, multipliers, excess):
    """L(p, λ) − D(λ) is (1 − Λ)KL(p‖p_λ), (1 − Λ)KL(p_λ‖p) or KL(p‖p_λ), whatever p is."""
    mix = ul.GaussianMixture([0.5, 0.3, 0.2], [-3, 0, 3], [0.8, 0.6, 0.7]).on(GRID)
    problem = kind(mix, [gaussian(0, 0.6), gaussian(3, 0.7)], thresholds=[1.1, 0.9])
    target, dual = problem.target(multipliers), problem.dual_value(multipliers)
    rng = np.random.default_rng(0)
    for _ in range(5):
        wave = sum(rng.normal() * np.sin(k * GRID.axes[0] + rng.uniform(0, 6)) for k in (1, 2, 3))
        p = GRID.density(np.log(mix.probabilities) + wave)
        found = problem.evaluate(p)
        violation = problem.sense * (problem.thresholds - found.constraints)
        value = found.objective + np.dot(multipliers, violation)
        assert excess(p, target) > 0.05
        assert value - dual == pytest.approx(excess(p, target), abs=1e-9)
