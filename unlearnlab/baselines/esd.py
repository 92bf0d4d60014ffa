"""ESD: erase a concept by regressing on a score that is guided away from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion import sampling
from ..diffusion.checks import require_comparable
from ..diffusion.model import DiffusionModel
from ..diffusion.quadrature import predict, predict_all
from ..problems import Problem
from ..training.draws import Draws
from ..training.finetune import finetune
from ..training.objective import Objective
from ..training.reverse_kl import ReverseKLObjective, Sampling


@dataclass(frozen=True, eq=False)
class Guidance(Sampling):
    """How far the score is guided away.

    Attributes:
        guidance: η, which until="met" moves.
        base: the model guided away from; by default the retained one.
        start_guidance: w, to train as the authors do: on chains of the frozen model, guided towards
            a concept by ε̂_q + w(ε̂_{q_i} − ε̂_q) and stopped on the way; theirs is 3. By default on
            the student's own samples, noised.
        sampling_steps: of the sampler.
    """

    guidance: float = 1.0
    base: DiffusionModel | None = None
    start_guidance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        w = self.start_guidance
        if w is not None and not 0 <= w < float("inf"):
            raise ValueError(f"start_guidance must be finite and not negative; got {w!r}")
        if not 0 < self.guidance < float("inf"):
            raise ValueError(f"guidance must be positive and finite; got {self.guidance!r}")


class ESD(ReverseKLObjective):
    """½∫‖ε̂_θ − (ε̂_from − ηΣ_i(ε̂_{q_i} − ε̂_q))‖²dγ on the student's own samples, noised.

    q is the unconditional model and q_i the concepts. With `base` = q this is `ReverseKL` at fixed
    u = η, that is λ = η/(1 + mη): its gradient is that of Algorithm D.1 divided by 1 − Λ. With
    `base` = q_1, the authors' default, it is u = η − 1. The multipliers of a run are those whose
    strength is η.

    With `start_guidance` the points lie on chains of the frozen model, guided towards one concept
    for each row, at levels even in log-SNR; the authors' are even in timesteps, and their loss has
    the same weight at all of them.

    Source: Gandikota et al. (2023), Erasing concepts from diffusion models, arXiv 2303.07345.
    """

    Options = Guidance
    adapts = enforces = False
    steerable = True

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        self.base = self.retain if self.options.base is None else self.options.base
        require_comparable(["base", "retain"], [self.base, self.retain])
        self.start = self.at_strength(self.options.guidance)

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Samples of the student, or partial chains of the frozen model."""
        if self.options.start_guidance is None:
            super().begin(student, multipliers, draws)
            return
        Objective.begin(self, student, multipliers, draws)
        self.points = self.stopped(draws)

    def stopped(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """(K·B, *shape) x_t and (K·B,) t, of guided chains that end at a random step each."""
        steps = sampling.chain(
            self.retain.schedule, "ddim", self.options.sampling_steps, spacing="log_snr"
        )
        x, end = self.noise(draws), draws.uniform(self.batch).flatten() * len(steps)
        concept = torch.arange(len(x), device=x.device) % len(self.forget)
        found, t = torch.empty_like(x), torch.empty(len(x), dtype=torch.long, device=x.device)
        for k, step in enumerate(steps):
            here = (end.long() == k).to(x.device)
            found[here], t[here] = x[here], step.t
            times = torch.full((len(x),), step.t, device=x.device)
            null, *others = predict_all([self.retain, *self.forget], x, times)
            towards = torch.stack(others)[concept, torch.arange(len(x), device=x.device)]
            x = step.mean(x, null + self.options.start_guidance * (towards - null))
        return found, t

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Squared distance to the guided prediction."""
        if self.options.start_guidance is None:
            t = self.levels.draw(draws, self.batch)
            x_t = self.like.schedule.noised(self.x, t, self.noise(draws))
        else:
            x_t, t = self.points
        null = predict(self.retain, x_t, t)
        start = null if self.base is self.retain else predict(self.base, x_t, t)
        concepts = [predict(other, x_t, t) for other in self.forget]
        own = student(x_t, t)
        measured = [self.gap(own, other) for other in (null, *concepts)]
        self.tally.add(torch.stack(measured, -1))
        pull = [concept - null for concept in concepts]
        goal = self.split(start) - sum(
            eta.reshape(-1, *[1] * start.ndim) * self.split(one)
            for eta, one in zip(self.strengths(multipliers).T, pull, strict=True)
        )
        goal = goal.flatten(0, 1)
        yield self.gap(own, goal).mean(1)

    def project(self, multipliers: Tensor) -> None:
        """λ ≥ 0: a strength has no other bound, whatever the problem."""
        multipliers.clamp_(min=0)


def esd(problem: Any, student: Any, **options: Any) -> Any:
    """ESD; options as of `finetune`, with guidance=, base=, start_guidance= and sampling_steps=."""
    return finetune(problem, student, method=ESD, **options)
