"""Image models in diffusers' own format: a UNet2DModel and its schedule, as model and student."""

from __future__ import annotations

import copy
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .model import DiffusionModel, Effort
from .schedule import Schedule

PIXELS, FEWEST = 1 << 16, 8  # numbers in one call of the network, and images at least
TOLERANCE = 1e-3  # of the range of images
OFFLINE = (
    "give a folder that `DDPM.save` or diffusers' save_pretrained wrote; without a network, "
    "download the model where there is one (hf download NAME --local-dir FOLDER) and copy it here"
)


class DDPM(DiffusionModel, nn.Module):
    """The distribution of a diffusers `UNet2DModel`, of one label where it knows labels.

    Images have shape (channels, height, width) and values in [−1, 1].

    Args:
        unet: predicts noise from (x_t, t) and, where `num_class_embeds` is set, a class label, the
            last of which is the null class: no label.
        schedule: the one it was trained with.
        label: the class to draw; None is the null class.

    Attributes:
        classes: how many labels there are besides the null class; 0 for an unconditional network.
        label: the class drawn, or None.
    """

    effort = Effort(512, 512, 512, 512, pool=(12, 4), training=(12, 4))

    def __init__(self, unet: Any, schedule: Schedule, label: int | None = None):
        size = unet.config.sample_size
        sides = (size, size) if isinstance(size, int) else tuple(size)
        first = next(unet.parameters())
        nn.Module.__init__(self)
        shape = (unet.config.in_channels, *sides)
        DiffusionModel.__init__(self, shape, schedule, first.dtype, first.device)
        self.unet = unet
        self.classes = (unet.config.num_class_embeds or 1) - 1
        if label is not None and not 0 <= label < self.classes:
            known = f"0 to {self.classes - 1}" if self.classes else "none: it is unconditional"
            raise ValueError(f"label must be one of the model's ({known}); got {label!r}")
        self.label = label
        self.rows = max(FEWEST, PIXELS // self.dim)
        self.sampling_steps = min(self.sampling_steps, len(schedule))

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        label: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> DDPM:
        """A diffusers folder, or a hub id such as "google/ddpm-celebahq-256".

        Raises:
            FileNotFoundError: no such folder, and no such model on the hub or no way to reach it.
            ValueError: weights that are not safetensors.
        """
        from diffusers import DDPMScheduler, UNet2DModel

        folder = Path(name)
        pipeline = not folder.is_dir() or (folder / "unet").is_dir()
        parts = {"unet": "unet", "scheduler": "scheduler"} if pipeline else {}
        if folder.is_dir():
            _require_safetensors(folder / parts.get("unet", ""))
        try:
            with warnings.catch_warnings():  # of the hub's client, about diffusers' own call
                warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`", UserWarning)
                unet = UNet2DModel.from_pretrained(
                    name, subfolder=parts.get("unet"), torch_dtype=dtype, use_safetensors=True
                )
                scheduler = DDPMScheduler.from_pretrained(name, subfolder=parts.get("scheduler"))
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise FileNotFoundError(f"no DDPM found at {str(name)!r} ({line}); {OFFLINE}") from None
        model = cls(unet.to(device).eval(), Schedule.from_scheduler(scheduler), label)
        return model.requires_grad_(False)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a diffusers `DDPMPipeline` folder that `from_pretrained` reads, here and there."""
        from diffusers import DDPMPipeline, DDPMScheduler

        betas = self.schedule.betas.tolist()
        scheduler = DDPMScheduler(len(betas), trained_betas=betas, clip_sample=False)
        pipeline: Any = DDPMPipeline(self.unet, scheduler)
        pipeline.save_pretrained(folder, safe_serialization=True)

    def labelled(self, label: int | None) -> DDPM:
        """The same network, drawing another class; it shares its parameters."""
        return DDPM(self.unet, self.schedule, label)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂ (B, *shape)."""
        return self(x_t, t)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The same, as torch modules are called; `labels` (B,) in place of the model's own."""
        if self.classes and labels is None:
            label = self.classes if self.label is None else self.label
            labels = torch.full((len(x_t),), label, device=x_t.device)
        known = None if labels is None else labels.to(x_t.device)
        return self.unet(x_t, t, class_labels=known).sample

    def require_samples(self, name: str, x: Any) -> None:
        """Refuse images of another size, or outside [−1, 1]."""
        super().require_samples(name, x)
        if isinstance(x, Tensor) and float(x.abs().max()) > 1 + TOLERANCE:
            raise ValueError(
                f"{name} must be images with values in [−1, 1]; got {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}: divide 0 to 255 by 127.5 and subtract 1"
            )

    def for_training(self) -> DDPM:
        """A copy to train: this network stays as it is."""
        pupil = DDPM(copy.deepcopy(self.unet), self.schedule, self.label)
        return pupil.requires_grad_(True)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        millions = sum(p.numel() for p in self.unet.parameters()) / 1e6
        label = "" if self.label is None else f", label={self.label}"
        return f"DDPM({size}, {millions:.2f} M parameters{label})"


def _require_safetensors(folder: Path) -> None:
    """Refuse a folder that has weights, but none as safetensors."""
    if not list(folder.glob("*.safetensors")) and (others := sorted(folder.glob("*.bin"))):
        raise ValueError(
            f"{others[0]} is not safetensors, and reading it could run what it contains; convert "
            "it where it can be trusted (save_pretrained(..., safe_serialization=True))"
        )
