"""Train the tiny pipeline: `python -m unlearnlab.stable_diffusion.train PART --out FOLDER`.

| part | what | needs |
|---|---|---|
| classifier | the attributes of a drawing | |
| autoencoder | drawings to latents and back | |
| denoiser | text encoder and UNet, on latents | the autoencoder |

Each is seeded, and goes on where its last checkpoint was when it is killed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..diffusion.samples import PointMass
from ..diffusion.schedule import Schedule
from ..digits.train import fit_classifier
from ..files import write_whole
from ..training.draws import Draws
from ..training.loop import unconstrained
from ..training.objective import Denoising, Objective
from ..training.settings import Settings
from . import tiny
from .classifier import AttributeClassifier
from .pipeline import mean_latents
from .scenes import Drawings, drawings

SEED = 0
DRAWINGS = 20_000
STEPS = {"autoencoder": 10_000, "denoiser": 12_000}
BATCH = {"autoencoder": 16, "denoiser": 64}
RATE = {"autoencoder": 1e-3, "denoiser": 1e-3}
PRIOR = 1e-3  # weight of KL(latent‖N(0, 1)) a number, beside the mean error of a pixel
UNNAMED = 0.1  # of the samples that the denoiser sees without their caption
EPOCHS, NOISE = 12, 0.3  # of the classifier; at most so much is added to its drawings


class Reconstruction(Objective):
    """Mean |x − x̂| + (x − x̂)² of a pixel, and a little KL of the latents to N(0, 1)."""

    def __init__(self, images: Tensor, batch: int):
        super().__init__(PointMass(images[0], device=images.device), 1, batch)
        self.images = images

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The loss at random images, through latents drawn from their posteriors."""
        x = self.images[draws.pick(len(self.images), self.batch)].to(draws.like)
        posterior = student.encode(x).latent_dist
        z = posterior.mean + posterior.std * draws.normal(self.batch, *posterior.mean.shape[1:])
        error = student.decode(z).sample - x
        loss = error.abs().flatten(1).mean(1) + error.square().flatten(1).mean(1)
        self.tally.add(loss[None, :, None])
        yield (loss + PRIOR * posterior.kl() / posterior.mean[0].numel()).mean()[None]


class Captioned(Denoising):
    """Denoising of latents given the tokens of their captions, now and then of none."""

    def __init__(self, latents: Tensor, tokens: Tensor, empty: Tensor, schedule: Schedule):
        like = PointMass(latents[0], schedule, device=latents.device)
        super().__init__(like, 1, BATCH["denoiser"], latents)
        self.tokens, self.empty = tokens, empty

    def predict(self, student: Any, x_t: Tensor, t: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """ε̂_θ given the caption, or the empty one."""
        unnamed = (draws.uniform(self.batch) < UNNAMED).flatten()[:, None].to(x_t.device)
        tokens = torch.where(unnamed, self.empty.to(x_t.device), self.tokens.to(x_t.device)[index])
        states = student.text_encoder(tokens)[0]
        return student.unet(x_t, t, encoder_hidden_states=states).sample


class Denoiser(nn.Module):
    """Text encoder and UNet, trained together."""

    def __init__(self, text_encoder: Any, unet: Any):
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet

    @property
    def device(self) -> torch.device:
        """Of the UNet."""
        return self.unet.device


def train_autoencoder(scenes: Drawings, *, steps: int, seed: int, folder: Path, device: str) -> Any:
    """The AutoencoderKL, with the scale of its latents in its configuration."""
    model = tiny.autoencoder(seed).to(device)
    unconstrained(
        model,
        Reconstruction(scenes.images.to(device), BATCH["autoencoder"]),
        Settings(steps, RATE["autoencoder"], [seed], average=0.999),
        folder=folder,
        identity={"part": "autoencoder", "steps": steps, "seed": seed},
    )
    model.register_to_config(
        scaling_factor=round(1 / float(mean_latents(model, scenes.images).std()), 5)
    )
    return model.eval()


def train_denoiser(
    autoencoder: Any, scenes: Drawings, *, steps: int, seed: int, folder: Path, device: str
) -> tuple[Any, Any, Any]:
    """Tokenizer, text encoder and UNet."""
    tokens = tiny.tokenizer()
    student = Denoiser(tiny.text_encoder(tokens, seed), tiny.unet(seed)).to(device)

    def ids(texts: list[str]) -> Tensor:
        return tokens(texts, padding="max_length", return_tensors="pt").input_ids

    latents = mean_latents(autoencoder, scenes.images) * autoencoder.config.scaling_factor
    schedule = Schedule.from_scheduler(tiny.scheduler())
    unconstrained(
        student,
        Captioned(latents, ids(scenes.captions), ids([""]), schedule),
        Settings(steps, RATE["denoiser"], [seed], average=0.999),
        folder=folder,
        identity={"part": "denoiser", "steps": steps, "seed": seed},
    )
    return tokens, student.text_encoder.eval(), student.unet.eval()


def train_classifier(scenes: Drawings, *, seed: int) -> AttributeClassifier:
    """The classifier, on noisy drawings, by cross-entropy."""

    def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
        level = NOISE * torch.rand(len(x), 1, 1, 1, generator=generator)
        return x + level * torch.randn(x.shape, generator=generator)

    samples = (scenes.images, scenes.attributes.float())
    loss = nn.functional.binary_cross_entropy_with_logits
    how: dict[str, Any] = {"batch": 128, "epochs": EPOCHS, "lr": 2e-3, "seed": seed}
    return fit_classifier(AttributeClassifier, samples, noisy, loss, **how)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m unlearnlab.stable_diffusion.train")
    parser.add_argument("part", choices=["classifier", *STEPS])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", type=int, help="by default as many as what ships had")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    scenes = drawings(DRAWINGS, seed=given.seed)
    if given.part == "classifier":
        weights = train_classifier(scenes, seed=given.seed).half().state_dict()
        write_whole(given.out / "attributes.safetensors", save(weights))
        return
    how = {
        "steps": given.steps or STEPS[given.part],
        "seed": given.seed,
        "folder": given.out / f"{given.part}-training",
        "device": given.device,
    }
    pipeline = given.out / "tiny"
    if given.part == "autoencoder":
        train_autoencoder(scenes, **how).half().save_pretrained(pipeline / "vae")
        return
    from diffusers import AutoencoderKL

    autoencoder = AutoencoderKL.from_pretrained(pipeline / "vae").to(given.device)
    tokens, text_encoder, unet = train_denoiser(autoencoder, scenes, **how)
    parts = (autoencoder.half(), tokens, text_encoder.half(), unet.half())
    tiny.assembled(*parts).save_pretrained(pipeline)


if __name__ == "__main__":
    main()
