"""Likelihood unlearning (LU)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..blocks import map_blocks
from ..errors import Array, Mask, SupportError, finite_vector, multiplier_vector, same_space
from ..estimate import Estimate
from ..model import Tilt, require_model
from ..newton import Dual, maximise, solved
from ..ratios import LogRatios, log_normaliser, log_sum_exp, tilt_weights, tilted_moments
from ..search import Primal
from .base import Evaluation, ExponentialTable, Problem

LARGEST_LOG_STATISTIC = 345.0  # e^345 squared is still a double: a Hessian of statistics exists


class Likelihood(Problem):
    """Likelihood unlearning (LU): min KL(p‖q) subject to E_p[ℓ_i] ≤ b_i.

    The optimum is p ∝ q·exp(−λᵀℓ), eq. (7), and g = −log E[exp(−λᵀℓ)] − λᵀb, which is concave for
    a convex problem.

    Args:
        retain, forget, relative: see `Problem`.
        thresholds: (m,) b > 0 in the units of the statistic.
        statistic: "density", ℓ_i = q_i, or "ratio", ℓ_i = q_i/q.
        reference: of the ratio in the place of q, ℓ_i = q_i/r: for a prompt, what the model draws
            without one ([K] E.1.2).
        temperature: τ > 0; ℓ_i is raised to the power 1/τ. "dim" is the number of dimensions of a
            diffusion model: log-ratios of images are hundreds of nats, and ℓ then is their
            exponential per dimension.
        cap: c > 0; ℓ_i is min(ℓ_i, c). Where q_i is a part of q, of mass π, q_i/q is nowhere above
            1/π. What an estimate says beyond that is error, and a single sample that neither model
            would draw can decide a batch's mean.

    Raises:
        ValueError: a threshold of zero, an unknown statistic, a temperature or a cap that is not
            positive, a reference without a ratio or without mass where q has some.

    Example:
        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-8, 8, 2001)
        >>> q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.5, 0.5]).on(grid)
        >>> q1 = ul.GaussianMixture([1], [2], [0.5]).on(grid)
        >>> solution = ul.solve(ul.Likelihood(retain=q, forget=[q1], relative=0.1))
        >>> solution.certificate.ok, round(solution.objective, 4)
        (True, 0.4367)
    """

    sense = -1
    options = ("statistic", "temperature", "cap")
    objective_name = "KL(p‖q)"

    def __init__(
        self,
        retain: Any,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        statistic: str = "density",
        temperature: float | str = 1.0,
        cap: float | None = None,
        reference: Any = None,
    ):
        if statistic not in ("density", "ratio"):
            raise ValueError(f"statistic must be 'density' or 'ratio'; got {statistic!r}")
        self.statistic, self.reference = statistic, reference
        if reference is not None:
            if statistic != "ratio":
                raise ValueError("reference is of statistic='ratio'; 'density' has none")
            require_model("reference", reference)
            same_space(["retain", "reference"], [retain, reference])
        below = {"density": "", "ratio": "/q" if reference is None else "/r"}[statistic]
        self.constraint_name = f"E_p[q_i{below}]"
        if temperature == "dim" and getattr(retain, "sampled", False):
            temperature = retain.dim
        self.temperature = float(finite_vector("temperature", temperature, 1, per="problem")[0])
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature!r}")
        self.cap = None
        if cap is not None:
            self.cap = float(finite_vector("cap", cap, 1, per="problem")[0])
            if not self.cap > 0:
                raise ValueError(f"cap must be positive, or None for none; got {cap!r}")
        super().__init__(retain, forget, thresholds, relative=relative)

    def _check_thresholds(self) -> None:
        if not (self.thresholds > 0).all():
            raise ValueError(
                f"thresholds of Likelihood must be positive; got {self.thresholds.tolist()}: at 0 "
                "every point that q_i can produce would be forbidden; use a small number"
            )

    @property
    def compared(self) -> tuple[Any, ...]:
        """The models to forget, and the reference if there is one."""
        return self.forget if self.reference is None else (*self.forget, self.reference)

    def on(self, retain: Any, compared: Sequence[Any], **changes: Any) -> Problem:
        """The same problem on other models."""
        if self.reference is not None:
            *compared, changes["reference"] = compared
        return super().on(retain, compared, **changes)

    def _check_support(self) -> None:
        if self.reference is not None and np.isposinf(self.atoms.ratios[:, -1]).any():
            raise SupportError(
                "reference has no mass on some cells where retain has: q_i/r is infinite there"
            )

    def log_statistic(self, atoms: LogRatios) -> Array:
        """(N, m) log ℓ_i = log q_i/τ, −r_i/τ or log(q_i/r)/τ, capped; −inf where q_i is zero."""
        logs = self._log_likelihoods(atoms)
        logs = logs if self.temperature == 1 else logs / self.temperature
        return logs if self.cap is None else np.minimum(logs, np.log(self.cap))

    def _log_likelihoods(self, atoms: LogRatios) -> Array:
        """(N, m) log q_i, log q_i/q or log q_i/r."""
        if self.reference is not None:
            return atoms.ratios[:, self.m :] - atoms.ratios[:, : self.m]
        if self.statistic == "ratio":
            return -atoms.ratios
        if atoms.forget_log_density is None:
            raise ValueError(
                "statistic='density' needs log q_i, which this model cannot give; "
                "use statistic='ratio'"
            )
        return atoms.forget_log_density

    @cached_property
    def _forbidden(self) -> Mask | None:
        """(N,) cells where some ℓ_i > e^345, if any.

        E_p[ℓ_i] ≤ b_i leaves them a mass below b_ie^{−345}, that is none; and e^{345} is the
        largest number whose square, which the Hessian needs, is a double.
        """
        logs = self.log_statistic(self.atoms)
        if logs.max() <= LARGEST_LOG_STATISTIC:
            return None
        return np.asarray((logs > LARGEST_LOG_STATISTIC).any(axis=1))

    def evaluate(self, model: Any, *, seed: int = 0) -> Evaluation:
        """KL(p‖q) and E_p[ℓ_i]."""
        if self.retain.sampled:
            return self._evaluate_samples(model, seed)
        objective = float(model.kl(self.retain, seed=seed))
        if self._forbidden is None:
            return Evaluation(objective, model.expectation(self.table.statistics))
        held = model.log_masses > -np.inf
        terms = self.log_statistic(self.atoms)[held] + model.log_masses[held, None]
        with np.errstate(over="ignore"):
            values = np.exp([log_sum_exp(column) for column in terms.T])
        return Evaluation(objective, values)

    def _evaluate_samples(self, model: Any, seed: int) -> Evaluation:
        """E_p[ℓ_i] as a mean over draws of p, with ℓ_i from densities or from Lemma 2."""
        objective = model.kl(self.retain, kind=model.kind, seed=seed)
        draws = model.sample(model.effort.draws, seed=seed + 1)
        logs = self.retain.log_likelihoods(self, draws, seed=seed).double().cpu().numpy()
        values = np.exp(np.minimum(logs, LARGEST_LOG_STATISTIC))
        errors = values.std(axis=0) / np.sqrt(len(values))
        pairs = zip(values.mean(axis=0), errors, strict=True)
        constraints = [Estimate(float(value), float(error)) for value, error in pairs]
        return Evaluation.of(objective, constraints, kind=model.kind)

    def tabulate(self, atoms: LogRatios) -> ExponentialTable:
        """ℓ, on the cells that may hold mass."""
        logs = self.log_statistic(atoms)
        statistics = np.empty(logs.shape)

        def part(block: slice) -> None:
            np.exp(np.minimum(logs[block], LARGEST_LOG_STATISTIC), out=statistics[block])

        map_blocks(part, len(logs))
        if self._forbidden is None:
            return ExponentialTable(atoms.log_weights, statistics)
        forbidden = (logs > LARGEST_LOG_STATISTIC).any(axis=1)
        statistics[forbidden] = 0.0
        return ExponentialTable(np.where(forbidden, -np.inf, atoms.log_weights), statistics)

    def dual(self, strength: Array, table: ExponentialTable) -> Dual:
        """g = −K(−λ) − λᵀb; gradient E_p[ℓ] − b; Hessian −Cov_p(ℓ)."""
        log_normaliser, mean, covariance = tilted_moments(*table, -strength)
        violation = mean - self.thresholds
        return Dual(
            -log_normaliser - float(strength @ self.thresholds),
            violation,
            -covariance,
            violation,
            strength,
        )

    def start(self, table: ExponentialTable) -> Array:
        """Where ℓ spans many decades, the solutions with ℓ capped at 10⁴b, 10⁸b, ... in turn.

        Newton from λ = 0 sees the largest ℓ alone and would have to lower its sights decade by
        decade; capped, it sees the cells that matter, and those above the cap empty by themselves.
        """
        strength = np.zeros(self.m)
        highest = float((table.statistics / self.thresholds).max())
        cap = 1e4
        while cap < highest and not solved(self.dual(strength, table), self.thresholds):
            capped = table._replace(statistics=np.minimum(table.statistics, cap * self.thresholds))
            strength = maximise(
                partial(self.dual, table=capped), strength, self.thresholds
            ).strength
            cap *= 1e4
        return strength

    def _dual_value(self, multipliers: Array) -> float:
        return float(
            -log_normaliser(self.table.log_weights, self.table.statistics, -multipliers)
            - multipliers @ self.thresholds
        )

    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """Eq. (7): t = −λᵀℓ − K."""
        vector = multiplier_vector(multipliers, self.m)
        return self._tilt_at(
            vector, log_normaliser(self.table.log_weights, self.table.statistics, -vector)
        )

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt with the normaliser that the solver has at hand."""
        return self._tilt_at(strength, float(-dual.value - strength @ self.thresholds))

    def _tilt_at(self, multipliers: Array, log_normaliser: float) -> Tilt:
        t = tilt_weights(self.table.statistics, -multipliers, log_normaliser)
        if self._forbidden is not None:
            t[self._forbidden] = -np.inf
        return Tilt(t)

    def contributions(self, log_p: Array) -> Array:
        """p·t and p·ℓ_i."""
        t = self.log_ratio(log_p, log_p > -np.inf)
        p = np.exp(log_p)[:, None]
        values = p * self.table.statistics
        if self._forbidden is not None:  # their statistics are in the logarithm only
            logs = self.log_statistic(self.atoms)[self._forbidden]
            with np.errstate(over="ignore"):
                values[self._forbidden] = np.exp(log_p[self._forbidden, None] + logs)
        return np.column_stack([p * t[:, None], values])

    def primal(self, log_p: Array) -> Primal:
        """KL(p‖q), b·log(E_p[ℓ]/b) and their gradients p(t + 1), b·pℓ/E_p[ℓ].

        The logarithm has the constraint's sign, and E_p[ℓ] may start many decades above b.
        """
        p, t, b = np.exp(log_p), log_p - self.atoms.log_weights, self.thresholds
        terms = p[:, None] * self.table.statistics
        values = np.maximum(terms.sum(axis=0), 1e-300)
        return Primal(float(p @ t), p * (t + 1), b * np.log(values / b), terms * (b / values))

    def vertex_values(self) -> Array:
        """ℓ_i at each atom of q."""
        return self.table.statistics[self.table.log_weights > -np.inf]
