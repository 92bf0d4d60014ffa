"""Grids, mixtures and divergences against independent integrals."""

import numpy as np
import pytest
import scipy.stats

import unlearnlab as ul
from unlearnlab.blocks import BLOCK, PARALLEL_FROM, map_blocks


def test_cells_are_flattened_in_c_order():
    grid = ul.Grid(low=(0, 10), high=(2, 13), cells=(2, 3))
    expected = [[x, y] for x in (0.5, 1.5) for y in (10.5, 11.5, 12.5)]
    np.testing.assert_allclose(grid.points, expected)
    assert grid.cell_volume == 1.0
    assert grid == ul.Grid((0, 10), (2, 13), (2, 3)) != ul.Grid((0, 10), (2, 13), (3, 2))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_mixture_density_agrees_with_scipy(dim):
    rng = np.random.default_rng(dim)
    means = rng.normal(size=(3, dim))
    factors = rng.normal(size=(3, dim, dim))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.3 * np.eye(dim)
    weights = [0.2, 0.5, 0.3]
    mix = ul.GaussianMixture(weights, means, covariances=covariances)
    x = rng.normal(size=(50, dim))
    expected = sum(
        w * scipy.stats.multivariate_normal(m, c).pdf(x).reshape(-1)
        for w, m, c in zip(weights, means, covariances, strict=True)
    )
    np.testing.assert_allclose(np.exp(mix.log_density(x)), expected, rtol=1e-10)


def test_samples_have_the_mixture_moments():
    covariance = np.array([[[1.0, 0.6], [0.6, 2.0]]])
    mix = ul.GaussianMixture([1.0], [[1.0, -2.0]], covariances=covariance)
    x = mix.sample(200_000, seed=3)
    np.testing.assert_allclose(x.mean(axis=0), [1, -2], atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), covariance[0], atol=0.03)
    np.testing.assert_array_equal(mix.sample(5, seed=1), mix.sample(5, seed=1))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_divergence_of_gaussians(dim):
    """KL(N(0, I)‖N(μ, s²I)) = ½(d/s² + |μ|²/s² − d + 2d log s)."""
    cells = {1: 4001, 2: 161, 3: 61}[dim]
    grid = ul.Grid([-7.0] * dim, [7.0] * dim, [cells] * dim)
    mu, s = np.full(dim, 0.5), 1.2
    p = ul.GaussianMixture([1.0], np.zeros((1, dim)), [1.0]).on(grid)
    q = ul.GaussianMixture([1.0], mu[None], [s]).on(grid)
    expected = 0.5 * (dim / s**2 + mu @ mu / s**2 - dim + 2 * dim * np.log(s))
    assert ul.kl(p, q) == pytest.approx(expected, rel=1e-5)
    assert ul.kl(p, p) == 0.0


def test_divergence_where_supports_end():
    p, q = ul.Discrete([0.5, 0.5, 0.0]), ul.Discrete([0.2, 0.3, 0.5])
    assert ul.kl(p, q) == pytest.approx(0.5 * np.log(2.5) + 0.5 * np.log(5 / 3))
    assert ul.kl(q, p) == np.inf


def test_density_from_function_and_array_agree():
    grid = ul.Grid((-4, -4), (4, 4), (40, 50))

    def log_density(x):
        return -(x**2).sum(axis=1)

    one = grid.density(log_density)
    other = grid.density(log_density(grid.points).reshape(40, 50) + 7.0)
    np.testing.assert_allclose(one.log_density, other.log_density, atol=1e-12)
    assert (one.probabilities).sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(one.probabilities, np.exp(one.log_density) * grid.cell_volume)


def test_grid_samples_follow_the_density():
    grid = ul.Grid(-3, 3, 50)
    p = ul.GaussianMixture([1.0], [0.0], [0.5]).on(grid)
    x = p.sample(100_000, seed=0)
    assert x.shape == (100_000, 1)
    assert x.std() == pytest.approx(np.sqrt(0.25 + grid.spacing[0] ** 2 / 12), rel=0.01)


def test_split_changes_nothing_but_the_atoms():
    d = ul.Discrete([0.2, 0.8])
    np.testing.assert_allclose(d.split(3).probabilities, np.repeat([0.2, 0.8], 3) / 3)
    assert ul.kl(d.split(4), ul.Discrete([0.5, 0.5]).split(4)) == pytest.approx(
        ul.kl(d, ul.Discrete([0.5, 0.5]))
    )


def test_blocks_cover_everything_once_in_order():
    for cells in (1, BLOCK, BLOCK + 1, PARALLEL_FROM + 17):
        numbers = np.arange(cells)
        found = map_blocks(numbers.__getitem__, cells)
        np.testing.assert_array_equal(np.concatenate(found), numbers)


@pytest.mark.parametrize("kind", ["RU", "LU"])
def test_coarse_to_fine_gives_the_same_answer(kind, monkeypatch):
    """A large grid is started from coarser ones; the answer does not depend on it."""
    grid = ul.Grid(-8, 8, 300_000)
    q = ul.GaussianMixture([0.3, 0.7], [-2, 1], [0.5, 0.8]).on(grid)
    forget = [ul.GaussianMixture([1.0], [m], [0.7]).on(grid) for m in (1.0, -2.0)]
    problem = (
        ul.ReverseKL(q, forget, relative=1.5)
        if kind == "RU"
        else ul.Likelihood(q, forget, relative=[0.1, 0.5])
    )
    nested = ul.solve(problem)
    monkeypatch.setattr("unlearnlab.dual.COARSE", 10**9)
    direct = ul.solve(problem)
    assert nested.certificate.ok and direct.certificate.ok
    np.testing.assert_allclose(nested.multipliers, direct.multipliers, rtol=1e-6, atol=1e-9)
    assert nested.objective == pytest.approx(direct.objective, rel=1e-9)


def test_two_dimensions_factorise():
    """Forgetting only in x₁ leaves x₂ alone: the 2-D answer is the 1-D one."""
    line = ul.Grid(-6, 6, 120)
    plane = ul.Grid((-6, -6), (6, 6), (120, 60))
    q1d, f1d = (ul.GaussianMixture([1.0], [m], [1.0]).on(line) for m in (0.0, 1.0))
    q2d, f2d = (ul.GaussianMixture([1.0], [[m, 0.0]], [1.0]).on(plane) for m in (0.0, 1.0))
    flat = ul.solve(ul.ReverseKL(q1d, [f1d], [1.5]))
    full = ul.solve(ul.ReverseKL(q2d, [f2d], [1.5]))
    assert full.objective == pytest.approx(flat.objective, rel=1e-6)
    rows = full.model.probabilities.reshape(120, 60)
    np.testing.assert_allclose(rows.sum(axis=1), flat.model.probabilities, atol=1e-7)
