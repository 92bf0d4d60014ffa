"""How a network is read: what it predicts, and what samplers do to it on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import real
from . import predictions
from .schedule import Schedule

if TYPE_CHECKING:
    from .sampling import Step


@dataclass(frozen=True)
class Limit:
    """What a sampler does to the clean images x̂ that it predicts on the way.

    Attributes:
        reach: they are clipped to ±reach.
        share, most: instead of it dynamic thresholding: a share of an image's values, or 1 if that
            is more and `most` if less, becomes the reach, and the image is divided by it.

    Raises:
        TypeError, ValueError: one that is no positive number, by diffusers' name of it.
    """

    reach: float = 1.0
    share: float | None = None
    most: float = 1.0

    def __post_init__(self) -> None:
        given = {"clip_sample_range": self.reach, "sample_max_value": self.most}
        given |= {} if self.share is None else {"dynamic_thresholding_ratio": self.share}
        for name, value in given.items():
            if not 0 < real(name, value) < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {value!r}")

    @classmethod
    def of(cls, config: Any) -> Limit | None:
        """What a scheduler's config asks for; None where it is nothing."""
        if config.get("thresholding", False):
            return cls(1.0, config["dynamic_thresholding_ratio"], config["sample_max_value"])
        if config.get("clip_sample", False):
            return cls(config.get("clip_sample_range", 1.0))
        return None

    def __call__(self, clean: Tensor) -> Tensor:
        """x̂ (n, *shape), limited."""
        if self.share is None:
            return clean.clamp(-self.reach, self.reach)
        rows = clean.flatten(1).float()
        reach = rows.abs().quantile(self.share, 1).clamp(1.0, max(1.0, self.most))[:, None]
        return (torch.clamp(rows, -reach, reach) / reach).reshape(clean.shape).to(clean)


@dataclass(frozen=True)
class Reading:
    """How a network and its folder are to be read.

    Attributes:
        prediction: what the network predicts: "epsilon" (noise), "v_prediction", "sample", or
            "velocity", which no scheduler of diffusers says, but the flow's is of.
        limit: of the samplers.
        scheduler: the folder's own class and config, to be saved as they are.
    """

    prediction: str = "epsilon"
    limit: Limit | None = None
    scheduler: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*predictions.OF_DIFFUSERS, "velocity"]
        if self.prediction not in known:
            raise ValueError(
                f"prediction must be one of {', '.join(known)}; got {self.prediction!r}: no "
                "noise can be read off it"
            )

    def shown(self, x_t: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """What the network is called with: points and timesteps."""
        x, times = predictions.shown(self.kind, x_t, t, schedule)
        return x, predictions.CLOCK * times if self.kind == "velocity" else times

    @property
    def kind(self) -> str:
        """The prediction as `ul.wrap` calls it."""
        return predictions.OF_DIFFUSERS.get(self.prediction, self.prediction)

    def noise(self, told: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """ε̂ from what the network told."""
        return predictions.noise(self.kind, told, x_t, t, schedule)


def limited(
    schedule: Schedule,
    step: Step,
    x_t: Tensor,
    noise: Tensor,
    limit: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Any]:
    """ε̂ and what is added to the mean of x_s, where x̂ is limited, as diffusers' samplers do it.

    DDPM's mean is a mean of x_t and x̂: both follow x̂. DDIM keeps ε̂ and moves x̂ alone,
    x_s = α_sx̂ + σ_sε̂.
    """
    alpha, sigma = schedule.at(torch.full((len(x_t),), step.t, device=x_t.device), x_t)
    clean = (x_t - sigma * noise) / alpha
    goal = limit(clean)
    if step.spread:
        return (x_t - alpha * goal) / sigma, 0.0
    return noise, step.keep * alpha * (goal - clean)
