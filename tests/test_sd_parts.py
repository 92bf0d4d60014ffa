"""The trained parts that the package ships: what they were trained for, on drawings held out."""

import numpy as np
import pytest

from unlearnlab.stable_diffusion import quality, scenes
from unlearnlab.stable_diffusion.classifier import load_classifier, rates_of
from unlearnlab.stable_diffusion.loading import TINY


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


class Drawer:
    """A pipeline that draws as the scenes do, but for some attribute."""

    def __init__(self, without=None):
        self.without = without

    def prompt(self, text, *, guidance=1.0):
        self.caption = CAPTIONS[text]
        return self

    def images(self, n, *, seed=0, **how):
        caption = self.caption
        if caption.companion == self.without:
            caption = caption._replace(companion=None)
        return scenes.drawings(n, seed=seed, captions=[caption]).images


GENERATOR = np.random.default_rng(77)
CAPTIONS = {c.text(): c for c in (scenes.draw_caption(GENERATOR) for _ in range(200))}


def test_quality_is_full_for_the_scenes_themselves_and_falls_where_something_is_missing():
    told = load_classifier()
    full = quality.faithfulness(Drawer(), told, n=200)
    assert min(share for share, _ in full.values()) >= 0.98
    assert full["uncalled"][1] == 200
    less = quality.faithfulness(Drawer(without="cactus"), told, n=200)
    assert less["cactus"][0] < full["cactus"][0] - 0.1
    left_open = quality.unasked(Drawer(), scenes.Caption("cowboy"), told, n=400)
    share, rate = left_open["horse"]
    assert rate == 0.6 and share == pytest.approx(rate, abs=0.1)
    assert "cowboy" not in left_open and "ball" not in left_open


def test_kernel_distance_tells_scenes_apart():
    from unlearnlab.metrics import kernel_distance
    from unlearnlab.stable_diffusion.classifier import load_classifier
    from unlearnlab.stable_diffusion.scenes import Caption, drawings

    one, again = (drawings(300, seed=s, captions=[Caption("cowboy")]).images for s in (1, 2))
    horses = drawings(300, seed=3, captions=[Caption("horse")]).images
    descriptor = load_classifier().descriptor()
    same = kernel_distance(one, again, descriptor)
    apart = kernel_distance(one, horses, descriptor)
    assert abs(float(same)) < 5 * same.stderr + 0.005
    assert float(apart) > 20 * abs(float(same)) and float(apart) > 0.05
