"""Concept ablation: where something was asked for, draw an anchor in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import identity
from ..diffusion.checks import require_comparable
from ..diffusion.model import DiffusionModel
from ..diffusion.quadrature import predict
from ..problems import Problem
from ..training.draws import Draws
from ..training.finetune import finetune
from ..training.objective import Lagrangian


@dataclass(frozen=True, eq=False, kw_only=True)
class Anchor(identity.Options):
    """What is to be drawn.

    Attributes:
        anchor: the model to become: a superclass, the nearest concept. It is never trained.
        data: (n, *shape) samples of it; by default it draws them.
    """

    anchor: DiffusionModel
    data: Any = None


class Ablation(Lagrangian):
    """½∫E‖ε̂_θ − ε̂_anchor‖²dγ on noised samples of the anchor: KL(anchor‖p_θ), by Lemma 3.

    So it is distilling the anchor, at the prompt or label that the student draws for. The authors'
    loss is the squared error at uniform timesteps, here it is in nats; their weight on denoising
    samples of the anchor has the same minimiser, and is left out. Nothing is said of the retained
    model: what the student shares with it beyond the anchor is kept by chance.

    A round records KL(anchor‖p) as its objective, and as constraints ½∫‖ε̂_θ − ε̂_{q_i}‖²dγ there.

    Source: Kumari et al. (2023), Ablating concepts in text-to-image diffusion models,
    arXiv 2303.13516, the model-based variant.
    """

    Options = Anchor
    denoises = True

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        self.anchor = self.options.anchor
        require_comparable(["anchor", "retain"], [self.anchor, self.retain])
        self.data = self.options.data
        if self.data is None:
            self.data = self.anchor.stand_in(seed=101)
        self.retain.require_samples("data", self.data, drawn=self.options.data is None)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The squared distance to the anchor's prediction."""
        x = self.data[draws.pick(len(self.data), self.batch)].to(draws.like)
        t = self.levels.draw(draws, self.batch)
        x_t = self.retain.schedule.noised(x, t, self.noise(draws))
        own = student(x_t, t)
        deviation = self.gap(own, predict(self.anchor, x_t, t))
        apart = [self.gap(own, predict(other, x_t, t)) for other in self.forget]
        self.tally.add(torch.stack([deviation, *apart], -1))
        yield deviation.mean(1)


def ablation(problem: Any, student: Any, **options: Any) -> Any:
    """Concept ablation; options as of `finetune`, with anchor= and data=."""
    return finetune(problem, student, method=Ablation, **options)
