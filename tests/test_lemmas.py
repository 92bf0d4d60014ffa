"""Lemmas 2 and 3, path divergences and flow densities against closed forms and grids."""

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.diffusion import quadrature, sampling

MIX = ul.GaussianMixture
LINE = (MIX([0.2, 0.5, 0.3], [-3, 0, 3], [0.6] * 3), MIX([1 / 3] * 3, [-3, 0, 3], [0.6, 0.6, 0.8]))
PLANE = (
    MIX([0.3, 0.3, 0.4], [[-2, 0], [2, 0], [0, 2]], [0.6] * 3),
    MIX([0.5, 0.5], [[-1.5, 0], [1.5, 0.5]], [0.9, 1.2]),
)
LINE_KL = 0.0798369  # math.md, section 6; by the grid below too


def on_grid(p, q):
    """KL(p‖q) by summation over cells."""
    cells = {1: 8001, 2: 301}[p.dim]
    grid = ul.Grid([-9.0] * p.dim, [9.0] * p.dim, [cells] * p.dim)
    return ul.kl(p.on(grid), q.on(grid))


def gaussian_kl(mean, covariance, other_mean, other_covariance):
    """KL(N(m, S)‖N(m', S'))."""
    gap = np.asarray(other_mean) - mean
    inverse = np.linalg.inv(other_covariance)
    dets = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) - len(gap) + gap @ inverse @ gap + dets)


def between_ends(schedule, p, q, *, point=False):
    """KL of two Gaussians noised to the clean end less that at the other end: the exact integral.

    With `point`, p is all mass on its mean.
    """
    values = []
    for t in (0, -1):
        alpha, sigma = float(schedule.signal[t]), float(schedule.noise[t])
        noise = sigma**2 * np.eye(p.dim)
        own = noise if point else alpha**2 * p.covariances[0] + noise
        other = alpha**2 * q.covariances[0] + noise
        values.append(gaussian_kl(alpha * p.means[0], own, alpha * q.means[0], other))
    return values[0] - values[1]


def close(estimate, expected, errors=4.0):
    """Whether an estimate is what it says it is."""
    return abs(float(estimate) - expected) < errors * estimate.stderr


# Lemma 3


@pytest.mark.parametrize(("pair", "samples"), [(LINE, 1 << 16), (PLANE, 1 << 16)], ids=["1", "2"])
def test_divergence_within_one_percent_of_the_grid(pair, samples):
    exact = on_grid(*pair)
    if pair is LINE:
        assert exact == pytest.approx(LINE_KL, abs=1e-7)
    for first, second, value in ((*pair, exact), (*pair[::-1], on_grid(*pair[::-1]))):
        estimate = ul.kl(first.diffused(), second.diffused(), samples=samples)
        assert float(estimate) == pytest.approx(value, rel=0.01)
        assert close(estimate, value) and estimate.stderr < 0.005 * value
        assert abs(estimate.truncation) < 1e-3 * value


def test_a_divergence_from_below_is_less_than_it_is_but_for_a_denoiser():
    """KL(p‖q_1) of draws: of p itself the same; of networks that predict too little or too much."""
    p, q = (one.diffused() for one in LINE)
    found = quadrature.least_kl(p, q, samples=1 << 16, seed=0)
    assert close(found, LINE_KL) and found.stderr < 0.05 * LINE_KL
    for factor in (0.9, 1.1):
        bent = ul.wrap(
            lambda x, t, factor=factor: factor * p.noise_prediction(x, t),
            *(p.schedule, 1),
            denoiser=False,
        )
        least, exact = quadrature.least_kl(bent, q, samples=1 << 14, seed=0), ul.kl(bent, q)
        assert float(least) + 3 * least.stderr < float(exact) - 3 * exact.stderr


def test_the_bound_from_below_is_near_for_weak_guidance_and_loose_for_strong():
    q = MIX([1 / 3] * 3, [-3, 0, 3], [0.6] * 3).diffused()
    wide = MIX([1], [2], [1.5]).diffused()
    for scale, least, most in ((1.0, 0.8, 1.0), (3.0, -0.1, 0.1)):
        model = ul.ComposedModel(q, [wide], [scale])
        found = float(quadrature.least_kl(model, wide, samples=1 << 13, seed=0))
        assert least < found / float(ul.kl(model, wide, samples=1000)) < most


def test_what_is_asked_at_least_is_read_from_below_where_densities_are_too_dear():
    """In 20 dimensions a student that is q keeps no threshold above q's own value, 2.5 nats.

    Along paths of 50 steps it would: they bound from above, by 21.5 nats here.
    """
    q, other = (MIX([1], np.full((1, 20), mean), [0.2]).diffused() for mean in (0.0, 0.1))
    problem = ul.ReverseKL(q, [other], relative=1.3)
    student = ul.wrap(q.noise_prediction, q.schedule, 20, denoiser=False)
    found = problem.evaluate(student)
    assert found.kind == "path" and float(student.kl(other, kind="path")) > 20
    assert found.constraints[0] == pytest.approx(20 * 0.5**2 / 2, abs=0.1)
    assert found.constraints[0] < problem.thresholds[0] - 10 * found.constraints_stderr[0]


@pytest.mark.parametrize("pair", [LINE, PLANE], ids=["1", "2"])
def test_standard_error_of_a_divergence_is_honest(pair):
    exact = on_grid(*pair)
    p, q = (mixture.diffused() for mixture in pair)
    estimates = [ul.kl(p, q, samples=1024, seed=seed) for seed in range(24)]
    z = [(float(one) - exact) / one.stderr for one in estimates]
    assert 0.6 < np.std(z) < 1.5
    assert abs(np.mean(z)) < 4 / 24**0.5


def test_divergence_from_itself_is_zero():
    p = LINE[0].diffused()
    for kind in ("point", "path"):
        assert ul.kl(p, p, kind=kind, samples=256) == ul.Estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_divergence_of_gaussians_in_closed_form(dim):
    rng = np.random.default_rng(dim)
    factors = rng.normal(size=(2, dim, dim)) / dim**0.5
    covariances = factors @ factors.transpose(0, 2, 1) + 0.3 * np.eye(dim)
    p, q = (MIX([1], rng.normal(size=(1, dim)), covariances=s[None]) for s in covariances)
    estimate = ul.kl(p.diffused(), q.diffused(), samples=1 << 15)
    assert close(estimate, between_ends(ul.Schedule(), p, q))
    assert estimate.stderr < 0.02 * float(estimate)


@pytest.mark.parametrize("std", [0.02, 0.05])
def test_truncation_is_what_the_range_leaves_out(std):
    """Narrow Gaussians: much of KL lies above the largest log-SNR."""
    p, q = MIX([1], [0], [std]), MIX([1], [0], [3 * std])
    full = gaussian_kl([0.0], p.covariances[0], [0.0], q.covariances[0])
    estimate = ul.kl(p.diffused(), q.diffused(), samples=1 << 15)
    missing = full - between_ends(ul.Schedule(), p, q)
    assert missing > 0.02 * full
    assert close(estimate, full - missing)
    assert estimate.truncation == pytest.approx(missing, rel=0.5)


@pytest.mark.parametrize("dim", [1, 3])
def test_divergence_of_a_point_grows_by_half_a_nat_of_log_snr_per_dimension(dim):
    x, q = np.full((1, dim), 0.7), MIX([1], np.zeros((1, dim)), [0.8])
    heights, values = [], []
    for first in (1e-3, 1e-4, 1e-5):
        schedule = ul.Schedule(np.geomspace(first, 0.1, 400))
        estimate = ul.kl(ul.PointMass(x[0], schedule), q.diffused(schedule))
        exact = between_ends(schedule, MIX([1], x, [1]), q, point=True)
        assert close(estimate, exact)
        heights.append(float(schedule.log_snr[0]))
        values.append(float(estimate))
    slopes = np.diff(values) / np.diff(heights)
    np.testing.assert_allclose(slopes, dim / 2, rtol=0.05)


# Path divergences


@pytest.mark.parametrize("pair", [LINE, PLANE], ids=["1", "2"])
def test_path_divergence_falls_to_the_point_divergence(pair):
    """The data-processing inequality, and its limit for exact denoisers and small steps."""
    exact = on_grid(*pair)
    p, q = (mixture.diffused() for mixture in pair)
    estimates = [ul.kl(p, q, kind="path", samples=4096, steps=n) for n in (50, 200, 1000)]
    excess = [float(one) - exact for one in estimates]
    for one, over in zip(estimates, excess, strict=True):
        assert over > -4 * one.stderr
    assert excess[0] > 4 * excess[1] > 0
    assert abs(excess[2]) < 4 * estimates[2].stderr + 0.01 * exact


def test_one_walk_measures_paths_to_several_models():
    p, q = (mixture.diffused() for mixture in LINE)
    r = ul.GaussianMixture([1.0], [1.0], [2.0]).diffused()
    how = {"samples": 64, "steps": 20, "seed": 3}
    together = sampling.path_kls(p, [q, r], **how)
    assert together == [ul.kl(p, one, kind="path", **how) for one in (q, r)]


# Lemma 2


@pytest.mark.parametrize("pair", [LINE, PLANE], ids=["1", "2"])
def test_log_ratios_within_two_hundredths_of_a_nat(pair):
    p, q = (mixture.diffused() for mixture in pair)
    x = torch.cat([p.sample(8, seed=1), q.sample(8, seed=2)])
    exact = pair[0].log_density(x.double()) - pair[1].log_density(x.double())
    found = ul.log_ratio(x, p, q, return_estimate=True)
    np.testing.assert_allclose(found.value, exact, atol=0.02)
    assert found.value.dtype == torch.float64 and found.truncation.abs().max() < 0.01
    assert found.stderr.shape == found.truncation.shape == (16,)
    back = ul.log_ratio(x, q, p)
    torch.testing.assert_close(back, -found.value, rtol=0, atol=1e-5)
    nothing = ul.log_ratio(x, p, p, levels=16, noises=8)
    assert (nothing == 0).all()


@pytest.mark.parametrize("pair", [LINE, PLANE], ids=["1", "2"])
def test_standard_error_of_a_log_ratio_is_honest(pair):
    p, q = (mixture.diffused() for mixture in pair)
    x = p.sample(400, seed=3)
    exact = pair[0].log_density(x.double()) - pair[1].log_density(x.double())
    found = ul.log_ratio(x, p, q, noises=32, return_estimate=True)
    errors = found.value.numpy() - exact
    size = np.sqrt(np.mean(errors**2) / np.mean(found.stderr.numpy() ** 2))
    assert 0.8 < size < 1.25
    assert abs(errors.mean()) < 4 * errors.std() / 20


def test_a_further_model_changes_no_log_ratio():
    p, q = (mixture.diffused() for mixture in PLANE)
    third = MIX([1], [[0, 0]], [2]).diffused()
    x = p.sample(20)
    options = {"levels": 32, "noises": 32, "seed": 4}
    alone = quadrature.log_ratios(x, p, [q], **options)
    both = quadrature.log_ratios(x, p, [third, q], **options)
    for one, two in zip(alone, both, strict=True):
        torch.testing.assert_close(two[:, 1], one[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize("mixture", [LINE[0], PLANE[0]], ids=["1", "2"])
def test_log_density_of_a_wrapped_mixture(mixture):
    exact = mixture.diffused()
    wrapped = ul.wrap(exact.noise_prediction, exact.schedule, mixture.dim)
    x = exact.sample(16, seed=5)
    found = quadrature.log_density(x, wrapped)
    np.testing.assert_allclose(found.value, mixture.log_density(x.double()), atol=0.03)
    assert found.stderr.max() < 0.02


# Flows


def test_density_of_deterministic_samples_of_a_gaussian():
    """DDIM is affine here: its law is Gaussian, with a variance by recursion on each axis."""
    covariance = np.array([[1.5, 0.7], [0.7, 0.6]])
    mixture = MIX([1], [[1, -2]], covariances=covariance[None])
    model = mixture.diffused(dtype=torch.float64)
    x, log_p = sampling.with_log_density(model, 200, steps=20, seed=0)
    variances, axes = np.linalg.eigh(covariance)
    own, mean = np.ones(2), np.zeros(2)
    target = axes.T @ [1, -2]
    for step in sampling.chain(model.schedule, "ddim", 20):
        alpha, sigma = float(model.schedule.signal[step.t]), float(model.schedule.noise[step.t])
        pull = sigma / (alpha**2 * variances + sigma**2)
        own = own * (step.keep + step.turn * pull) ** 2
        mean = step.keep * mean + step.turn * pull * (mean - alpha * target)
    law = MIX([1], [axes @ mean], covariances=[axes @ np.diag(own) @ axes.T])
    np.testing.assert_allclose(log_p, law.log_density(x), atol=1e-6)
    torch.testing.assert_close(x, model.sample(200, sampler="ddim", steps=20), rtol=0, atol=1e-12)
    estimate = sampling.flow_kl(model, model, samples=4096, steps=20, seed=0)
    exact = gaussian_kl(law.means[0], law.covariances[0], [1, -2], covariance)
    assert exact > 4 * estimate.stderr and close(estimate, exact)


def test_flow_divergence_without_a_known_density():
    """log q by Lemma 2 where q is a wrapped function; its error is part of the error bar."""
    p, q = (mixture.diffused() for mixture in LINE)
    wrapped = ul.wrap(q.noise_prediction, q.schedule, 1)
    known = sampling.flow_kl(p, q, samples=400, steps=100, seed=0)
    found = sampling.flow_kl(p, wrapped, samples=400, steps=100, seed=0)
    assert abs(float(found) - float(known)) < 4 * (found.stderr**2 - known.stderr**2) ** 0.5
    assert found.stderr > known.stderr


@pytest.mark.parametrize("u", [0.5, 2.0])
def test_composition_of_equal_covariances_is_exact(u):
    """q = N(0, S), q₁ = N(μ, S): ε̂_q + u(ε̂_q − ε̂_{q₁}) is that of N(−uμ, S), at every t."""
    covariance = [[[1.0, 0.3], [0.3, 0.5]]]
    mu = np.array([1.0, -0.5])
    q, q1, shifted = (
        MIX([1], [mean], covariances=covariance).diffused(dtype=torch.float64)
        for mean in (0 * mu, mu, -u * mu)
    )
    model = ul.ComposedModel(q, [q1], [u])
    t = torch.arange(0, 1000, 37)
    x = 3 * torch.randn(len(t), 2, dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(
        model.noise_prediction(x, t), shifted.noise_prediction(x, t), rtol=1e-10, atol=1e-10
    )
    expected = shifted.sample(50, sampler="ddim")
    torch.testing.assert_close(model.sample(50), expected, rtol=1e-9, atol=1e-9)
    exact = gaussian_kl(-u * mu, np.array(covariance[0]), 0 * mu, np.array(covariance[0]))
    assert not model.denoiser  # so this is the divergence of its samples, not Lemma 3
    estimate = ul.kl(model, q, steps=1000, samples=1000)
    assert float(estimate) == pytest.approx(exact, abs=4 * estimate.stderr + 0.01 * exact)
    np.testing.assert_allclose(float(ul.kl(model, shifted, steps=1000, samples=1000)), 0, atol=0.01)


def test_langevin_steps_leave_an_exact_law_alone():
    """N(0, 1) composed with nothing: corrector steps keep mean and variance."""
    q = MIX([1], [0], [1]).diffused()
    model = ul.ComposedModel(q, [q], [0.0], corrector_steps=5)
    x = model.sample(20_000, steps=100).double()
    assert abs(float(x.mean())) < 4 / 20_000**0.5
    assert float(x.var()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(x, ul.ComposedModel(q, [q], [0.0]).sample(20_000, steps=100).double())


def test_a_wrapped_prediction_that_is_no_denoiser_is_measured_by_its_samples():
    """Guidance of two unit Gaussians is the Gaussian N(−1, 1): Lemma 3 would be told so, too."""
    q, q1 = (ul.GaussianMixture([1.0], [mean], [1.0]).diffused() for mean in (0.0, 1.0))

    def guided(x, t):
        own = q.noise_prediction(x, t)
        return own + (own - q1.noise_prediction(x, t))

    model = ul.wrap(guided, q.schedule, 1, denoiser=False)
    found = model.kl(q, samples=1024, seed=0)
    assert not model.denoiser and model.kind == "point"
    assert abs(float(found) - 0.5) < 4 * found.stderr + 0.02
