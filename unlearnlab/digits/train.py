"""Train what the package ships: `python -m unlearnlab.digits.train NAME`, resumable.

| name | what |
|---|---|
| conditional | a DDPM of ten classes and a null class |
| unconditional | a DDPM of all digits |
| flow | the same as a rectified flow: its network predicts a velocity |
| memorised | the same, with three training images repeated many times |
| classifier | ten classes; its convolutions serve as descriptor |
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import trange

from ..diffusion.ddpm import DDPM
from ..diffusion.reading import Reading
from ..diffusion.schedule import Schedule
from ..files import write_whole
from ..training.draws import Draws
from ..training.loop import unconstrained
from ..training.objective import Denoising
from ..training.settings import Settings
from .classifier import Classifier
from .data import CLASSES, Digits, data
from .models import NAMES, PLANTED

SEED = 0
STEPS = 6000
BATCH = 128
UNLABELLED = 0.1  # of the samples that the conditional model sees without their label
EPOCHS = 40  # of the classifier
NOISE = 0.2  # added to its images
Module = TypeVar("Module", bound=nn.Module)


def network(*, labels: bool, seed: int) -> Any:
    """An untrained UNet2DModel for 8×8 images, 0.37 M parameters."""
    from diffusers import UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(24, 48),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=8,
            num_class_embeds=CLASSES + 1 if labels else None,
        )


class LabelledDenoising(Denoising):
    """Denoising with the labels of the samples, now and then replaced by the null class."""

    def __init__(self, like: DDPM, batch: int, digits: Digits, weights: Tensor):
        super().__init__(like, 1, batch, digits.images, weights[None])
        self.labels = digits.labels

    def predict(self, student: Any, x_t: Tensor, t: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """ε̂_θ given the label, or the null class."""
        if not student.classes:
            return student(x_t, t)
        unlabelled = (draws.uniform(self.batch) < UNLABELLED).flatten().to(x_t.device)
        labels = torch.where(unlabelled, student.classes, self.labels[index].to(x_t.device))
        return student(x_t, t, labels)


def train_ddpm(
    name: str, *, steps: int = STEPS, seed: int = SEED, folder: Path | None = None
) -> DDPM:
    """A DDPM of the digits, by denoising score matching."""
    digits = data()
    weights = torch.ones(len(digits))
    if name == "memorised":
        for place, times in PLANTED.items():
            weights[place] = times
    labels = name == "conditional"
    unet = network(labels=labels, seed=seed)
    how: dict[str, Any] = {"null_class": True if labels else None}
    if name == "flow":
        how["reading"] = Reading("velocity")
    model = DDPM(unet, Schedule.flow(spacing="trailing") if name == "flow" else Schedule(), **how)
    unconstrained(
        model,
        LabelledDenoising(model, BATCH, digits, weights),
        Settings(steps, 2e-3, [seed], average=0.999),
        folder=folder,
        identity={"model": name, "steps": steps, "seed": seed, "batch": BATCH},
    )
    return model


def train_classifier(*, seed: int = SEED) -> Classifier:
    """The classifier, on noisy images by cross-entropy; under half a minute on one core."""
    digits = data()

    def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + NOISE * torch.randn(x.shape, generator=generator)

    samples = (digits.images, digits.labels)
    how: dict[str, Any] = {"batch": 64, "epochs": EPOCHS, "lr": 4e-3, "seed": seed}
    return fit_classifier(Classifier, samples, noisy, nn.functional.cross_entropy, **how)


def fit_classifier(
    make: Callable[[], Module],
    samples: tuple[Tensor, Tensor],
    noisy: Callable[[Tensor, torch.Generator], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch: int,
    epochs: int,
    lr: float,
    seed: int,
) -> Module:
    """A classifier made by `make`, trained on (images, targets) with noise added anew each time."""
    images, targets = samples
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = make()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=lr, weight_decay=1e-2)
        steps = epochs * -(-len(images) // batch)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        for _ in trange(epochs, desc="classifier", disable=None):
            for index in torch.randperm(len(images), generator=generator).split(batch):
                value = loss(classifier(noisy(images[index], generator)), targets[index])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                rate.step()
    return classifier.eval().requires_grad_(False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m unlearnlab.digits.train")
    parser.add_argument("name", choices=[*NAMES, "classifier"])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    if options.name == "classifier":
        weights = train_classifier(seed=options.seed).half().state_dict()
        write_whole(options.out / "classifier.safetensors", save(weights))
        return
    training = options.out / f"{options.name}-training"
    model = train_ddpm(options.name, steps=options.steps, seed=options.seed, folder=training)
    model.half().save(options.out / options.name)


if __name__ == "__main__":
    main()
