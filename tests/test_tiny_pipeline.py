"""The tiny Stable Diffusion that ships, against what the generator of its drawings knows."""

from pathlib import Path

import pytest
import torch

import unlearnlab as ul
from unlearnlab.stable_diffusion.classifier import load_classifier, rates_of
from unlearnlab.stable_diffusion.loading import TINY
from unlearnlab.stable_diffusion.quality import taken_over
from unlearnlab.stable_diffusion.scenes import COLOURS, Caption, drawings

N = 250


@pytest.fixture(scope="module")
def sd():
    return ul.TextToImage.from_pretrained("tiny")


@pytest.fixture(scope="module")
def tell():
    return load_classifier()


def test_it_is_small_and_safetensors_alone():
    files = [path for path in Path(TINY).rglob("*") if path.is_file()]
    assert not [f for f in files if f.suffix in {".bin", ".pt", ".ckpt", ".pkl", ".py"}]
    sizes = [f.stat().st_size for f in files if f.suffix == ".safetensors"]
    assert len(sizes) == 3 and max(sizes) < 5e6 and sum(sizes) < 12e6


@pytest.mark.parametrize("subject", ["cowboy", "ball"])
def test_what_nobody_asks_for_comes_at_the_rates_of_the_drawings(sd, tell, subject):
    caption = Caption(subject)
    found = rates_of(sd.prompt(caption.text()).images(N, steps=15, seed=3), tell)
    assert found[subject] > 0.85
    for name, rate in caption.rates().items():
        error = (max(rate * (1 - rate), 0.02) / N) ** 0.5
        assert abs(found[name] - rate) < 2 * error + 0.1, name


def test_what_is_asked_for_is_drawn(sd, tell):
    for text, wanted in (
        ("a house at night", ("house", "night")),
        ("a photo of a cowboy with a horse in a meadow", ("cowboy", "horse", "meadow")),
        ("a blue ball", ("ball", "blue")),
    ):
        found = rates_of(sd.prompt(text).images(40, steps=15, seed=5), tell)
        assert all(found[name] > 0.75 for name in wanted), (text, found)


def test_noise_in_the_sampler_mends_the_colours(sd, tell):
    """Of captions that name one: 95 of 100 by DDPM, 85 by DDIM, one network, as many steps."""
    found = {}
    for sampler in ("ddim", "ddpm"):
        seen = [
            rates_of(sd.prompt(f"a {name} ball").images(50, sampler=sampler, steps=20), tell)[name]
            for name in COLOURS
        ]
        found[sampler] = sum(seen) / len(seen)
    assert found["ddpm"] > max(0.9, found["ddim"])


def test_ddim_loses_colours_at_the_noisy_end(sd, tell):
    """89 of 100 from drawings noised to a log-SNR of −5, 99 from −2."""
    early, late = (taken_over(sd, tell, at, sampler="ddim", n=40) for at in (-5, -2))
    assert early < late and late > 0.95


def test_drawings_come_back_from_the_autoencoder(sd, tell):
    scenes = drawings(200, seed=99)
    back = sd.decode(sd.encode(scenes.images))
    assert float((back - scenes.images).square().mean().sqrt()) < 0.05
    assert float((tell.attributes(back) == scenes.attributes).double().mean()) > 0.995


def test_latents_have_the_scale_that_the_unet_was_trained_on(sd):
    latents = sd.encode(drawings(200, seed=98).images)
    assert float(latents.std()) == pytest.approx(1, abs=0.05)
    assert torch.isfinite(latents).all()


def test_policy_gradient_brings_the_likelihood_below_its_threshold(sd):
    """D.3 at a fixed λ, from 0.9 to 0.3 on chains that it has not seen; the same noise twice."""
    retain, forgotten = sd.prompt("a cowboy"), sd.prompt("a cowboy with a horse")
    problem = ul.Likelihood(retain, [forgotten], thresholds=[0.5], statistic="ratio", cap=2.0)
    how = {"steps": 10, "batch": 12, "lr": 1.5e-2, "sampling_steps": 10, "dual_lr": 0.0}
    run = ul.finetune(
        problem, sd.lora(rank=8), multipliers=[8.0], evaluate=False, progress=False, **how
    )

    def ell(model):
        x = model.sample(48, sampler="ddpm", steps=10, seed=9)
        return torch.from_numpy(problem.values_at(x, seed=1, quality=(6, 4)))

    before, after = ell(retain), ell(run.student)
    fall = (before - after)[:, 0]
    assert float(fall.mean()) > 3 * float(fall.std()) / len(fall) ** 0.5
    assert float(after.mean()) < 0.5 < float(before.mean())
