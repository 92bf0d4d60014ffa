"""The trained parts that the package ships: what they were trained for, on drawings held out."""

import pytest

from unlearnlab.stable_diffusion import scenes
from unlearnlab.stable_diffusion.classifier import load_classifier, rates_of
from unlearnlab.stable_diffusion.pipeline import TINY


@pytest.fixture(scope="module")
def held_out():
    return scenes.drawings(400, seed=77)


def test_the_classifier_tells_every_attribute(held_out):
    found = load_classifier().attributes(held_out.images)
    right = (found == held_out.attributes).double().mean(0)
    assert float(right.min()) >= 0.99
    rates = rates_of(held_out.images, load_classifier())
    assert rates["cowboy"] == pytest.approx(
        float(held_out.attributes[:, 0].double().mean()), abs=0.01
    )


def test_drawings_survive_the_autoencoder(held_out):
    from diffusers import AutoencoderKL

    autoencoder = AutoencoderKL.from_pretrained(TINY / "vae").requires_grad_(False)
    latents = autoencoder.encode(held_out.images).latent_dist.mean
    assert latents.shape == (400, 4, 8, 8)
    assert float((latents * autoencoder.config.scaling_factor).std()) == pytest.approx(1, abs=0.05)
    back = autoencoder.decode(latents).sample.clamp(-1, 1)
    assert float((back - held_out.images).square().mean().sqrt()) < 0.04
    told = load_classifier().attributes(back)
    assert float((told == held_out.attributes).double().mean(0).min()) >= 0.98
