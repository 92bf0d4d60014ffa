"""The states of a run, each with a sentence to act on, and what its history says of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import Array

ADVICE = {
    "converged": "constraints hold on held-out samples, within 5 % or two standard errors",
    "unresolved": "held-out samples are too few to tell whether a constraint holds: evaluate on "
    "more of them",
    "fixed": "multipliers or weights were fixed beforehand; read the evaluation for what became of "
    "the constraints",
    "unchecked": "nothing was measured on held-out samples: switch evaluate on",
    "violated": "a constraint is missed at the end: train longer, raise dual_lr, or start from the "
    "multipliers of solve()",
    "saturating": "a multiplier sits at the edge of its domain: the thresholds ask for more than "
    "this problem or student can give; loosen them",
    "oscillating": "multipliers and constraints swing about their values: lower dual_lr, raise "
    "primal_steps, or use a damped dual optimiser such as nuPI",
    "plateau": "a multiplier keeps rising while its constraint has stopped answering: the student "
    "cannot represent the target (parametrisation gap); enlarge it, or loosen the threshold",
    "diverged": "the loss became unbounded; the student is the last good one. Lower lr or dual_lr, "
    "or the thresholds; give a Likelihood a cap",
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
) -> Status:
    """What the last third of a run says: what is wrong with it, or `settled`.

    Args:
        violations: (R, m) signed: positive where a constraint was missed.
        stderr: (R, m) of the constraint estimates.
        multipliers: (R, m), in nats: λ of RU and FU, λ·b of LU.
        thresholds: (m,).
        at_edge: whether the last multipliers touch the edge of their domain.
    """
    rounds = len(violations)
    if rounds < FEWEST:
        return Status("settled", f"only {rounds} rounds: too few to tell")  # samples decide
    seen = _Ending.of(violations, stderr, multipliers, thresholds)
    return (
        _crossing(seen)
        or _missed(seen, violations, multipliers, at_edge)
        or (Status("saturating", "a multiplier is at the edge of its domain") if at_edge else None)
        or _moving(seen)
        or _overshot(seen)
        or Status("settled", "constraints within their errors")
    )


class _Ending(NamedTuple):
    """The last third of a run."""

    violations: Array  # (R, m)
    multipliers: Array  # (R, m)
    noise: Array  # (R, m): a violation below it is none
    mean: Array  # (m,) violation
    error: Array  # (m,) of the mean
    slack: Array  # (m,): a mean below it is none
    size: Array  # (m,) of the multipliers

    @classmethod
    def of(cls, violations: Array, stderr: Array, multipliers: Array, thresholds: Array) -> _Ending:
        last = slice(-max(FEWEST, len(violations) // 3), None)
        v, lagrange = violations[last], multipliers[last]
        error = np.sqrt((stderr[last] ** 2).mean(axis=0) / len(v))
        allowed = MISSED * np.abs(thresholds)
        return cls(
            v,
            lagrange,
            np.maximum(allowed, 3 * stderr[last]),
            v.mean(axis=0),
            error,
            np.maximum(allowed, 3 * error),
            np.maximum(np.abs(lagrange).mean(axis=0), 1e-12),
        )


def _crossing(seen: _Ending) -> Status | None:
    """Constraints that cross their thresholds, or multipliers their means, again and again."""
    for i, size in enumerate(seen.size):
        lagrange = seen.multipliers[:, i]
        crossings = _swings(seen.violations[:, i], seen.noise[:, i])
        if crossings >= SWINGS and np.ptp(lagrange) > SETTLED * size:
            return Status("oscillating", f"constraint {i} crosses its threshold again and again")
        if _swings(lagrange - size, WIDE * size) >= SWINGS:
            return Status("oscillating", f"multiplier {i} swings about {size:.3g}")
    return None


def _missed(seen: _Ending, violations: Array, multipliers: Array, at_edge: bool) -> Status | None:
    """A constraint that is missed: at the edge, on a plateau, or on the way."""
    for i in map(int, np.flatnonzero(seen.mean > seen.slack)):
        mean, error = seen.mean[i], seen.error[i]
        where = f"constraint {i} misses its threshold by {mean:.3g} ± {error:.2g}"
        if at_edge:
            return Status("saturating", where + ", its multiplier at the edge")
        half, few = len(violations) // 2, max(1, len(violations) // 6)
        rise = multipliers[-1, i] - multipliers[half, i]
        answer = violations[half : half + few, i].mean() - violations[-few:, i].mean()
        steady = rise >= 0.9 * np.ptp(multipliers[half:, i])
        if steady and rise > max(SETTLED * seen.size[i], SEEN) and answer < 0.1 * mean:
            return Status("plateau", where + " and has stopped answering")
        return Status("violated", where)
    return None


def _moving(seen: _Ending) -> Status | None:
    """A multiplier that has not settled."""
    for i, size in enumerate(seen.size):
        lagrange = seen.multipliers[:, i]
        span, drift = np.ptp(lagrange), abs(lagrange[-1] - lagrange[0])
        if span > max(2 * WIDE * size, SEEN):
            if span > 2 * drift:
                return Status("oscillating", f"multiplier {i} swings over {span:.3g}")
            return Status("violated", f"multiplier {i} still moves: by {drift:.3g}")
    return None


def _overshot(seen: _Ending) -> Status | None:
    """A constraint that is overshot while its multiplier still falls."""
    last = seen.multipliers[-1]
    drift = np.abs(last - seen.multipliers[0]) > SETTLED * seen.size
    loose = (seen.mean < -seen.slack) & (last > SETTLED * seen.size) & drift
    for i in map(int, np.flatnonzero(loose)):
        return Status(
            "violated",
            f"constraint {i} is overshot by {-seen.mean[i]:.3g} and its multiplier still falls "
            "(complementarity)",
        )
    return None


def _swings(series: Array, slack: Array | float) -> int:
    """How often a series goes from beyond +slack to beyond −slack, or back."""
    side = np.sign(series) * (np.abs(series) > slack)
    sides = side[side != 0]
    return int((sides[1:] != sides[:-1]).sum())
