"""SalUn: only the weights that what is to be forgotten depends on most may move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.checks import require_comparable
from ..diffusion.model import DiffusionModel
from ..diffusion.quadrature import predict
from ..problems import Problem
from ..training.denoising import Data, DataObjective
from ..training.draws import Draws
from ..training.finetune import finetune

BATCHES = 8  # that the saliency of a weight is averaged over


@dataclass(frozen=True, eq=False, kw_only=True)
class Salience(Data):
    """What is drawn in the place of what is forgotten, and how many weights move.

    Attributes:
        anchor: the model that the student becomes on forgotten samples: another class, another
            prompt. It is never trained.
        share: of the weights, those with the largest gradients; the authors take a half.
        retained_weight: α of the denoising error on retained samples.
    """

    anchor: DiffusionModel
    share: float = 0.5
    retained_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie above 0 and be at most 1; got {self.share!r}")
        if not 0 <= self.retained_weight < float("inf"):
            raise ValueError(
                f"retained_weight must be finite and not negative; got {self.retained_weight!r}"
            )


class SalUn(DataObjective):
    """Σ_i½∫E_{q_i}‖ε̂_θ − ε̂_anchor‖²dγ + αE_q[loss], in the weights of the mask alone.

    The mask is |∇_θ Σ_iE_{q_i}[loss]| ≥ its quantile 1 − share, at the weights before training.
    Data are those to keep.

    Source: Fan et al. (2024), SalUn, arXiv 2310.12508.
    """

    Options = Salience
    keeps_apart = True
    weight_decay = 0.0  # by which masked weights would drift

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        self.anchor = self.options.anchor
        require_comparable(["anchor", "retain"], [self.anchor, self.retain])

    def attach(self, student: Any) -> None:
        """Find the mask."""
        super().attach(student)
        like = torch.empty(0, dtype=self.like.dtype, device=self.like.device)
        sizes = [torch.zeros_like(p) for p in self.parameters]
        for i in range(BATCHES):
            draws = Draws([0] * self.members, i, like=like)
            loss = self.forgotten(self.errors(student, draws)).sum()
            slopes = torch.autograd.grad(
                loss, self.parameters, allow_unused=True, materialize_grads=True
            )  # a text encoder's last layer may be read by nobody
            for size, slope in zip(sizes, slopes, strict=True):
                size += slope
        every = torch.cat([size.abs().flatten() for size in sizes])
        chosen = max(1, int(self.options.share * len(every)))
        least = every.kthvalue(len(every) - chosen + 1).values
        self.masks = [size.abs() >= least for size in sizes]

    def hook(self, parameters: Any) -> None:
        """Only masked weights have a gradient."""
        for p, mask in zip(parameters, self.masks, strict=True):
            if p.grad is not None:
                p.grad *= mask

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Towards the anchor on forgotten samples, denoising on retained ones."""
        seen = self.seen(student, draws)
        gaps = [
            self.gap(seen.own[:, 1 + i].flatten(0, 1), predict(self.anchor, x_t, seen.t))
            for i, x_t in enumerate(seen.noisy[1:])
        ]
        kept = self.options.retained_weight * seen.errors[:, 0].mean(1)
        yield kept + torch.stack(gaps).mean(2).sum(0)


def salun(problem: Any, student: Any, **options: Any) -> Any:
    """SalUn; options as of `finetune`, with anchor=, share=, retained_weight= and data=."""
    return finetune(problem, student, method=SalUn, **options)
