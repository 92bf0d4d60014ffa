"""Forward KL on a floor: an interior-point method for where the dual function has kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..errors import Array
from ..newton import SMALLEST_PRIMAL
from .difference import DifferenceTable

BARRIERS = np.geomspace(1.0, 1e-14, 15)  # nats: about what the barrier leaves of the gap
NEAR = 2e-4  # where the path starts when a solution nearby is known
CLEAR = 2e-6  # from here on each point of the path is taken for the start of the end
FINISH = np.array([1.0, 1.0, *np.geomspace(0.1, 1e-8, 8)])  # the end: barriers, of the one reached
LARGEST_ANSWER = 2e-10  # barriers from which on an iterate may be the answer
SMALLEST_BARRIER = 1e-15
SMALLEST_ERROR = 1e-11
LARGEST_Y = 700.0  # e^700 is still a double
CELL_ERROR = 1e-4  # relative, of the last step in a cell: of third order, so what is left is 1e-12


def interior_point(
    table: DifferenceTable, thresholds: Array, floor: float, near: Array | None = None
) -> tuple[Array, Array, float]:
    """Minimise −E[t] over t ≥ −T with k_i − E[ρ_it] ≥ b_i and E[e^t] ≤ 1.

    Returns t, λ and their error: relative gap or worst relative violation.

    The problem is convex in t. A logarithmic barrier smooths the kinks that the floor puts into
    the dual function; its central path is followed as μ falls. For given λ and mass multiplier η
    every cell is solved by itself, so Newton works on m + 1 numbers. Once it is clear which cells
    lie on the floor, t becomes a variable of its own for a few steps: as a function of λ, a cell
    halfway down hangs on the last digit.

    Args:
        near: (m,) multipliers of a problem like this one; the path then starts closer.
    """
    weights, shares = table.weights, table.shares
    beta = np.maximum(weights, shares.max(axis=1))
    cells = np.flatnonzero(beta > 0)
    path = _Path(weights[cells], shares[cells], beta[cells], table.start - thresholds, floor)
    x = np.concatenate([[1.0], np.full(shares.shape[1], 0.5 / shares.shape[1])])
    barriers = BARRIERS
    if near is not None:
        x = np.concatenate([[table.mass_multiplier(near, floor)], np.maximum(near, 1e-6)])
        barriers = BARRIERS[BARRIERS <= NEAR]
    best = np.inf, np.zeros(len(beta)), x[1:]
    for mu in barriers:
        state = path.centre(x, mu)
        x = state.x
        for target in FINISH * mu if mu <= CLEAR else ():
            state = path.polish(state, max(target, SMALLEST_BARRIER))
            if not state.y.max() < LARGEST_Y:  # too early: the exponentials ran away
                break
            if target > LARGEST_ANSWER:
                continue
            t = np.full(len(beta), -floor)
            t[cells] = np.maximum(state.y, 0.0) - floor
            t = _spend_all_mass(t, weights, shares)
            multipliers = np.where(state.x[1:] > 1e-12, state.x[1:], 0.0)
            error = _error(table, thresholds, floor, t, multipliers)
            if error < best[0]:
                best = error, t, multipliers
            if not error < 1e3 * best[0]:
                break
        if best[0] < SMALLEST_ERROR:
            break
    return best[1], best[2], best[0]


def _error(
    table: DifferenceTable, thresholds: Array, floor: float, t: Array, multipliers: Array
) -> float:
    """Relative gap or worst relative violation of t and λ, whichever is larger."""
    violation = (thresholds - table.start + t @ table.shares) / np.maximum(thresholds, 1e-300)
    primal = -float(table.weights @ t)
    gap = primal - table.dual(multipliers, thresholds, floor).value
    return max(abs(gap) / max(SMALLEST_PRIMAL, primal), float(violation[thresholds > 0].max()))


def _spend_all_mass(t: Array, weights: Array, shares: Array) -> Array:
    """t with E[e^t] = 1 exactly.

    The relaxed optimum can leave mass over (when the q_i together cover q). What is left goes to
    the cell that q and the q_i care least about: neither objective nor constraints notice.
    """
    p = weights * np.exp(t)
    rest = 1 - p.sum()
    if rest > 1e-9:
        held = np.flatnonzero(weights > 0)
        to = held[np.maximum(weights, shares.max(axis=1))[held].argmin()]
        t = t.copy()
        t[to] = np.log((p[to] + rest) / weights[to])
    return t - np.log(weights @ np.exp(t))


class _State(NamedTuple):
    """y = t + T ≥ 0 (n,), its multipliers S (n,), x = (η, λ), slacks w of mass and constraints."""

    y: Array
    s: Array
    x: Array
    w: Array


@dataclass(frozen=True, eq=False)
class _Path:
    """The barrier problem, in cell masses.

    Stationarity: ηp − C(λ) − S = 0. Slacks: w = (1 − Σp, k − b − E[ρt]). Complementarity:
    S_jy_j = μβ_j and x_iw_i = μ; β_j = max(Q_j, q_1j, ...) lets every cell count by its mass.
    """

    weights: Array
    shares: Array
    beta: Array
    room: Array  # k − b
    floor: float

    def masses(self, y: Array) -> Array:
        """p = Qe^t."""
        return self.weights * np.exp(y - self.floor)

    def remaining(self, x: Array) -> Array:
        """C = Q − Σλ_iq_i."""
        return self.weights - self.shares @ x[1:]

    def slacks(self, y: Array, p: Array) -> Array:
        """What mass and constraints leave: (1 − Σp, k − b − E[ρt])."""
        return np.concatenate([[1 - p.sum()], self.room - (y - self.floor) @ self.shares])

    def cells(self, x: Array, mu: float) -> Array:
        """y > 0 with ηQe^{−T}e^y = C + μβ/y in each cell.

        Times y this is Aye^y − Cy − B = 0, convex with one positive root: Halley's steps fall
        onto it from any point to its right.
        """
        a = x[0] * np.exp(-self.floor) * self.weights
        b, c = mu * self.beta, self.remaining(x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            right = np.where(
                c > 0,
                np.maximum(np.log(2 * c / a), np.log1p(2 * b / a)),
                np.fmin(-b / c, np.log1p(b / a)),
            )
        y = np.clip(np.nan_to_num(right, nan=LARGEST_Y), 1e-300, LARGEST_Y)
        for _ in range(60):
            e = a * np.exp(y)
            rest, slope = y * (e - c) - b, e * (1 + y) - c
            # Halley: the bend e(2 + y) costs nothing once e is there.
            step = rest / (slope - 0.5 * rest * e * (2 + y) / slope)
            y = np.clip(y - step, 0.01 * y, LARGEST_Y)
            if (np.abs(step) <= CELL_ERROR * y).all():
                break
        return y

    def value(self, y: Array, x: Array, mu: float) -> float:
        """The barrier Lagrangian, minimised over t: concave in x."""
        t = y - self.floor
        return float(
            -self.remaining(x) @ t
            + x[0] * (self.masses(y).sum() - 1)
            - mu * (self.beta @ np.log(y))
            - x[1:] @ self.room
            + mu * np.log(x).sum()
        )

    def centre(self, x: Array, mu: float) -> _State:
        """The point of the central path at μ, by damped Newton in x = (η, λ) alone."""
        y = self.cells(x, mu)
        for _ in range(30):
            p = self.masses(y)
            gradient = mu / x - self.slacks(y, p)
            solve, _ = self.reduced(p, x[0] * p + mu * self.beta / y**2, mu / x**2)
            step = solve(gradient)
            decrement = float(gradient @ step)
            if decrement < 0.01 * mu:
                break
            size = min(1.0, 0.9 * _longest(x, step))
            before = self.value(y, x, mu)
            while size > 1e-9:
                trial = x + size * step
                y_trial = self.cells(trial, mu)
                if self.value(y_trial, trial, mu) >= before + 1e-4 * size * decrement:
                    break
                size /= 2
            else:
                break
            x, y = trial, y_trial
        return _State(y, mu * self.beta / y, x, mu / x)

    def reduced(
        self, p: Array, diagonal: Array, ratio: Array
    ) -> tuple[Callable[[Array], Array], Array]:
        """Solver of (WᵀD⁻¹W + diag(ratio)) x = right with W = (p, q_1..q_m), and W."""
        columns = np.concatenate([p[:, None], self.shares], axis=1)
        matrix = columns.T @ (columns / diagonal[:, None]) + np.diag(ratio)
        scale = 1 / np.sqrt(np.diag(matrix))
        factor = cho_factor(matrix * np.outer(scale, scale) + 1e-15 * np.eye(len(scale)))
        return lambda right: scale * cho_solve(factor, scale * right), columns

    def polish(self, state: _State, mu: float) -> _State:
        """One Newton step on all unknowns towards the central path at μ."""
        y, s, x, w = state
        p = self.masses(y)
        slack = self.slacks(y, p) - w
        diagonal = x[0] * p + s / y
        rest = mu * self.beta / y - (x[0] * p - self.remaining(x))
        solve, columns = self.reduced(p, diagonal, w / x)
        dx = solve(columns.T @ (rest / diagonal) - slack + mu / x - w)
        dy = (rest - columns @ dx) / diagonal
        step = (dy, (mu * self.beta - s * dy) / y - s, dx, (mu - w * dx) / x - w)
        size = min(1.0, *(0.99 * _longest(old, d) for old, d in zip(state, step, strict=True)))
        return _State(*(old + size * d for old, d in zip(state, step, strict=True)))


def _longest(values: Array, change: Array) -> float:
    """Largest step that keeps values + step·change ≥ 0."""
    return 1 / max(float((-change / values).max()), 1e-300)
