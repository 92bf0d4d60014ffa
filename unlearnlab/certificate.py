"""A certificate: what a solution is worth, computed from the solution alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Array
from .newton import SMALLEST_PRIMAL

GAP = 1e-9
GAP_IN_CONTACT = 1e-7
VIOLATION = 1e-8

ADVICE = {
    "inactive": "q meets every threshold as it is; nothing had to move",
    "regular": "the target is the closed form at these multipliers",
    "contact": "some cells lie on the floor, and the answer depends on it",
    "boundary": "multipliers sum to 1: the optimum is not unique, and this is one of them",
    "atomic": "the cells are too coarse for these thresholds: refine the grid",
}


@dataclass(frozen=True)
class Certificate:
    """Proof, to stated tolerances, that a distribution solves a problem.

    For any λ ≥ 0 the dual value is below the objective of every feasible p (weak duality), so a
    feasible p whose objective equals a dual value is optimal.

    Attributes:
        primal: objective of the returned distribution, nats.
        dual: g(λ) at the returned multipliers, nats.
        gap: (primal − dual)/max(1e-3, |primal|).
        violation: worst constraint violation relative to its threshold; ≤ 0 when all hold.
        complementarity: max |λ_i·violation_i|, nats.
        normalisation: |Σp − 1|.
        regime: inactive, regular, contact (FU), boundary or atomic (RU).
        ok: gap ≤ 1e-9 (1e-7 in contact), violation ≤ 1e-8, normalisation ≤ 1e-9.
        constraints, thresholds: (m,) constraint values of the distribution and what was asked.
        floor: FU's T, nats, in contact; else None.
    """

    primal: float
    dual: float
    gap: float
    violation: float
    complementarity: float
    normalisation: float
    regime: str
    ok: bool
    constraints: Array
    thresholds: Array
    floor: float | None = None

    def __repr__(self) -> str:
        lines = [
            f"Certificate: {'ok' if self.ok else 'NOT OK'}, {self.regime} ({ADVICE[self.regime]})",
            f"  primal          {self.primal:.12g} nats",
            f"  dual            {self.dual:.12g} nats",
            f"  relative gap    {self.gap:.1e}",
            f"  violation       {self.violation:.1e} of the threshold",
            f"  complementarity {self.complementarity:.1e} nats",
            f"  normalisation   {self.normalisation:.1e}",
        ]
        if self.floor is not None:
            lines.append(f"  floor           log p/q >= -{self.floor:g} nats")
        return "\n".join(lines)


def certify(problem: Any, model: Any, multipliers: Array) -> Certificate:
    """Certify `model` as a solution of `problem`, from its density and the multipliers alone."""
    evaluation = problem.evaluate(model)
    dual = problem.dual_value(multipliers)
    primal = evaluation.objective
    signed = problem.sense * (problem.thresholds - evaluation.constraints)
    scale = np.where(problem.thresholds > 0, problem.thresholds, 1.0)
    violation = float((signed / scale).max())
    gap = (primal - dual) / max(SMALLEST_PRIMAL, abs(primal))
    normalisation = abs(float(model.probabilities.sum()) - 1)
    active = multipliers > 0  # 0·∞ where a forgotten density is off the support
    complementarity = float(np.abs(multipliers[active] * signed[active]).max(initial=0.0))
    sound = violation <= VIOLATION and normalisation <= 1e-9
    regime = problem.regime(model, multipliers, sound and abs(gap) <= GAP)
    limit = GAP_IN_CONTACT if regime == "contact" else GAP
    return Certificate(
        primal,
        dual,
        gap,
        violation,
        complementarity,
        normalisation,
        regime,
        bool(sound and abs(gap) <= limit and problem.admits(model)),
        evaluation.constraints,
        problem.thresholds,
        problem.floor if regime == "contact" else None,
    )
