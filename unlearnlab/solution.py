"""A solved problem: the unlearned model, its multipliers and its certificate."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from .certificate import Certificate
from .errors import Array
from .files import whole_file
from .identity import content
from .problems import Evaluation, Problem

FORMAT = 3


@dataclass(frozen=True, eq=False)
class PoolEvidence:
    """What the solution of a problem on a pool of samples is worth.

    Attributes:
        problem: the problem on the pool, where every sum is finite.
        target: the pool's weights under the optimum.
        interval: (m, 2) bootstrap 95 % interval of the multipliers.
        effective_sample_size: of the target's weights, as a share of the pool.
        ratio_stderr: root mean square Monte-Carlo error of a log-ratio under the target, nats, the
            worst of m; 0 when they are exact. Noise of variance v in r biases log E[e^{ur}] by
            about u²v/2.
    """

    problem: Problem
    target: Any
    interval: Array
    effective_sample_size: float
    ratio_stderr: float


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of an unlearning problem.

    Attributes:
        problem: what was solved.
        model: the unlearned model, of the retained model's own kind.
        multipliers: (m,) λ*: by how many nats the objective rises per unit of each threshold.
        certificate: what the solution is worth.
        at_twice_floor: in contact, computes `objective_at_twice_floor` when it is asked for.
        evidence: of a problem solved on a pool of samples; None where the model is exact.
        steps: of Newton's method that led to the multipliers, on all levels; seconds: of all.
    """

    problem: Problem
    model: Any
    multipliers: Array
    certificate: Certificate
    at_twice_floor: Callable[[], float] | None = None
    evidence: PoolEvidence | None = None
    steps: int = 0
    seconds: float = 0.0

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

    def evaluate(self, *, seed: int = 1) -> Evaluation:
        """Objective and constraints of the model on samples that the solver has not seen.

        A weighted pool is drawn anew, with the same multipliers. Standard errors are zero on exact
        models.
        """
        if self.evidence is None:
            return self.problem.evaluate(self.model)
        if self.model is not self.evidence.target:
            return self.problem.evaluate(self.model, seed=seed)
        size = len(self.model.log_masses)
        retain, others = self.problem.retain.tabulated(self.problem.compared, pool=size, seed=seed)
        generator = np.random.default_rng(seed)

        def at(retain: Any, others: Any) -> Evaluation:
            fresh = self.problem.on(retain, others)
            return fresh.evaluate(fresh.target(self.multipliers))

        found = at(retain, others)
        again = [at(*retain.take(generator.integers(size, size=size))) for _ in range(24)]
        return Evaluation(
            found.objective,
            found.constraints,
            float(np.std([one.objective for one in again])),
            np.std([one.constraints for one in again], axis=0),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the densities, ready for JSON; numbers are exact."""
        certificate = asdict(self.certificate)
        for key in ("constraints", "thresholds"):
            certificate[key] = certificate[key].tolist()
        return {
            "format": FORMAT,
            **self.problem.identity(),
            "forgotten": self.problem.forgotten,
            "space": self.problem.retain.state()[0],
            "multipliers": self.multipliers.tolist(),
            "objective": self.objective,
            "objective_at_twice_floor": self.objective_at_twice_floor,
            "constraints": self.constraints.tolist(),
            "certificate": certificate,
        } | self._pool_dict()

    def _pool_dict(self) -> dict[str, Any]:
        if self.evidence is None:
            return {}
        return {
            "pool": {
                "samples": len(self.evidence.target.log_masses),
                "interval": [
                    [float(end) if np.isfinite(end) else None for end in pair]
                    for pair in self.evidence.interval
                ],
                "effective_sample_size": self.evidence.effective_sample_size,
                "ratio_stderr": self.evidence.ratio_stderr,
            }
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write problem, model and certificate to one .npz file, whole or not at all.

        `unlearnlab.load` reads it and certifies it again.
        """
        if self.evidence is not None:
            raise TypeError(
                "a solution on a pool of samples holds diffusion models, which have no file of "
                "their own: keep to_dict() and the seed, and solve again"
            )
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        models = {"retain": self.problem.retain, "model": self.model}
        models |= {f"compared{i}": model for i, model in enumerate(self.problem.compared)}
        arrays = {
            f"{name}.{key}": array
            for name, model in models.items()
            for key, array in model.state()[1].items()
        }
        for i, one in enumerate(self.problem.statistics):
            if one.function is not None:  # what a file can keep of it
                arrays[f"function{i}"] = one.values(self.problem.atoms)
        header = self.to_dict()
        arrays["header"] = np.array(json.dumps(header | {"sha256": digest(arrays, header)}))
        with whole_file(target) as file:
            np.savez_compressed(file, **arrays)
        return target

    def __repr__(self) -> str:
        multipliers = np.array2string(self.multipliers, precision=6)
        lines = [
            f"Solution of {type(self.problem).__name__}: {self.problem.objective_name} = "
            f"{self.objective:.6f} nats, multipliers {multipliers}",
            repr(self.certificate),
        ]
        if self.evidence is not None:
            spans = ", ".join(f"{low:.4f} to {high:.4f}" for low, high in self.evidence.interval)
            lines.append(f"  multipliers     {spans} (95 %, bootstrap)")
            lines.append(f"  effective size  {self.evidence.effective_sample_size:.0%} of the pool")
        if self.objective_at_twice_floor is not None:
            lines.append(
                f"  at twice the floor the objective is {self.objective_at_twice_floor:.6f}"
            )
        return "\n".join(lines)


def digest(arrays: dict[str, Array], header: dict[str, Any]) -> str:
    """SHA-256 of all that a file of a solution says."""
    found = sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name} {content(arrays[name])} ".encode())
    return found.hexdigest()
