"""NegGrad: gradient ascent on the denoising error of what is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ..problems import Problem
from ..training.draws import Draws
from ..training.finetune import finetune
from ..training.lagrangians import DataObjective


class NegGrad(DataObjective):
    """−Σ_iE_{q_i}[loss]: unbounded below but for `forget_clip`, and nothing holds the rest.

    Args:
        forget_clip: as of `ForwardKL`'s objective.
    """

    adapts = False
    denoises = False
    uses_retained = False

    def __init__(self, problems: Sequence[Problem], batch: int, *, forget_clip: float = 100.0):
        super().__init__(problems, batch, forget_clip=forget_clip)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of forgotten samples, with the opposite sign."""
        yield -self.forgotten(self.errors(student, draws)).sum(1)


def neggrad(problem: Any, student: Any, **options: Any) -> Any:
    """Gradient ascent on forgotten data alone; options as of `finetune`, with forget_clip=."""
    return finetune(problem, student, method=NegGrad, **options)
