"""The parametrisation gap of Remark 2, taken apart: why a student is not the exact optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..dual import solve
from ..errors import Array, multiplier_vector
from ..estimate import Estimate
from ..problems import Evaluation, Problem
from .run import Run


@dataclass(frozen=True)
class ParametrisationGap:
    """What lies between the optimum and a student, in nats of the Lagrangian at λ*.

    For any p, L(p, λ*) − D* ≥ 0 is a divergence from the exact target: (1 − Λ)KL(p‖p*) for RU,
    KL(p‖p*) for LU and (1 − Λ)KL(p*‖p) for FU. The four parts add up to the student's.

    Attributes:
        duality: P* − D* on the grid: 0 by strong duality.
        estimation: of the target at the multipliers that were found, instead of λ*.
        composition: of the composed model at those multipliers, instead of that target. 0 for
            methods that do not compose.
        network: of the student, instead of what it was trained towards.
    """

    duality: float
    estimation: float
    composition: Estimate
    network: Estimate

    @property
    def total(self) -> float:
        """L(student, λ*) − D*, nats."""
        return self.duality + self.estimation + float(self.composition) + float(self.network)

    def __repr__(self) -> str:
        duality = "below 1e-08" if abs(self.duality) < 1e-8 else f"{self.duality:.1e}"
        rows = (
            ("duality gap", duality),
            ("estimation error", f"{self.estimation:.4f}"),
            ("composition gap", repr(self.composition)),
            ("network error", repr(self.network)),
            ("in all", f"{self.total:.4f} nats of the Lagrangian"),
        )
        return "\n".join(f"{name:<17} {value}" for name, value in rows)


def parametrisation_gap(
    run: Run, exact: Problem, grid: Problem, *, realised: Any = None, seed: int = 0
) -> ParametrisationGap:
    """Split L(student, λ*) − D* into duality, estimation, composition and network parts.

    Args:
        run: of `finetune`.
        exact: the problem on models whose densities are known (`mixture.diffused`), so that the
            student is judged by the truth and not by other networks.
        grid: the same problem on a grid: it gives λ*, D* and the target at the run's multipliers.
        realised: the model that training aims at where that is not the target itself: for
            `ReverseKL` by primal–dual steps, the `ComposedModel` at the run's multipliers.
        seed: of the samples.

    Raises:
        ValueError: the problems differ in class or thresholds, or the run's multipliers have no
            target.
    """
    if type(exact) is not type(grid) or type(exact) is not type(run.problem):
        raise ValueError(
            f"run, exact and grid must be of one class; got {type(run.problem).__name__}, "
            f"{type(exact).__name__} and {type(grid).__name__}"
        )
    for name, other in (("exact", exact), ("grid", grid)):
        if not np.allclose(other.thresholds, run.problem.thresholds, rtol=1e-6):
            raise ValueError(
                f"{name} has thresholds {other.thresholds.tolist()}, the run "
                f"{run.problem.thresholds.tolist()}"
            )
    solution = solve(grid)
    best, dual = solution.multipliers, solution.certificate.dual
    target = grid.target(multiplier_vector(run.multipliers, grid.m))
    at_target = lagrangian(grid, grid.evaluate(target), best)
    at_student = lagrangian(exact, exact.evaluate(run.student, seed=seed), best)
    aimed_at = at_target
    if realised is not None:
        aimed_at = lagrangian(exact, exact.evaluate(realised, seed=seed), best)
    return ParametrisationGap(
        duality=solution.certificate.primal - dual,
        estimation=at_target.value - solution.certificate.primal,
        composition=_difference(aimed_at, at_target),
        network=_difference(at_student, aimed_at),
    )


def lagrangian(problem: Problem, evaluation: Evaluation, multipliers: ArrayLike) -> Estimate:
    """L(p, λ) = objective + λᵀ·violation, from what a model was measured to be, in nats."""
    vector: Array = multiplier_vector(multipliers, problem.m)
    violation = problem.shortfalls(evaluation.constraints)
    errors = vector * np.asarray(evaluation.constraints_stderr)
    stderr = float(np.sqrt(evaluation.objective_stderr**2 + (errors**2).sum()))
    return Estimate(float(evaluation.objective + vector @ violation), stderr)


def _difference(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(one.value - other.value, float(np.hypot(one.stderr, other.stderr)))
