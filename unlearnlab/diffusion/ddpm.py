"""Image models in diffusers' own format: a UNet2DModel and its schedule, as model and student."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import switch
from ..files import require_unchanged
from . import ddpm_folder
from .model import DiffusionModel, Effort
from .predictions import require_kind
from .quadrature import require_finite
from .reading import Limit, Reading
from .schedule import FLOW, Schedule

PIXELS, FEWEST = 1 << 16, 8  # numbers in one call of the network, and images at least
TOLERANCE = 1e-3  # of the range of images


class DDPM(DiffusionModel, nn.Module):
    """The distribution of a diffusers `UNet2DModel`, of one label where it knows labels.

    Images have shape (channels, height, width) and values in [−1, 1]. Where the folder's scheduler
    clips or thresholds predicted images (`clip_sample`, `thresholding`), `sample` and `reconstruct`
    do, too. Divergences, densities and training are of the chains without it.

    Args:
        unet: predicts from (x_t, t) and, where `num_class_embeds` is set, a class label. It is
            put into its eval mode, and stays there.
        schedule: the one it was trained with.
        label: the class to draw; None is the null class.
        null_class: whether the last class means "no label". It has to be said where there are
            classes: a network does not show it.
        reading: what it predicts, and what its samplers do; by default noise, unclipped.

    Attributes:
        classes: how many labels there are besides the null class; 0 for an unconditional network.
        label: the class drawn, or None.

    Raises:
        ValueError: classes, but `null_class` is not said, or no classes, and it is; a label that
            there is not; no label, and no class that means so.
    """

    effort = Effort(512, 512, 512, 512, pool=(12, 4), training=(12, 4))

    def __init__(
        self,
        unet: Any,
        schedule: Schedule,
        label: int | None = None,
        *,
        null_class: bool | None = None,
        reading: Reading | None = None,
    ):
        ddpm_folder.require_network(dict(unet.config) | {"_class_name": "UNet2DModel"}, "unet")
        size, classes = unet.config.sample_size, unet.config.num_class_embeds or 0
        sides = (size, size) if isinstance(size, int) else tuple(size)
        first = next(unet.parameters())
        nn.Module.__init__(self)
        unet.eval()
        shape = (unet.config.in_channels, *sides)
        DiffusionModel.__init__(self, shape, schedule, first.dtype, first.device)
        self.unet = unet
        self.reading = reading or Reading()
        require_kind(self.reading.kind, schedule)
        if schedule.ends_without_signal and first.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                "the schedule has zero signal at its end (rescale_betas_zero_snr), where rounding "
                f"to {first.dtype} is amplified: load the model with dtype=torch.float32"
            )
        if classes and null_class is None:
            raise ValueError(
                f"null_class must say whether the last of the network's {classes} classes means "
                "'no label': True or False; got None"
            )
        if not classes and null_class is not None:
            raise ValueError(
                f"null_class is of networks with classes, and this one has none: leave it out; got "
                f"{null_class!r}"
            )
        self.null_class = classes > 0 and switch("null_class", null_class)
        self.classes = classes - self.null_class
        if label is not None and not 0 <= label < self.classes:
            known = f"0 to {self.classes - 1}" if self.classes else "none: it is unconditional"
            raise ValueError(f"label must be one of the model's ({known}); got {label!r}")
        if label is None and classes and not self.null_class:
            raise ValueError(
                f"label must be one of the model's (0 to {self.classes - 1}); got None, and none "
                "of its classes means 'no label'"
            )
        self.label = label
        self.rows = max(FEWEST, PIXELS // self.dim)
        self.sampling_steps = schedule.up_to(self.sampling_steps)

    @property
    def limit(self) -> Limit | None:
        """What samplers do to the images that they predict on the way."""
        return self.reading.limit

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        label: int | None = None,
        null_class: bool | None = None,
        variant: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> DDPM:
        """A diffusers folder, a run's student, or a hub id such as "google/ddpm-celebahq-256".

        Args:
            name: of a run's folder, the student is read.
            label: the class to draw, where the network knows classes.
            null_class: whether the last class means "no label". What `save` wrote says so itself.
            variant: of the weights, such as "fp16"; the only one there is needs no name.

        Raises:
            FileNotFoundError: no such folder, and no such model on the hub or no way to reach it.
            ValueError: a single file; another kind of model; weights that are not safetensors,
                damaged or incomplete; what the constructor refuses.
        """
        folder = ddpm_folder.local(name)
        require_unchanged(folder)
        ddpm_folder.require_pixels(folder)
        told = ddpm_folder.stated(folder)
        scheduler = ddpm_folder.read_scheduler(ddpm_folder.part(folder, "scheduler"))
        unet = ddpm_folder.read_network(ddpm_folder.part(folder, "unet"), variant, dtype)
        config = dict(scheduler.config) | {"_class_name": type(scheduler).__name__}
        says = told.get("null_class") if null_class is None else null_class
        try:
            schedule = Schedule.from_scheduler(scheduler, spacing=told.get("timestep_spacing"))
            usual = "velocity" if config["_class_name"] == FLOW else "epsilon"
            reading = Reading(config.get("prediction_type", usual), Limit.of(config), config)
            model = cls(unet.to(device), schedule, label, null_class=says, reading=reading)
            model.try_out()
        except Exception as error:  # what the libraries take and cannot compute with
            raise ValueError(f"{folder}: {error}") from None
        return model.requires_grad_(False)

    def try_out(self) -> None:
        """Predict once, at a grey image, and look up the steps to sample by.

        Raises:
            ValueError: what the network says is not finite, or an offset leaves no such steps.
        """
        self.schedule.timesteps(self.sampling_steps)
        with torch.no_grad():
            x = torch.zeros((1, *self.shape), dtype=self.dtype, device=self.device)
            said = self(x, torch.zeros(1, dtype=torch.long, device=self.device))
        require_finite("a first prediction", said, self)

    def train(self, mode: bool = True) -> DDPM:
        """Nothing changes: a network in training mode draws dropout, which no distribution has."""
        return super().train(False)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a diffusers `DDPMPipeline` folder that `from_pretrained` reads, here and there.

        What was loaded is what is saved: schedule, spacing, end, prediction and clipping. Whether
        the last class means "no label" is stated in a file beside diffusers' own.
        """
        told = self._null_class_told
        ddpm_folder.write(Path(folder), self.unet, self.schedule, self.reading, told)

    @property
    def _null_class_told(self) -> bool | None:
        """`null_class` as the constructor takes it: nothing where there are no classes."""
        return self.null_class if self.unet.config.num_class_embeds else None

    def labelled(self, label: int | None) -> DDPM:
        """The same network, drawing another class; it shares its parameters."""
        return self._like(self.unet, label)

    def _like(self, unet: Any, label: int | None) -> DDPM:
        told = self._null_class_told
        return DDPM(unet, self.schedule, label, null_class=told, reading=self.reading)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂ (B, *shape)."""
        return self(x_t, t)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The same, as torch modules are called; `labels` (B,) in place of the model's own."""
        if self.classes and labels is None:
            label = self.classes if self.label is None else self.label
            labels = torch.full((len(x_t),), label, device=x_t.device)
        known = None if labels is None else labels.to(x_t.device)
        x, times = self.reading.shown(x_t, t, self.schedule)
        told = self.unet(x, times, class_labels=known).sample
        return self.reading.noise(told, x_t, t, self.schedule)

    def require_samples(self, name: str, x: Any, *, drawn: bool = False) -> None:
        """Refuse images of another size, or outside [−1, 1]; what models draw may go beyond."""
        super().require_samples(name, x)
        if not drawn and isinstance(x, Tensor) and float(x.abs().max()) > 1 + TOLERANCE:
            raise ValueError(
                f"{name} must be images with values in [−1, 1]; got {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}: divide 0 to 255 by 127.5 and subtract 1"
            )

    def for_training(self) -> DDPM:
        """A copy to train: this network stays as it is."""
        pupil = self._like(copy.deepcopy(self.unet), self.label)
        return pupil.requires_grad_(True)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        millions = sum(p.numel() for p in self.unet.parameters()) / 1e6
        label = "" if self.label is None else f", label={self.label}"
        return f"DDPM({size}, {millions:.2f} M parameters{label})"
