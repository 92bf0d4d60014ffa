"""Reverse KL at Λ = 1 and beyond, where the target (2) is no more.

On atoms the Lagrangian (1−Λ)KL(p‖q) − λᵀE_p[r] + λᵀb is concave in p for Λ ≥ 1, so it is least at a
single atom and the dual function is a linear programme. Either its optimum is met by a density on
the atoms that tie for the minimum (`boundary`), or the gridded problem has a gap (`atomic`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize, root

from ..errors import Array
from ..ratios import TiltedMoments, log_sum_exp, tilted_moments
from ..search import Primal, random_starts, search
from ..vertices import FURTHEST, max_min

TIE = 1e-8  # nats: atoms this close to the minimum tie for it
CANDIDATES = 24  # atoms that the search for an atomic optimum considers


def beyond_one(log_weights: Array, ratios: Array, thresholds: Array) -> tuple[Array, float]:
    """Maximiser (m,) and maximum of the dual function over Λ ≥ 1.

    g(λ) = min_j L_j + λᵀ(b − L_j − r_j), L = −log Q: KL(δ_j‖q) = L_j and KL(δ_j‖q_i) = L_j + r_ij.

    Args:
        log_weights: (N,) log mass of q; ratios: (N, m) log q/q_i; thresholds: (m,) b.
    """
    costs, slopes = _points(log_weights, ratios, thresholds)
    multipliers, value = max_min(costs, slopes, least=1.0, most=FURTHEST)
    return _sharpen(costs, slopes, multipliers, value)


def solve_edge(
    log_weights: Array, ratios: Array, thresholds: Array, multipliers: Array, value: float
) -> Array:
    """A density that solves RU where the dual function is greatest at Λ ≥ 1.

    Args:
        multipliers, value: what `beyond_one` found.

    Returns:
        (N,) t = log p/q of the best density found. On few atoms several constraints may leave no
        feasible density though the dual is bounded: then of the least infeasible atom.
    """
    held = np.flatnonzero(log_weights > -np.inf)
    log_q, r = log_weights[held], ratios[held]
    t = None
    if multipliers.sum() < 1 + 1e-9:
        t = _on_tied_atoms(log_q, r, thresholds, multipliers, value)
    if t is None:
        costs, slopes = _points(log_q, r, thresholds)
        t = _few_atoms(log_q, r, thresholds, costs + slopes @ multipliers)
    full = np.full(len(log_weights), -np.inf)
    full[held] = t
    return full


def _points(log_weights: Array, ratios: Array, thresholds: Array) -> tuple[Array, Array]:
    """L_j and b − KL(δ_j‖q_i) of the atoms of q."""
    held = log_weights > -np.inf
    costs = -log_weights[held]
    return costs, thresholds - (ratios[held] + costs[:, None])


def _sharpen(intercepts: Array, slopes: Array, x: Array, value: float) -> tuple[Array, float]:
    """Solve the programme's active equations again in double precision; keep what is better."""
    tied = intercepts + slopes @ x <= value + TIE * (1 + abs(value))
    free = x > 1e-9
    rows = np.column_stack([slopes[tied][:, free], -np.ones(tied.sum())])
    right = -intercepts[tied]
    if x.sum() < 1 + 1e-7:
        rows = np.vstack([rows, np.append(np.ones(free.sum()), 0.0)])
        right = np.append(right, 1.0)
    better = np.zeros_like(x)
    better[free] = np.maximum(np.linalg.lstsq(rows, right, rcond=None)[0][:-1], 0.0)
    worth = float((intercepts + slopes @ better).min())
    keep = worth >= value - TIE and better.sum() >= 1 - 1e-12
    return (better, worth) if keep else (x, value)


def _on_tied_atoms(
    log_q: Array, ratios: Array, thresholds: Array, multipliers: Array, value: float
) -> Array | None:
    """A density on argmax λᵀr with KL(p‖q) = g and KL(p‖q_i) ≥ b_i, if there is one.

    At Λ = 1 the optimum needs E_p[r_i] ≥ b_i − g on the tied atoms and KL(p‖q) = g exactly; it is
    not unique. Take p ∝ q·exp(uᵀr − κ·spread): at κ = 0 the least divergence that meets the
    moments, and more divergence as κ narrows it.
    """
    height = ratios @ multipliers
    tied = height >= height.max() - TIE * (1 + abs(height.max()))
    if tied.sum() <= len(thresholds) + 1:
        return None
    base, r, goal = log_q[tied], ratios[tied], thresholds - value
    # λᵀr is the same on all tied atoms, so one active constraint follows from the others.
    active = np.flatnonzero(multipliers > 1e-9)
    matched = active[np.argsort(multipliers[active])][:-1]
    # By the distance from the goal; atoms with the same ratios, by their mass and order.
    by_mass = base - base.min() + np.arange(len(base)) / len(base)
    # What is linear in r, u takes care of anyway; left in, u would have to be large.
    linear = np.column_stack([np.ones(len(r)), r])
    for spread in (((r - goal) ** 2).sum(axis=1), by_mass):
        spread = spread - linear @ np.linalg.lstsq(linear, spread, rcond=None)[0]
        log_p = _of_divergence(base, r[:, matched] - goal[matched], value, spread)
        if log_p is not None and (np.exp(log_p) @ r >= goal - TIE).all():
            t = np.full(len(log_q), -np.inf)
            t[tied] = log_p - base
            return t
    return None


def _of_divergence(base: Array, excess: Array, value: float, spread: Array) -> Array | None:
    """log p, p ∝ q·exp(uᵀexcess − κ·spread), with E_p[excess] = 0 and KL(p‖q) = value, or None.

    κ is bisected; u follows from it by minimising the convex K(u).
    """
    scale = np.maximum(np.abs(excess).max(axis=0, initial=0.0), 1e-300)
    statistics = excess / scale

    def at(kappa: float) -> tuple[float, Array]:
        log_p = base - kappa * spread

        def moments(u: Array) -> TiltedMoments:
            return tilted_moments(log_p, statistics, u)

        if statistics.shape[1]:
            near = minimize(
                lambda u: moments(u).log_normaliser,
                np.zeros(len(scale)),
                jac=lambda u: moments(u).mean,
                hess=lambda u: moments(u).covariance,
                method="trust-exact",
                options={"gtol": 1e-7},
            )
            # K itself is too flat near its minimum to tell more: its gradient's root does.
            found = root(
                lambda u: moments(u).mean, near.x, jac=lambda u: moments(u).covariance, tol=1e-15
            )
            log_p = log_p + statistics @ found.x
        log_p = log_p - log_sum_exp(log_p)
        return float(np.exp(log_p) @ (log_p - base)), log_p

    if at(0.0)[0] > value:
        return None
    kappa = 1.0
    while at(kappa)[0] < value:
        kappa *= 4
        if kappa > 1e8:
            return None
    kappa = brentq(lambda k: at(k)[0] - value, 0.0, kappa, xtol=1e-15, rtol=1e-14)
    divergence, log_p = at(kappa)
    return log_p if abs(divergence - value) < TIE else None


def _few_atoms(log_q: Array, ratios: Array, thresholds: Array, cost: Array) -> Array:
    """The best feasible density on few atoms: for Λ > 1 a local optimum holds at most m + 1.

    Candidates are the atoms with the least Lagrangian, those that reach furthest, the heaviest, and
    the heaviest of those that are feasible as points.
    """
    reach = ratios - log_q[:, None]
    chosen = np.unique(
        np.concatenate(
            [
                np.argsort(cost)[: CANDIDATES // 2],
                np.argsort(-(reach - thresholds).min(axis=1))[:4],
                np.argsort(-log_q)[: CANDIDATES // 3],
                np.argsort(np.where((reach >= thresholds).all(axis=1), -log_q, np.inf))[:8],
            ]
        )
    )
    base, r = log_q[chosen], ratios[chosen]

    def primal(log_p: Array) -> Primal:
        return reverse_primal(log_p, base, r, thresholds)

    # One start at each atom, besides the random ones: the optimum may be nearly a point.
    heavy = [np.where(np.arange(len(chosen)) == j, 6.0, 0.0) for j in range(len(chosen))]
    starts = [*heavy, *random_starts(base, r, 8, np.random.default_rng(0))]
    value, log_p = search(primal, starts, np.where(thresholds > 0, thresholds, 1.0))
    pair_value, pair = _best_pair(base, r, thresholds)
    if pair_value < value:
        value, log_p = pair_value, pair
    room = (reach[chosen] - thresholds).min(axis=1)
    point = int(np.where(room >= 0, base, -np.inf).argmax() if room.max() >= 0 else room.argmax())
    if log_p is None or (room[point] >= 0 and -base[point] <= value):
        log_p = np.where(np.arange(len(chosen)) == point, 0.0, -np.inf)
    t = np.full(len(log_q), -np.inf)
    t[chosen] = log_p - base
    return t


def _best_pair(log_q: Array, ratios: Array, thresholds: Array) -> tuple[float, Array | None]:
    """The best feasible density on one or two atoms, by a scan of all pairs and bisection."""
    pairs = np.array([(i, j) for i in range(len(log_q)) for j in range(len(log_q)) if i != j])
    if not len(pairs):
        return np.inf, None

    def evaluate(pairs: Array, logit: Array) -> tuple[Array, NDArray[np.bool_]]:
        """KL(p‖q) and feasibility of p = σ(logit) on the first atom of each pair."""
        log_p = np.stack([-np.logaddexp(0, -logit), -np.logaddexp(0, logit)], axis=-1)
        p, t = np.exp(log_p), log_p - log_q[pairs]
        objective = (p * t).sum(axis=-1)
        constraints = objective[..., None] + (p[..., None] * ratios[pairs]).sum(axis=-2)
        return objective, (constraints >= thresholds).all(axis=-1)

    logits = np.linspace(-40, 40, 321)
    objective, feasible = evaluate(pairs[:, None, :], np.broadcast_to(logits, (len(pairs), 321)))
    objective = np.where(feasible, objective, np.inf)
    if not np.isfinite(objective).any():
        return np.inf, None
    row, column = np.unravel_index(objective.argmin(), objective.shape)
    pair, best = pairs[row], (float(objective.min()), float(logits[column]))
    for neighbour in (column - 1, column + 1):  # the optimum lies where feasibility ends
        if not 0 <= neighbour < len(logits):
            continue
        inside, outside = logits[column], logits[neighbour]
        for _ in range(60):
            middle = (inside + outside) / 2
            value, ok = evaluate(pair, np.asarray(middle))
            if ok and value <= best[0]:
                inside, best = middle, (float(value), float(middle))
            else:
                outside = middle
    log_p = np.full(len(log_q), -np.inf)
    log_p[pair] = [-np.logaddexp(0, -best[1]), -np.logaddexp(0, best[1])]
    return best[0], log_p


def reverse_primal(log_p: Array, log_q: Array, ratios: Array, thresholds: Array) -> Primal:
    """KL(p‖q), b_i − KL(p‖q_i) and their gradients p(t + 1), −p(t + r_i + 1) in log p."""
    p, t = np.exp(log_p), log_p - log_q
    terms = t[:, None] + ratios
    return Primal(float(p @ t), p * (t + 1), thresholds - p @ terms, -p[:, None] * (terms + 1))
