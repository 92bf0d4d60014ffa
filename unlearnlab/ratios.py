"""The atom table: what every problem sees of its distributions, and its exponential tilts.

A problem with retained q and forgotten q_1..q_m is decided by the joint law, under q, of the
log-ratios r_i = log q/q_i. On a grid the atoms are cells; for a sampled model they are samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from .blocks import map_blocks
from .errors import Array, numbers


@dataclass(frozen=True, eq=False)
class LogRatios:
    """N weighted atoms of q with their log-ratios to the m distributions that it is compared with.

    Attributes:
        log_weights: (N,) log mass of q at each atom, in nats; the masses sum to 1. Logarithms,
            because a tilt can bring back atoms whose mass under q underflows.
        ratios: (N, m) log q/q_i; +inf where q_i is zero, −inf where only q is, 0 where both are.
        forget_log_density: (N, m) log q_i, needed by `Likelihood(statistic="density")`.
        ratio_variance: (N, m) Monte-Carlo variance of the ratios; None when they are exact.
        points: the atoms themselves: (N, d) cell centres, indices of atoms, samples.
        values: (N,) values of functions at the points, by name; each is computed once, when it is
            first asked for.
    """

    log_weights: Array
    ratios: Array
    forget_log_density: Array | None = None
    ratio_variance: Array | None = None
    points: Any = None
    values: dict[Hashable, Array] = field(default_factory=dict)

    @property
    def weights(self) -> Array:
        """(N,) mass of q at each atom, sum 1."""
        return np.exp(self.log_weights)

    def take(self, index: Any) -> LogRatios:
        """The atoms at `index` (slice, mask or integers), reweighted to sum 1."""
        log_weights = self.log_weights[index]

        def pick(table: Any) -> Any:
            return None if table is None else table[index]

        return LogRatios(
            log_weights - log_sum_exp(log_weights),
            self.ratios[index],
            pick(self.forget_log_density),
            pick(self.ratio_variance),
            pick(self.points),
            {name: values[index] for name, values in self.values.items()},
        )

    def value(self, name: Hashable, function: Callable[[Any], Any]) -> Array:
        """(N,) `function` of the points, under `name` from now on."""
        if name not in self.values:
            self.values[name] = function(self.points)
        return self.values[name]


@singledispatch
def measured(points: Any, function: Callable[[Any], Any]) -> Array:
    """(N,) float64 values of a function at points; rungs register their own kinds of points."""
    return numbers(function(points))


class TiltedMoments(NamedTuple):
    """Log-normaliser K, mean (m,) and covariance (m, m) of the statistics under a tilt."""

    log_normaliser: float
    mean: Array
    covariance: Array


def log_sum_exp(values: Array) -> float:
    """log Σ e^values without overflow; −inf for an empty sum."""

    def part(block: slice) -> tuple[float, float]:
        a = values[block]
        top = float(a.max())
        return (top, float(np.exp(a - top).sum())) if np.isfinite(top) else (top, 0.0)

    tops, sums = map(np.array, zip(*map_blocks(part, len(values)), strict=True))
    top = tops.max()
    if not np.isfinite(top):
        return float(top)
    return float(top + np.log(np.exp(tops - top) @ sums))


def log_normaliser(log_weights: Array, statistics: Array, exponents: Array) -> float:
    """K(θ) = log E_q[exp(θᵀs)]: `tilted_moments` without the moments."""

    def part(block: slice) -> tuple[float, float]:
        a = _dot(statistics[block], exponents)
        a += log_weights[block]
        top = float(a.max())
        if top == -np.inf:
            return top, 0.0
        a -= top
        return top, float(np.exp(a, out=a).sum())

    tops, sums = map(np.array, zip(*map_blocks(part, len(log_weights)), strict=True))
    top = tops.max()
    return float(top + np.log(np.exp(tops - top) @ sums))


def tilted_moments(log_weights: Array, statistics: Array, exponents: Array) -> TiltedMoments:
    """K(θ) = log E_q[exp(θᵀs)] with its gradient and Hessian.

    They are the mean and covariance of s under p ∝ q·exp(θᵀs).

    Args:
        log_weights: (N,) log mass of q, nats.
        statistics: (N, m) s at each atom, finite.
        exponents: (m,) θ.
    """

    # Each block is centred on its own mean and the blocks are merged afterwards (Chan, Golub and
    # LeVeque 1983): ratios of 10⁴ nats with a spread of 10⁻⁴ still have a covariance.
    def part(block: slice) -> tuple[float, float, Array, Array]:
        s = statistics[block]
        a = _dot(s, exponents)
        a += log_weights[block]
        top = float(a.max())
        if top == -np.inf:  # no mass of q here
            return top, 0.0, np.zeros(s.shape[1]), np.zeros((s.shape[1], s.shape[1]))
        a -= top
        np.exp(a, out=a)
        total = float(a.sum())
        if s.shape[1] == 1:  # the same in one dimension, where matrix products are slow
            flat = s[:, 0]
            mean = float(a @ flat) / total
            centred = flat - mean
            a *= centred
            return top, total, np.array([mean]), np.array([[a @ centred]]) / total
        means = (a @ s) / total
        deviations = s - means
        return top, total, means, deviations.T @ (a[:, None] * deviations) / total

    parts = map_blocks(part, len(log_weights))
    if len(parts) == 1:
        top, total, mean, covariance = parts[0]
        return TiltedMoments(top + math.log(total), mean, covariance)
    tops, totals, means, covariances = map(np.array, zip(*parts, strict=True))
    top = tops.max()
    shares = totals * np.exp(tops - top)
    total = shares.sum()
    shares /= total
    mean = shares @ means
    between = means - mean
    within = (shares @ covariances.reshape(len(shares), -1)).reshape(covariances.shape[1:])
    covariance = within + between.T @ (shares[:, None] * between)
    return TiltedMoments(float(top + np.log(total)), mean, covariance)


def tilt_weights(statistics: Array, exponents: Array, log_normaliser: float) -> Array:
    """(N,) t = θᵀs − K, the log-ratio of the tilted distribution to q, in nats."""
    t = np.empty(len(statistics))

    def part(block: slice) -> None:
        t[block] = _dot(statistics[block], exponents)
        t[block] -= log_normaliser

    map_blocks(part, len(t))
    return t


def _dot(statistics: Array, exponents: Array) -> Array:
    # A column times a number is a plain multiplication, many times faster than BLAS on (N, 1).
    return statistics[:, 0] * exponents[0] if statistics.shape[1] == 1 else statistics @ exponents
