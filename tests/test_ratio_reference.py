"""`Likelihood(statistic="ratio", reference=r)`: ℓ_i = q_i/r."""

import numpy as np
import pytest

import unlearnlab as ul


def densities():
    grid = ul.Grid(-8, 8, 1001)
    q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.6, 0.6]).on(grid)
    q1 = ul.GaussianMixture([1], [2], [0.5]).on(grid)
    r = ul.GaussianMixture([0.3, 0.4, 0.3], [-2, 0, 2], [1, 2, 1]).on(grid)
    return grid, q, q1, r


def test_a_flat_reference_is_the_density_times_the_length():
    grid, q, q1, _ = densities()
    flat = q.with_log_masses(np.full(grid.size, -np.log(grid.size)))
    length = 1 / np.exp(flat.log_density[0])
    dense = ul.solve(ul.Likelihood(q, [q1], relative=0.1))
    ratio = ul.solve(ul.Likelihood(q, [q1], relative=0.1, statistic="ratio", reference=flat))
    assert ratio.certificate.ok
    assert ratio.constraints[0] == pytest.approx(length * dense.constraints[0])
    assert ratio.multipliers[0] == pytest.approx(dense.multipliers[0] / length)
    assert ratio.objective == pytest.approx(dense.objective, rel=1e-9)


def test_q_as_reference_is_the_ratio_without_one():
    _, q, q1, _ = densities()
    plain = ul.solve(ul.Likelihood(q, [q1], relative=0.3, statistic="ratio"))
    same = ul.solve(ul.Likelihood(q, [q1], relative=0.3, statistic="ratio", reference=q))
    assert same.objective == pytest.approx(plain.objective, rel=1e-9)


def test_the_target_is_q_times_the_exponential_of_the_ratio(tmp_path):
    _, q, q1, r = densities()
    how = {"statistic": "ratio", "reference": r, "temperature": 2.0}
    problem = ul.Likelihood(q, [q1], relative=0.3, **how)
    found = ul.solve(problem)
    root = np.exp((q1.log_density - r.log_density) / 2)
    by_hand = q.probabilities * np.exp(-found.multipliers[0] * root)
    np.testing.assert_allclose(found.model.probabilities, by_hand / by_hand.sum(), atol=1e-12)
    assert found.constraints[0] == pytest.approx(found.model.probabilities @ root)
    assert "E_p[q_i/r]" in problem.constraint_name
    again = ul.load(found.save(tmp_path / "solution"))
    assert again.objective == found.objective
    np.testing.assert_array_equal(again.problem.reference.probabilities, r.probabilities)


def test_on_samples_the_statistic_is_the_same():
    parts = (([0.5, 0.5], [-2, 2], [0.6, 0.6]), ([1], [2], [0.5]), ([1], [0], [2.5]))
    q, q1, r = (ul.GaussianMixture(*one).diffused() for one in parts)
    problem = ul.Likelihood(q, [q1], relative=0.3, statistic="ratio", reference=r)
    x = q.sample(50, seed=3)
    exact = q1.log_density(x) - r.log_density(x)
    np.testing.assert_allclose(np.log(problem.values_at(x))[:, 0], exact, atol=1e-9)
    grid = ul.Grid(-9, 9, 2001)
    gridded = [ul.GaussianMixture(*one).on(grid) for one in parts]
    thresholds = problem.thresholds
    truth = ul.solve(
        ul.Likelihood(gridded[0], [gridded[1]], thresholds, statistic="ratio", reference=gridded[2])
    )
    found = ul.solve(problem, pool=1 << 14)
    assert found.multipliers[0] == pytest.approx(truth.multipliers[0], rel=0.02)
    held_out = found.evaluate(seed=5)
    assert held_out.constraints[0] == pytest.approx(thresholds[0], rel=0.05)


@pytest.mark.parametrize("method", ["primal-dual", "tilt"])
def test_training_against_a_reference(method):
    q, q1 = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
    wide = ul.GaussianMixture([1], [0], [2]).diffused()
    problem = ul.Likelihood(q, [q1], relative=0.7, statistic="ratio", reference=wide)
    net = ul.ScoreNetwork(1)
    run = ul.finetune(
        problem, net, method=method, steps=3, batch=32, evaluate=False, progress=False
    )
    assert np.isfinite(run.multipliers).all()


def test_refusals():
    grid, q, q1, r = densities()
    with pytest.raises(ValueError, match="reference is of statistic='ratio'"):
        ul.Likelihood(q, [q1], relative=0.1, reference=r)
    with pytest.raises(TypeError, match="reference"):
        ul.Likelihood(q, [q1], relative=0.1, statistic="ratio", reference="nothing")
    empty = np.where(np.arange(grid.size) < 400, 0.0, -np.inf)
    left = q.with_log_masses(empty - np.log(400))
    with pytest.raises(ul.SupportError, match="reference has no mass"):
        ul.Likelihood(q, [q1], relative=0.1, statistic="ratio", reference=left)
    other = ul.GaussianMixture([1], [0], [1]).on(ul.Grid(-4, 4, 11))
    with pytest.raises(ValueError, match="reference"):
        ul.Likelihood(q, [q1], relative=0.1, statistic="ratio", reference=other)
