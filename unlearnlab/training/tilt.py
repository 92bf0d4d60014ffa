"""Tilt, then regress: denoising on a pool weighted by the exact optimum on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import identity
from ..diffusion.quadrature import predict
from ..dual import solve, warn_if_few
from ..errors import Array
from ..problems import Problem
from .draws import Draws
from .objective import Denoising, Part

KNOWN = 2048  # samples of a pool, at most, that make E_q[p/q|x_t]


@dataclass(frozen=True)
class Options(identity.Options):
    """How many samples a pool has."""

    pool: int = 16384


class Tilted(Denoising):
    """½∫(E_p‖ε − ε̂_θ‖² − E_q c[‖ε − ε̂_θ‖² − ‖ε̂_q − ε̂_θ‖²])dγ, p the optimum on a pool of q.

    Where ε̂_q is E_q[ε|x_t], the bracket adds up to a constant for any c(x_t): the minimiser is the
    denoiser of p, without a composition gap or a policy gradient. Here c = E_q[p/q|x_t] on the
    pool. Its minimiser is then ε̂_q + E_p[ε|x_t] − E_q[ε|x_t], both means on the pool, whatever ε̂_q:
    the student learns what sets p apart from q there, and stays where nothing does. So it does at
    the clean end, where x_t is near one sample alone and its draws of ε would be noise. (Of more
    than 2048 samples, so many make c: the rest is then left to an exact ε̂_q.)

    Plain denoising on the pool (c = 0) would also teach what a sampler makes of q, such as noise
    that it leaves out, and so would c = 1 in part. What a small pool cannot tell apart stays, too:
    it has to be large enough to have several samples near x_t where p and q part.

    Points are drawn from ½(p + q). A tenth of the pool is held out to measure E_p‖ε − ε̂_θ‖².
    """

    Options = Options
    enforces = steerable = True

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        self.options: Any = self.Options(**given) if options is None else options
        retain = problems[0].retain
        pool = self.options.pool
        self.pool, others = retain.tabulated(problems[0].compared, pool=pool, seed=0)
        self.problems = [one.on(self.pool, others) for one in problems]
        solutions = [solve(one) for one in self.problems]
        for found in solutions:
            warn_if_few(found.model)
        weights = np.stack([found.model.probabilities for found in solutions])
        super().__init__(retain, len(problems), batch, self.pool.x, weights)
        self.denoises = retain.denoiser
        self.start = np.stack([found.multipliers for found in solutions])
        # Not every so-manieth: the pool is quasi-random, and a stride would miss parts of it.
        places = self.trained.places
        few = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:KNOWN]
        self.few = few.sort().values
        self.known = self.pool.x[places[self.few]].flatten(1)
        self.aimed_at = self.start
        self.aim(weights)

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """The targets on the pool at these multipliers, where readings have moved them."""
        super().begin(student, multipliers, draws)
        rows = multipliers.cpu().double().numpy()
        if not np.allclose(rows, self.aimed_at, rtol=1e-5):
            targets = [one.target(row) for one, row in zip(self.problems, rows, strict=True)]
            self.aim(np.stack([one.probabilities for one in targets]))
            self.aimed_at = rows

    def aim(self, weights: Array) -> None:
        """Train towards these masses (K, N) on the pool, from now on."""
        retained = np.tile(self.pool.probabilities, (len(self.problems), 1))
        p, q = (self.trained.masses(torch.from_numpy(table)) for table in (weights, retained))
        self.mixed = Part(self.trained.places, (p + q) / 2)
        shares = torch.stack([p, q]) / self.mixed.table
        self.weights = torch.where(self.mixed.table > 0, shares, 0.0)  # (2, K, n), at most 2
        held_out = self.held_out.places
        self.held_out = Part(held_out, torch.from_numpy(weights)[:, held_out])
        few = self.few
        self.log_q, self.ratio = q[0, few].log(), torch.where(q > 0, p / q, 0.0)[:, few]

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The error of p less c times the bracket, at samples drawn from ½(p + q)."""
        drawn = self.mixed.draw(draws, self.batch)
        of_p, of_q = self.weights.gather(2, drawn.expand(2, -1, -1)).to(draws.like)
        x_t, t, noise = self.noised(self.mixed.places[drawn.flatten()], draws)
        own, kept = student(x_t, t), predict(self.like, x_t, t)
        share = self.expected_ratio(x_t, t) * of_q
        yield ((of_p - share) * self.gap(noise, own) + share * self.gap(kept, own)).mean(1)

    def expected_ratio(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(K, B) E_q[p/q|x_t] over the known samples: a softmax is their posterior given x_t."""
        alpha, sigma = self.like.schedule.at(t, x_t.flatten(1))
        apart = torch.cdist(x_t.flatten(1) / alpha, self.known) * alpha / sigma  # (K·B, h)
        posterior = (self.log_q.to(apart) - apart.square() / 2).softmax(1)
        return (self.split(posterior) * self.ratio.to(apart)[:, None]).sum(2)
