"""EraseDiff: keep the retained error low while noise prediction on forgotten data goes astray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..problems import Problem
from ..training.denoising import Data, DataObjective
from ..training.draws import Draws
from ..training.finetune import finetune


@dataclass(frozen=True, eq=False)
class Rate(Data):
    """How fast the error against noise must fall at least, η."""

    rate: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rate > 0:
            raise ValueError(f"rate must be positive; got {self.rate!r}")


class EraseDiff(DataObjective):
    """min E_q[loss] such that θ minimises f(θ) = E_{q_i}½∫‖u − ε̂_θ‖²dγ, u uniform on [0, 1).

    The first-order bilevel step ∇E_q[loss] + λ∇f with λ = max(0, η − ⟨∇E_q[loss], ∇f⟩/‖∇f‖²): f
    falls at the rate η at least, whatever the retained error says. The iterate of the inner problem
    enters through a constant alone, so that none is computed.

    Source: Wu et al. (2024), EraseDiff, arXiv 2401.05779.
    """

    Options = Rate
    denoises = False
    terms = 2
    keeps_apart = True

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        if self.members > 1:
            raise ValueError(f"EraseDiff trains one student; got a stack of {self.members}")

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Retained error, and the error against uniform noise on forgotten samples."""
        kept = self.errors(student, draws)[:, 0].mean(1)
        yield torch.stack([kept, self.astray(student, draws)])

    def combine(self, gradients: list[list[Tensor]]) -> list[Tensor]:
        """∇E_q[loss] + λ∇f, λ of the whole step."""
        first, second = gradients
        norm = sum(float(g.square().sum()) for g in second)
        product = sum(float((g * h).sum()) for g, h in zip(first, second, strict=True))
        weight = max(0.0, self.options.rate - product / (norm + 1e-12))
        return [g + weight * h for g, h in zip(first, second, strict=True)]

    def astray(self, student: Any, draws: Draws) -> Tensor:
        """(1,) f(θ)."""
        x = self.pick(torch.cat(self.data[1:]), draws)
        t = self.levels.draw(draws, self.batch)
        x_t = self.like.schedule.noised(x, t, self.noise(draws))
        # Φ of standard normal numbers is uniform, and every member has its own.
        goal = torch.special.ndtr(self.noise(draws))
        return self.gap(goal, student(x_t, t)).mean(1)


def erasediff(problem: Any, student: Any, **options: Any) -> Any:
    """EraseDiff; options as of `finetune`, with data= and rate=."""
    return finetune(problem, student, method=EraseDiff, **options)
