"""solve(): the dual problem of any unlearning problem, and its solution with a certificate."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .certificate import certify
from .errors import Array, InfeasibleError
from .model import Tilt, realise
from .newton import Point, maximise
from .problems import Problem, require_problem
from .solution import PoolEvidence, Solution
from .vertices import dual_ray

COARSE = 4096  # atoms up to which one level is enough
SHORTEST = 1e-3  # step on the way to the thresholds, relative to the whole
STEPS_BETWEEN = 20  # of Newton, from one problem on that way to the next; mostly 4 to 10 do
RESAMPLES = 40  # of a pool, for a 95 % interval of the multipliers
SMALLEST_EFFECTIVE = 0.05  # share of a pool that must carry the target
COARSENING = 32  # each level has so many times the atoms of the one before


def solve(
    problem: Problem,
    *,
    near: Solution | None = None,
    pool: int = 16384,
    seed: int = 0,
) -> Solution:
    """Solve an unlearning problem through its dual: max over λ ≥ 0 of g(λ) = min_p L(p, λ).

    Projected Newton on the dual function gives the multipliers λ*, and the target at λ*, eqs. (2),
    (5) and (7), is the solution: all three problems are strongly dual (Theorems 1–3). Where
    the target does not exist (FU in contact with its floor, RU with Σλ* ≥ 1) the optimum is found
    on the primal side. Large tables are first solved on every 32nd, 1024th, ... atom.

    Diffusion models are solved on a pool: samples of q and of the q_i with the weights that make
    them a sample of q, and their log-ratios. The certificate then is the pool's;
    `solution.evaluate()` says what the model does.

    Args:
        problem: `ReverseKL`, `ForwardKL`, `Likelihood` or `Moments`.
        near: the solution of a problem that differs little, to start from; the answer does not
            depend on it.
        pool, seed: how many samples to draw for diffusion models, and how.

    Returns:
        A `Solution`. Read `solution.certificate.ok`: it is computed from the returned density.

    Raises:
        InfeasibleError: no p meets the thresholds; `.ray` proves it and `.ceiling` says what can be
            reached.
        SupportError: a model without log-ratios (`PointMass`).
        TypeError: not a problem.

    Warns:
        UserWarning: less than 5 % of a pool carries the target.

    Example:
        >>> import unlearnlab as ul
        >>> q, q1 = ul.Discrete([0.5, 0.3, 0.2]), ul.Discrete([0.1, 0.1, 0.8])
        >>> solution = ul.solve(ul.Likelihood(retain=q, forget=[q1], thresholds=[0.15]))
        >>> solution.model.probabilities.round(4)
        array([0.5804, 0.3482, 0.0714])
    """
    require_problem(problem)
    if near is not None and not isinstance(near, Solution):
        raise TypeError(f"near must be a Solution, as solve returns; got {type(near).__name__}")
    if near is not None and len(near.multipliers) != problem.m:
        raise ValueError(
            f"near must solve a problem with as many constraints, {problem.m}; it has "
            f"{len(near.multipliers)}"
        )
    began = time.perf_counter()
    retain, others = problem.retain.tabulated(problem.compared, pool=pool, seed=seed)
    exact = problem.on(retain, others) if problem.retain.sampled else problem
    tilt, multipliers, steps = _optimum(exact, near)
    target = realise(exact.retain, tilt, exact.atoms)
    certificate = certify(exact, target, multipliers)
    deeper = exact.deeper() if certificate.regime == "contact" else None
    twice = None if deeper is None else partial(optimal_value, deeper)
    solution = Solution(problem, target, multipliers, certificate, twice, steps=steps)
    if not problem.retain.sampled:
        return replace(solution, seconds=time.perf_counter() - began)
    evidence = _pool_evidence(exact, solution, seed)
    model = realise(problem.retain, tilt, exact.atoms) if tilt.guidance is not None else target
    seconds = time.perf_counter() - began
    return replace(solution, model=model, evidence=evidence, seconds=seconds)


def _pool_evidence(exact: Problem, solution: Solution, seed: int) -> PoolEvidence:
    """Bootstrap: the problem solved again on samples of the pool's samples."""
    target = solution.model
    size = len(target.log_masses)
    effective = warn_if_few(target)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        retain, others = exact.retain.take(generator.integers(size, size=size))
        try:
            found.append(_optimum(exact.on(retain, others), solution)[1])
        except InfeasibleError:  # on these samples; they say that the interval is open above
            found.append(np.full(exact.m, np.inf))
    interval = np.quantile(found, [0.025, 0.975], axis=0, method="nearest").T
    variance = exact.atoms.ratio_variance
    noise = 0.0 if variance is None else float(np.sqrt(target.probabilities @ variance).max())
    return PoolEvidence(exact, target, interval, effective, noise)


def warn_if_few(target: Any) -> float:
    """Effective sample size of weights on a pool, as a share of it; a warning below 5 %."""
    size = len(target.log_masses)
    effective = float(1 / np.square(target.probabilities).sum() / size)
    if effective < SMALLEST_EFFECTIVE:
        warnings.warn(
            f"the target lives on {effective:.1%} of the pool of {size} samples (effective sample "
            "size): its multipliers are not to be trusted; use a larger pool=, or thresholds "
            "closer to the values at q",
            stacklevel=4,
        )
    return effective


def optimal_value(problem: Problem) -> float:
    """Objective of the optimum, nats."""
    tilt, *_ = _optimum(problem)
    return problem.evaluate(realise(problem.retain, tilt, problem.atoms)).objective


def _optimum(problem: Problem, near: Solution | None = None) -> tuple[Tilt, Array, int]:
    """The optimal tilt and multipliers, by so many steps of Newton or at the domain's edge."""
    known = None if near is None else near.multipliers
    point = _nested_newton(problem, known)
    if not point.converged:
        _refuse_infeasible(problem)
        if problem.smooth_dual:
            point = _follow_thresholds(problem)
    if not point.converged:
        edge = problem.edge(known)
        if edge is not None:
            return *edge, point.steps
    tilt = problem.strength_tilt(point.strength, point.dual)
    return tilt, point.dual.multipliers, point.steps


def _nested_newton(problem: Problem, known: Array | None = None) -> Point:
    """Newton from multipliers that are known to be near, or from coarser subsets of the atoms.

    Each level starts the next.
    """
    steps = 100 if problem.smooth_dual else 15
    start = None if known is None else problem.strength(known)
    if start is not None:
        point = maximise(
            partial(problem.dual, table=problem.table), start, problem.scales, steps=steps
        )
        if point.converged or not problem.smooth_dual:
            return point
    strides = [1]
    while len(problem.atoms.log_weights) / strides[-1] > COARSE:
        # Odd, so that on a grid of even rows the subset walks through all columns.
        strides.append(strides[-1] * COARSENING + 1)
    start, steps_taken = None, 0
    for stride in reversed(strides):
        coarse = stride > 1
        atoms = problem.atoms.take(slice(stride // 2, None, stride)) if coarse else problem.atoms
        table = problem.tabulate(atoms) if coarse else problem.table
        dual = partial(problem.dual, table=table)
        first = problem.start(table) if start is None else start
        point = maximise(dual, first, problem.scales, steps=steps)
        start = point.strength if point.converged else None
        steps_taken += point.steps
    return point._replace(steps=steps_taken)


def _follow_thresholds(problem: Problem) -> Point:
    """Newton along a path of problems, from thresholds that q meets to those asked for.

    Near Λ = 1 a target can balance on a few cells, and the dual function is a narrow ridge:
    Newton stays on it when it comes from a little less aggressive problem.
    """
    at_q, senses = problem.baseline(), problem.senses
    easy = senses * np.minimum(senses * problem.thresholds, senses * at_q)
    done, step = 0.0, 0.25
    point = Point(np.zeros(problem.m), problem.dual(np.zeros(problem.m), problem.table), False)
    while step > SHORTEST and done < 1:
        share = min(1.0, done + step)
        thresholds = easy + share * (problem.thresholds - easy) if share < 1 else problem.thresholds
        between = problem.with_thresholds(thresholds)
        dual = partial(between.dual, table=problem.table)
        trial = maximise(dual, point.strength, between.scales, steps=STEPS_BETWEEN)
        if trial.converged:
            point, done, step = trial._replace(steps=point.steps + trial.steps), share, 2 * step
        else:
            step /= 4
    return point._replace(converged=done == 1)


def _refuse_infeasible(problem: Problem) -> None:
    """Raise an error with a proof where no distribution meets the thresholds."""
    b, senses = problem.thresholds, problem.senses
    ray = dual_ray(problem.vertex_values(), b, senses, problem.scales)
    if ray is None:
        return
    ceiling = problem.ceilings()
    sides = ["above" if sense > 0 else "below" for sense in senses]
    reaches = {"above": "can reach at most", "below": "can be brought down to"}
    groups: dict[str, list[float]] = {}
    for name, side, value in zip(problem.names, sides, np.round(ceiling, 6).tolist(), strict=True):
        groups.setdefault(f"{name} {reaches[side]}", []).append(value)
    reached = ", ".join(f"{group} {values}" for group, values in groups.items())
    beyond = np.flatnonzero(senses * (b - ceiling) > 0)
    reason = (
        f"{', '.join(f'thresholds[{i}]' for i in beyond)}: {sides[beyond[0]]} it"
        if len(beyond)
        else f"each can be reached alone but not together (ray {np.round(ray, 4).tolist()})"
    )
    raise InfeasibleError(
        f"no distribution meets thresholds {[float(f'{one:.7g}') for one in b]}: here {reached}; "
        f"{reason}",
        ceiling,
        ray,
    )
