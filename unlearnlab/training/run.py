"""What a training run leaves: the student, its history, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..diffusion.composed import ComposedModel
from ..errors import Array
from ..problems import Evaluation, Likelihood, Problem, ReverseKL
from .lagrangians import LARGEST_SUM
from .loop import Trained
from .objective import Objective
from .status import MISSED, Status, diagnose


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training run.

    Attributes:
        problem: what was asked.
        student: the unlearned model.
        multipliers: (m,) at the end.
        history: arrays over rounds: loss (R,), objective (R,), constraints, stderr, multipliers
            (R, m); what the training batches showed, and λ after the round's dual step. Tilt
            measures no constraints (R, 0); its objective is the error on samples held out.
        status: converged, violated, saturating, oscillating, plateau or diverged.
        reason: what in the history says so.
        evaluation: objective and constraints of the student on samples of its own, with standard
            errors; None when not asked for.
    """

    problem: Problem
    student: Any
    multipliers: Array
    history: dict[str, Array]
    status: str
    reason: str
    evaluation: Evaluation | None = None

    @property
    def advice(self) -> str:
        """What the status means and what to do."""
        return Status(self.status, self.reason).advice

    def __repr__(self) -> str:
        multipliers = np.array2string(self.multipliers, precision=4)
        lines = [
            f"Run on {type(self.problem).__name__}: {self.status} ({self.reason})",
            f"  advice       {self.advice}",
            f"  multipliers  {multipliers}",
        ]
        if self.evaluation is not None:
            lines.append(f"  held out     {self.evaluation}")
        return "\n".join(lines)


def runs_of(
    problem: Any,
    problems: list[Problem],
    trained: Trained,
    goal: Objective,
    fixed: bool,
    evaluate: bool,
) -> Any:
    """One `Run` for each member."""
    students = [trained.student]
    if len(problems) > 1:
        students = trained.student.unstack()
    runs = []
    for k, (one, student) in enumerate(zip(problems, students, strict=True)):
        history = {key: values[:, k].numpy() for key, values in trained.history.items()}
        multipliers = trained.multipliers[k].numpy()
        if isinstance(student, ComposedModel):
            slack = 1 - multipliers.sum()
            student = ComposedModel(one.retain, one.forget, multipliers / slack)
        else:
            student.requires_grad_(False)
            student.denoiser = goal.denoises
        edge = isinstance(one, ReverseKL) and multipliers.sum() > 0.999 * LARGEST_SUM
        evaluation = one.evaluate(student, seed=10_007) if evaluate else None
        status = _status(one, history, evaluation, edge, fixed, trained.diverged)
        runs.append(Run(one, student, multipliers, history, *status, evaluation))
    return runs if isinstance(problem, Sequence) else runs[0]


def _status(
    problem: Problem,
    history: dict[str, Array],
    evaluation: Evaluation | None,
    edge: bool,
    fixed: bool,
    diverged: str | None,
) -> Status:
    if not history["constraints"].size and diverged is None:
        return _tilt_status(problem, evaluation)
    violations = problem.sense * (problem.thresholds - history["constraints"])
    scale = problem.thresholds if isinstance(problem, Likelihood) else 1.0
    status = diagnose(
        violations,
        history["stderr"],
        history["multipliers"] * scale,
        problem.thresholds,
        at_edge=edge,
        fixed=fixed,
        diverged=diverged,
    )
    if status.name == "converged" and not fixed and evaluation is not None:
        return _held_out(problem, evaluation, status)
    return status


def _tilt_status(problem: Problem, evaluation: Evaluation | None) -> Status:
    """Tilt asks nothing of the constraints in training: its evaluation tells."""
    if evaluation is None:
        return Status("converged", "not evaluated: the constraints are the pool's")
    met = Status("converged", "the student meets the constraints within their errors")
    return _held_out(problem, evaluation, met)


def _held_out(problem: Problem, evaluation: Evaluation, met: Status) -> Status:
    """`met`, unless samples of the student itself miss a threshold."""
    missed = problem.sense * (problem.thresholds - evaluation.constraints)
    slack = np.maximum(MISSED * problem.thresholds, 3 * np.asarray(evaluation.constraints_stderr))
    if not (missed > slack).any():
        return met
    i = int(np.argmax(missed - slack))
    return Status(
        "violated",
        f"the student's own samples miss constraint {i} by {missed[i]:.3g}, whatever training saw",
    )
