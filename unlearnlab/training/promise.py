"""A threshold as a promise: strengths move until the student's own constraints hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Array, Mask
from ..problems import Evaluation, Problem
from .multipliers import Multipliers, sizes
from .objective import Measured, Objective

SLACK = 0.03  # of a threshold: how far a reading may miss it; or one standard error
SURPLUS = 0.05  # by how much it may be overshot while its multiplier is paid for
SLOPES = (0.4, 2.0)  # of a violation by the logarithm of its strength: least and most believed
LONGEST = 1.0  # step of a strength's logarithm
WEAKEST = 1e-3  # strength, in the unit of its multiplier, that counts as none
FIRST = 0.25  # nats, shared by the constraints: where multipliers of 0 begin


class Promise(Multipliers):
    """Strengths of K students, moved by readings of the students themselves.

    A reading is the problem's evaluation of the student on draws of its own, by the sampler that
    will draw from it. Each constraint's strength s_i (u of reverse KL, λ_i elsewhere) is a root of
    its own violation v_i, relative to the threshold: log s_i ← log s_i + v_i/slope, by the slope
    between the last two readings. A student lags behind its multipliers while it learns, and a
    secant follows, where a bracket would be wrong for good.

    Args:
        problems, start, device: see `Multipliers`.
    """

    reads = True

    def __init__(self, problems: Sequence[Problem], start: Array, device: Any):
        unit = np.stack([one.multiplier_scale for one in problems])
        first = np.where(start * unit > WEAKEST, start, FIRST / (unit * start.shape[1]))
        super().__init__(problems, first, device, dual_lr=0.0)
        self.first = torch.tensor(first)

    def used(self, history: dict[str, list[Tensor]]) -> Tensor:
        """(K, m) λ that the last round of a history trained with; it holds those of the next."""
        return history["multipliers"][-2] if len(history["multipliers"]) > 1 else self.first

    def kept(self, history: dict[str, list[Tensor]]) -> bool:
        """Whether the last reading of a history holds."""
        if not history["constraints"]:
            return False
        return self.holds(history["constraints"][-1], history["stderr"][-1], self.used(history))

    def holds(self, constraints: Tensor, stderr: Tensor, multipliers: Tensor) -> bool:
        """Whether every constraint of every student holds, and none is overshot at a price."""
        rows = zip(self.problems, constraints, stderr, multipliers, strict=True)
        return all(self._holds(*row).all() for row in rows)

    def lucky(self, measured: Measured, multipliers: Tensor) -> bool:
        """Whether a reading holds, but by its errors alone.

        Of many such readings the first that happens to hold would end a run: it is taken again, on
        more draws.
        """
        rows = zip(self.problems, measured.stderr.numpy(), strict=True)
        wide = max((error / sizes(one)).max() for one, error in rows) > SURPLUS
        return wide and self.holds(measured.constraints, measured.stderr, multipliers)

    def _holds(self, problem: Problem, values: Tensor, stderr: Tensor, paid: Tensor) -> Mask:
        """(m,) for each constraint."""
        missed, error = _relative(problem, values.numpy(), stderr.numpy())
        free = paid.numpy() * problem.multiplier_scale <= WEAKEST
        kept = missed <= np.maximum(SLACK, error)
        return np.asarray(kept & (free | (missed >= -np.maximum(SURPLUS, error))))

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
        seen, before = history["constraints"], self.used(history)
        rows = []
        for k, problem in enumerate(self.problems):
            strength = _strengths(problem, now[k].numpy())
            missed = _relative(problem, measured.constraints[k].numpy())[0]
            slope = np.ones(problem.m)
            if seen:
                moved = np.log(strength / _strengths(problem, before[k].numpy()))
                answer = _relative(problem, seen[-1][k].numpy())[0] - missed
                told = np.abs(moved) > 0.05
                slope[told] = (answer[told] / moved[told]).clip(*SLOPES)
            held = self._holds(problem, measured.constraints[k], measured.stderr[k], now[k])
            log_step = np.where(held, 0.0, (missed / slope).clip(-LONGEST, LONGEST))
            least = WEAKEST / problem.multiplier_scale
            rows.append(problem.multipliers(np.maximum(strength * np.exp(log_step), least)))
        self.put(torch.tensor(np.stack(rows)).to(self.scale), project)


def _strengths(problem: Problem, multipliers: Array) -> Array:
    found = problem.strength(multipliers)
    return multipliers if found is None else np.maximum(found, 1e-12)


def _relative(problem: Problem, values: Array, stderr: Array | float = 0.0) -> tuple[Array, Array]:
    """(m,) violations, positive where missed, and errors, both relative to the thresholds."""
    size = sizes(problem)
    return problem.shortfalls(values) / size, np.broadcast_to(stderr, size.shape) / size


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


def read(problem: Problem, student: Any, *, seed: int, draws: int | None = None) -> Measured:
    """The student's own objective and constraints, on draws by the sampler it is meant for."""
    found: Evaluation = problem.evaluate(student, seed=seed, samples=draws)
    errors = np.broadcast_to(found.constraints_stderr, found.constraints.shape)
    return Measured(
        torch.tensor([found.objective], dtype=torch.float64),
        torch.tensor(found.constraints, dtype=torch.float64)[None],
        torch.tensor(np.array(errors), dtype=torch.float64)[None],
    )
