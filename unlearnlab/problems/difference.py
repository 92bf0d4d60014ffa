"""Forward KL on a floor: its dual function.

All sums run over cell masses Q_j = q(j), q_ij = q_i(j), C_j = Q_j − Σλ_iq_ij and p_j = Q_je^{t_j},
because masses stay between 0 and 1 where the ratio ρ = q_i/q can reach e^700.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import Array, Mask
from ..newton import Dual
from ..ratios import LogRatios

LARGEST_LOG_RATIO = 700.0  # e^700 is still a double
NO_MASS = 1e-290  # less is nothing to any sum, and denormal numbers are ten times slower


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
        masses[masses < NO_MASS] = 0.0
        shares, ratios = masses @ forgotten, atoms.ratios
        with np.errstate(invalid="ignore"):
            start = -np.where(shares > 0, shares * ratios, 0.0).sum(axis=0)
        components = np.exp(np.minimum(logs, LARGEST_LOG_RATIO))
        return cls(atoms.log_weights, components, masses, retained, forgotten, start)

    @cached_property
    def weights(self) -> Array:
        """(N,) Q."""
        return self.masses @ self.retained

    @cached_property
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

    def mass_multiplier(self, multipliers: Array, floor: float) -> float:
        """η at λ."""
        t, masses, above = self.log_weights_at(multipliers, floor)
        at = int(np.where(above, masses, -1.0).argmax())
        return float(masses[at] / (self.weights[at] * np.exp(t[at]))) if above[at] else 1.0

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
