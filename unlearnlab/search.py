"""Direct search over densities, with no use of duality: augmented Lagrangian and L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from .errors import Array

FIRST_PENALTY = 1e3  # nats; a start that is feasible should not first slide back to q
MARGIN = 1e-7  # thresholds are tightened by this share, so that what is found is truly feasible


class Primal(NamedTuple):
    """Objective and constraints at one density, with gradients in log p.

    Fields:
        objective: float. objective_gradient: (N,).
        violations: (m,) positive where violated. violation_gradients: (N, m).
    """

    objective: float
    objective_gradient: Array
    violations: Array
    violation_gradients: Array


def search(
    primal: Callable[[Array], Primal],
    starts: Iterable[Array],
    scale: Array,
    *,
    log_base: Array | None = None,
    rounds: int = 14,
) -> tuple[float, Array | None]:
    """Least objective over feasible densities, from several starts.

    Args:
        primal: objective and violations at log p (N,), normalised log masses.
        starts: log masses (N,), not necessarily normalised or feasible.
        scale: (m,) size of the thresholds; violations are measured in it.
        log_base: (N,) log masses below which p may not fall (FU's floor e^{−T}q).
        rounds: updates of the multipliers per start.

    Returns:
        (value, log p), or (inf, None) when no start led to a feasible density.
    """
    best: tuple[float, Array | None] = (np.inf, None)
    for start in starts:
        found = _from_one(primal, np.asarray(start), scale, log_base, rounds)
        if found is not None and found[0] < best[0]:
            best = found
    return best


def _from_one(
    primal: Callable[[Array], Primal],
    logits: Array,
    scale: Array,
    log_base: Array | None,
    rounds: int,
) -> tuple[float, Array] | None:
    """One local search: p = base + (1 − |base|)·softmax(logits)."""
    log_rest = 0.0 if log_base is None else float(np.log1p(-np.exp(log_base).sum()))
    multipliers, penalty = np.zeros(len(scale)), FIRST_PENALTY
    last = np.inf
    best: tuple[float, Array] | None = None

    def density(a: Array) -> tuple[Array, Array]:
        free = log_softmax(a)
        return free, free if log_base is None else np.logaddexp(log_base, log_rest + free)

    def lagrangian(a: Array) -> tuple[float, Array]:
        free, log_p = density(a)
        here = primal(log_p)
        g = here.violations / scale + MARGIN
        push = np.maximum(0.0, multipliers + penalty * g)
        value = here.objective + float((push**2 - multipliers**2).sum()) / (2 * penalty)
        gradient = here.objective_gradient + here.violation_gradients @ (push / scale)
        s = np.exp(free)
        if log_base is not None:
            gradient = gradient * np.exp(log_rest + free - log_p)
        return value, gradient - s * gradient.sum()

    for _ in range(rounds):
        # A logit's curvature is about the mass that its cell moves: measure it in these units.
        log_p = density(logits)[1]
        here = primal(log_p)
        mass = np.exp(log_p) + np.abs(here.objective_gradient)
        mass += np.abs(here.violation_gradients) @ (1 / scale)
        unit = 1 / np.sqrt(mass + 1e-3 / len(logits))

        def scaled(z: Array, centre: Array = logits, unit: Array = unit) -> tuple[float, Array]:
            value, gradient = lagrangian(centre + unit * z)
            return value, gradient * unit

        result = minimize(
            scaled,
            np.zeros_like(logits),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 200, "ftol": 1e-14, "gtol": 1e-8, "maxcor": 20},
        )
        logits = logits + unit * result.x
        logits -= logits.max()
        log_p = density(logits)[1]
        here = primal(log_p)
        if (here.violations <= 0).all() and (best is None or here.objective < best[0]):
            best = (here.objective, log_p)
        g = here.violations / scale + MARGIN
        multipliers = np.maximum(0.0, multipliers + penalty * g)
        worst = float(np.maximum(g, 0).max())
        if worst > 0.3 * last:
            penalty = min(4 * penalty, 1e6)
        elif worst < MARGIN / 10 and abs(float(multipliers @ g)) < 1e-9:
            break
        last = worst
    return best


def random_starts(
    log_q: Array, ratios: Array, count: int, rng: np.random.Generator
) -> Iterable[Array]:
    """q itself, then tilts of q along the ratios, rough noise on q, and a few heavy atoms."""
    held = np.maximum(log_q, log_q[log_q > -np.inf].min() - 50)
    spread = np.clip(np.nan_to_num(ratios), -50, 50)
    yield held
    for i in range(1, count):
        kind = i % 3
        if kind == 0:
            yield held + spread @ rng.normal(size=ratios.shape[1])
        elif kind == 1:
            yield held + rng.normal(scale=rng.uniform(0.5, 4), size=len(held))
        else:
            start = held + rng.normal(scale=0.1, size=len(held))
            heavy = rng.choice(
                len(held), size=min(len(held), int(rng.integers(1, 6))), replace=False
            )
            start[heavy] = start.max() + rng.uniform(0, 6, size=len(heavy))
            yield start
