"""NegGrad: gradient ascent on the denoising error of what is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import identity
from ..training.denoising import DataObjective, require_clip
from ..training.draws import Draws
from ..training.finetune import finetune


@dataclass(frozen=True)
class Clipped(identity.Options):
    """How far a forgotten sample's error is raised, squared and per dimension."""

    forget_clip: float = 100.0

    def __post_init__(self) -> None:
        require_clip(self.forget_clip)


class NegGrad(DataObjective):
    """−Σ_iE_{q_i}[loss]: unbounded below but for `forget_clip`, and nothing holds the rest.

    The variant without a term that retains, as the authors of SISS compare with; theirs has no
    clip, which is `forget_clip=float("inf")`.
    """

    Options = Clipped
    denoises = False
    uses_retained = False

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of forgotten samples, with the opposite sign."""
        yield -self.forgotten(self.errors(student, draws)).sum(1)


def neggrad(problem: Any, student: Any, **options: Any) -> Any:
    """Gradient ascent on forgotten data alone; options as of `finetune`, with forget_clip=."""
    return finetune(problem, student, method=NegGrad, **options)
