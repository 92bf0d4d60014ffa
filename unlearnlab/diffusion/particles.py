"""Draws of a target by weighing draws of something near it: particles, and rejection."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..problems import Problem, require_problem
from .schedule import whole

RESAMPLE = 0.5  # effective share of the particles, below which they are drawn anew
MOST = 1 << 18  # draws of q, of which rejection keeps some
IN_CONTACT = 0.01  # share of draws in contact, from which it is said


class Drawn(NamedTuple):
    """Draws of a target.

    Attributes:
        x: (n, *shape), equally weighted.
        effective: smallest effective share of the particles on the way (1 without particles); of
            rejection the share that is kept.
        cost: draws made for one that is worth an independent draw: 1/effective, at least as many
            for particles, which may have been drawn anew more than once.
    """

    x: Tensor
    effective: float
    cost: float


class Cloud:
    """The weights of particles along a gated chain.

    Attributes:
        log_weights: (n,) log of n times their shares.
        log_psi: (n,) log ψ where they were last seen.
        lowest: (n,) the least log ψ on the way.
        least: smallest effective share so far.
    """

    def __init__(self, zeros: Tensor):
        self.log_weights, self.log_psi, self.lowest = zeros, zeros, zeros
        self.least = 1.0

    def weigh(self, log_factor: Tensor) -> None:
        """Multiply the weights, and keep their mean at 1."""
        weights = self.log_weights + log_factor
        self.log_weights = weights - weights.logsumexp(0) + math.log(len(weights))

    def seen(self, log_psi: Tensor, *, weigh: bool) -> None:
        """ψ at the next points; particles are weighed by its change since the last ones."""
        if weigh:
            self.weigh(log_psi - self.log_psi)
            self.least = min(self.least, self.effective)
        self.log_psi, self.lowest = log_psi, torch.minimum(log_psi, self.lowest)

    @property
    def shares(self) -> Tensor:
        """(n,) weights that sum to 1."""
        return self.log_weights.softmax(0)

    @property
    def effective(self) -> float:
        """Effective number of particles, as a share of all."""
        return 1 / (len(self.log_weights) * float(self.shares.square().sum()))

    def resampled(self, generator: torch.Generator) -> Tensor:
        """(n,) which particles go on, systematically by their weights, in random order."""
        n = len(self.log_weights)
        shift = torch.rand(1, generator=generator, dtype=torch.float64)
        at = ((shift + torch.arange(n)) / n).to(self.log_weights)
        index = torch.searchsorted(self.shares.cumsum(0), at).clamp(max=n - 1)
        index = index[torch.randperm(n, generator=generator).to(index.device)]
        self.log_weights = torch.zeros_like(self.log_weights)
        self.log_psi, self.lowest = self.log_psi[index], self.lowest[index]
        return index


def say_contact(problem: Problem, log_w: Tensor) -> None:
    """Warn of draws with log w (n,) where next to nothing of q is left."""
    share = float((log_w < problem.log_contact).double().mean())
    if share > IN_CONTACT:
        warnings.warn(
            f"{share:.0%} of the draws passed where less than {math.exp(problem.log_contact):.0%} "
            "of q is left: these multipliers are past the contact floor, and the weight was "
            "clamped there; lower them",
            stacklevel=4,
        )


def rejection(
    problem: Problem, multipliers: ArrayLike, n: int, *, seed: int = 0, most: int = MOST
) -> Drawn:
    """n draws of a target p ∝ q·w: draws of q, each kept with probability w/max w.

    Exact for likelihood, and for forward KL below its contact floor, whose w is at most 1, at
    E_q[w]⁻¹ draws each. With a user's
    functions max w is the largest seen: where a later draw has more, fewer of the first are kept.

    Args:
        problem: on diffusion models. multipliers: (m,).
        most: draws of q, at most.

    Warns:
        UserWarning: forward KL past its contact floor.

    Raises:
        ValueError: reverse KL, whose w has no bound: use particles (`Problem.gated`); or fewer than
            n of `most` draws were kept.

    Example:
        >>> import unlearnlab as ul
        >>> q, q1 = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
        >>> problem = ul.Likelihood(q, [q1], [0.5], statistic="ratio")
        >>> drawn = ul.rejection(problem, [1.0], 1000)
        >>> drawn.x.shape, round(drawn.cost, 1)
        (torch.Size([1000, 1]), 1.9)
    """
    require_problem(problem)
    retain: Any = problem.retain
    whole("n", n, 1)
    whole("most", most, n)
    if problem.log_most == math.inf:
        raise ValueError(
            f"{type(problem).__name__} weighs draws of q without a bound, so that none can be kept "
            "with a probability: use particles, problem.gated(multipliers).sample(n)"
        )
    generator = torch.Generator().manual_seed(seed)
    how: dict[str, Any] = {"densities": any(one.needs_density for one in problem.statistics)}
    log_most, x = problem.log_most, []
    log_w = log_u = torch.zeros(0, dtype=torch.float64)
    while len(log_w) < most:
        at = len(log_w)
        size = min(retain.effort.draws, most - at)
        x.append(retain.sample(size, seed=seed + 1 + at))
        table = retain.log_ratios(problem.compared, atoms=x[-1], seed=at, **how)
        log_w = torch.cat([log_w, torch.from_numpy(problem.log_weights(multipliers, table))])
        log_u = torch.cat([log_u, torch.rand(size, generator=generator).double().log()])
        log_most = max(log_most, float(log_w.max()))
        kept = (log_u < log_w - log_most).nonzero()[:, 0]
        if len(kept) >= n:
            say_contact(problem, log_w)
            share = len(kept) / len(log_w)
            return Drawn(torch.cat(x)[kept[:n].to(x[0].device)], share, 1 / share)
    raise ValueError(
        f"{len(kept)} of {len(log_w)} draws of q were kept, and n={n} were asked for: use "
        "particles, or allow for more draws with most="
    )
