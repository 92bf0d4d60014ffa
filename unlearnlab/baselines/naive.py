"""Naive fine-tuning: go on training on what is to be retained, and hope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..training.denoising import DataObjective
from ..training.draws import Draws
from ..training.finetune import finetune


class Naive(DataObjective):
    """E_q[loss], the Lagrangian of `ForwardKL` at λ = 0. Data are those to keep."""

    keeps_apart = True

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of retained samples."""
        yield self.errors(student, draws)[:, 0].mean(1)


def naive(problem: Any, student: Any, **options: Any) -> Any:
    """Denoising on retained data alone; options as of `finetune`, with data=."""
    return finetune(problem, student, method=Naive, **options)
