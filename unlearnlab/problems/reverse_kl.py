"""Reverse-KL unlearning (RU)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..blocks import largest, smallest
from ..errors import Array, SupportError, multiplier_vector
from ..model import Tilt
from ..newton import Dual
from ..ratios import LogRatios, log_normaliser, log_sum_exp, tilt_weights, tilted_moments
from ..search import Primal
from .atomic import beyond_one, reverse_primal, solve_edge
from .evaluation import ExponentialTable
from .stated import Stated

LARGEST_SUM = 0.99  # of multipliers in training: at 1 the Lagrangian has no minimiser


class ReverseKL(Stated):
    """Reverse-KL unlearning (RU): min KL(p‖q) subject to KL(p‖q_i) ≥ b_i, in nats.

    The optimum is p ∝ (q / Πq_i^{λ_i})^{1/(1−Λ)}, Λ = Σλ_i < 1, eq. (2). With strength
    u = λ/(1−Λ) it reads p ∝ q·exp(uᵀr), and the dual function is
    g = λᵀb − (1−Λ) log E[exp(λᵀr/(1−Λ))] = (uᵀb − K(u))/(1 + Σu_i).

    Args:
        retain, forget, thresholds, relative: see `Problem`; thresholds in nats, ≥ 0.

    Raises:
        SupportError: some q_i is zero where q is not (KL(p‖q_i) would be infinite for free).
        ValueError: q_i = q with a positive threshold.

    Example:
        Two unit Gaussians: λ* = 1 − |μ|/√(2b).

        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-12, 12, 2001)
        >>> q, q1 = (ul.GaussianMixture([1], [mean], [1]).on(grid) for mean in (0, 1))
        >>> solution = ul.solve(ul.ReverseKL(retain=q, forget=[q1], thresholds=[2.0]))
        >>> solution.multipliers.round(9), round(solution.objective, 9)
        (array([0.5]), 0.5)
    """

    composes = True
    objective_name = "KL(p‖q)"
    constraint_name = "KL(p‖q_i)"

    def check_support(self) -> None:
        """Refuse densities on which the problem makes no sense."""
        for i in range(self.m):
            if largest(self.atoms.ratios[:, i]) == np.inf:
                cells = int(np.isposinf(self.atoms.ratios[:, i]).sum())
                raise SupportError(
                    f"forget[{i}] is zero in {cells} cells where retain is not; ReverseKL needs "
                    "q_i > 0 wherever q > 0 (mix a little of q into it, or use Likelihood)"
                )

    def check_distinct(self) -> None:
        """Refuse to stay close to what is to be left."""
        self._refuse_equal()

    def measured(self, model: Any, *, seed: int = 0, samples: int | None = None) -> list[Any]:
        """KL(p‖q_i), or a bound where it cannot be computed: see `separation` of the models."""
        return [model.separation(q, seed=seed, samples=samples) for q in self.forget]

    def tabulate(self, atoms: LogRatios) -> ExponentialTable:
        """Statistics of the exponential family: the log-ratios themselves."""
        ratios = self.values(atoms)
        if smallest(atoms.log_weights) == -np.inf:  # p has no mass there either: any number will do
            ratios = np.where(np.isneginf(atoms.log_weights)[:, None], 0.0, ratios)
        return ExponentialTable(atoms.log_weights, ratios)

    def multipliers(self, strength: Array) -> Array:
        """λ = u/(1 + Σu)."""
        return strength / (1 + strength.sum())

    def strength(self, multipliers: Array) -> Array | None:
        """u = λ/(1 − Λ), for Λ < 1."""
        slack = 1 - float(multipliers.sum())
        return multipliers / slack if slack > 0 else None

    def dual(self, strength: Array, table: ExponentialTable) -> Dual:
        """g = (uᵀb − K(u))/(1 + Σu), quasi-concave in u.

        Its gradient in u is (b − g − K'(u))/(1 + Σu). The matrix returned is −K''(u)/(1 + Σu), the
        Hessian up to terms that vanish with the gradient: Newton's step is that of the concave
        problem max_u uᵀ(b − g) − K(u), g held (Dinkelbach).
        """
        u, b = strength, self.thresholds
        log_normaliser, mean, covariance = tilted_moments(*table, u)
        spread = 1 + u.sum()
        value = (u @ b - log_normaliser) / spread
        divergence = u @ mean - log_normaliser  # KL(p‖q) = E_p[t]
        return Dual(
            value,
            (b - value - mean) / spread,
            -covariance / spread,
            b - divergence - mean,
            self.multipliers(u),
        )

    def _dual_value(self, multipliers: Array) -> float:
        """g(λ), also at Λ ≥ 1, where the Lagrangian is least at a single atom."""
        slack = 1 - float(multipliers.sum())
        b = self.thresholds
        if slack > 0:
            return float(
                multipliers @ b
                - slack
                * log_normaliser(self.table.log_weights, self.table.statistics, multipliers / slack)
            )
        held = self.atoms.log_weights > -np.inf
        at_atom = -slack * self.atoms.log_weights[held] - self.atoms.ratios[held] @ multipliers
        return float(multipliers @ b + at_atom.min())

    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """Eq. (2): t = uᵀr − K(u), u = λ/(1−Λ)."""
        vector = multiplier_vector(multipliers, self.m)
        u = vector / self._slack(vector)
        return self._tilt_at(u, log_normaliser(self.table.log_weights, self.table.statistics, u))

    def _slack(self, multipliers: Array) -> float:
        """1 − Λ."""
        slack = 1 - float(multipliers.sum())
        if slack <= 0:
            raise ValueError(
                "multipliers of ReverseKL must sum to less than 1; got "
                f"{multipliers.tolist()} with sum {multipliers.sum()}: no target (2) exists there"
            )
        return slack

    def log_weights(self, multipliers: ArrayLike, atoms: LogRatios) -> Array:
        """uᵀr."""
        vector = multiplier_vector(multipliers, self.m)
        return self.values(atoms) @ (vector / self._slack(vector))

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt at u itself: 1 − Λ, taken from λ, would lose digits as Λ nears 1."""
        return self._tilt_at(
            strength, float(strength @ self.thresholds - dual.value * (1 + strength.sum()))
        )

    def _tilt_at(self, u: Array, log_normaliser: float) -> Tilt:
        t = tilt_weights(self.table.statistics, u, log_normaliser)
        if u.sum() > 1e4:  # uᵀr and K are large and cancel: normalise what came out
            t -= log_sum_exp(self.table.log_weights + t)
        return Tilt(t, guidance=u)

    def contributions(self, log_p: Array) -> Array:
        """p·t and p·(t + r_i)."""
        t = self.log_ratio(log_p, log_p > -np.inf)
        return np.exp(log_p)[:, None] * np.column_stack([t, t[:, None] + self.table.statistics])

    def primal(self, log_p: Array) -> Primal:
        """KL(p‖q), b − KL(p‖q_i) and their gradients p(t + 1), −p(t + r_i + 1)."""
        return reverse_primal(log_p, self.table.log_weights, self.table.statistics, self.thresholds)

    def vertex_values(self) -> Array:
        """KL(δ_j‖q_i) = −log q_i(j), the mass of the atom."""
        held = self.atoms.log_weights > -np.inf
        return self.atoms.ratios[held] - self.atoms.log_weights[held, None]

    def edge(self, near: Array | None = None) -> tuple[Tilt, Array]:
        """The optimum where Λ reaches 1: regimes `boundary` and `atomic`."""
        multipliers, value = beyond_one(
            self.table.log_weights, self.table.statistics, self.thresholds
        )
        t = solve_edge(
            self.table.log_weights, self.table.statistics, self.thresholds, multipliers, value
        )
        return Tilt(t), multipliers

    def at_edge(self, multipliers: Array) -> bool:
        """Whether they sum to what training keeps them below."""
        return float(multipliers.sum()) > 0.999 * LARGEST_SUM

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """boundary: Λ = 1 and solved; atomic: Λ ≥ 1 and a gap is left."""
        if multipliers.sum() < 1 - 1e-11:
            return super().regime(model, multipliers, ok)
        return "boundary" if ok else "atomic"
