"""A prompt as a diffusion model: the distribution of the latents drawn for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..diffusion import predictions
from ..diffusion.model import DiffusionModel, Effort
from ..diffusion.precision import widest
from . import adapters
from .families import Asked

if TYPE_CHECKING:
    from .pipeline import TextToImage

NUMBERS = 1 << 16  # in one call of the network
FEWEST = 4  # latents, at least


class Prompt(DiffusionModel):
    """The latents that a pipeline draws for a text, scaled as its network sees them.

    Latents and predictions are float32 where the network is in half precision: a step of a sampler
    can be smaller than its rounding, and a squared norm larger than its largest number. Those of a
    flow are float64 where the device has it: its noise end is at log-SNRs where ε̂ and x_t differ by
    less than a thousandth, and the sample that they tell of would be lost to rounding.

    Args:
        source: the pipeline.
        text, guidance, negative: as in `TextToImage.prompt`.
        net: in place of the pipeline's own network.
    """

    # Of a ratio capped at 2 half the evaluations leave the spread over draws as it was (0.8).
    effort = Effort(128, 128, 128, 256, pool=(12, 4), training=(6, 4), reading=(6, 4))

    def __init__(
        self,
        source: TextToImage,
        text: str,
        *,
        guidance: float = 1.0,
        negative: str = "",
        net: Any = None,
    ):
        if not isinstance(text, str):
            raise TypeError(f"text must be a string; got {type(text).__name__}")
        if not 0 <= guidance < float("inf"):
            raise ValueError(f"guidance must not be negative; got {guidance!r}")
        if negative and source.family.guided_inside:
            raise ValueError(
                f"{source.name!r} takes its guidance in and has no negative prompt; got "
                f"{negative!r}"
            )
        dtype = torch.promote_types(source.dtype, torch.float32)
        if source.prediction == "velocity":
            dtype = widest(source.device)
        DiffusionModel.__init__(self, source.shape, source.schedule, dtype, source.device)
        self.source, self.net = source, net if net is not None else source.family.net
        self.text, self.guidance, self.negative = text, float(guidance), negative
        self.denoiser = guidance == 1
        self.rows = max(FEWEST, NUMBERS // (self.dim * len(self.asked)))
        for one in self.asked:
            source.states(*one)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What the network is asked for: the text, and the negative where guidance needs it."""
        if self.source.family.guided_inside:
            return (Asked(self.text, strength=self.guidance),)
        if self.guidance == 1:
            return (Asked(self.text),)
        return Asked(self.text), Asked(self.negative, negative=True)

    @property
    def network(self) -> Any:
        """What predicts: prompts of one network are evaluated in one call."""
        return self.net

    def told(self) -> dict[str, Any]:
        """What the network sees of the prompt, and how strongly it applies its adapters."""
        with torch.no_grad():
            found = [[*one, self.source.states(*one)] for one in self.asked]
        scales = [
            [name, layer.active_adapters, layer.scaling]
            for name, layer in adapters.layers(self.net)
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
        # A text is read by the encoders of its own source: networks may be shared, and they not.
        pairs = ((prompt.source, one) for prompt in prompts for one in prompt.asked)
        asked = list(dict.fromkeys(pairs))
        told = [source.states(*one) for source, one in asked]
        n, rows, own = len(asked), len(x_t), self.source.dtype
        seen = {
            name: torch.cat([one[name] for one in told]).to(own).repeat_interleave(rows, 0)
            for name in told[0]
        }
        kind = self.source.prediction
        x, times = predictions.shown(kind, x_t, t, self.schedule)
        x = x.to(own).repeat(n, *(1,) * (x_t.ndim - 1))
        out = self.source.family.predict(self.net, x, times.repeat(n), seen)
        found = {
            one: predictions.noise(kind, part, x_t, t, self.schedule)
            for one, part in zip(asked, out.to(x_t.dtype).chunk(n), strict=True)
        }
        return [one.guided(found) for one in prompts]

    def guided(self, found: dict[tuple[TextToImage, Asked], Tensor]) -> Tensor:
        """ε̂_neg + w(ε̂_text − ε̂_neg)."""
        text, *negative = (found[self.source, one] for one in self.asked)
        return torch.lerp(negative[0], text, self.guidance) if negative else text

    def images(self, n: int, *, sampler: str = "ddim", steps: int = 25, seed: int = 0) -> Tensor:
        """n images (n, 3, H, W) in [−1, 1], by "ddim" or "ddpm"."""
        return self.source.decode(self.sample(n, sampler=sampler, steps=steps, seed=seed))

    def __repr__(self) -> str:
        guidance = "" if self.guidance == 1 else f", guidance={self.guidance:g}"
        negative = f", negative={self.negative!r}" if self.negative else ""
        return f"Prompt({self.text!r} in {self.source.name!r}{guidance}{negative})"
