"""NegGrad: gradient ascent on the denoising error of what is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..diffusion.draws import Draws
from ..diffusion.finetune import finetune
from ..diffusion.lagrangians import DataObjective


class NegGrad(DataObjective):
    """−Σ_iE_{q_i}[loss]: unbounded below but for `forget_clip`, and nothing holds the rest."""

    adapts = False
    denoises = False
    uses_retained = False

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of forgotten samples, with the opposite sign."""
        yield -self.forgotten(self.errors(student, draws)).sum(1)


def neggrad(problem: Any, student: Any, **options: Any) -> Any:
    """Gradient ascent on forgotten data alone; options as of `finetune`, with forget_clip=."""
    return finetune(problem, student, method=NegGrad, **options)
