"""What a training run leaves: the student, its history, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import Array
from ..problems import Evaluation, Problem
from .loop import Trained
from .multipliers import sizes
from .readings import evaluated, read
from .status import MISSED, Status, diagnose

HELD_OUT = 10_007  # seed of the samples that judge a student
WIDEST = 0.1  # standard error of a constraint, relative to its threshold, that still decides


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training run.

    Attributes:
        problem: what was asked.
        student: the unlearned model.
        multipliers: (m,) at the end.
        history: arrays over rounds: loss (R,), objective (R,), constraints, stderr, multipliers
            (R, m); what the training batches showed, and λ after the round's dual step. Tilt
            measures no constraints (R, 0); its objective is the error on samples held out. Of a
            method that measures nothing the objective is the loss.
        status: converged, violated or unresolved, by what the student's own samples say; fixed,
            where thresholds were not enforced; unchecked, where nothing was measured; or
            saturating, oscillating, plateau or diverged, by the history.
        reason: what says so.
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
    problems: Sequence[Problem],
    trained: Trained,
    *,
    promised: bool,
    enforced: bool,
    evaluate: bool,
    accelerator: Any,
) -> list[Run]:
    """One `Run` for each member."""
    students = [trained.student]
    if len(problems) > 1:
        students = trained.student.unstack()
    runs = []
    for k, (one, student) in enumerate(zip(problems, students, strict=True)):
        history = {key: values[:, k].numpy() for key, values in trained.history.items()}
        multipliers = trained.multipliers[k].numpy()
        composed = hasattr(student, "at")
        if composed:  # nothing was trained: the multipliers are the model
            student = student.at(multipliers)
        else:
            student.requires_grad_(False)
        evaluation = held_out(one, student, accelerator) if evaluate else None
        status = _status(one, history, evaluation, enforced, promised, composed, trained.diverged)
        runs.append(Run(one, student, multipliers, history, *status, evaluation))
    return runs


UNCHECKED = Status("unchecked", "the student was not evaluated")


def judge(problem: Problem, student: Any, *, evaluate: bool = True) -> Run:
    """A `Run` of a student that was made elsewhere, judged by its held-out evaluation alone."""
    evaluation = held_out(problem, student) if evaluate else None
    none = {key: np.zeros((0, problem.m)) for key in ("constraints", "stderr", "multipliers")}
    history = {key: np.zeros(0) for key in ("loss", "objective")} | none
    status = UNCHECKED if evaluation is None else judged(problem, evaluation)
    return Run(problem, student, np.zeros(problem.m), history, *status, evaluation)


def held_out(problem: Problem, student: Any, accelerator: Any = None) -> Evaluation:
    """The student on samples of its own; its constraints on four times as many if in doubt."""
    found = evaluated(problem, student, accelerator, seed=HELD_OUT)
    if (_doubts(problem, found) > WIDEST).any():
        how = {"seed": HELD_OUT, "samples": 4 * student.effort.draws}
        values, errors = read([problem], [student], accelerator, **how)
        found = replace(found, constraints=values[0].numpy(), constraints_stderr=errors[0].numpy())
    return found


def judged(problem: Problem, evaluation: Evaluation) -> Status:
    """Converged, violated or unresolved, by constraints that were measured on held-out samples.

    Each must hold within 5 % of its threshold or two standard errors, and be known to 10 % of it.
    """
    missed = problem.shortfalls(evaluation.constraints)
    doubts, allowed = _doubts(problem, evaluation), slack(problem, evaluation)
    if (missed > allowed).any():
        i = int(np.argmax(missed - allowed))
        return Status(
            "violated",
            f"the student's own samples miss constraint {i} by {missed[i]:.3g}, whatever training "
            "saw",
        )
    if (doubts > WIDEST).any():
        i = int(np.argmax(doubts))
        return Status(
            "unresolved",
            f"constraint {i} is {evaluation.constraints[i]:.3g}, with an error of "
            f"{doubts[i]:.0%} of its threshold",
        )
    return Status("converged", "the constraints hold on the student's own samples")


def slack(problem: Problem, evaluation: Evaluation) -> Array:
    """(m,) how far a constraint may miss its threshold and count as met."""
    errors = np.asarray(evaluation.constraints_stderr)
    return np.maximum(MISSED * sizes(problem), 2 * errors)


def _doubts(problem: Problem, evaluation: Evaluation) -> Array:
    """(m,) standard errors relative to the thresholds, of constraints that ask for something."""
    errors = np.asarray(evaluation.constraints_stderr) / sizes(problem)
    return np.where((problem.thresholds == 0) & (problem.sense > 0), 0.0, errors)


def _status(
    problem: Problem,
    history: dict[str, Array],
    evaluation: Evaluation | None,
    enforced: bool,
    promised: bool,
    composed: bool,
    diverged: str | None,
) -> Status:
    if diverged is not None:
        return Status("diverged", diverged)
    if not enforced:
        return Status("fixed", "fixed multipliers: the thresholds were not enforced")
    measured = history["constraints"].shape[-1] == problem.m and not promised
    if measured:
        scale = problem.multiplier_scale
        status = diagnose(
            problem.shortfalls(history["constraints"]),
            history["stderr"],
            history["multipliers"] * scale,
            sizes(problem),
            at_edge=problem.at_edge(history["multipliers"][-1]),
        )
        # A composed model is made of the mean of multipliers that swing: its samples decide.
        swings = composed and status.name == "oscillating"
        if status.name != "settled" and not swings:
            return status
    if evaluation is None:
        return UNCHECKED
    return judged(problem, evaluation)
