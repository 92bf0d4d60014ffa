"""Projected Newton on a concave dual function over non-negative strengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, lstsq, solve_triangular
from scipy.optimize import nnls

from .errors import Array

GAP = 1e-11  # relative duality gap at which Newton stops; a certificate accepts 1e-9
VIOLATION = 1e-10  # violation relative to the threshold, likewise; a certificate accepts 1e-8
STRONGEST = 1e11  # strength, in reciprocal thresholds, beyond which the maximiser is at infinity
ROUNDING = 1e-14  # violation relative to the threshold that counts as none
RIDGES = (1e-13, 1e-10, 1e-7, 1e-4)  # relative to the curvature; the first that serves
LONGEST = 100.0  # step, in the same unit and relative to 1 + strength
SMALLEST_PRIMAL = 1e-3  # nats; gaps are relative to max(this, |primal|)


class Dual(NamedTuple):
    """The dual function at one point.

    `gradient` and `hessian` belong to the problem's own strength; `violation` (m,) is the signed
    constraint violation of the target, which is the gradient in the multipliers.
    """

    value: float
    gradient: Array
    hessian: Array
    violation: Array
    multipliers: Array

    def primal(self) -> float:
        """Objective of the target: L(p_λ, λ) = P(p_λ) + λᵀviolation is the dual value."""
        return self.value - float(self.multipliers @ self.violation)


class Point(NamedTuple):
    """Where Newton stopped, after so many steps."""

    strength: Array
    dual: Dual
    converged: bool
    steps: int = 0


def solved(dual: Dual, scales: Array) -> bool:
    """Whether the target at this point is feasible and optimal, well inside certificate limits."""
    primal = dual.primal()
    gap = abs(float(dual.multipliers @ dual.violation)) / max(SMALLEST_PRIMAL, abs(primal))
    return gap <= GAP and float((dual.violation / scales).max()) <= VIOLATION


def maximise(
    function: Callable[[Array], Dual],
    start: Array,
    scales: Array,
    *,
    steps: int = 100,
) -> Point:
    """Maximise a concave dual function over strength ≥ 0.

    Each step maximises the local quadratic model over the orthant (so the set of active
    constraints is found exactly, by non-negative least squares) and searches the segment to its
    maximiser, which never leaves the orthant.

    Args:
        function: the dual function.
        start: (m,) first strength, ≥ 0.
        scales: (m,) in which violations are measured, and strengths in their reciprocals.
        steps: at most so many.
    """
    unit = 1 / scales
    strength = start
    dual = function(strength)
    taken = 0
    for taken in range(steps):
        if solved(dual, scales):
            return Point(strength, dual, True, taken)
        longest = LONGEST * (1 + (strength / unit).max())
        if longest > LONGEST * STRONGEST:
            break
        direction = _model_maximiser(strength, dual, unit, longest) - strength
        if not direction.any():
            break
        # Where p sits on one atom the dual is nearly linear, and the model's maximum far away.
        direction *= min(1.0, longest / float((np.abs(direction) / unit).max()))
        found = _line_search(function, strength, dual, direction)
        if found is None:
            break
        strength, dual = found
    return Point(strength, dual, solved(dual, scales), taken)


def _model_maximiser(strength: Array, dual: Dual, unit: Array, longest: float) -> Array:
    """argmax over x ≥ 0 of gradientᵀ(x − strength) + ½(x − strength)ᵀ hessian (x − strength)."""
    # A statistic that does not vary, at its threshold to rounding, would climb for ever.
    met = np.abs(dual.violation) * unit <= ROUNDING
    gradient = np.where(met, np.minimum(dual.gradient, 0.0), dual.gradient)
    # Collinear ratios make the Hessian singular, a constant statistic makes it zero: give it the
    # curvature with which the steepest component would move a little more than the longest step.
    reach = longest * unit
    smallest = (np.abs(gradient) * reach).max() / 100 / reach / reach + 1e-300
    curvature = -dual.hessian
    if len(strength) == 1:
        return np.maximum(strength + gradient / np.maximum(curvature[0], smallest), 0.0)
    scale = np.sqrt(np.maximum(np.diag(curvature), smallest))
    scaled = curvature / np.outer(scale, scale)
    best = strength
    for ridge in RIDGES:
        matrix = scaled + ridge * np.eye(len(scale))
        try:
            best = _quadratic_maximiser(matrix, gradient / scale, scale * strength) / scale
        except np.linalg.LinAlgError:
            continue
        # Along a direction without curvature a gradient of mere rounding goes far: damp it.
        if (np.abs(best - strength) <= reach).all():
            break
    return best


def _quadratic_maximiser(matrix: Array, gradient: Array, start: Array) -> Array:
    """argmax over z ≥ 0 of gradientᵀ(z − start) − ½(z − start)ᵀ matrix (z − start)."""
    factor = cholesky(matrix, lower=True)
    # Complete the square: ‖Lᵀz − (Lᵀz₀ + L⁻¹g)‖² over z ≥ 0.
    goal = factor.T @ start + solve_triangular(factor, gradient, lower=True)
    best = nnls(factor.T, goal, maxiter=30 * len(start) + 30)[0]
    # Non-negative least squares finds which components are free. A steep inactive one costs the
    # free ones their last digits: solve those again by themselves.
    free = best > 0
    step = -np.where(free, 0.0, start)
    right = (gradient - matrix @ step)[free]
    step[free] = lstsq(matrix[np.ix_(free, free)], right)[0]
    refined = start + step
    return refined if (refined >= 0).all() else best


def _line_search(
    function: Callable[[Array], Dual], strength: Array, dual: Dual, direction: Array
) -> tuple[Array, Dual] | None:
    """A point along `direction` that ascends enough, or None where rounding forbids one."""
    slope = float(dual.gradient @ direction)
    if not slope > 0:
        return None
    rounding = 1e-12 * (1 + abs(dual.value))
    size = 1.0
    for _ in range(60):
        point = strength + size * direction
        trial = function(point)
        ahead = float(trial.gradient @ direction)
        if trial.value >= dual.value + 1e-4 * size * slope:
            break
        # Near the maximum values are all rounding, and the slope tells: the dual is unimodal along
        # a line, so where it still climbs, or is much flatter, it is higher (Hager and Zhang 2005).
        if ahead >= -0.5 * slope and trial.value >= dual.value - rounding:
            break
        size /= 2
    else:
        return None
    # Where the curvature falls along the way (statistics spread over hundreds of nats) Newton
    # steps are far too short: double them while the function still climbs nearly as steeply.
    for _ in range(10):
        if ahead <= 0.5 * slope:
            break
        longer = np.maximum(strength + 2 * size * direction, 0.0)
        further = function(longer)
        if not (further.gradient @ direction >= 0 and further.value >= trial.value - rounding):
            break
        size, point, trial = 2 * size, longer, further
        ahead = float(trial.gradient @ direction)
    moved = (np.abs(point - strength) > 1e-15 * np.abs(point)).any()
    return (point, trial) if moved else None
