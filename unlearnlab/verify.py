"""An independent check of strong duality: search the densities themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dual import solve
from .errors import Array
from .problems import Stated, require_stated
from .search import random_starts, search


@dataclass(frozen=True)
class Verification:
    """What a search over densities found, beside the dual optimum.

    Attributes:
        primal: least objective of a feasible density found, nats; +inf when none was.
        dual: the dual optimum, nats.
        gap: primal − dual, nats. Weak duality says it is ≥ 0, strong duality that it can be made 0.
        starts: how many searches were run.
        probabilities: (N,) the density found; None when none was.
    """

    primal: float
    dual: float
    gap: float
    starts: int
    probabilities: Array | None

    def __repr__(self) -> str:
        return (
            f"Verification: least objective over {self.starts} searches {self.primal:.6f} nats, "
            f"dual optimum {self.dual:.6f} nats, gap {self.gap:.1e}"
        )


def verify(problem: Stated, *, starts: int = 64, seed: int = 0) -> Verification:
    """Search for densities that beat the dual bound, without using duality.

    Augmented-Lagrangian L-BFGS over p = softmax(a) from `starts` random starts minimises the
    problem as stated. For a nonconvex problem (RU, FU in p) each search ends in a local optimum;
    strong duality says that the best of them can reach the dual optimum but never pass below it.

    Args:
        problem: any problem on exact models (grids, `Discrete`).
        starts: number of searches. seed: of the random starts.

    Raises:
        InfeasibleError: the problem is infeasible (from its dual).
        ValueError: fewer than one start.

    Example:
        Three atoms are not enough for strong duality; the gap is real.

        >>> import unlearnlab as ul
        >>> q, q1 = ul.Discrete([0.3, 0.695, 0.005]), ul.Discrete([0.69, 0.3, 0.01])
        >>> check = ul.verify(ul.ReverseKL(retain=q, forget=[q1], thresholds=[2.0]), starts=16)
        >>> round(check.primal, 3), round(check.dual, 3), round(check.gap, 3)
        (1.827, 1.519, 0.309)
    """
    if not isinstance(starts, int) or starts < 1:
        raise ValueError(f"starts must be a whole number of at least 1; got {starts!r}")
    require_stated(problem, "verify")
    dual = solve(problem).certificate.dual
    held = problem.atoms.log_weights > -np.inf
    log_q, ratios = problem.atoms.log_weights[held], problem.atoms.ratios[held]
    base = problem.log_base()
    value, log_p = search(
        problem.primal if held.all() else problem.primal_on(held),
        random_starts(log_q, ratios, starts, np.random.default_rng(seed)),
        problem.scales,
        log_base=None if base is None else base[held],
    )
    probabilities = None
    if log_p is not None:
        probabilities = np.zeros(len(held))
        probabilities[held] = np.exp(log_p)
    return Verification(value, dual, value - dual, starts, probabilities)
