"""VDU: raise the error on forgotten data, and hold the parameters near where they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..problems import Problem
from ..training.draws import Draws
from ..training.finetune import finetune
from ..training.lagrangians import DataObjective


class VDU(DataObjective):
    """−c·Σ_iE_{q_i}[loss] + Σ_k(θ_k − θ*_k)²/(2σ_k²): forgotten data alone.

    The first term takes away likelihood (plasticity). The second is the KL divergence between
    Gaussians of one variance about θ and the pretrained θ* (stability).

    Args:
        plasticity: c.
        spread: σ, for all parameters.
        forget_clip: a forgotten sample whose squared error exceeds it per dimension is pushed no
            further.

    Source: Panda et al. (2025), Variational diffusion unlearning, arXiv 2510.04058.
    """

    adapts = False
    denoises = False
    uses_retained = False

    def __init__(
        self,
        problems: Sequence[Problem],
        batch: int,
        *,
        plasticity: float = 1.0,
        spread: float = 0.1,
        forget_clip: float = 100.0,
    ):
        super().__init__(problems, batch, forget_clip=forget_clip)
        for name, value in (("plasticity", plasticity), ("spread", spread)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {value!r}")
        self.plasticity, self.spread = plasticity, spread

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
        yield moved.sum(0) / (2 * self.spread**2) - self.plasticity * forgotten


def vdu(problem: Any, student: Any, **options: Any) -> Any:
    """VDU; options as of `finetune`, with plasticity=, spread= and forget_clip=."""
    return finetune(problem, student, method=VDU, **options)
