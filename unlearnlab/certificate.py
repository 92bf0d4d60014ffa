"""A certificate: what a solution is worth, computed from the solution alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import Array, multiplier_vector
from .newton import SMALLEST_PRIMAL
from .problems import Problem

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
        regime: inactive, regular, contact (FU), boundary (RU), or atomic (a gap: RU beyond Λ = 1,
            FU on a few atoms).
        ok: gap ≤ 1e-9 (1e-7 in contact), violation ≤ 1e-8, normalisation ≤ 1e-9.
        constraints, thresholds: (m,) constraint values of the distribution and what was asked.
        floor: FU's T, nats, in contact; else None.
        subject: what is certified: "the distribution", or weights on a pool of samples, which are
            not what a trained or composed model does.
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
    subject: str = "the distribution"

    @property
    def advice(self) -> str:
        """What the regime means for the user."""
        if self.ok or self.regime == "atomic":
            return ADVICE[self.regime]
        return "gap or violation is above its limit: do not use this density as the optimum"

    def __repr__(self) -> str:
        limit = GAP_IN_CONTACT if self.regime == "contact" else GAP
        lines = [
            f"Certificate: {'ok' if self.ok else 'NOT OK'}, {self.regime} ({self.advice})",
            f"  primal          {self.primal:.7f} nats",
            f"  dual            {self.dual:.7f} nats",
            f"  relative gap    {_size(self.gap, limit)}",
            f"  violation       {_size(max(self.violation, 0.0), VIOLATION)} of the threshold",
            f"  complementarity {_size(self.complementarity, 1e-6)} nats",
            f"  normalisation   {_size(self.normalisation, GAP)}",
        ]
        if self.subject != Certificate.subject:
            lines.append(f"  certifies       {self.subject}; a model needs evaluate()")
        if self.floor is not None:
            lines.append(f"  floor           log p/q >= -{self.floor:g} nats")
        return "\n".join(lines)


def _size(value: float, limit: float) -> str:
    """A number, or that it is below its limit: rounding errors differ between machines."""
    return f"{value:.1e}" if abs(value) > limit else f"below {limit:.0e}"


def certify(problem: Problem, model: Any, multipliers: ArrayLike) -> Certificate:
    """Certify `model` as a solution of `problem`, from its density and the multipliers alone."""
    multipliers = multiplier_vector(multipliers, problem.m)
    evaluation = problem.evaluate(model)
    dual = problem.dual_value(multipliers)
    primal = evaluation.objective
    signed = problem.shortfalls(evaluation.constraints)
    violation = float(problem.violations(evaluation.constraints).max())
    gap = (primal - dual) / max(SMALLEST_PRIMAL, abs(primal))
    normalisation = abs(float(model.probabilities.sum()) - 1)
    active = multipliers > 0  # 0·∞ where a forgotten density is off the support
    complementarity = float(np.abs(multipliers[active] * signed[active]).max(initial=0.0))
    sound = violation <= VIOLATION and normalisation <= 1e-9
    regime = problem.regime(model, multipliers, sound and abs(gap) <= GAP_IN_CONTACT)
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
        problem.retain.subject,
    )
