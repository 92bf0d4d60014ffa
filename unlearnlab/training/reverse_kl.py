"""Reverse KL in training: Algorithm D.1, and the dual-only E.3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import identity
from ..diffusion import sampling
from ..diffusion.composed import ComposedModel
from ..diffusion.quadrature import predict_all
from ..diffusion.schedule import whole
from ..problems import Problem, ReverseKL
from ..problems.reverse_kl import LARGEST_SUM
from .draws import Draws
from .objective import PRIMAL_DUAL, Lagrangian


@dataclass(frozen=True)
class Sampling(identity.Options):
    """How long the chains are that a student is sampled by.

    Attributes:
        sampling_steps: of the student's sampler.
    """

    sampling_steps: int = 20

    def __post_init__(self) -> None:
        whole("sampling_steps", self.sampling_steps, 2)


class ReverseKLObjective(Lagrangian):
    """Algorithm D.1: Σ½Δγ[‖ε̂_θ − ε̂_q‖² − Σλ_i‖ε̂_θ − ε̂_{q_i}‖²] + λᵀb, eqs. (28)–(30).

    The points are the student's own samples, noised forward and detached: the gradient goes through
    ε̂_θ alone, whose minimiser is the composed score. A round shares one set of samples.
    """

    Options = Sampling
    adapts = enforces = True

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Sample the students by DDIM."""
        super().begin(student, multipliers, draws)
        steps = sampling.chain(
            self.retain.schedule, "ddim", self.options.sampling_steps, spacing="log_snr"
        )
        for taken in sampling.unfold(student, self.noise(draws), steps, torch.Generator()):
            self.x = taken.x_s

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The Lagrangian at one random level for each sample."""
        deviation, separations = self.gaps(student, draws)
        yield (deviation - (multipliers[:, None] * separations).sum(-1)).mean(1)

    def gaps(self, student: Any, draws: Draws) -> tuple[Tensor, Tensor]:
        """(K, B) samples of KL(p‖q) and (K, B, m) of KL(p‖q_i) by Lemma 3."""
        t = self.levels.draw(draws, self.batch)
        x_t = self.retain.schedule.noised(self.x, t, self.noise(draws))
        own = student(x_t, t)
        others = predict_all([self.retain, *self.forget], x_t, t)
        deviation, *apart = (self.gap(own, other) for other in others)
        separations = torch.stack(apart, -1)
        self.tally.add(torch.cat([deviation[..., None], separations], -1))
        return deviation, separations

    def project(self, multipliers: Tensor) -> None:
        """λ ≥ 0 and Σλ ≤ 0.99."""
        super().project(multipliers)
        multipliers /= (multipliers.sum(1, keepdim=True) / LARGEST_SUM).clamp(min=1)


class DualOnlyObjective(ReverseKLObjective):
    """[K] E.3: dual ascent with the composed model as the primal minimiser; nothing is trained.

    The divergences are (29) under the composed model, which is no denoiser: they are not the
    divergences of its samples, and the multipliers inherit that.
    """

    primal_steps = stage = 1
    steps = 300

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        if len(problems) > 1 or not self.problem.composes:
            raise ValueError(
                "method='dual-only' takes one problem whose targets compose scores (ReverseKL); "
                f"got {len(problems)} of {type(self.problem).__name__}"
            )

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Compose at u = λ/(1 − Λ), and sample."""
        self.composed = compose(self.problem, multipliers[0].cpu().double().numpy())
        super().begin(self.composed, multipliers, draws)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """None: nothing is trained, and the divergences of the composed model are measured."""
        with torch.no_grad():
            self.gaps(self.composed.noise_prediction, draws)
        yield from ()


def compose(problem: Problem, multipliers: Any) -> ComposedModel:
    """The composed model at these multipliers."""
    guidance = problem.strength(multipliers)
    return ComposedModel(problem.retain, problem.forget, guidance)  # type: ignore[arg-type]


PRIMAL_DUAL[ReverseKL] = ReverseKLObjective
