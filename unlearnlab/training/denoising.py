"""Forward KL in training: Algorithm D.2, and what objectives made of denoising errors share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import identity
from ..diffusion.quadrature import predict
from ..problems import ForwardKL, Problem
from .draws import Draws
from .objective import PRIMAL_DUAL, Lagrangian
from .retained import apart_from


@dataclass(frozen=True, eq=False)
class Data(identity.Options):
    """What stands for q, and how far an error is raised.

    Attributes:
        data: (n, *shape) samples to stand for q, such as training data; by default draws of q. Or
            what is indexed like such a tensor, and read when it is needed.
        forget_clip: a forgotten sample whose squared error exceeds it per dimension is pushed no
            further: objectives that raise an error are unbounded without it.
    """

    data: Any = None
    forget_clip: float = 100.0

    def __post_init__(self) -> None:
        require_clip(self.forget_clip)


def require_clip(forget_clip: float) -> None:
    """Refuse what is not positive."""
    if not forget_clip > 0:
        raise ValueError(f"forget_clip must be positive; got {forget_clip!r}")


class Seen(NamedTuple):
    """Noised samples of q and the q_i, and what the students said of them."""

    noisy: list[Tensor]  # (K·B, *shape) each
    t: Tensor  # (K·B,)
    noise: Tensor  # (K·B, *shape)
    own: Tensor  # (K, 1 + m, B, *shape)
    errors: Tensor  # (K, 1 + m, B), nats


class DataObjective(Lagrangian):
    """Objectives made of denoising errors, ½∫‖ε − ε̂_θ‖²dγ, on samples of q and of each q_i.

    Attributes:
        uses_retained: whether it reads samples of q; else of the q_i alone.
        keeps_apart: whether its data are what is to be kept: those to forget are left out, where
            they lie among them. Else the data stand for q, which knows them all.
    """

    Options: type[identity.Options] = Data
    denoises = True
    uses_retained = True
    keeps_apart = False

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        data = self.options.data if self.uses_retained else None
        if data is None:
            self.data = [self.retain.stand_in(seed=101)] if self.uses_retained else []
        else:
            self.retain.require_samples("data", data)
            self.data = [data]
        self.data += [q.stand_in(seed=102 + i) for i, q in enumerate(self.forget)]
        for i, samples in enumerate(self.data[-len(self.forget) :]):
            drawn = self.forget[i].has_density  # else given by someone
            self.retain.require_samples(f"forget[{i}]", samples, drawn=drawn)
        if data is not None:  # refused where nothing is left, whoever reads it
            kept = apart_from(data, self.data[1:])
            self.data[0] = kept if self.keeps_apart else data
        self.models = [self.retain, *self.forget][-len(self.data) :]
        self.limit = self.levels.scale * self.options.forget_clip * self.retain.dim

    def seen(self, student: Any, draws: Draws) -> Seen:
        """Retained and forgotten samples at the same levels and noise; these alone where q's are
        not used."""
        n, t = self.batch, self.levels.draw(draws, self.batch)
        noise = self.noise(draws)
        noisy = [self.retain.schedule.noised(self.pick(x, draws), t, noise) for x in self.data]
        # Rows of one member lie together: (K, 1 + m, B, ...).
        rows = torch.stack([self.split(x_t) for x_t in noisy], 1).flatten(0, 2)
        times = torch.stack([self.split(t)] * len(noisy), 1).flatten()
        own = self.split(student(rows, times)).unflatten(1, (len(noisy), n))
        target = self.split(noise)
        errors = self.levels.scale * (own - target[:, None]).flatten(3).square().sum(3)
        return Seen(noisy, t, noise, own, errors)

    def errors(self, student: Any, draws: Draws) -> Tensor:
        """(K, 1 + m, B) errors on retained and forgotten samples; (K, m, B) on these alone."""
        return self.seen(student, draws).errors

    def measure(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """What the students add to the errors of q and of the q_i."""
        self.tally.add(self.excess(self.seen(student, draws)))

    def excess(self, seen: Seen) -> Tensor:
        """(K, B, 1 + m) samples of KL(q‖p) and KL(q_i‖p): errors less those of q's and q_i's own.

        Where samples of q are not used, of the deviation from q at what is forgotten.
        """
        gained = [
            seen.errors[:, i].detach() - self.gap(predict(model, x_t, seen.t), seen.noise)
            for i, (model, x_t) in enumerate(zip(self.models, seen.noisy, strict=True))
        ]
        if not self.uses_retained:
            gaps = [
                self.gap(seen.own[:, i].detach().flatten(0, 1), predict(self.retain, x_t, seen.t))
                for i, x_t in enumerate(seen.noisy)
            ]
            gained.insert(0, torch.stack(gaps).mean(0))
        return torch.stack(gained, -1)

    def pick(self, samples: Any, draws: Draws) -> Tensor:
        """(K·B, *shape) of some samples, on the device of the models."""
        return samples[draws.pick(len(samples), self.batch)].to(draws.like)

    def forgotten(self, errors: Tensor) -> Tensor:
        """(K, m) mean errors on forgotten samples, clipped."""
        return errors[:, -len(self.forget) :].clamp(max=self.limit).mean(2)


class ForwardKLObjective(DataObjective):
    """Algorithm D.2: E_q[loss] − Σλ_iE_{q_i}[loss] + λᵀ(b + C), eqs. (31)–(34).

    C_i is the error of q_i's own prediction at the same noise, 0 for a point. Two passes and no
    importance sampling. The loss is unbounded below where Σλ_iq_{i,t} > q_t: hence the clip.
    """

    adapts = enforces = True

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of retained samples, less λ times those of forgotten ones."""
        seen = self.seen(student, draws)
        self.tally.add(self.excess(seen))  # at the same noise as the loss
        yield seen.errors[:, 0].mean(1) - (multipliers * self.forgotten(seen.errors)).sum(1)

    def measure(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Done on the way."""


PRIMAL_DUAL[ForwardKL] = ForwardKLObjective
