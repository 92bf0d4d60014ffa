"""Lyapunov's convexity theorem, run by a linear programme: Lemma 1 to look at.

Objective and constraints of all three problems are integrals of a function of p(x). So is the
vector measure μ(A) = ∫_A (integrands of p − integrands of p′). It has no atoms, hence its range is
convex (Lyapunov): for any θ some A has μ(A) = θμ(everything), and the density that is p on A and p′
off A attains the θ-combination of every integral (Lemma 1). The set of attainable (objective,
constraints) is convex although the problem is not, and strong duality follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import qr
from scipy.optimize import brentq, linprog

from .errors import Array, Mask, finite_vector, same_space
from .model import require_model
from .problems import Problem, Stated, require_problem, require_stated
from .ratios import log_sum_exp
from .vertices import HIGHS

VIOLATION = 1e-6  # relative; p and p′ may break a threshold by so much
FRACTIONAL = 1e-7  # shares nearer to 0 or 1 than this are 0 or 1
DEPENDENT = 1e-10  # relative size of what a row adds to the others, below which it adds nothing
TEETH = 40  # of the comb, along the cells


@dataclass(frozen=True, eq=False)
class Comb:
    """p on a set A of cells, p′ off it.

    `wanted`, `errors`, `split_errors` and `bounds` have m + 2 entries: the objective, the m
    constraints and the mass, in the units of the problem.

    Attributes:
        mask: (N,) A.
        density: the combed density, normalised.
        average: θp + (1−θ)p′, which convexity would have used.
        shares: (N,) the share of each cell that p gets before rounding: 0 or 1 but for at most
            m + 2 cells.
        wanted: θ times the integrals of p plus 1−θ times those of p′.
        errors: what rounding the shares does to each integral, before normalisation.
        bounds: m + 2 times the largest contribution of a cell, O(1/N): errors lie below it.
        split_errors: the errors when fractional cells are divided by their shares instead.
    """

    mask: Mask
    density: Any
    average: Any
    shares: Array
    wanted: Array
    errors: Array
    bounds: Array
    split_errors: Array

    def __repr__(self) -> str:
        inside = int(((self.shares > 0) & (self.shares < 1)).sum())
        share = np.max(self.errors / np.maximum(self.bounds, 1e-300))
        return (
            f"Comb: p on {int(self.mask.sum())} of {len(self.mask)} cells, {inside} of them were "
            f"fractional; errors at most {share:.0%} of bounds"
        )


def lyapunov_split(p: Any, p_prime: Any, theta: float, problem: Stated) -> Comb:
    """A set A such that p on A and p′ off A has the θ-combination of every integral.

    With M the (m + 2, N) contributions of each cell to objective, constraints and mass under p less
    those under p′, find x ∈ [0, 1]^N with Mx = θM1. A basic solution has at most m + 2 fractional
    entries: the extreme-point proof of Lyapunov's theorem. Among them the one that looks like
    a comb is taken: it prefers the first θ of each of 40 runs of cells.

    Args:
        p, p_prime: densities on the problem's grid that meet its thresholds.
        theta: θ, strictly between 0 and 1.
        problem: `ReverseKL`, `ForwardKL` or `Likelihood` on a grid.

    Returns:
        A `Comb`.

    Raises:
        TypeError: not a problem, or not densities.
        ValueError: θ outside (0, 1), another grid, a density that breaks a threshold or has an
            infinite objective, or atoms (`Discrete`), which no set can divide.
        ArithmeticError: the linear programme failed (densities over many decades on few cells).

    Source: Lemma 1; Lyapunov (1940); Lindenstrauss (1966) for the extreme-point proof.

    Example:
        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-8, 8, 2000)
        >>> q, q1 = (ul.GaussianMixture([1], [mean], [1]).on(grid) for mean in (0, 1))
        >>> problem = ul.ReverseKL(retain=q, forget=[q1], thresholds=[2.0])
        >>> left, right = (ul.GaussianMixture([1], [mean], [1]).on(grid) for mean in (-1.1, 3.1))
        >>> comb = ul.lyapunov_split(left, right, 0.5, problem)
        >>> bool((comb.errors <= comb.bounds).all()), bool((comb.split_errors < 1e-9).all())
        (True, True)
    """
    share = _check(p, p_prime, theta, problem)
    ours, others = (_integrands(problem, model) for model in (p, p_prime))
    difference = ours - others  # (N, m + 2)
    x = _basic_solution(difference, share)
    mask = x > 0.5
    log_masses = np.where(mask, p.log_masses, p_prime.log_masses)
    goal = share * difference.sum(axis=0)
    return Comb(
        mask,
        p.with_log_masses(log_masses - log_sum_exp(log_masses)),
        average(p, p_prime, share),
        x,
        share * ours.sum(axis=0) + (1 - share) * others.sum(axis=0),
        np.abs(difference[mask].sum(axis=0) - goal),
        difference.shape[1] * np.abs(difference).max(axis=0),
        np.abs(x @ difference - goal),
    )


def average(p: Any, p_prime: Any, theta: float) -> Any:
    """θp + (1−θ)p′, 0 ≤ θ ≤ 1."""
    with np.errstate(divide="ignore"):
        return p.with_log_masses(
            np.log(theta * p.probabilities + (1 - theta) * p_prime.probabilities)
        )


def boundary_pairs(problem: Problem, pairs: int, *, seed: int = 0) -> Iterator[tuple[Any, Any]]:
    """Random pairs of densities on the boundary of the feasible set.

    Each density is q·e^{sf − K(s)} for a random smooth f and the s at which its worst constraint
    meets its threshold, to rounding: feasible, and for one constraint at it.

    Args:
        problem: on a grid, with thresholds that q breaks.
        pairs: how many. seed: of f.

    Raises:
        ValueError: q meets the thresholds (there is no boundary on the way from it), fewer than
            one pair, or no boundary found in 50 tries a density.
    """
    require_problem(problem)
    if problem.retain.atomic:
        raise ValueError(_ATOMS.format(name="retain", model=problem.retain))
    if not isinstance(pairs, int) or pairs < 1:
        raise ValueError(f"pairs must be a whole number of at least 1; got {pairs!r}")
    if _worst(problem, problem.retain) <= 0:
        raise ValueError(
            f"q meets thresholds {problem.thresholds.tolist()} as it is: no path from q crosses "
            "the boundary; ask for more"
        )
    rng = np.random.default_rng(seed)
    return ((_on_boundary(problem, rng), _on_boundary(problem, rng)) for _ in range(pairs))


_ATOMS = (
    "{name} lives on atoms ({model!r}): Lyapunov's theorem needs a measure without them; put it "
    "on a Grid, or see what .split(k) does to the gap"
)


def _check(p: Any, p_prime: Any, theta: float, problem: Stated) -> float:
    require_stated(problem, "lyapunov_split")
    share = float(finite_vector("theta", theta, 1, per="comb")[0])
    if not 0 < share < 1:
        raise ValueError(f"theta must lie strictly between 0 and 1; got {theta!r}")
    for name, model in (("p", p), ("p_prime", p_prime)):
        require_model(name, model)
        if getattr(model, "atomic", False):
            raise ValueError(_ATOMS.format(name=name, model=model))
        same_space(["problem", name], [problem.retain, model])
        objective = problem.evaluate(model).objective
        if not np.isfinite(objective):
            raise ValueError(
                f"{name} has {problem.objective_name} = {objective}; it must be finite"
            )
        worst = _worst(problem, model)
        if worst > VIOLATION:
            values = problem.evaluate(model).constraints
            raise ValueError(
                f"{name} is infeasible: {problem.constraint_name} = {values.round(6).tolist()} "
                f"against thresholds {problem.thresholds.round(6).tolist()}; Lemma 1 combines "
                "feasible densities"
            )
        if not problem.admits(model):
            raise ValueError(
                f"{name} lies below the floor of {problem!r}: somewhere log {name}/q < −T; give "
                "the problem a larger floor="
            )
    return share


def _worst(problem: Problem, model: Any) -> float:
    """Worst signed violation relative to its threshold."""
    return float(problem.violations(problem.evaluate(model).constraints).max())


def _integrands(problem: Stated, model: Any) -> Array:
    """(N, m + 2) contributions of each cell: objective, constraints, mass."""
    return np.column_stack([problem.contributions(model.log_masses), model.probabilities])


def _basic_solution(difference: Array, theta: float) -> Array:
    """x ∈ [0, 1]^N with Mx = θM1 and at most m + 2 fractional entries."""
    cells = len(difference)
    scale = np.abs(difference).max(axis=0)
    rows = (difference / np.where(scale > 0, scale, 1.0)).T
    goal = theta * rows.sum(axis=1)
    # Nearly dependent rows would make the programme infeasible to rounding: give it an
    # orthogonal basis of them.
    basis, triangle, _ = qr(rows.T, mode="economic", pivoting=True)
    size = np.abs(np.diag(triangle))
    basis = basis[:, size > DEPENDENT * max(size.max(), 1e-300)]
    basis /= np.maximum(np.abs(basis).max(axis=0, initial=0.0), 1e-300)
    sawtooth = np.arange(cells) * min(TEETH, cells / 2) / cells % 1.0
    found = linprog(
        # A saw: without the rows, x = 1 where it is below θ. With them, where saw − θ < yᵀM.
        (sawtooth - theta) / cells,
        A_eq=basis.T if basis.shape[1] else None,
        b_eq=theta * basis.sum(axis=0) if basis.shape[1] else None,
        bounds=(0, 1),
        method="highs-ds",
        options=HIGHS | {"presolve": False},  # nothing to find in dense rows; takes half the time
    )
    if found.x is None:
        raise ArithmeticError(f"the linear programme of the comb failed: {found.message}")
    x = np.where(found.x > 0.5, 1.0, 0.0)
    between = (found.x > FRACTIONAL) & (found.x < 1 - FRACTIONAL)
    if between.any():  # once more by themselves, to rounding
        rest = goal - rows[:, ~between] @ x[~between]
        x[between] = np.clip(np.linalg.lstsq(rows[:, between], rest, rcond=None)[0], 0.0, 1.0)
    return x


def _on_boundary(problem: Problem, rng: np.random.Generator) -> Any:
    q = problem.retain
    for _ in range(50):
        f = _random_smooth(q.space.points, rng)

        def model(s: float, f: Array = f) -> Any:
            log_masses = q.log_masses + s * f
            return q.with_log_masses(log_masses - log_sum_exp(log_masses))

        s = 0.25
        while s < 64 and _worst(problem, model(s)) > 0:
            s *= 2
        if s >= 64:
            continue
        s = brentq(lambda s: _worst(problem, model(s)), s / 2 if s > 0.25 else 0.0, s, xtol=1e-14)
        found = model(s)
        if problem.admits(found):
            return found
    raise ValueError(
        f"no boundary found at thresholds {problem.thresholds.tolist()}: they are too demanding "
        "for random densities; lower them"
    )


def _random_smooth(points: Array, rng: np.random.Generator) -> Array:
    """(N,) a sum of eight bumps of random place, height and width."""
    low, high = points.min(axis=0), points.max(axis=0)
    centres = rng.uniform(low, high, (8, points.shape[1]))
    widths = rng.uniform(0.05, 0.3, 8) * max((high - low).max(), 1e-300)
    heights = rng.normal(0.0, 2.0, 8)
    values = np.zeros(len(points))
    for centre, width, height in zip(centres, widths, heights, strict=True):
        values += height * np.exp(-0.5 * (((points - centre) / width) ** 2).sum(axis=1))
    return values
