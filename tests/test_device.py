"""With `--device`: models, samplers, lemmas and solve give there what theory and a CPU give."""

import numpy as np
import pytest
import torch
from device_models import FEW, MODELS, SCHEDULE, gaussian, mixture, near, network, on

import unlearnlab as ul
from unlearnlab import digits, metrics
from unlearnlab.diffusion import sampling
from unlearnlab.diffusion.quadrature import predict

pytestmark = pytest.mark.device
CPU = "cpu"
RNG = torch.Generator().manual_seed(0)
T = torch.tensor([0, 10, 100, 300, 500, 700, 999])


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_a_cpu(name, device):
    here, there = (MODELS[name](place) for place in (CPU, device))
    x = 0.5 * torch.randn(len(T), *here.shape, generator=RNG)
    found = predict(there, x.to(device), T.to(device))
    assert on(there, device) and on(found, device) and found.dtype == torch.float32
    near(found, predict(here, x, T))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("name", MODELS)
def test_chains_are_those_of_a_cpu(name, sampler, device):
    here, there = (
        sampling.run(MODELS[name](place), 5, sampler=sampler, steps=6, seed=1)
        for place in (CPU, device)
    )
    assert on(there[0], device) and on(there[1], device)
    near(there[0], here[0], rtol=1e-3, atol=1e-3)
    near(there[1], here[1], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("quasi", [False, True])
@pytest.mark.parametrize("name", ["mixture", "data"])
def test_exact_draws_are_those_of_a_cpu(name, quasi, device):
    here, there = (MODELS[name](place).sample(50, seed=2, quasi=quasi) for place in (CPU, device))
    assert on(there, device)
    near(there, here, atol=1e-5)


def test_a_gaussian_is_known_in_closed_form(device):
    """Its density and its ε̂ = σ(x − αμ)/(α²s² + σ²), for samples wherever they are."""
    model = gaussian(0.7, device, std=1.3)
    law = torch.distributions.Normal(0.7, 1.3)
    for x in (FEW, FEW.to(device)):
        near(model.log_density(x), law.log_prob(FEW)[:, 0], atol=1e-5)
    alpha, sigma = SCHEDULE.at(T, FEW)
    expected = sigma * (FEW - 0.7 * alpha) / (1.69 * alpha**2 + sigma**2)
    near(model.noise_prediction(FEW.to(device), T.to(device)), expected, atol=1e-5)


def test_samples_of_a_distribution_may_lie_anywhere(device):
    """Data and points given on the CPU or on the device are the same model."""
    x = FEW.to(device)
    for make, given in ((ul.DataSet, FEW), (ul.PointMass, FEW[2])):
        one = make(given, SCHEDULE, device=device)
        other = make(given.to(device), SCHEDULE, device=device)
        assert on(one.samples, device) and on(other.samples, device)
        near(predict(one, x, T.to(device)), predict(other, x, T.to(device)), rtol=0, atol=0)
    posterior = ul.DataSet(FEW, SCHEDULE, device=device).noise_prediction(x, T.to(device) * 0)
    near(posterior, (FEW - SCHEDULE.signal[0] * FEW) / SCHEDULE.noise[0], atol=1e-3)


def test_lemma_3(device):
    """KL(N(0, 1)‖N(1, 1)) = ½; and every kind of estimate is the CPU's."""
    exact = ul.kl(gaussian(0, device), gaussian(1, device), samples=512)
    assert abs(exact.value - 0.5) < 4 * exact.stderr + exact.truncation + 1e-3
    for kind in ("point", "path"):
        for p, q in ((mixture, network), (MODELS["composed"], mixture)):
            here, there = (
                ul.kl(p(place), q(place), kind=kind, samples=32, steps=5) for place in (CPU, device)
            )
            assert there.value == pytest.approx(here.value, rel=2e-3)
            assert there.stderr == pytest.approx(here.stderr, rel=2e-3)


def test_lemma_2(device):
    """log N(x; 0, 1)/N(x; 1, 1) = (x − 1)²/2 − x²/2, for samples wherever they are."""
    p, q = gaussian(0, device), gaussian(1, device)
    for x in (FEW, FEW.to(device), FEW.numpy()):
        found = ul.log_ratio(x, p, q, levels=64)
        assert on(found, device)
        near(found, ((FEW - 1) ** 2 - FEW**2)[:, 0] / 2, rtol=0, atol=0.02)
    here, there = (
        ul.log_ratio(FEW, network(place), mixture(place), levels=16, noises=16)
        for place in (CPU, device)
    )
    near(there, here, rtol=1e-3, atol=1e-3)


def test_gated_draws_and_path_ratios(device):
    """A gated chain is that of a CPU; particles and rejection end where they were drawn."""

    def drawn(place):
        problem = ul.Likelihood(mixture(place), [gaussian(2, place)], [0.5], statistic="ratio")
        return problem, problem.gated([0.7])

    (_, here), (problem, there) = drawn(CPU), drawn(device)
    how = {"steps": 20, "particles": False, "seed": 1}
    near(there.sample(64, **how), here.sample(64, **how), atol=1e-3)
    for x in (there.sample(64, steps=20), ul.rejection(problem, [0.7], 64).x):
        assert x.shape == (64, 1) and x.device == there.device and x.isfinite().all()
    x = torch.linspace(-2, 2, 8)[:, None]
    ratios = [
        ul.log_ratio(x, mixture(place), network(place), method="path", steps=20)
        for place in (CPU, device)
    ]
    near(ratios[1], ratios[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("models", [mixture, network])
@pytest.mark.parametrize("kind", [ul.ReverseKL, ul.Likelihood, ul.ForwardKL])
def test_solve_on_a_pool(kind, models, device):
    """Multipliers and weights are the CPU's; thresholds may be a tensor on the device."""
    relative = {ul.ReverseKL: 1.2, ul.ForwardKL: 1.05, ul.Likelihood: 0.6}[kind]

    def solved(place):
        pool, others = models(place).tabulated([gaussian(1.5, place)], pool=128, seed=0)
        problem = kind(pool, others, relative=torch.tensor([relative], device=place))
        return ul.solve(problem)

    here, there = solved(CPU), solved(device)
    assert on(there.model.x, device) and there.certificate.ok
    assert here.multipliers[0] > 0
    assert there.multipliers == pytest.approx(here.multipliers, rel=1e-3)
    assert np.abs(there.model.probabilities - here.model.probabilities).max() < 1e-4


def test_digits_are_chosen_where_they_are(device):
    images = torch.rand((6, 1, 8, 8), generator=RNG)
    labels = torch.tensor([3, 1, 4, 1, 5, 9])
    there = digits.Digits(images.to(device), labels.to(device))
    assert torch.equal(there.of(1).images.cpu(), images[labels == 1])
    assert torch.equal(there.without(1, 9).labels.cpu(), torch.tensor([3, 4, 5]))


def test_labels_and_images_may_lie_anywhere(device):
    model = digits.load_model("conditional", device=device)
    x, t = torch.zeros((2, 1, 8, 8), device=device), torch.tensor([100, 900]).to(device)
    labels = torch.tensor([3, 8])
    with torch.no_grad():
        one, other = model(x, t, labels), model(x, t, labels.to(device))
    near(one, other, rtol=0, atol=0)
    near(one[:1], predict(model.labelled(3), x[:1], t[:1]))
    tell = digits.load_classifier(device=device)
    pictures = torch.rand((4, 1, 8, 8), generator=RNG) * 2 - 1
    for found in (pictures, pictures.to(device)):
        near(metrics.class_shares(found, tell), metrics.class_shares(pictures, tell.cpu()))
        tell.to(device)
        alike = metrics.similarity(found, pictures, tell.descriptor())
        near(alike.diagonal(), torch.ones(4), atol=1e-5)
