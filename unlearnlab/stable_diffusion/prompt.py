"""A prompt as a diffusion model: the distribution of the latents drawn for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..diffusion import predictions
from ..diffusion.model import DiffusionModel, Effort
from . import adapters

if TYPE_CHECKING:
    from .pipeline import TextToImage

NUMBERS = 1 << 16  # in one call of the UNet
FEWEST = 4  # latents, at least


class Prompt(DiffusionModel):
    """The latents that a pipeline draws for a text, scaled as the UNet sees them.

    Latents and predictions are float32 where the UNet is in half precision: a step of a sampler can
    be smaller than its rounding, and a squared norm larger than its largest number.

    Args:
        source: the pipeline.
        text, guidance, negative: as in `TextToImage.prompt`.
        unet: in place of the pipeline's own.
    """

    effort = Effort(128, 128, 128, 256, pool=(12, 4), training=(6, 4))

    def __init__(
        self,
        source: TextToImage,
        text: str,
        *,
        guidance: float = 1.0,
        negative: str = "",
        unet: Any = None,
    ):
        if not isinstance(text, str):
            raise TypeError(f"text must be a string; got {type(text).__name__}")
        if not 0 <= guidance < float("inf"):
            raise ValueError(f"guidance must not be negative; got {guidance!r}")
        dtype = torch.promote_types(source.dtype, torch.float32)
        DiffusionModel.__init__(self, source.shape, source.schedule, dtype, source.device)
        self.source, self.unet = source, unet if unet is not None else source.pipeline.unet
        self.text, self.guidance, self.negative = text, float(guidance), negative
        self.denoiser = guidance == 1
        self.rows = max(FEWEST, NUMBERS // (self.dim * len(self.texts)))
        for one in self.texts:
            source.states(one)

    @property
    def texts(self) -> tuple[str, ...]:
        """What the UNet is asked for: the text, and the negative where guidance needs it."""
        return (self.text,) if self.guidance == 1 else (self.text, self.negative)

    @property
    def network(self) -> Any:
        """The UNet: prompts of one UNet are evaluated in one call."""
        return self.unet

    def told(self) -> dict[str, Any]:
        """What the UNet sees of the prompt, and how strongly it applies its adapters."""
        found = [[text, self.source.states(text)] for text in self.texts]
        scales = [
            [name, layer.active_adapters, layer.scaling]
            for name, layer in adapters.layers(self.unet)
        ]
        how = {"guidance": self.guidance, "schedule": self.schedule}
        how["prediction"] = self.source.prediction
        return how | {"text": found, "adapters": sorted(scales)}

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂ (B, *shape)."""
        return self.noise_predictions([self], x_t, t)[0]

    def noise_predictions(
        self, models: Sequence[DiffusionModel], x_t: Tensor, t: Tensor
    ) -> list[Tensor]:
        """ε̂ of several prompts at the same points, in one call: every text once."""
        prompts = [one for one in models if isinstance(one, Prompt)]
        texts = list(dict.fromkeys(text for one in prompts for text in one.texts))
        states = torch.stack([self.source.states(text) for text in texts])
        n, own = len(texts), self.source.dtype
        out = self.unet(
            x_t.to(own).repeat(n, *(1,) * (x_t.ndim - 1)),
            t.repeat(n),
            encoder_hidden_states=states.to(own).repeat_interleave(len(x_t), 0),
        ).sample
        kind = self.source.prediction
        told = [
            predictions.noise(kind, part, x_t, t, self.schedule)
            for part in out.to(x_t.dtype).chunk(n)
        ]
        found = dict(zip(texts, told, strict=True))
        return [one.guided(found) for one in prompts]

    def guided(self, found: dict[str, Tensor]) -> Tensor:
        """ε̂_neg + w(ε̂_text − ε̂_neg)."""
        if self.guidance == 1:
            return found[self.text]
        return torch.lerp(found[self.negative], found[self.text], self.guidance)

    def images(self, n: int, *, sampler: str = "ddim", steps: int = 25, seed: int = 0) -> Tensor:
        """n images (n, 3, H, W) in [−1, 1], by "ddim" or "ddpm"."""
        return self.source.decode(self.sample(n, sampler=sampler, steps=steps, seed=seed))

    def __repr__(self) -> str:
        guidance = "" if self.guidance == 1 else f", guidance={self.guidance:g}"
        negative = f", negative={self.negative!r}" if self.negative else ""
        return f"Prompt({self.text!r} in {self.source.name!r}{guidance}{negative})"
