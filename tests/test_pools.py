"""The dual problem of diffusion models, on pools of samples, against the same problem on a grid."""

import functools
import json

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.diffusion import pool as pools

MIX = ul.GaussianMixture
RETAIN = MIX([0.4, 0.35, 0.25], [[-2, 0], [2, 0], [0, 2.5]], [0.7, 0.8, 0.6])
FORGET = [MIX([1], [[0, 2.5]], [0.6]), MIX([1], [[2, 0]], [0.75])]
GRID = ul.Grid((-8, -8), (8, 8), (320, 320))
KINDS = {
    "RU": (ul.ReverseKL, {}, [1.6, 1.4]),
    "FU": (ul.ForwardKL, {}, [1.4, 1.3]),
    "LU density": (ul.Likelihood, {}, [0.2, 0.3]),
    "LU ratio": (ul.Likelihood, {"statistic": "ratio"}, [0.4, 0.5]),
}
kinds = pytest.mark.parametrize("kind", KINDS)
several = pytest.mark.parametrize("m", [1, 2])


@functools.cache
def on_grid(kind, m):
    """The problem on a fine grid, solved."""
    make, options, relative = KINDS[kind]
    forget = [one.on(GRID) for one in FORGET[:m]]
    return ul.solve(make(RETAIN.on(GRID), forget, relative=relative[:m], **options))


def exact(mixture):
    return mixture.diffused()


def hidden(mixture):
    """The same noise prediction and draws, but no density: log-ratios need Lemma 2."""
    model = exact(mixture)
    wrapped = ul.wrap(model.noise_prediction, model.schedule, mixture.dim)
    wrapped.sample = model.sample
    return wrapped


@functools.cache
def hidden_models(m):
    """Hidden models that draw their pool once: it is the same for every kind of problem."""
    retain, forget = hidden(RETAIN), [hidden(one) for one in FORGET[:m]]
    draw = retain.tabulated

    @functools.cache
    def tabulated(pool, seed):
        return draw(forget, pool=pool, seed=seed)

    retain.tabulated = lambda forget, *, pool, seed: tabulated(pool, seed)
    return retain, forget


def problem(kind, m, models=None):
    make, options, _ = KINDS[kind]
    retain, forget = models or (exact(RETAIN), [exact(one) for one in FORGET[:m]])
    return make(retain, forget, on_grid(kind, m).problem.thresholds, **options)


@functools.cache
def solved(kind, m):
    """With the default pool and exact densities."""
    return ul.solve(problem(kind, m))


# Multipliers


@kinds
@several
def test_multipliers_within_three_percent_of_the_grid(kind, m):
    ours, grid = solved(kind, m), on_grid(kind, m)
    assert grid.certificate.ok and grid.certificate.regime == "regular"
    assert (grid.multipliers > 0).all()
    np.testing.assert_allclose(ours.multipliers, grid.multipliers, rtol=0.03)
    assert ours.objective == pytest.approx(grid.objective, rel=0.03)
    assert ours.certificate.ok and ours.certificate.regime == "regular"
    assert ours.evidence.ratio_stderr == 0


@kinds
@several
def test_multipliers_within_three_percent_when_densities_are_hidden(kind, m):
    ours, grid = ul.solve(problem(kind, m, hidden_models(m))), on_grid(kind, m)
    np.testing.assert_allclose(ours.multipliers, grid.multipliers, rtol=0.03)
    assert ours.certificate.ok
    assert 0.01 < ours.evidence.ratio_stderr < 0.2
    low, high = ours.evidence.interval.T
    assert (low <= ours.multipliers).all() and (ours.multipliers <= high).all()


@kinds
def test_bootstrap_interval_covers_the_multiplier(kind):
    """A 95 % interval, of pools of 1024: the truth lies in 14 of 20 or more."""
    truth = on_grid(kind, 1).multipliers
    covered, widths = 0, []
    for seed in range(20):
        solution = ul.solve(problem(kind, 1), pool=1024, seed=seed + 1)
        ((low, high),) = solution.evidence.interval
        covered += low <= truth[0] <= high
        widths.append((high - low) / truth[0])
    assert covered >= 14
    assert max(widths) < 0.6  # an interval of everything would cover too


def test_two_unit_gaussians_by_hand():
    """λ* = 1 − |μ|/√(2b), P* = ½(√(2b) − |μ|)², and the composed model is the target itself."""
    q, q1 = (MIX([1], [[mean, 0]], [1]).diffused() for mean in (0, 1))
    solution = ul.solve(ul.ReverseKL(q, [q1], [2.0]))
    assert solution.multipliers[0] == pytest.approx(0.5, rel=0.03)
    assert solution.objective == pytest.approx(0.5, rel=0.03)
    np.testing.assert_allclose(solution.model.guidance, [1.0], rtol=0.06)  # λ/(1 − λ)
    shift = -float(solution.model.guidance[0])
    held_out = solution.evaluate()
    assert held_out.objective == pytest.approx(0.5 * shift**2, abs=5 * held_out.objective_stderr)
    assert held_out.constraints[0] == pytest.approx(
        0.5 * (shift - 1) ** 2, abs=5 * held_out.constraints_stderr[0]
    )


# What a solution carries


@kinds
@several
def test_solution_carries_its_evidence(kind, m):
    solution = solved(kind, m)
    evidence, certificate = solution.evidence, solution.certificate
    assert certificate.subject == "weights on a pool of 16384 samples"
    assert f"certifies       {certificate.subject}; a model needs evaluate()" in repr(solution)
    assert isinstance(solution.model, ul.ComposedModel if kind == "RU" else ul.Pool)
    assert (solution.model is evidence.target) == (kind != "RU")
    p = evidence.target.probabilities
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert evidence.effective_sample_size == pytest.approx(1 / (p @ p) / len(p), rel=1e-9)
    assert evidence.interval.shape == (m, 2)
    low, high = evidence.interval.T
    assert (low < solution.multipliers).all() and (solution.multipliers < high).all()
    again = ul.certify(evidence.problem, evidence.target, solution.multipliers)
    assert again.ok and again.primal == certificate.primal
    if kind == "RU":
        lam = solution.multipliers
        np.testing.assert_allclose(solution.model.guidance, lam / (1 - lam.sum()), rtol=1e-9)
    with pytest.raises(TypeError, match=r"keep to_dict\(\) and the seed"):
        solution.save("nowhere")


@kinds
def test_to_dict_is_ready_for_json(kind):
    solution = solved(kind, 2)
    read = json.loads(json.dumps(solution.to_dict(), allow_nan=False))
    assert read["multipliers"] == solution.multipliers.tolist()
    assert read["pool"]["samples"] == 16384
    assert read["pool"]["interval"] == solution.evidence.interval.tolist()
    assert read["certificate"]["subject"] == solution.certificate.subject


@pytest.mark.parametrize("kind", ["FU", "LU density", "LU ratio"])
@several
def test_held_out_evaluation_agrees_with_the_grid(kind, m):
    """A fresh pool at the same multipliers, against the grid's target at those multipliers."""
    solution, grid = solved(kind, m), on_grid(kind, m).problem
    found = solution.evaluate(seed=7)
    expected = grid.evaluate(grid.target(solution.multipliers))
    assert abs(found.objective - expected.objective) < 4 * found.objective_stderr
    misses = abs(found.constraints - expected.constraints)
    assert (misses < 4 * found.constraints_stderr).all()
    assert (found.constraints_stderr < 0.05 * expected.constraints).all()


@kinds
def test_a_target_on_few_samples_is_warned_of(kind):
    make, options, _ = KINDS[kind]
    narrow = MIX([1], [[2, 0]], [0.5])
    thresholds = {"RU": 45.0, "FU": 5.0, "LU density": 1e-4, "LU ratio": 1e-4}[kind]
    task = make(
        exact(MIX([0.02, 0.98], [[-4, 0], [2, 0]], [0.3, 0.5])),
        [exact(narrow)],
        [thresholds],
        **options,
    )
    with pytest.warns(UserWarning, match=r"% of the pool of 2048 samples.*larger pool="):
        solution = ul.solve(task, pool=2048)
    assert solution.evidence.effective_sample_size < 0.05


def test_answers_depend_on_the_seed_alone():
    task = problem("LU density", 2)
    one, same, other = (ul.solve(task, pool=512, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.multipliers, same.multipliers)
    np.testing.assert_array_equal(one.evidence.interval, same.evidence.interval)
    assert (one.multipliers != other.multipliers).all()
    near = ul.solve(task, pool=512, seed=1, near=other)
    np.testing.assert_allclose(near.multipliers, one.multipliers, rtol=1e-6)


# Pools


def test_pool_weights_are_the_balance_heuristic():
    """q at a sample ∝ q/(π_0q + Σπ_iq_i), q_i ∝ q_i/(…): from densities, not from ratios."""
    retain, forget = pools.draw(exact(RETAIN), [exact(one) for one in FORGET], size=1000, seed=3)
    x = retain.x.double().numpy()
    densities = [np.exp(one.log_density(x)) for one in (RETAIN, *FORGET)]
    shares = np.array([500, 250, 250]) / 1000
    mixture = shares @ densities
    for found, density in zip((retain, *forget), densities, strict=True):
        weights = density / mixture
        np.testing.assert_allclose(found.probabilities, weights / weights.sum(), rtol=1e-9)


def test_pool_integrates_like_its_models():
    retain, forget = exact(RETAIN).tabulated([exact(one) for one in FORGET], pool=16384, seed=0)
    grid = [one.on(GRID) for one in (RETAIN, *FORGET)]
    own = [retain, *forget]
    for found, mixture in zip(own, (RETAIN, *FORGET), strict=True):
        mean = found.probabilities @ found.x.double().numpy()
        np.testing.assert_allclose(mean, mixture.weights @ mixture.means, atol=0.03)
        draws = found.sample(20_000, seed=1)
        assert draws.shape == (20_000, 2)
        np.testing.assert_allclose(draws.double().mean(0), mean, atol=0.06)
    for i in range(3):
        for j in range(3):
            divergence = ul.kl(grid[i], grid[j])
            assert ul.kl(own[i], own[j]) == pytest.approx(divergence, rel=0.02, abs=1e-12)


def test_pools_are_compared_on_the_same_samples_only():
    models = exact(RETAIN), [exact(FORGET[0])]
    one, other = (models[0].tabulated(models[1], pool=64, seed=seed)[0] for seed in (0, 1))
    with pytest.raises(ValueError, match="q lives on"):
        ul.kl(one, other)


def test_hidden_log_ratios_carry_their_variance():
    """Lemma 2 on a pool: errors as large as stated, density included."""
    models = hidden(RETAIN), [hidden(one) for one in FORGET]
    x = exact(RETAIN).sample(400, seed=5)
    table = models[0].log_ratios(models[1], atoms=x)
    truth = exact(RETAIN).log_ratios([exact(one) for one in FORGET], atoms=x)
    assert truth.ratio_variance is None
    errors = table.ratios - truth.ratios
    # Where q_i has no mass to speak of, r is tens of nats and the noise grows with it.
    size = np.sqrt((errors**2).mean(0) / table.ratio_variance.mean(0))
    assert (size > 0.7).all() and (size < 1.4).all()
    near = truth.ratios < 3
    np.testing.assert_allclose(
        table.forget_log_density[near], truth.forget_log_density[near], atol=0.6
    )
    assert torch.is_tensor(table.points.x)


def test_a_known_density_is_used_where_the_retained_one_is_not_known():
    """log q_i is exact for `solve` and for a training step alike, whatever log q is."""
    retain, known = hidden(RETAIN), exact(FORGET[0])
    question = ul.Likelihood(retain, [known], [0.1])
    x = exact(RETAIN).sample(32, seed=1)
    truth = known.log_density(x).exp().numpy()
    for how in ({}, {"quality": retain.effort.training}):
        np.testing.assert_allclose(question.values_at(x, **how)[:, 0], truth, rtol=1e-12)


def test_the_noise_of_log_ratios_follows_the_seed():
    retain, other = hidden(RETAIN), hidden(FORGET[0])
    x = exact(RETAIN).sample(8, seed=1)
    first, again, second = (retain.log_ratios([other], atoms=x, seed=s).ratios for s in (0, 0, 1))
    assert (first == again).all() and (first != second).all()


def test_a_reading_spends_on_draws_what_its_model_says():
    """Of a capped ratio the error is that of the draws, at 24 evaluations each as at thousands."""
    retain, other = hidden(RETAIN), hidden(FORGET[0])
    retain.effort = retain.effort._replace(reading=(6, 4))
    asked, rows = retain.noise_prediction, []
    retain.noise_prediction = lambda x, t: (rows.append(len(x)), asked(x, t))[1]
    problem = ul.Likelihood(retain, [other], [0.5], statistic="ratio", cap=2.0)
    (read,) = problem.measured(exact(RETAIN), samples=2000)
    assert sum(rows) == 2000 * 24
    exactly = ul.Likelihood(exact(RETAIN), [exact(FORGET[0])], [0.5], statistic="ratio", cap=2.0)
    truth = exactly.values_at(exact(RETAIN).sample(200_000, seed=9))[:, 0]
    assert abs(float(read) - truth.mean()) < 3 * read.stderr
    assert read.stderr == pytest.approx(truth.std() / 2000**0.5, rel=0.1)
