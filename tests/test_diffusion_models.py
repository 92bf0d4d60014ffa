"""Schedules, samplers and exact models against diffusers, autograd and integrals."""

import diffusers
import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.diffusion import sampling

LINE = ul.GaussianMixture([0.2, 0.5, 0.3], [-3, 0, 3], [0.6, 0.4, 0.8])
PLANE = ul.GaussianMixture(
    [0.6, 0.4],
    [[-1, 0.5], [2, -1]],
    covariances=[[[1.0, 0.6], [0.6, 0.8]], [[0.3, -0.1], [-0.1, 0.5]]],
)
BETAS = ["linear", "scaled_linear", "squaredcos_cap_v2"]


def noised(mixture, schedule, t):
    """The law of x_t, Σπ_jN(αμ_j, α²Σ_j + σ²I), by torch.distributions."""
    alpha, sigma = schedule.signal[t], schedule.noise[t]
    covariances = torch.from_numpy(mixture.covariances)
    parts = torch.distributions.MultivariateNormal(
        alpha * torch.from_numpy(mixture.means),
        alpha**2 * covariances + sigma**2 * torch.eye(mixture.dim, dtype=torch.float64),
    )
    weights = torch.distributions.Categorical(torch.from_numpy(mixture.weights))
    return torch.distributions.MixtureSameFamily(weights, parts)


# Schedules


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("of", ["scheduler", "config"])
def test_schedule_equals_diffusers(betas, of):
    theirs = diffusers.DDPMScheduler(beta_schedule=betas, beta_end=0.012)
    ours = ul.Schedule.from_scheduler(theirs if of == "scheduler" else dict(theirs.config))
    expected = theirs.alphas_cumprod.double()
    torch.testing.assert_close(ours.alphas_cumprod, expected, rtol=2e-5, atol=0)  # theirs: float32
    assert len(ours) == theirs.config.num_train_timesteps
    assert ours == ul.Schedule.from_scheduler(theirs)


@pytest.mark.parametrize("betas", BETAS)
def test_log_snr_falls_and_variance_is_preserved(betas):
    schedule = ul.Schedule.from_scheduler(diffusers.DDPMScheduler(beta_schedule=betas))
    assert (torch.diff(schedule.log_snr) < 0).all()
    one = torch.ones(len(schedule), dtype=torch.float64)
    torch.testing.assert_close(schedule.noise**2 + schedule.signal**2, one, rtol=1e-14, atol=0)
    ratio = (schedule.signal**2 / schedule.noise**2).log()
    torch.testing.assert_close(schedule.log_snr, ratio, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [32, 128, 1000])
def test_nodes_integrate_known_functions(count):
    """½∫1dγ and ½∫γdγ exactly, ½∫σ²dγ = ½[−log(1 + e^{−γ})] to second order."""
    schedule = ul.Schedule()
    t, weights = schedule.nodes(count)
    assert t[0] == 0 and t[-1] == 999 and (torch.diff(t) > 0).all() and len(t) <= count
    high, low = schedule.log_snr[0], schedule.log_snr[-1]
    gamma = schedule.log_snr[t]
    assert weights.sum() == pytest.approx(float(high - low) / 2, rel=1e-12)
    assert weights @ gamma == pytest.approx(float(high**2 - low**2) / 4, rel=1e-9)
    softplus = torch.nn.functional.softplus
    expected = 0.5 * float(softplus(-low) - softplus(-high))
    # The trapezoid rule's error bound, h²/12·(range)·max|f''|, with f = σ² and max|f''| < 0.1.
    h = float(-torch.diff(gamma).min())
    bound = 0.5 * h**2 / 12 * float(high - low) * 0.1
    assert weights @ schedule.noise[t] ** 2 == pytest.approx(expected, abs=bound)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 27, 50, 333, 999, 1000])
@pytest.mark.parametrize("offset", [0, 1])
def test_timesteps_equal_diffusers(spacing, steps, offset):
    theirs = diffusers.DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    theirs.set_timesteps(steps)
    ours = ul.Schedule.from_scheduler(theirs)
    expected = theirs.timesteps.tolist()
    if max(expected) > 999:  # theirs run off the end, and fail when they draw
        with pytest.raises(ValueError, match=r"fewer than 1000 .*steps_offset=1, .* up to 1000"):
            ours.timesteps(steps)
        return
    assert ours.timesteps(steps) == expected
    plain = ul.Schedule(steps_offset=offset)
    assert plain.timesteps(steps, spacing=spacing) == expected


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_log_snr_timesteps_are_equal_steps_of_log_snr(steps):
    schedule = ul.Schedule(spacing="log_snr")
    visited = schedule.timesteps(steps)
    assert visited[0] == 999 and len(visited) <= steps and visited == sorted(visited, reverse=True)
    # Equal as far as the schedule allows: each level's first timestep that is at least as noisy.
    gamma = schedule.log_snr.tolist()
    even = np.linspace(gamma[0], gamma[-1], steps)[1:-1]
    inner = {next(t for t in range(1000) if gamma[t] <= level) for level in even}
    assert set(visited) == {999} if steps == 1 else set(visited) == {0, 999} | inner


def test_schedules_are_equal_by_their_numbers():
    betas = np.linspace(1e-4, 0.02, 1000)
    one, same = ul.Schedule(), ul.Schedule(betas)
    assert one == same and hash(one) == hash(same) and len({one, same}) == 1
    others = [ul.Schedule(betas * 0.9), ul.Schedule(betas[:-1]), ul.Schedule(spacing="trailing")]
    others.append(ul.Schedule(steps_offset=1))
    assert all(one != other for other in others) and one != "schedule"


# Samplers


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("betas", BETAS[:2])
def test_samplers_equal_diffusers_step_for_step(sampler, spacing, betas):
    """The same noise, the same noise prediction: the same chain, and the same log-probability."""
    kind = {"ddim": diffusers.DDIMScheduler, "ddpm": diffusers.DDPMScheduler}[sampler]
    theirs = kind(beta_schedule=betas, clip_sample=False, timestep_spacing=spacing)
    theirs.set_timesteps(20)
    model = PLANE.diffused(ul.Schedule.from_scheduler(theirs))
    # Both draw x_T and then one block of normal numbers for each random transition.
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(64, 2, generator=generator)
    chain = sampling.trajectory(model, 64, sampler=sampler, steps=20, seed=5)
    total = torch.zeros(64, dtype=torch.float64)
    for t, taken in zip(theirs.timesteps, chain, strict=True):
        assert taken.step.t == t
        ours = taken.x_s
        noise = model.noise_prediction(x, t.expand(64))
        options = {} if sampler == "ddim" else {"generator": generator}
        x = theirs.step(noise, t, x, **options).prev_sample
        torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)
        total += taken.log_probability
    draws, log_probability = sampling.run(model, 64, sampler=sampler, steps=20, seed=5)
    torch.testing.assert_close(draws, ours, rtol=0, atol=0)
    torch.testing.assert_close(log_probability, total, rtol=1e-12, atol=0)
    assert (total == 0).all() if sampler == "ddim" else (total != 0).all()
    torch.testing.assert_close(
        model.sample(64, sampler=sampler, steps=20, seed=5), draws, rtol=0, atol=0
    )


def test_transition_probability_is_a_normal_density():
    model = PLANE.diffused()
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(8, 2, generator=generator)
    for taken in sampling.trajectory(model, 8, sampler="ddpm", steps=10, seed=0):
        step, after, logs = taken.step, taken.x_s, taken.log_probability
        noise = model.noise_prediction(before, torch.full((8,), step.t))
        if step.spread:
            normal = torch.distributions.Normal(step.mean(before, noise).double(), step.spread)
            torch.testing.assert_close(
                logs, normal.log_prob(after.double()).sum(1), atol=1e-5, rtol=0
            )
        else:
            assert (logs == 0).all()
        before = after
    assert step.spread == 0  # the last transition is deterministic


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_samplers_reproduce_the_mixture(sampler):
    """All 1000 steps from an exact noise prediction: moments of the mixture."""
    x = LINE.diffused().sample(4000, sampler=sampler, steps=1000, seed=1).double()[:, 0]
    mean = LINE.weights @ LINE.means[:, 0]
    second = LINE.weights @ (LINE.means[:, 0] ** 2 + LINE.covariances[:, 0, 0])
    spread = np.sqrt(second - mean**2)
    assert float(x.mean()) == pytest.approx(mean, abs=4 * spread / 4000**0.5)
    assert float(x.square().mean()) == pytest.approx(
        second, abs=4 * float(x.square().std()) / 4000**0.5
    )
    shares = [float((abs(x - m) < 1.5).double().mean()) for m in (-3, 0, 3)]
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=4 * 0.5 / 4000**0.5 + 0.02)


# Exact models


@pytest.mark.parametrize("mixture", [LINE, PLANE], ids=["line", "plane"])
@pytest.mark.parametrize("t", [0, 100, 500, 999])
def test_noise_prediction_is_the_score_of_the_noised_mixture(mixture, t):
    schedule = ul.Schedule()
    model = mixture.diffused(schedule, dtype=torch.float64)
    x = 2 * torch.randn(50, mixture.dim, dtype=torch.float64, generator=torch.manual_seed(0))
    x.requires_grad_()
    law = noised(mixture, schedule, t)
    (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    found = model.noise_prediction(x.detach(), torch.full((50,), t))
    torch.testing.assert_close(found, -schedule.noise[t] * score, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [50, 300, 700])
def test_noise_prediction_is_the_posterior_mean_of_the_noise(t):
    """E[ε|x_t] = ∫ε p(x)N(x_t; αx, σ²)dx / p_t(x_t), on a fine grid."""
    schedule = ul.Schedule()
    model = LINE.diffused(schedule, dtype=torch.float64)
    alpha, sigma = float(schedule.signal[t]), float(schedule.noise[t])
    x = np.linspace(-9, 9, 20001)
    for x_t in (-3.0, -0.7, 0.0, 1.4, 3.0):
        eps = (x_t - alpha * x) / sigma
        logs = LINE.log_density(x) - 0.5 * eps**2
        weights = np.exp(logs - logs.max())
        expected = weights @ eps / weights.sum()
        found = model.noise_prediction(
            torch.tensor([[x_t]], dtype=torch.float64), torch.tensor([t])
        )
        assert float(found) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("mixture", [LINE, PLANE], ids=["line", "plane"])
def test_density_and_draws_are_the_mixtures(mixture):
    model = mixture.diffused()
    x = 3 * torch.randn(100, mixture.dim, generator=torch.manual_seed(1))
    expected = mixture.log_density(x.double().numpy())
    np.testing.assert_allclose(model.log_density(x).numpy(), expected, rtol=1e-12)
    mean = mixture.weights @ mixture.means
    offsets = mixture.means - mean
    covariance = np.einsum("k,kij->ij", mixture.weights, mixture.covariances)
    covariance += np.einsum("k,ki,kj->ij", mixture.weights, offsets, offsets)
    for quasi in (False, True):
        draws = model.sample(40_000, seed=2, quasi=quasi).double().numpy()
        assert draws.shape == (40_000, mixture.dim)
        sizes = np.sqrt(np.diag(covariance) / 40_000)
        assert (abs(draws.mean(0) - mean) < 4 * sizes).all()
        np.testing.assert_allclose(
            np.cov(draws.T).reshape(covariance.shape), covariance, rtol=0.03, atol=0.03
        )
    assert torch.equal(model.sample(5, seed=3), model.sample(5, seed=3))
    assert not torch.equal(model.sample(5, seed=3), model.sample(5, seed=4))


def test_quasi_random_draws_have_much_better_means():
    """Root mean square error of the mean over 12 seeds, in units of σ/√n: 1 for independent."""
    model = PLANE.diffused(dtype=torch.float64)
    mean = torch.from_numpy(PLANE.weights @ PLANE.means)

    def error(quasi):
        means = [model.sample(4096, seed=seed, quasi=quasi).mean(0) for seed in range(12)]
        return float((torch.stack(means) - mean).square().mean().sqrt())

    assert error(quasi=True) < error(quasi=False) / 10


def test_noise_prediction_of_a_point_is_the_noise():
    x = torch.tensor([1.0, -2.0, 0.5])
    point = ul.PointMass(x)
    assert torch.equal(point.sample(4), x.expand(4, 3))
    noise = torch.randn(16, 3, generator=torch.manual_seed(0))
    t = torch.linspace(0, 999, 16).long()
    x_t = point.schedule.noised(x.expand(16, 3), t, noise)
    torch.testing.assert_close(point.noise_prediction(x_t, t), noise, rtol=1e-4, atol=1e-4)


def test_wrapped_functions_are_models():
    exact = PLANE.diffused()
    model = ul.wrap(exact.noise_prediction, exact.schedule, 2)
    assert model.space == exact.space and model.log_density(torch.zeros(1, 2)) is None
    for sampler in ("ddim", "ddpm"):
        expected = exact.sample(6, sampler=sampler, steps=10)
        assert torch.equal(model.sample(6, sampler=sampler, steps=10), expected)
    image = ul.wrap(lambda x, t: x, ul.Schedule(), (3, 4, 4), dtype=torch.float64)
    assert image.dim == 48 and image.sample(2, steps=3).shape == (2, 3, 4, 4)
    assert image.sample(2, steps=3).dtype == torch.float64


@pytest.mark.parametrize("dim", [1, 2, 8])
def test_untrained_network_is_exact_for_a_gaussian(dim):
    """ε̂ = σ(x_t − αμ)/(α²s² + σ²) before training: the noise prediction of N(0, I)."""
    net = ul.ScoreNetwork(dim)
    exact = ul.GaussianMixture([1], np.zeros((1, dim)), [1]).diffused()
    x = torch.randn(20, dim, generator=torch.manual_seed(0))
    t = torch.linspace(0, 999, 20).long()
    with torch.no_grad():
        torch.testing.assert_close(net.noise_prediction(x, t), exact.noise_prediction(x, t))


def test_network_members_predict_as_they_would_alone():
    net = ul.ScoreNetwork(2, width=16, seed=1)
    net.fit(LINE.sample(200).repeat(2, 1), steps=20, batch=32)
    x, t = torch.randn(6, 2, generator=torch.manual_seed(0)), torch.arange(0, 900, 150)
    alone = net.noise_prediction(x, t)
    stacked = net.stack(3)
    together = stacked.noise_prediction(x.repeat(3, 1), t.repeat(3))
    torch.testing.assert_close(together, alone.repeat(3, 1), rtol=1e-5, atol=1e-6)
    for single in stacked.unstack():
        torch.testing.assert_close(single.noise_prediction(x, t), alone, rtol=1e-5, atol=1e-6)
