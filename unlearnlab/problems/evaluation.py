"""What a model is worth to a problem, and the table that an exponential family is solved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import Array
from ..estimate import stderr


class ExponentialTable(NamedTuple):
    """Atoms of an exponential family: (N,) log weights and (N, m) finite statistics."""

    log_weights: Array
    statistics: Array


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Objective and constraints of a model, in the units of the problem.

    Attributes:
        objective: deviation from the retained model, nats.
        constraints: (m,).
        objective_stderr, constraints_stderr: standard errors; zero on exact models.
        kind: of the objective, see `kl`: "path" where that of the samples cannot be computed, and
            paths bound it from above; `ReverseKL` then reads its constraints from below, where the
            q_i are denoisers.
    """

    objective: float
    constraints: Array
    objective_stderr: float = 0.0
    constraints_stderr: Array | float = 0.0
    kind: str = "point"

    @classmethod
    def of(cls, objective: Any, constraints: Sequence[Any], kind: str = "point") -> Evaluation:
        """Floats or estimates, as `kl` returns them."""
        return cls(
            float(objective),
            np.array([float(value) for value in constraints]),
            stderr(objective),
            np.array([stderr(value) for value in constraints]),
            kind,
        )

    def __repr__(self) -> str:
        errors = np.broadcast_to(self.constraints_stderr, self.constraints.shape)
        pairs = zip(self.constraints, errors, strict=True)
        constraints = ", ".join(f"{value:.4f} ± {error:.4f}" for value, error in pairs)
        along = "" if self.kind == "point" else " along paths"
        return (
            f"Evaluation(objective {self.objective:.4f} ± {self.objective_stderr:.4f}{along}, "
            f"constraints {constraints})"
        )
