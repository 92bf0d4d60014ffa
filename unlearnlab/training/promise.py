"""A threshold as a promise: strengths move until the student's own constraints hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Array, Mask
from ..problems import Problem
from .multipliers import Multipliers, sizes
from .objective import Measured, Objective

SLACK = 0.03  # of a threshold: how far a reading may miss it; or one standard error
SURPLUS = 0.05  # by how much it may be overshot while its multiplier is paid for; or two errors
GAIN, DAMPING = 0.8, 0.3  # of a step of a strength's logarithm, in violations
PRIOR, FADES, SLOPES = 0.5, 0.7, (0.4, 2.5)  # of violations by log strengths: see `slopes`
NEAREST, SEEN = 0.1, 6.0  # of a threshold, and errors: a shorter way there counts as so long
WEAKEST = 1e-3  # strength, in the unit of its multiplier, that counts as none
FIRST = 0.25  # nats, shared by the constraints: where multipliers of 0 begin


class Promise(Multipliers):
    """Strengths of K students, moved by readings of the students themselves.

    A reading is of the student's own constraints, on draws by the sampler that will draw from it.
    Each constraint's strength s_i (u of reverse KL, λ_i elsewhere) answers to
    its own violation v_i and to its change since the reading before:
    log s_i ← log s_i + (0.8·v_i + 0.3·(v_i − v_i'))/slope_i, v_i between −1 and 1. Its unit is the
    way from q's own value to the threshold, or the threshold itself where that is shorter: along
    either, a constraint changes by about as much as log s_i. A student lags behind its multipliers
    while it learns, and the second term sees it coming (as in nuPI, Sohrabi et al. 2024, arXiv
    2406.04558).

    Args:
        problems, start, device: see `Multipliers`.
    """

    reads = True

    def __init__(self, problems: Sequence[Problem], start: Array, device: Any):
        unit = np.stack([one.multiplier_scale for one in problems])
        first = np.where(start * unit > WEAKEST, start, FIRST / (unit * start.shape[1]))
        super().__init__(problems, first, device, dual_lr=0.0)
        self.first = torch.tensor(first)
        at_q = problems[0].baseline()
        self.ways = [np.abs(one.shortfalls(at_q)) for one in problems]

    def used(self, history: dict[str, list[Tensor]]) -> Tensor:
        """(K, m) λ that the last round of a history trained with; it holds those of the next."""
        return history["multipliers"][-2] if len(history["multipliers"]) > 1 else self.first

    def kept(self, history: dict[str, list[Tensor]]) -> bool:
        """Whether the last reading of a history holds."""
        if not history["constraints"]:
            return False
        return self.holds(history["constraints"][-1], history["stderr"][-1], self.used(history))

    def crossings(self, history: dict[str, list[Tensor]]) -> int:
        """How often a constraint has gone from one side of its threshold to the other, at most."""
        if len(history["constraints"]) < 2:
            return 0
        readings = torch.stack(history["constraints"]).numpy()  # (R, K, m)
        missed = np.stack([one.shortfalls(readings[:, k]) for k, one in enumerate(self.problems)])
        return int((np.diff(missed > 0, axis=1)).sum(axis=1).max())

    def holds(self, constraints: Tensor, stderr: Tensor, multipliers: Tensor) -> bool:
        """Whether every student keeps every constraint, and pays for little more than was asked.

        Of several constraints the mean surplus counts: that all of them lie in a narrow band at
        once is a matter of luck.
        """
        for row in zip(self.problems, constraints, stderr, multipliers, strict=True):
            kept, surplus, error = self._account(*row)
            error_of_mean = np.sqrt((error**2).sum()) / len(error)
            if not kept.all() or surplus.mean() > max(SURPLUS, 2 * error_of_mean):
                return False
        return True

    def lucky(self, measured: Measured, multipliers: Tensor) -> bool:
        """Whether a reading holds, but by its slack or its errors alone.

        Of many such readings the first that happens to hold would end a run: it is taken again, on
        more draws.
        """
        if not self.holds(measured.constraints, measured.stderr, multipliers):
            return False
        values, errors = measured.constraints.numpy(), measured.stderr.numpy()
        return any(
            (one.shortfalls(row) > 0).any() or (error / sizes(one)).max() > SLACK
            for one, row, error in zip(self.problems, values, errors, strict=True)
        )

    def _account(
        self, problem: Problem, values: Tensor, stderr: Tensor, paid: Tensor
    ) -> tuple[Mask, Array, Array]:
        """(m,) whether each constraint is kept, its surplus if that has a price, and its error."""
        size = sizes(problem)
        missed, error = problem.shortfalls(values.numpy()) / size, stderr.numpy() / size
        priced = paid.numpy() * problem.multiplier_scale > WEAKEST
        kept = missed <= np.maximum(SLACK, error)
        return kept, np.where(priced, np.maximum(-missed, 0.0), 0.0), error

    def _seen(
        self, k: int, constraints: Sequence[Tensor], lagrange: Sequence[Tensor], stderr: Tensor
    ) -> tuple[Array, Array]:
        """(R, m) log strengths of student k, and its violations in the unit that moves them."""
        problem = self.problems[k]
        size = sizes(problem)
        unit = np.clip(np.maximum(self.ways[k], SEEN * stderr.numpy()), NEAREST * size, size)
        missed = [problem.shortfalls(values[k].numpy()) / unit for values in constraints]
        logs = [np.log(_strengths(problem, values[k].numpy())) for values in lagrange]
        return np.stack(logs), np.stack(missed).clip(-1.0, 1.0)

    def step(
        self,
        measured: Measured,
        rate: float,
        project: Callable[[Tensor], None],
        history: dict[str, list[Tensor]],
    ) -> None:
        """Move the strengths of constraints that do not hold.

        Those that do stay: a reading's error would move them for nothing, and away.
        """
        now = self.values().cpu().double()
        if self.holds(measured.constraints, measured.stderr, now):
            return
        rows, readings = [], [*history["constraints"], measured.constraints]
        lagrange = [self.first, *history["multipliers"]]
        for k, problem in enumerate(self.problems):
            logs, v = self._seen(k, readings, lagrange, measured.stderr[k])
            change = v[-1] - v[-2] if len(v) > 1 else 0.0
            log_step = np.clip((GAIN * v[-1] + DAMPING * change) / slopes(logs, v), -1.0, 1.0)
            reading = measured.constraints[k], measured.stderr[k]
            kept, surplus, error = self._account(problem, *reading, now[k])
            log_step[kept & (surplus <= np.maximum(SURPLUS, 2 * error))] = 0.0
            least = WEAKEST / problem.multiplier_scale
            rows.append(problem.multipliers(np.maximum(np.exp(logs[-1] + log_step), least)))
        self.put(torch.tensor(np.stack(rows)).to(self.scale), project)


def slopes(logs: Array, violations: Array) -> Array:
    """(m,) by how much violations fell for each unit of their log strengths, (R, m) both.

    Readings differ by their errors, too: the slope of two of them is mostly noise. This is a ridge
    regression of the changes, towards 1, in which old ones fade.
    """
    moved, fell = np.diff(logs, axis=0), -np.diff(violations, axis=0)
    weight = FADES ** np.arange(len(moved))[::-1, None]
    together, alone = (weight * moved * fell).sum(0), (weight * moved**2).sum(0)
    return np.clip((PRIOR + together) / (PRIOR + alone), *SLOPES)


def _strengths(problem: Problem, multipliers: Array) -> Array:
    found = problem.strength(multipliers)
    return multipliers if found is None else np.maximum(found, 1e-12)


def promised_by(until: str | None, goal: Objective, *moves: Any) -> bool:
    """Whether the student is trained until its thresholds are met.

    Raises:
        ValueError: the method has no strength to move; or something else is to move it.
    """
    if until not in (None, "met"):
        raise ValueError(f"until must be 'met' or None; got {until!r}")
    if until == "met" and not (goal.adapts or goal.steerable):
        raise ValueError(
            f"until='met' needs a strength to move, and {type(goal).__name__} has none"
        )
    promised = until == "met" or goal.promises
    if promised and any(one is not None for one in moves):
        raise ValueError(
            "readings move the multipliers until thresholds are met: leave out dual_lr and "
            "dual_optimizer"
        )
    return promised
