"""Forward KL on a floor: the dual function, and an interior-point method where it has kinks.

All sums run over cell masses Q_j = q(j), q_ij = q_i(j), C_j = Q_j − Σλ_iq_ij and p_j = Q_je^{t_j},
because masses stay between 0 and 1 where the ratio ρ = q_i/q can reach e^700.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..errors import Array, Mask
from ..newton import SMALLEST_PRIMAL, Dual
from ..ratios import LogRatios

LARGEST_LOG_RATIO = 700.0  # e^700 is still a double
BARRIERS = np.geomspace(1.0, 1e-14, 15)  # nats: about what the barrier leaves of the gap
LAST_BARRIER = 2e-10  # from here on each point of the path is polished and may be the answer
POLISH = 3
SMALLEST_ERROR = 1e-11


@dataclass(frozen=True, eq=False)
class DifferenceTable:
    """Cells of q, and the components g_j of which c = (q − Σλ_iq_i)/q is a combination.

    c = components·(retained − forgotten·λ). With components (1, ρ_1..ρ_m) that is 1 − λᵀρ. When
    q and q_i are mixtures that share a g_j, its weights are subtracted instead, and c keeps all
    its digits where g_j cancels.

    Attributes:
        log_weights: (N,) log Q.
        components: (N, J) g_j/q, at most e^700.
        masses: (N, J) cell masses of g_j.
        retained: (J,); forgotten: (J, m): coefficients of q and of the q_i.
        start: (m,) k_i = KL(q_i‖q), nats.
    """

    log_weights: Array
    components: Array
    masses: Array
    retained: Array
    forgotten: Array
    start: Array

    @classmethod
    def of_ratios(cls, atoms: LogRatios) -> DifferenceTable:
        """q and q_1..q_m themselves as components."""
        m = atoms.ratios.shape[1]
        logs = np.concatenate([np.zeros((len(atoms.ratios), 1)), -atoms.ratios], axis=1)
        return cls._of(atoms, logs, np.eye(m + 1)[0], np.eye(m + 1)[:, 1:])

    @classmethod
    def of_components(
        cls, atoms: LogRatios, coefficients: Array, log_components: Array
    ) -> DifferenceTable:
        """Components with rows of coefficients for q, q_1, ..., q_m."""
        logs = log_components - atoms.log_weights[:, None]
        return cls._of(atoms, logs, coefficients[0], coefficients[1:].T)

    @classmethod
    def _of(
        cls, atoms: LogRatios, logs: Array, retained: Array, forgotten: Array
    ) -> DifferenceTable:
        held = atoms.log_weights > -np.inf
        logs = np.where(held[:, None], logs, 0.0)
        masses = np.exp(np.where(held, atoms.log_weights, -np.inf)[:, None] + logs)
        shares, ratios = masses @ forgotten, atoms.ratios
        with np.errstate(invalid="ignore"):
            start = -np.where(shares > 0, shares * ratios, 0.0).sum(axis=0)
        components = np.exp(np.minimum(logs, LARGEST_LOG_RATIO))
        return cls(atoms.log_weights, components, masses, retained, forgotten, start)

    @property
    def weights(self) -> Array:
        """(N,) Q."""
        return self.masses @ self.retained

    @property
    def shares(self) -> Array:
        """(N, m) q_ij."""
        return self.masses @ self.forgotten

    def log_weights_at(self, multipliers: Array, floor: float) -> tuple[Array, Array, Mask]:
        """t, C and the set A at λ: t = log(c/η) on A = {c > ηe^{−T}}, −T off it, E[e^t] = 1.

        η solves ΣC_A + ηe^{−T}Q(Aᶜ) = η, a convex piecewise-linear equation: Newton from the left
        ends after finitely many steps. Where c ≤ 0 everywhere, A is empty and t = −T: the dual of
        the problem relaxed to E[e^t] ≤ 1, still a lower bound.
        """
        coefficients = self.retained - self.forgotten @ multipliers
        c, masses = self.components @ coefficients, self.masses @ coefficients
        weights, least = self.weights, np.exp(-floor)
        above, eta = c > 0, 0.0
        while above.any():
            eta = masses[above].sum() / (1 - least * weights[~above].sum())
            now = c > eta * least if eta > 0 else np.zeros_like(above)  # c > 0 by rounding alone
            if (now == above).all():
                break
            above = now
        t = np.full(len(c), -floor)
        t[above] = np.log(c[above] / eta)
        return t, masses, above

    def dual(self, multipliers: Array, thresholds: Array, floor: float) -> Dual:
        """g = −E[ct] + λᵀ(b − k), gradient b − k + E[ρt], and its Hessian on A."""
        t, masses, above = self.log_weights_at(multipliers, floor)
        shares = self.shares
        violation = thresholds - self.start + t @ shares
        value = float(multipliers @ (thresholds - self.start) - masses @ t)
        held = above & (masses > 1e-280)  # q_ij²/C is a double
        inside = shares[held]
        hessian = -inside.T @ (inside / masses[held, None])
        if held.any():
            total = inside.sum(axis=0)
            hessian += np.outer(total, total) / masses[held].sum()
        return Dual(value, violation, hessian, violation, multipliers)

    def vertex_values(self, floor: float) -> Array:
        """(N, m) KL(q_i‖v_j), v_j = e^{−T}q + (1 − e^{−T})δ_j.

        v_j is e^{−T}q but at j, so KL(q_i‖v_j) = k_i + T − q_ij(T + log v_j(j)/Q_j).
        """
        held = self.log_weights > -np.inf
        log_q = self.log_weights[held]
        lift = floor + np.logaddexp(-floor, np.log(-np.expm1(-floor)) - log_q)
        return self.start + floor - self.shares[held] * lift[:, None]


def interior_point(table: DifferenceTable, thresholds: Array, floor: float) -> tuple[Array, Array]:
    """Minimise −E[t] over t ≥ −T with k_i − E[ρ_it] ≥ b_i and E[e^t] ≤ 1; return (t, λ).

    The problem is convex in t. A logarithmic barrier smooths the kinks that the floor puts into
    the dual function; its central path is followed as μ falls. For given λ and mass multiplier η
    every cell is solved by itself, so Newton works on m + 1 numbers. Then t becomes a variable of
    its own for a few steps: as a function of λ, a cell halfway down hangs on the last digit.
    """
    weights, shares = table.weights, table.shares
    beta = np.maximum(weights, shares.max(axis=1))
    cells = np.flatnonzero(beta > 0)
    path = _Path(weights[cells], shares[cells], beta[cells], table.start - thresholds, floor)
    x = np.concatenate([[1.0], np.full(shares.shape[1], 0.5 / shares.shape[1])])
    best = np.inf, np.zeros(0), np.zeros(0)
    for mu in BARRIERS:
        state = path.centre(x, mu)
        x = state.x
        if mu > LAST_BARRIER:
            continue
        for _ in range(POLISH):
            state = path.polish(state, mu)
            t = np.full(len(beta), -floor)
            t[cells] = np.clip(state.y, 0.0, 700.0) - floor
            t = _spend_all_mass(t, weights, shares)
            multipliers = np.where(state.x[1:] > 1e-12, state.x[1:], 0.0)
            error = _error(table, thresholds, floor, t, multipliers)
            if error < best[0]:
                best = error, t, multipliers
        if best[0] < SMALLEST_ERROR:
            break
    return best[1], best[2]


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

        Times y this is Aye^y − Cy − B = 0, convex with one positive root: Newton falls onto it
        from any point to its right.
        """
        a = x[0] * np.exp(-self.floor) * self.weights
        b, c = mu * self.beta, self.remaining(x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            right = np.where(
                c > 0,
                np.maximum(np.log(2 * c / a), np.log1p(2 * b / a)),
                np.fmin(-b / c, np.log1p(b / a)),
            )
        y = np.clip(np.nan_to_num(right, nan=700.0), 1e-300, 700.0)
        for _ in range(60):
            e = a * np.exp(y)
            step = (y * (e - c) - b) / (e * (1 + y) - c)
            y = np.clip(y - step, 0.01 * y, 700.0)
            if (np.abs(step) <= 1e-12 * y).all():
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
