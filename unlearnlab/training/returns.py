"""Single images: how often a model gives them back, and the target that leaves them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

from .. import identity
from ..diffusion.precision import widest
from ..diffusion.quadrature import predict
from ..diffusion.sampling import reconstruct
from ..diffusion.schedule import Schedule, whole
from ..errors import Array, finite_vector, numbers
from ..estimate import Estimate
from ..problems import Moments, Problem
from ..statistics import Function
from .denoising import Data
from .draws import Draws
from .objective import Lagrangian

KNOWN, NUMBERS = 4096, 1 << 26  # images of the data, at most, whose noised law is computed
LEAST = 0.1  # nats: where a multiplier begins at least
BEYOND = 40.0  # nats past the odds of every noised copy: there a posterior is 0 or 1


@dataclass(frozen=True)
class Return(identity.Options):
    """When an image counts as given back.

    Attributes:
        noise_to: timestep that it is noised to; by default two fifths of the way to noise.
        steps: of DDIM over the whole schedule, of which those below that timestep lead back; fewer
            where the schedule has fewer.
        within: root mean square, over its numbers, up to which what comes back is the image.
        draws: chains from each image, for one reading.
    """

    noise_to: int | None = None
    within: float = 0.25
    draws: int = 256
    steps: int = 25

    def __post_init__(self) -> None:
        if self.noise_to is not None:
            whole("noise_to", self.noise_to, 1)
        whole("draws", self.draws, 2)
        whole("steps", self.steps, 1)
        if not 0 < self.within < float("inf"):
            raise ValueError(f"within must be positive; got {self.within!r}")

    def level(self, schedule: Schedule) -> int:
        """The timestep that an image is noised to.

        Raises:
            ValueError: noise_to lies beyond the schedule.
        """
        last = len(schedule) - 1
        level = max(1, 2 * len(schedule) // 5) if self.noise_to is None else self.noise_to
        if level > last:
            raise ValueError(
                f"noise_to must lie between 1 and {last}, the model's timesteps; got {level}"
            )
        return level


@dataclass(frozen=True, eq=False)
class Near:
    """Whether a sample lies within a root mean square of an image."""

    image: Tensor
    within: float

    def __call__(self, x: Tensor) -> Tensor:
        """(n,) 1 or 0."""
        return (distances(x, self.image[None])[:, 0] < self.within).to(x.dtype)


def distances(x: Tensor, images: Tensor) -> Tensor:
    """(n, k) root mean square differences, over the numbers of a sample."""
    own, others = (one.to(x.device, widest(x.device)).flatten(1) for one in (x, images))
    apart = torch.cdist(own, others, compute_mode="donot_use_mm_for_euclid_dist")
    return apart / own.shape[1] ** 0.5


class Returns(Moments):
    """min KL(p‖q) such that of an image x_i, noised, the model gives back at most a share b_i.

    A single image has no divergence in nats that a student could be steered by: KL(δ_x‖p) depends
    on the largest log-SNR, and jumps where λ reaches the image's mass. The share of noised copies
    that a chain leads back to it is what a memorised image shows, lies between 0 and 1, and falls
    smoothly. Targets are those of the event |x − x_i| < within, p ∝ q·exp(−Σλ_i 1[x near x_i]):
    λ_i is how many nats an image's weight is lowered by.

    Args:
        retain: q, an image model.
        images: x_i, (*shape) each.
        thresholds: b, shares between 0 and 1. relative: instead, multiples of q's own shares.
        noise_to, within, draws, steps: see `Return`.

    Raises:
        ValueError: a threshold outside (0, 1); images of another shape; no images.
    """

    Options = Return
    options: Return
    constraint_name = "share that comes back"

    def __init__(
        self,
        retain: Any,
        images: Sequence[Tensor],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        **options: Any,
    ):
        if not len(images):
            raise ValueError("images is empty: name at least one image to forget")
        if (thresholds is None) == (relative is None):
            raise ValueError("give either thresholds= or relative=, not both or neither")
        how = Return(**options)
        how = replace(how, noise_to=how.level(retain.schedule))
        for i, x in enumerate(images):
            retain.require_samples(f"images[{i}]", x[None])
        self.images = torch.stack([x.to(retain.device, retain.dtype) for x in images])
        if relative is None:
            b = finite_vector("thresholds", thresholds, len(images), per="image")
        else:
            own = [float(share) for share in shares(retain, self.images, how, seed=0)]
            b = finite_vector("relative", relative, len(images), per="image") * own
        if not ((b > 0) & (b < 1)).all():
            raise ValueError(
                f"thresholds must lie between 0 and 1, shares that may come back; got {b.tolist()}"
            )
        near = [Function(Near(x, how.within)) for x in self.images]
        super().__init__(retain, at_most=list(zip(near, b.tolist(), strict=True)), options=how)

    @property
    def names(self) -> list[str]:
        """`constraint_name` for every image."""
        return [self.constraint_name] * self.m

    @property
    def multiplier_scale(self) -> Array:
        """1: a multiplier is in nats."""
        return np.ones(self.m)

    def strength(self, multipliers: Array) -> Array:
        """e^λ: the odds of an image are divided by it, and steps of its logarithm are nats."""
        return np.exp(multipliers)

    def multipliers(self, strength: Array) -> Array:
        """λ where odds are divided by so much."""
        return np.log(np.maximum(strength, 1.0))

    def measured(self, model: Any, *, seed: int = 0, samples: int | None = None) -> list[Estimate]:
        """The shares that come back, of `samples` noised copies of each image."""
        return shares(model, self.images, self.options, seed=seed, draws=samples)

    def tabulate(self, atoms: Any) -> Any:
        """Refused: a table does not know what comes back from noise.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "Returns is read along chains and has no exact solution on a table: use finetune, or "
            "state Moments with at_most= on the samples themselves"
        )


def shares(
    model: Any, images: Tensor, how: Return, *, seed: int, draws: int | None = None
) -> list[Estimate]:
    """The share of noised copies of each image that the model gives back."""
    n, found = draws or how.draws, []
    t, steps = how.level(model.schedule), model.schedule.up_to(how.steps)
    for i, x in enumerate(images):
        back = reconstruct(model, x, t, n=n, steps=steps, seed=seed * 1000 + i)
        share = float(Near(x, how.within)(back).mean())
        # Never 0: of none among n, one may have been missed.
        found.append(Estimate(share, max(share * (1 - share), 1 / n) ** 0.5 / n**0.5))
    return found


class LeaveOut(Lagrangian):
    """½∫E‖ε̂_θ − (ε̂_q + ε̂_{D,λ} − ε̂_D)‖²dγ, D the data and D,λ the data with images weighed down.

    In D each image to forget weighs as much as q shows it; see `weighed`. The noised law of
    finitely many images is a mixture of Gaussians, so both denoisers are exact. Their difference
    is what leaving the images out changes: nothing where the others explain x_t, and everything
    near what is left out. That is the gate of q − Σλ_iδ_i without its pole at λ = mass. The
    targets are deterministic: no denoising noise is fitted, and no error is raised.

    Half of the points are noised copies of the forgotten images, half noised data. Of large data
    a part stands for all.
    """

    Options = Data
    adapts = enforces = promises = True
    reads_forget = False
    steps = 1500
    stage = 75

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        if not isinstance(self.problem, Returns):
            raise TypeError(
                f"LeaveOut needs a `Returns` problem, of single images; got "
                f"{type(self.problem).__name__}"
            )
        data = self.options.data
        if data is None:
            data = self.retain.stand_in(seed=101)
        self.retain.require_samples("data", data, drawn=self.options.data is None)
        self.images = self.problem.images
        most = min(KNOWN, max(2, NUMBERS // self.retain.dim))
        few = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most]
        known = data[few.sort().values].to(self.images)
        near = distances(known, self.images) < self.problem.options.within
        absent = (~near.any(0)).nonzero()[:, 0]
        self.known = torch.cat([known, self.images[absent]])
        own = distances(self.images[absent], self.images) < self.problem.options.within
        self.near = torch.cat([near, own]).float()
        if self.near.any(1).all():
            raise ValueError(
                f"data ({len(data)} samples) holds nothing but what is to be forgotten: nothing "
                "is left to retain"
            )
        shares_now = self.problem.baseline()
        self.base = self.weighed(shares_now)
        self.start = np.stack([first_guess(shares_now, one.thresholds) for one in problems])

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The squared distance to the target, at noised images and noised data."""
        x = self.known[draws.pick(len(self.known), self.batch)].to(draws.like)
        x = self.split(x).clone()
        half = self.batch // 2
        again = torch.arange(half, device=x.device) % len(self.images)
        x[:, :half] = self.images[again].to(x)
        t = self.levels.draw(draws, self.batch)
        x_t = self.retain.schedule.noised(x.flatten(0, 1), t, self.noise(draws))
        yield self.gap(student(x_t, t), self.goal(x_t, t, multipliers)).mean(1)

    def weighed(self, shares_now: Array) -> Tensor:
        """(m,) log weights of the images in D, such that it gives them back as often as q does.

        A folder holds an image once that the model saw a hundred times, or the reverse: what the
        model shows is what has to go. Of noised copies, D's mean posterior of the image is a share.
        """
        how: Any = self.problem.options
        found = torch.zeros(len(self.images), dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        for i, x in enumerate(self.images):
            noise = torch.randn((how.draws, *x.shape), generator=generator).to(x)
            t = torch.full((how.draws,), how.noise_to, device=x.device)
            scores = self.scores(self.retain.schedule.noised(x.expand_as(noise), t, noise), t)
            near = self.near[:, i].bool()
            log_odds = scores[:, near].logsumexp(1) - scores[:, ~near].logsumexp(1)
            odds, share = numbers(log_odds), float(shares_now[i].clip(1e-6, 1 - 1e-6))
            # By the images themselves: those of many numbers are thousands of nats apart.
            bracket = -odds.max() - BEYOND, -odds.min() + BEYOND
            found[i] = brentq(lambda a, o=odds, b=share: float(expit(o + a).mean()) - b, *bracket)
        return found

    def scores(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(n, N) log N(x_t; αx_j, σ²I) up to what is the same for all j."""
        alpha, sigma = self.retain.schedule.at(t, x_t.flatten(1))
        points = self.known.flatten(1).to(x_t)
        return -(torch.cdist(x_t.flatten(1) / alpha, points) * alpha / sigma).square() / 2

    def goal(self, x_t: Tensor, t: Tensor, multipliers: Tensor) -> Tensor:
        """ε̂_q − (α/σ)(x̂_{D,λ} − x̂_D) at x_t (K·B, *shape)."""
        alpha, sigma = self.retain.schedule.at(t, x_t.flatten(1))
        near, base = self.near.to(multipliers), self.base.to(multipliers)
        scores = self.split(self.scores(x_t, t)) + (near @ base).to(x_t)
        lowered = (near @ multipliers.T).T[:, None].to(x_t)
        moved = ((scores - lowered).softmax(2) - scores.softmax(2)) @ self.known.flatten(1).to(x_t)
        shift = (alpha / sigma) * moved.flatten(0, 1)
        return predict(self.retain, x_t, t) - shift.reshape(x_t.shape)


def first_guess(shares_now: Array, thresholds: Array) -> Array:
    """(m,) λ that brings shares down to thresholds where one posterior decides.

    A share that is the posterior of an image, at one point, has odds that λ divides by e^λ.
    """
    share = shares_now.clip(1e-6, 1 - 1e-6)
    odds = np.log(share / (1 - share)) - np.log(thresholds / (1 - thresholds))
    return np.maximum(odds, LEAST)
