"""Distil the gate: a student learns the gated prediction along stored chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import identity
from ..diffusion.gates import GatedModel
from ..diffusion.schedule import whole
from ..errors import Array
from ..problems import Problem
from .draws import Draws
from .objective import Lagrangian


@dataclass(frozen=True)
class Options(identity.Options):
    """How much a round stores.

    Attributes:
        chains: walked at its start.
        chain_steps: of each, in equal steps of log-SNR.
    """

    chains: int = 256
    chain_steps: int = 60

    def __post_init__(self) -> None:
        whole("chains", self.chains, 2)
        whole("chain_steps", self.chain_steps, 4)


class Stored(NamedTuple):
    """What students are to say at points of a chain: (K, N, *shape), (K, N), (K, N, *shape)."""

    x_t: Tensor
    t: Tensor
    goal: Tensor


class Gate(Lagrangian):
    """½∫E‖ε̂_θ − (ε̂_q + ΣG_i(ε̂_i − ε̂_q))‖²dγ along chains, G_i the gates of the problem's target.

    The targets are deterministic given a chain: a regression on them does not pay for the noise of
    denoising, and averages that of the ratios away. The first round walks the gated chain itself,
    later ones the student's own, with the ratios along it: where the student goes is where it has
    to be right. Multipliers move by readings of the student; see `Promise`.
    """

    Options = Options
    adapts = enforces = promises = True
    reads_forget = False
    steps = 1000

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        if any(one.function is not None for one in self.problem.statistics):
            raise ValueError(
                "a user's function has no gate, and its multiplier would teach nothing: use "
                "method='log-variance'"
            )

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Walk the chains of this round, and keep what they say."""
        super().begin(student, multipliers, draws)
        seeds = [int(g.initial_seed()) % (1 << 31) for g in draws.generators]
        first = draws.key[0] == 0
        movers = [student] if self.members == 1 else student.unstack()
        rows = multipliers.cpu().double().numpy()
        parts = [
            self._walk(self.target(row, seed), seed, None if first else mover)
            for row, seed, mover in zip(rows, seeds, movers, strict=True)
        ]
        self.stored = Stored(*(torch.stack(part) for part in zip(*parts, strict=True)))

    def target(self, multipliers: Array, seed: int) -> GatedModel:
        """What a round stores the predictions of; a subclass may have another gate."""
        return GatedModel(self.problem, multipliers)

    def _walk(self, gated: GatedModel, seed: int, by: Any) -> Stored:
        """The points of one chain, all steps in one row, and what the gates say there."""
        o = self.options
        walk = gated.walk(o.chains, steps=o.chain_steps, particles=False, seed=seed, by=by)
        points = [(one.x_t, torch.tensor(one.step.t), one.prediction) for one in walk]
        x_t, t, goal = zip(*points, strict=True)
        times = torch.stack(t).to(self.like.device).repeat_interleave(o.chains)
        return Stored(torch.cat(x_t), times, torch.cat(goal))

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The squared distance to the gated prediction at some of the stored points."""
        size = self.stored.t.shape[1]
        index = draws.pick(size, self.batch).reshape(self.members, -1).to(self.stored.t.device)
        member = torch.arange(self.members, device=index.device)[:, None]
        x_t, t, goal = (part[member, index].flatten(0, 1) for part in self.stored)
        yield self.gap(student(x_t, t), goal).mean(1)
