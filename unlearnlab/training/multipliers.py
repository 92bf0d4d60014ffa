"""The multipliers of a training run, and the optimiser that moves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..diffusion.precision import widest
from ..errors import Array, finite_vector, real
from ..problems import Problem
from . import checkpoint
from .objective import Measured

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Multipliers:
    """λ (K, m) of K problems, moved in units of nats: the optimiser sees λ·scale.

    Args:
        problems: K of them.
        start: (K, m) λ ≥ 0.
        device: of the student.
        dual_lr: η of λ ← [λ + η·violation]₊; 0 keeps λ fixed.
        make: instead, any torch optimiser made from the parameters, with maximize=True.
        adapts: whether they move at all.

    Attributes:
        reads: whether a round ends with a reading of the students, which decides; see `Promise`.
    """

    reads = False

    def __init__(
        self,
        problems: Sequence[Problem],
        start: Array,
        device: Any,
        *,
        dual_lr: float,
        make: MakeOptimizer | None = None,
        adapts: bool = True,
    ):
        self.problems = list(problems)
        scale = np.stack([one.multiplier_scale for one in problems])
        # The dual step is taken in float32 where a device has no wider numbers.
        self.scale = torch.tensor(scale, device=device, dtype=widest(device))
        self.weights = nn.Parameter(torch.tensor(start).to(self.scale) * self.scale)
        self.optimizer = _dual(self.weights, dual_lr, make) if adapts else None
        self.lr = 0.0 if self.optimizer is None else self.optimizer.param_groups[0]["lr"]

    @classmethod
    def none(cls, members: int, device: Any) -> Multipliers:
        """Of objectives that have no problem."""
        empty = cls.__new__(cls)
        empty.problems, empty.optimizer, empty.lr = [], None, 0.0
        empty.scale = torch.ones(members, 0, device=device)
        empty.weights = nn.Parameter(torch.zeros(members, 0, device=device))
        return empty

    def kept(self, history: dict[str, list[Tensor]]) -> bool:
        """Whether the last reading ends the run."""
        return False

    def crossings(self, history: dict[str, list[Tensor]]) -> int:
        """How often readings crossed a threshold; see `Promise`."""
        return 0

    def lucky(self, measured: Measured, multipliers: Tensor) -> bool:
        """Whether a reading is to be taken again, on more draws; see `Promise`."""
        return False

    def values(self) -> Tensor:
        """(K, m) λ, in the problems' units."""
        return self.weights.detach() / self.scale

    def step(
        self,
        measured: Measured,
        rate: float,
        project: Callable[[Tensor], None],
        history: dict[str, list[Tensor]],
    ) -> None:
        """λ ← [λ + step of the optimiser]₊, eqs. (30), (34) and (37).

        Args:
            measured: (K, m) constraints of the students.
            rate: of the learning rate: as the student's, because what moves last settles last.
            project: back into the domain of λ, in place.
            history: what the rounds before measured.
        """
        if self.optimizer is None:
            return
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * rate
        rows = zip(self.problems, measured.constraints.numpy(), strict=True)
        missed = np.stack([one.shortfalls(values) for one, values in rows])
        self.weights.grad = torch.tensor(missed).to(self.scale) / self.scale
        self.optimizer.step()
        self.put(self.values().clone(), project)

    def put(self, values: Tensor, project: Callable[[Tensor], None]) -> None:
        """These λ (K, m) from now on, moved into their domain."""
        with torch.no_grad():
            project(values)
            self.weights.copy_(values * self.scale)


def sizes(problem: Problem) -> Array:
    """(m,) sizes of the thresholds; of those at 0, the unit of their multipliers."""
    b = np.abs(problem.thresholds)
    return np.where(b > 0, b, problem.multiplier_scale)


def starting(multipliers: ArrayLike | None, members: int, m: int) -> Array:
    """(K, m) multipliers to begin with."""
    given = np.asarray(0.0 if multipliers is None else checkpoint.to_cpu(multipliers), np.float64)
    if given.ndim == 2 and given.shape != (members, m):
        raise ValueError(f"multipliers must have shape {(members, m)}; got {given.shape}")
    rows = given if given.ndim == 2 else [given] * members
    table = np.stack([finite_vector("multipliers", row, m, per="constraint") for row in rows])
    if (table < 0).any():
        raise ValueError(f"multipliers must not be negative; got {table.tolist()}")
    return table


def _dual(
    weights: nn.Parameter, dual_lr: float, make: MakeOptimizer | None
) -> torch.optim.Optimizer | None:
    if make is None:
        if not 0 <= real("dual_lr", dual_lr) < float("inf"):
            raise ValueError(f"dual_lr must not be negative or infinite; got {dual_lr!r}")
        return torch.optim.SGD([weights], lr=dual_lr, maximize=True) if dual_lr else None
    optimizer = make([weights])
    if not all(group.get("maximize") for group in optimizer.param_groups):
        raise ValueError(
            f"dual_optimizer must maximise: make {type(optimizer).__name__} with maximize=True"
        )
    return optimizer
