"""Moment problems: constraints on means under p, the general linear case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..blocks import largest
from ..errors import Array, Mask, multiplier_vector
from ..model import Model, Tilt
from ..newton import Dual, maximise, solved
from ..ratios import LogRatios, log_normaliser, tilt_weights, tilted_moments
from ..search import Primal
from ..statistics import LARGEST, Function, Statistic, functions_of
from .evaluation import ExponentialTable
from .stated import Stated

# Draws that tell how far a function spreads, and their steps: the unit of a dual step, no more.
FEW, FEW_STEPS = 64, 15
SMALLEST_SHARE = 1e-3  # of a function's size, that a violation is measured in at least


class Moments(Stated):
    """Moment problem: min KL(p‖q) subject to E_p[f_i] ≤ b_i and E_p[g_j] ≥ c_j.

    With a_i = f_i, β_i = b_i for the first and a_j = −g_j, β_j = −c_j for the others, all read
    E_p[a] ≤ β. The optimum is p ∝ q·exp(−λᵀa), eq. (7), and g = −log E[exp(−λᵀa)] − λᵀβ, which is
    concave for a convex problem.

    Args:
        retain: q, on any rung.
        at_most: pairs (f, b). at_least: pairs (g, c). f and g map (n, *shape) points to (n,)
            numbers of either sign (`Function` gives one a key); on `Discrete` a point is the index
            of an atom. Multipliers come in this order.

        forget, thresholds, relative, options, besides: of formulations that derive from this one by
            overriding `measures`, such as `Likelihood`; see `Problem`.

    Raises:
        ValueError, TypeError: no pairs, or no pairs of a function and a number; a function that
            does not return one finite number for each point.

    Example:
        Half of what lies right of 1, and a mean that does not fall for it.

        >>> import unlearnlab as ul
        >>> q = ul.Grid(-8, 8, 2001).density(lambda x: -(x[:, 0] ** 2) / 2)
        >>> problem = ul.Moments(
        ...     retain=q, at_most=[(lambda x: x[:, 0] > 1, 0.08)], at_least=[(lambda x: x[:, 0], 0)]
        ... )
        >>> solution = ul.solve(problem)
        >>> solution.certificate.ok, solution.multipliers.round(3)
        (True, array([1.21 , 0.251]))
    """

    sense = -1
    objective_name = "KL(p‖q)"
    constraint_name = "E_p[f]"

    def __init__(
        self,
        retain: Model,
        forget: Sequence[Any] = (),
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        at_most: Sequence[Any] = (),
        at_least: Sequence[Any] = (),
        options: Any = None,
        besides: Sequence[Any] = (),
    ):
        below, above = functions_of("at_most", at_most), functions_of("at_least", at_least)
        self.functions: tuple[Function, ...] = tuple(f for f, _ in [*below, *above])
        self.bounds = np.array([b for _, b in [*below, *above]])
        self.least = len(above)
        self.log_most = -np.inf if self.functions else 0.0  # likelihoods are at least 0
        alone = type(self).measures is Moments.measures
        if alone and len(forget):
            raise ValueError("forget is of Likelihood; Moments takes at_most= and at_least= alone")
        if alone and not self.functions:
            raise ValueError("at_most and at_least are empty: give at least one constraint")
        super().__init__(
            retain, forget, thresholds, relative=relative, options=options, besides=besides
        )

    def take_functions(self, functions: Sequence[Any], senses: Sequence[float]) -> None:
        """Functions and their bounds from a file."""
        k = len(senses) - len(functions)
        self.least = sum(sense > 0 for sense in senses[k:])
        names = [
            *(f"at_most[{i}]" for i in range(len(functions) - self.least)),
            *(f"at_least[{i}]" for i in range(self.least)),
        ]
        pairs = zip(functions, names, strict=True)
        self.functions = tuple(replace(one, name=name) for one, name in pairs)

    def _given(self, thresholds: ArrayLike | None, relative: ArrayLike | None) -> Array:
        """(m,) thresholds: of what is to be forgotten, then of the functions."""
        if type(self).measures is Moments.measures:
            return self.bounds
        return np.concatenate([super()._given(thresholds, relative), self.bounds])

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """A user's functions, after what measures the models to forget."""
        return (*self.measures(), *self.functions)

    def measures(self) -> tuple[Statistic, ...]:
        """What measures each model to forget at a point: all that a formulation has to say."""
        return ()

    @property
    def senses(self) -> Array:
        """(m,) −1, then +1 for `at_least`."""
        signs = np.full(self.m, float(self.sense))
        signs[self.m - self.least :] = +1
        return signs

    @property
    def _signs(self) -> Array:
        """(m,) of a = ±f."""
        return -self.senses

    @property
    def names(self) -> list[str]:
        """`constraint_name`, then at_most[0], ..., at_least[0], ...."""
        functions = [f"E_p[{one.name}]" for one in self.functions]
        return [self.constraint_name] * (self.m - len(functions)) + functions

    @property
    def scales(self) -> Array:
        """(m,) the thresholds; of a function at least a thousandth of its size under q."""
        sizes = np.array(super().scales)
        if self.functions:
            k = self.m - len(self.functions)
            least = SMALLEST_SHARE * self._sizes[k:]
            own = np.maximum(np.abs(self.thresholds[k:]), least)
            sizes[k:] = np.where(own > 0, own, 1.0)
        return sizes

    @cached_property
    def _sizes(self) -> Array:
        """(m,) √E_q[a²]."""
        return np.sqrt(self.atoms.weights @ np.square(self.table.statistics))

    @property
    def multiplier_scale(self) -> Array:
        """(m,) the thresholds; of a function its spread under q where that is more."""
        scale = np.array(self.thresholds)
        if self.functions:
            k = self.m - len(self.functions)
            scale[k:] = np.maximum(np.abs(scale[k:]), self._spreads)
            scale[scale == 0] = 1.0
        return scale

    @cached_property
    def _spreads(self) -> Array:
        """Standard deviations of the functions under q, from draws where it has no table."""
        if self.retain.sampled:
            few = self.retain.sample(FEW, steps=min(FEW_STEPS, self.retain.sampling_steps), seed=0)
            atoms = self.retain.log_ratios([], atoms=few, densities=False)
        else:
            atoms = self.atoms
        values = np.stack([one.values(atoms) for one in self.functions], axis=1)
        mean = atoms.weights @ values
        return np.sqrt(atoms.weights @ np.square(values - mean))

    @cached_property
    def atoms(self) -> LogRatios:
        """The retained model's atom table, with the functions' values."""
        atoms = super().atoms
        for one in self.functions:  # on the whole table, so that parts of it need no calls
            one.values(atoms)
        return atoms

    @cached_property
    def _forbidden(self) -> Mask | None:
        """(N,) cells where some ℓ_i > e^345, if any.

        E_p[ℓ_i] ≤ b_i leaves them a mass below b_ie^{−345}, that is none; and e^{345} is the
        largest number whose square, which the Hessian needs, is a double.
        """
        return _beyond(self._values)

    @cached_property
    def _values(self) -> Array:
        """(N, m) what the constraints measure at the atoms."""
        return self.values(self.atoms)

    @cached_property
    def table(self) -> ExponentialTable:
        """The atoms in the form that `dual` uses."""
        return self._table_of(self._values, self._forbidden, self.atoms)

    def measured(self, model: Any, *, seed: int = 0, samples: int | None = None) -> list[Any]:
        """The means E_p[f_i]."""
        return list(model.expectations(self, seed=seed, samples=samples))

    def means(self, model: Any) -> Array:
        """(m,) E_p[f_i] of a model on the atoms, however large f is where p is small."""
        if self._forbidden is None:
            return np.asarray(model.expectation(self.table.statistics) * self._signs)
        return self.contributions(model.log_masses)[:, 1:].sum(axis=0)

    def tabulate(self, atoms: LogRatios) -> ExponentialTable:
        """a, on the cells that may hold mass."""
        values = self.values(atoms)
        return self._table_of(values, _beyond(values), atoms)

    def _table_of(
        self, values: Array, forbidden: Mask | None, atoms: LogRatios
    ) -> ExponentialTable:
        statistics = values if not self.least else values * self._signs
        if forbidden is None:
            return ExponentialTable(atoms.log_weights, statistics)
        statistics = np.where(forbidden[:, None], 0.0, statistics)
        return ExponentialTable(np.where(forbidden, -np.inf, atoms.log_weights), statistics)

    @property
    def limits(self) -> Array:
        """(m,) β."""
        return self._signs * self.thresholds

    def dual(self, strength: Array, table: ExponentialTable) -> Dual:
        """g = −K(−λ) − λᵀβ; gradient E_p[a] − β; Hessian −Cov_p(a)."""
        log_normaliser, mean, covariance = tilted_moments(*table, -strength)
        violation = mean - self.limits
        return Dual(
            -log_normaliser - float(strength @ self.limits),
            violation,
            -covariance,
            violation,
            strength,
        )

    def start(self, table: ExponentialTable) -> Array:
        """Where a spans many decades, the solutions with a capped at 10⁴b, 10⁸b, ... in turn.

        Newton from λ = 0 sees the largest a alone and would have to lower its sights decade by
        decade; capped, it sees the cells that matter, and those above the cap empty by themselves.
        """
        strength, scales = np.zeros(self.m), self.scales
        highest = float((table.statistics / scales).max())
        cap = 1e4
        while cap < highest and not solved(self.dual(strength, table), scales):
            capped = table._replace(statistics=np.minimum(table.statistics, cap * scales))
            strength = maximise(partial(self.dual, table=capped), strength, scales).strength
            cap *= 1e4
        return strength

    def _dual_value(self, multipliers: Array) -> float:
        weights, statistics = self.table
        return float(-log_normaliser(weights, statistics, -multipliers) - multipliers @ self.limits)

    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """Eq. (7): t = −λᵀa − K."""
        vector = multiplier_vector(multipliers, self.m)
        weights, statistics = self.table
        return self._tilt_at(vector, log_normaliser(weights, statistics, -vector))

    def log_weights(self, multipliers: ArrayLike, atoms: LogRatios) -> Array:
        """−λᵀa."""
        return -(self.values(atoms) * self._signs) @ multiplier_vector(multipliers, self.m)

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt with the normaliser that the solver has at hand."""
        return self._tilt_at(strength, float(-dual.value - strength @ self.limits))

    def _tilt_at(self, multipliers: Array, log_normaliser: float) -> Tilt:
        t = tilt_weights(self.table.statistics, -multipliers, log_normaliser)
        if self._forbidden is not None:
            t[self._forbidden] = -np.inf
        return Tilt(t)

    def contributions(self, log_p: Array) -> Array:
        """p·t and p·f_i."""
        t = self.log_ratio(log_p, log_p > -np.inf)
        p = np.exp(log_p)[:, None]
        values = p * self._values
        for i, one in enumerate(self.statistics if self._forbidden is not None else ()):
            logs = one.log_values(self.atoms)
            if logs is not None:  # what is beyond e^345 is in the logarithm only
                terms = np.full(len(p), -np.inf)
                np.add(log_p, logs, out=terms, where=log_p > -np.inf)
                with np.errstate(over="ignore"):
                    values[self._forbidden, i] = np.exp(terms[self._forbidden])
        return np.column_stack([p * t[:, None], values])

    def primal(self, log_p: Array) -> Primal:
        """KL(p‖q), E_p[a] − β and their gradients p(t + 1), p·a.

        Where a is positive, b·log(E_p[a]/b) in its place: the logarithm has the constraint's sign,
        and E_p[a] may start many decades above b.
        """
        p, t = np.exp(log_p), log_p - self.atoms.log_weights
        terms = p[:, None] * self.table.statistics
        means, limits = terms.sum(axis=0), self.limits
        logs = (self.table.statistics.min(axis=0) >= 0) & (limits > 0)
        values, b = np.maximum(means, 1e-300), np.where(logs, limits, 1.0)
        violations = np.where(logs, b * np.log(np.where(logs, values, 1.0) / b), means - limits)
        slopes = np.where(logs, terms * (b / np.where(logs, values, 1.0)), terms)
        return Primal(float(p @ t), p * (t + 1), violations, slopes)

    def vertex_values(self) -> Array:
        """f_i at each atom of q that may hold mass."""
        held = self.table.log_weights > -np.inf
        return self.table.statistics[held] * self._signs


def _beyond(values: Array) -> Mask | None:
    """(N,) cells where some value is not below e^345, if any."""
    if largest(values) < LARGEST:
        return None
    return np.asarray((values >= LARGEST).any(axis=1))
