"""What a training step minimises, and what a round of them measures.

Every objective works on K students side by side, with rows (K·B, ...) and losses (K,); K = 1 unless
the student is stacked. Expectations over log-SNR are ½∫(·)dγ = scale·E(·), so losses are in nats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import identity
from ..diffusion.model import DiffusionModel
from ..diffusion.precision import widest
from ..diffusion.schedule import whole
from ..errors import Array
from ..problems import Problem
from .draws import Draws, Levels


class Measured(NamedTuple):
    """What a round saw of the students: means and standard errors over its samples."""

    objective: Tensor  # (K,)
    constraints: Tensor  # (K, m)
    stderr: Tensor  # (K, m)


class Tally:
    """Sums of samples of the objective and the constraints, (K, B, 1 + m) at a time."""

    def __init__(self) -> None:
        self.sums: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Count samples in."""
        v = values.detach().to(widest(values.device))
        count = torch.full_like(v[:, 0], v.shape[1])
        self.sums.append(torch.stack([v.sum(1), v.square().sum(1), count]))

    def total(self) -> Tensor:
        """(3, K, 1 + m) sums, sums of squares, counts."""
        return torch.stack(self.sums).sum(0)

    @staticmethod
    def measured(total: Tensor) -> Measured:
        """Means and standard errors."""
        mean = total[0] / total[2]
        error = ((total[1] / total[2] - mean**2).clamp(min=0) / total[2]).sqrt()
        mean, error = mean.cpu().double(), error.cpu().double()
        return Measured(mean[:, 0], mean[:, 1:], error[:, 1:])


class Objective(ABC):
    """A training objective of K students: what a step minimises, and what a round measures.

    It reads a student and never writes to it; parameters move by the loop's optimiser alone.

    Args:
        like: a model with the students' shape, schedule, dtype and device.
        members: K.
        batch: samples a step, for each member.

    Attributes:
        Options: what the class takes besides, as a frozen dataclass.
        enforces: whether it asks for the thresholds of its problems, by its multipliers or a pool.
        adapts: whether dual steps move the multipliers.
        denoises: whether its minimiser is the denoiser of some distribution.
        start: (K, m) multipliers, where the objective knows them.
        extras: what is trained beside the student, such as a discriminator, in the same steps; its
            parameters are stacked as the student's are.
        steerable: whether its multipliers are a strength that readings of the student can move.
        promises: whether it trains until thresholds are met, where nothing else is asked.
        terms: of a loss; those of several are (terms, K), and `combine` makes one gradient of them.
        stage: primal steps between two readings of a student, where thresholds are to be met.
        primal_steps: for each dual step; steps: of a run; dual_lr: of multipliers in nats.
        weight_decay: of the optimiser, where none is given.
    """

    Options: type[identity.Options] = identity.Options
    enforces = False
    adapts = False
    steerable = False
    promises = False
    terms = 1
    stage = 100
    denoises = False
    start: Array | None = None
    extras: nn.Module | None = None
    primal_steps = 5
    steps = 1500
    dual_lr = 0.02
    weight_decay = 1e-4

    def __init__(self, like: DiffusionModel, members: int, batch: int):
        whole("batch", batch, 2)
        self.like, self.members, self.batch = like, members, batch
        self.levels = Levels(like.schedule)
        self.tally = Tally()

    def attach(self, student: Any) -> None:
        """See the student once, before training: its parameters are what gradients are taken in."""
        self.parameters = [p for p in student.parameters() if p.requires_grad]

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Prepare a round of primal steps; starts its tally."""
        self.tally = Tally()

    @abstractmethod
    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """(K,) losses of one primal step; each is differentiated before the next is computed.

        What is computed for a loss anyway may be tallied on the way.
        """

    def measure(self, student: Any, multipliers: Tensor, draws: Draws) -> None:  # noqa: B027
        """Tally what has to be computed for it; called without gradients, not in every round."""

    def combine(self, gradients: list[list[Tensor]]) -> list[Tensor]:
        """The gradient of a step from those of its terms, [term][parameter]."""
        raise NotImplementedError(f"{type(self).__name__} has {self.terms} terms and no combine")

    def hook(self, parameters: Sequence[nn.Parameter]) -> None:  # noqa: B027
        """Change gradients before a step of the optimiser, such as to mask them."""

    def project(self, multipliers: Tensor) -> None:
        """Move multipliers (K, m) back into their domain, in place."""
        multipliers.clamp_(min=0)

    def noise(self, draws: Draws) -> Tensor:
        """(K·B, *shape) standard normal."""
        return draws.normal(self.batch, *self.like.shape)

    def split(self, rows: Tensor) -> Tensor:
        """(K·B, ...) as (K, B, ...)."""
        return rows.reshape(self.members, -1, *rows.shape[1:])

    def gap(self, one: Tensor, other: Tensor) -> Tensor:
        """(K, B) scale·‖one − other‖²: a sample of the integral over log-SNR."""
        return self.levels.scale * self.split((one - other).flatten(1).square().sum(1))


class Lagrangian(Objective):
    """An objective made of K problems that differ in their thresholds alone.

    Args:
        problems: K of them; batch: samples a step.
        options: an instance of the class's `Options`; or its fields by name.

    Attributes:
        reads_forget: whether it cannot do without models to forget.
    """

    reads_forget = True

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        self.options: Any = self.Options(**given) if options is None else options
        self.problem = problems[0]
        self.retain, self.forget = self.problem.retain, self.problem.forget
        if self.reads_forget and not self.forget:
            raise ValueError(
                f"{type(self).__name__} needs models to forget; {type(self.problem).__name__} has "
                "none: use a Likelihood with at_most= and at_least="
            )
        super().__init__(self.retain, len(problems), batch)

    def at_strength(self, strength: float) -> Array:
        """(K, m) multipliers whose strengths are all this one."""
        fixed = self.problem.multipliers(np.full(self.problem.m, strength))
        return np.tile(fixed, (self.members, 1))

    def strengths(self, multipliers: Tensor) -> Tensor:
        """(K, m) what multipliers weigh, such as u of reverse KL or ESD's η."""
        rows = multipliers.cpu().double().numpy()
        table = np.array([self.problem.strength(row) for row in rows], dtype=np.float64)
        return torch.tensor(table).to(self.like.device, self.like.dtype)


PRIMAL_DUAL: dict[type[Problem], type[Lagrangian]] = {}  # a formulation's own, or its parent's


def primal_dual(kind: type[Problem]) -> Callable[..., Any]:
    """The primal–dual objective of a formulation.

    Raises:
        TypeError: neither it nor what it derives from has one.
    """
    for one in kind.__mro__:
        if one in PRIMAL_DUAL:
            return PRIMAL_DUAL[one]
    raise TypeError(
        f"method='primal-dual' has no objective for {kind.__name__}: put a `Lagrangian` into "
        "unlearnlab.training.objective.PRIMAL_DUAL, derive the problem from Moments, or use "
        "method='tilt'"
    )


class Part:
    """Some of many samples, to be drawn by their masses.

    Args:
        places: (n,) theirs among all.
        table: (K, n) masses of K targets.
    """

    def __init__(self, places: Tensor, table: Tensor):
        self.places, self.table = places, table
        cumulative = torch.cumsum(table, 1)
        self.cumulative = cumulative / cumulative[:, -1:]

    def draw(self, draws: Draws, n: int) -> Tensor:
        """(K, n) indices into `places`."""
        drawn = torch.searchsorted(self.cumulative, draws.uniform(n))
        return drawn.clamp(max=len(self.places) - 1)

    def masses(self, table: Tensor) -> Tensor:
        """(K, n) other masses (K, N) of all samples, on these alone and adding up to 1."""
        inside = table[:, self.places]
        return inside / inside.sum(1, keepdim=True)


class Denoising(Objective):
    """½∫E‖ε − ε̂_θ‖²dγ over weighted samples: its minimiser is the score of their noised law.

    A tenth of the samples is held out, and every round measures the error on it: a network can
    memorise a finite pool.

    Args:
        samples: (N, *shape).
        weights: (K, N) masses of K targets; None for equal ones.
    """

    denoises = True

    def __init__(
        self,
        like: DiffusionModel,
        members: int,
        batch: int,
        samples: Tensor,
        weights: Any = None,
    ):
        super().__init__(like, members, batch)
        held_out = torch.arange(len(samples)) % 10 == 9
        table = torch.full((members, len(samples)), 1.0, dtype=torch.float64)
        if weights is not None:
            table = torch.as_tensor(weights, dtype=torch.float64, device="cpu")
        self.samples = samples
        self.trained, self.held_out = (
            Part(part.nonzero()[:, 0], table[:, part]) for part in (~held_out, held_out)
        )

    def measure(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """The error on the samples held out."""
        self.tally.add(self.errors(student, draws, self.held_out)[..., None])

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors on samples drawn by their weights."""
        yield self.errors(student, draws, self.trained).mean(1)

    def errors(self, student: Any, draws: Draws, part: Part) -> Tensor:
        """(K, B) scale·‖ε − ε̂_θ‖² on one part of the samples."""
        index = part.places[part.draw(draws, self.batch).flatten()].to(self.samples.device)
        x_t, t, noise = self.noised(index, draws)
        return self.gap(noise, self.predict(student, x_t, t, index, draws))

    def noised(self, index: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Samples at `index` noised to random levels: x_t, t and the noise."""
        t = self.levels.draw(draws, self.batch)
        noise = self.noise(draws)
        x = self.samples[index.to(self.samples.device)].to(noise)
        return self.like.schedule.noised(x, t, noise), t, noise

    def predict(self, student: Any, x_t: Tensor, t: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """ε̂_θ of the samples at `index`; a hook for students that know more of them."""
        return student(x_t, t)
