"""Linear programmes over atoms: proofs of infeasibility, and the dual function beyond Λ = 1."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from .errors import Array

HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
ROUNDING = 1e-9  # relative to the thresholds: a certificate accepts violations of 1e-8
FURTHEST = 1e7  # multipliers searched; beyond it the programme counts as unbounded


def max_min(intercepts: Array, slopes: Array, *, least: float, most: float) -> tuple[Array, float]:
    """max over x ≥ 0, least ≤ Σx ≤ most, of min_j intercepts_j + slopes_jᵀx.

    Constraint generation: a programme over a few of the N rows, then the rows it breaks, until it
    breaks none.

    Args:
        intercepts: (N,); slopes: (N, m).

    Returns:
        the maximiser (m,) and the maximum, evaluated on all rows.
    """
    m = slopes.shape[1]
    rows = np.unique(
        np.concatenate([slopes.argmin(axis=0), slopes.argmax(axis=0), [intercepts.argmin()]])
    )
    for _ in range(200):
        scale = 1 + np.abs(slopes[rows]).max(axis=1)
        result = linprog(
            np.append(np.zeros(m), -1.0),
            A_ub=np.concatenate(
                [
                    np.column_stack([-slopes[rows], np.ones(len(rows))]) / scale[:, None],
                    [np.append(np.ones(m), 0.0), np.append(-np.ones(m), 0.0)],
                ]
            ),
            b_ub=np.concatenate([intercepts[rows] / scale, [most, -least]]),
            bounds=[(0, None)] * m + [(None, None)],
            method="highs",
            options=HIGHS,
        )
        if result.x is None:
            raise ArithmeticError(f"the linear programme over atoms failed: {result.message}")
        x, bound = result.x[:m], result.x[m]
        values = intercepts + slopes @ x
        worst = int(values.argmin())
        if values[worst] >= bound - 1e-10 * (1 + abs(bound)) or worst in rows:
            break
        more = np.argsort(values)[: 4 * m]
        rows = np.union1d(rows, more[values[more] < bound])
    return x, float(values[worst])


def dual_ray(values: Array, thresholds: Array, senses: Array, scales: Array) -> Array | None:
    """Multipliers that prove infeasibility, or None.

    With V_j the constraint values of the extreme distributions and constraints convex in p,
    Σλ_is_i·constraint_i(p) ≤ max_j Σλ_is_iV_ji for every p, s_i = ±1 the sense: where s_i = −1 they
    are linear. A λ ≥ 0 with Σλ_is_ib_i beyond that is a ray along which the dual has no bound.

    Args:
        values: (N, m) V; thresholds: (m,) b; senses: (m,) ±1; scales: (m,) sizes of b.
    """
    # A ray for capped values is one for the values: a linear programme cannot span more decades.
    slopes = np.minimum(senses * (thresholds - values) / scales, 1e5)
    alone = slopes.min(axis=0)
    if alone.max() > ROUNDING:
        ray = np.eye(len(scales))[int(alone.argmax())]
    elif len(scales) == 1:
        return None
    else:
        ray, worth = max_min(np.zeros(len(slopes)), slopes, least=1.0, most=1.0)
        if worth <= ROUNDING:
            return None
    ray = np.maximum(ray, 0.0) / scales
    return ray / ray.sum()
