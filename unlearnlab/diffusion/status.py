"""What a run's history says of it: six states, each with a sentence to act on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import Array

ADVICE = {
    "converged": "constraints hold within their errors and the multipliers have settled",
    "violated": "a constraint is missed at the end: train longer, raise dual_lr, or start from the "
    "multipliers of solve()",
    "saturating": "a multiplier sits at the edge of its domain: the thresholds ask for more than "
    "this problem or student can give; loosen them",
    "oscillating": "multipliers and constraints swing about their values: lower dual_lr, raise "
    "primal_steps, or use a damped dual optimiser such as nuPI",
    "plateau": "a multiplier keeps rising while its constraint no longer answers: the student "
    "cannot represent the target (parametrisation gap); enlarge it, or loosen the threshold",
    "diverged": "the loss became unbounded; the student is the last good one. Lower lr or dual_lr, "
    "or the thresholds",
}
MISSED = 0.05  # of a threshold: how far a constraint may be off and still count as met
SETTLED = 0.1  # of its size: how far a multiplier may drift over the last third of a run
SWINGS = 3  # changes of side that make an oscillation
WIDE = 0.25  # of a multiplier's size: how far its swings go, to be called so
SEEN = 0.02  # nats: a smaller rise of a multiplier asks for nothing that could be seen
FEWEST = 9  # rounds, below which there is nothing to read


class Status(NamedTuple):
    """The state of a run and what to do about it."""

    name: str
    reason: str

    @property
    def advice(self) -> str:
        """What the state means for the user."""
        return ADVICE[self.name]


def diagnose(
    violations: Array,
    stderr: Array,
    multipliers: Array,
    thresholds: Array,
    *,
    at_edge: bool = False,
    fixed: bool = False,
    diverged: str | None = None,
) -> Status:
    """The status of a run from its last third.

    Args:
        violations: (R, m) signed: positive where a constraint was missed.
        stderr: (R, m) of the constraint estimates.
        multipliers: (R, m), in nats: λ of RU and FU, λ·b of LU.
        thresholds: (m,).
        at_edge: whether the last multipliers touch the edge of their domain.
        fixed: whether they were held fixed: then nothing is asked of the constraints.
        diverged: why the run was stopped, if it was.
    """
    if diverged is not None:
        return Status("diverged", diverged)
    if fixed:
        return Status("converged", "fixed multipliers: the thresholds were not enforced")
    rounds = len(violations)
    if rounds < FEWEST:
        return Status("violated", f"only {rounds} rounds: too few to tell")
    last = slice(-max(FEWEST, rounds // 3), None)
    v, lagrange = violations[last], multipliers[last]
    error = np.sqrt((stderr[last] ** 2).mean(axis=0) / len(v))
    slack = np.maximum(MISSED * np.abs(thresholds), 3 * error)
    size = np.maximum(np.abs(lagrange).mean(axis=0), 1e-12)
    for i in range(len(thresholds)):
        noise = np.maximum(MISSED * abs(thresholds[i]), 3 * stderr[last][:, i])
        if _swings(v[:, i], noise) >= SWINGS and np.ptp(lagrange[:, i]) > SETTLED * size[i]:
            return Status("oscillating", f"constraint {i} crosses its threshold again and again")
        if _swings(lagrange[:, i] - size[i], WIDE * size[i]) >= SWINGS:
            return Status("oscillating", f"multiplier {i} swings about {size[i]:.3g}")
    mean = v.mean(axis=0)
    for i in map(int, np.flatnonzero(mean > slack)):
        where = f"constraint {i} misses its threshold by {mean[i]:.3g} ± {error[i]:.2g}"
        if at_edge:
            return Status("saturating", where + ", its multiplier at the edge")
        half, few = rounds // 2, max(1, rounds // 6)
        rise = multipliers[-1, i] - multipliers[half, i]
        answer = violations[half : half + few, i].mean() - violations[-few:, i].mean()
        steady = rise >= 0.9 * np.ptp(multipliers[half:, i])
        if steady and rise > max(SETTLED * size[i], SEEN) and answer < 0.1 * mean[i]:
            return Status("plateau", where + " and no longer answers")
        return Status("violated", where)
    if at_edge:
        return Status("saturating", "a multiplier is at the edge of its domain")
    for i in range(len(thresholds)):
        span, drift = np.ptp(lagrange[:, i]), abs(lagrange[-1, i] - lagrange[0, i])
        if span > max(2 * WIDE * size[i], SEEN):
            if span > 2 * drift:
                return Status("oscillating", f"multiplier {i} swings over {span:.3g}")
            return Status("violated", f"multiplier {i} still moves: by {drift:.3g}")
    drift = np.abs(lagrange[-1] - lagrange[0]) > SETTLED * size
    loose = (mean < -slack) & (lagrange[-1] > SETTLED * size) & drift
    if loose.any():
        i = int(np.flatnonzero(loose)[0])
        return Status(
            "violated",
            f"constraint {i} is overshot by {-mean[i]:.3g} and its multiplier still falls "
            "(complementarity)",
        )
    return Status("converged", "constraints within their errors")


def _swings(series: Array, slack: Array | float) -> int:
    """How often a series goes from beyond +slack to beyond −slack, or back."""
    side = np.sign(series) * (np.abs(series) > slack)
    sides = side[side != 0]
    return int((sides[1:] != sides[:-1]).sum())
