"""VDU: raise the error on forgotten data, and hold the parameters near where they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..problems import Problem
from ..training.denoising import DataObjective
from ..training.draws import Draws
from ..training.finetune import finetune
from .neggrad import Clipped


@dataclass(frozen=True)
class Weights(Clipped):
    """How hard to push and to hold.

    Attributes:
        plasticity: c, for all q_i, which until="met" moves.
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
    """−Σ_ic_iE_{q_i}[loss] + Σ_k(θ_k − θ*_k)²/(2σ_k²): forgotten data alone.

    The first term takes away likelihood (plasticity). The second is the KL divergence between
    Gaussians of one variance about θ and the pretrained θ* (stability). Where thresholds are to be
    met, readings move the c_i: cσ² decides how far θ goes. The multipliers of a run are those whose
    strengths are c.

    Source: Panda et al. (2025), Variational diffusion unlearning, arXiv 2510.04058.
    """

    Options = Weights
    denoises = False
    steerable = True
    uses_retained = False

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        self.start = self.at_strength(self.options.plasticity)

    def attach(self, student: Any) -> None:
        """Remember the pretrained parameters."""
        super().attach(student)
        self.pretrained = [p.detach().clone() for p in self.parameters]

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Plasticity and stability."""
        forgotten = self.forgotten(self.errors(student, draws))
        pairs = zip(self.parameters, self.pretrained, strict=True)
        moved = torch.stack(
            [(p - old).square().reshape(self.members, -1).sum(1) for p, old in pairs]
        )
        pushed = (self.strengths(multipliers) * forgotten).sum(1)
        yield moved.sum(0) / (2 * self.options.spread**2) - pushed


def vdu(problem: Any, student: Any, **options: Any) -> Any:
    """VDU; options as of `finetune`, with plasticity=, spread= and forget_clip=."""
    return finetune(problem, student, method=VDU, **options)
