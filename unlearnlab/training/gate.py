"""Distil the gate: a student learns the gated prediction along stored chains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import identity
from ..diffusion import path_ratios, sampling
from ..diffusion.gates import GatedModel
from ..diffusion.schedule import whole
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
    """What a student is to say at points of a chain: (K, N, *shape), (K, N), (K, N, *shape)."""

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
    primal_steps = 100
    steps = 1000

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Walk the chains of this round, and keep what they say."""
        super().begin(student, multipliers, draws)
        seeds = [int(g.initial_seed()) % (1 << 31) for g in draws.generators]
        gated = [GatedModel(self.problem, row.cpu().double().numpy()) for row in multipliers]
        if draws.key[0] == 0:
            parts = [self._gated_chain(one, seed) for one, seed in zip(gated, seeds, strict=True)]
        else:
            parts = self._own_chains(student, gated, draws)
        self.stored = Stored(*(torch.stack(part) for part in zip(*parts, strict=True)))

    def _gated_chain(self, gated: GatedModel, seed: int) -> Stored:
        """The points of a gated chain, and the predictions that moved it."""
        o = self.options
        walk = gated.walk(o.chains, steps=o.chain_steps, particles=False, seed=seed)
        return _joined([(one.x_t, one.step.t, one.prediction) for one in walk])

    def _own_chains(self, student: Any, gated: list[GatedModel], draws: Draws) -> list[Stored]:
        """The points of the students' chains, and what the gates say there."""
        n, k = self.options.chains, self.members
        shape = self.retain.shape
        ratios = [torch.zeros(n, len(self.problem.compared)).to(draws.like) for _ in gated]
        points: list[list[tuple[Tensor, int, Tensor]]] = [[] for _ in gated]
        steps = sampling.chain(
            self.retain.schedule, "ddpm", self.options.chain_steps, spacing="log_snr"
        )
        x = draws.normal(n, *shape)
        for step in steps:
            t = torch.full((k * n,), step.t, device=x.device)
            with torch.no_grad():
                x_s = step.mean(x, self._in_calls(student, x, t))
            x_s = x_s + step.spread * draws.normal(n, *shape)
            for i, (one, x_t, after) in enumerate(
                zip(gated, x.reshape(k, n, *shape), x_s.reshape(k, n, *shape), strict=True)
            ):
                _, (own, *others), goal = one.predictions(x_t, t[:n], ratios[i])
                points[i].append((x_t, step.t, goal))
                if step.spread and others:
                    ratios[i] = ratios[i] + path_ratios.gains(step, x_t, after, own, others)
            x = x_s
        return [_joined(part) for part in points]

    def _in_calls(self, student: Any, x: Tensor, t: Tensor) -> Tensor:
        rows = self.retain.rows if self.members == 1 else len(x)
        parts = [student(a, b) for a, b in zip(x.split(rows), t.split(rows), strict=True)]
        return torch.cat(parts)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The squared distance to the gated prediction at some of the stored points."""
        size = self.stored.t.shape[1]
        index = draws.pick(size, self.batch).reshape(self.members, -1).to(self.stored.t.device)
        member = torch.arange(self.members, device=index.device)[:, None]
        x_t, t, goal = (part[member, index].flatten(0, 1) for part in self.stored)
        yield self.gap(student(x_t, t), goal).mean(1)


def _joined(points: list[tuple[Tensor, int, Tensor]]) -> Stored:
    """Points of all steps in one row."""
    x_t, times, goal = zip(*points, strict=True)
    t = [torch.full((len(x),), time, device=x.device) for x, time in zip(x_t, times, strict=True)]
    return Stored(torch.cat(x_t), torch.cat(t), torch.cat(goal))
