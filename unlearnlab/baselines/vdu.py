"""VDU: raise the error on forgotten data, and hold the parameters near where they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..training.denoising import DataObjective
from ..training.draws import Draws
from ..training.finetune import finetune
from .neggrad import Clipped


@dataclass(frozen=True)
class Weights(Clipped):
    """How hard to push and to hold.

    Attributes:
        plasticity: c.
        spread: σ, for all parameters.
        forget_clip: a forgotten sample whose squared error exceeds it per dimension is pushed no
            further.
    """

    plasticity: float = 1.0
    spread: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("plasticity", "spread"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {value!r}")


class VDU(DataObjective):
    """−c·Σ_iE_{q_i}[loss] + Σ_k(θ_k − θ*_k)²/(2σ_k²): forgotten data alone.

    The first term takes away likelihood (plasticity). The second is the KL divergence between
    Gaussians of one variance about θ and the pretrained θ* (stability).

    Source: Panda et al. (2025), Variational diffusion unlearning, arXiv 2510.04058.
    """

    Options = Weights
    denoises = False
    uses_retained = False

    def attach(self, student: Any) -> None:
        """Remember the pretrained parameters."""
        super().attach(student)
        self.pretrained = [p.detach().clone() for p in self.parameters]

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Plasticity and stability."""
        forgotten = self.forgotten(self.errors(student, draws)).sum(1)
        pairs = zip(self.parameters, self.pretrained, strict=True)
        moved = torch.stack(
            [(p - old).square().reshape(self.members, -1).sum(1) for p, old in pairs]
        )
        spread, plasticity = self.options.spread, self.options.plasticity
        yield moved.sum(0) / (2 * spread**2) - plasticity * forgotten


def vdu(problem: Any, student: Any, **options: Any) -> Any:
    """VDU; options as of `finetune`, with plasticity=, spread= and forget_clip=."""
    return finetune(problem, student, method=VDU, **options)
