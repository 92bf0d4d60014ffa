"""A solved problem: the unlearned model, its multipliers and its certificate."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .certificate import Certificate
from .errors import Array
from .problems import Problem

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of an unlearning problem.

    Attributes:
        problem: what was solved.
        model: the unlearned model, of the retained model's own kind.
        multipliers: (m,) λ*: by how many nats the objective rises per unit of each threshold.
        certificate: what the solution is worth.
        at_twice_floor: in contact, computes `objective_at_twice_floor` when it is asked for.
    """

    problem: Problem
    model: Any
    multipliers: Array
    certificate: Certificate
    at_twice_floor: Callable[[], float] | None = None

    @cached_property
    def objective_at_twice_floor(self) -> float | None:
        """The optimum with FU's floor twice as deep, nats, in contact; else None.

        How far it lies from `objective` says how much of the answer is the floor's doing.
        """
        return None if self.at_twice_floor is None else self.at_twice_floor()

    @property
    def objective(self) -> float:
        """Deviation from the retained model, nats."""
        return self.certificate.primal

    @property
    def constraints(self) -> Array:
        """(m,) constraint values of the model."""
        return self.certificate.constraints

    def to_dict(self) -> dict[str, Any]:
        """Everything but the densities, ready for JSON; numbers are exact."""
        certificate = asdict(self.certificate)
        for key in ("constraints", "thresholds"):
            certificate[key] = certificate[key].tolist()
        return {
            "format": FORMAT,
            "problem": type(self.problem).__name__,
            "options": {name: getattr(self.problem, name) for name in self.problem.options},
            "space": self.problem.retain.state()[0],
            "thresholds": self.problem.thresholds.tolist(),
            "multipliers": self.multipliers.tolist(),
            "objective": self.objective,
            "objective_at_twice_floor": self.objective_at_twice_floor,
            "constraints": self.constraints.tolist(),
            "certificate": certificate,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write problem, model and certificate to one .npz file, whole or not at all.

        `unlearnlab.load` reads it and certifies it again.
        """
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        models = {"retain": self.problem.retain, "model": self.model}
        models |= {f"forget{i}": model for i, model in enumerate(self.problem.forget)}
        arrays = {
            f"{name}.{key}": array
            for name, model in models.items()
            for key, array in model.state()[1].items()
        }
        arrays["header"] = np.array(json.dumps(self.to_dict()))
        temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def __repr__(self) -> str:
        multipliers = np.array2string(self.multipliers, precision=6)
        lines = [
            f"Solution of {type(self.problem).__name__}: {self.problem.objective_name} = "
            f"{self.objective:.6f} nats, multipliers {multipliers}",
            repr(self.certificate),
        ]
        if self.objective_at_twice_floor is not None:
            lines.append(
                f"  at twice the floor the objective is {self.objective_at_twice_floor:.6f}"
            )
        return "\n".join(lines)
