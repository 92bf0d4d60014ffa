"""Trade-off curves: what is kept against what is forgotten, constrained and with equal weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from tqdm import tqdm

from .dual import solve
from .errors import Array, InfeasibleError, Mask
from .problems import Problem

STRENGTHS = np.geomspace(1e-4, 1e7, 67)  # six a decade; in units of the dual's own scale
MATCHES = ("worst", "total")


class Point(NamedTuple):
    """One unlearned model: deviation (nats), constraint values (m,) and multipliers (m,).

    `ok` is a solution's certificate; a target at given multipliers is what it is.
    """

    deviation: float
    constraints: Array
    multipliers: Array
    ok: bool = True


@dataclass(frozen=True, eq=False)
class Curve:
    """n points of a trade-off; an infinite deviation means that the level was not reached.

    Attributes:
        levels: (n,) forgetting as it is matched, a multiple of the value at q.
        deviation: (n,) objective, nats.
        constraints: (n, m) constraint values.
        multipliers: (n, m).
        ok: (n,) whether the point's certificate is.
    """

    levels: Array
    deviation: Array
    constraints: Array
    multipliers: Array
    ok: Mask

    @property
    def reached(self) -> Mask:
        """(n,) where there is a point."""
        return np.asarray(np.isfinite(self.deviation))


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The constrained curve and the one with equal multipliers, at matched levels.

    Attributes:
        problem: whose models and options were used.
        relative: (n,) the levels asked for, multiples of the constraint values at q.
        match: "worst" or "total".
        constrained: solutions at these levels.
        equal: the first target with equal multipliers that forgets as much.
    """

    problem: Problem
    relative: Array
    match: str
    constrained: Curve
    equal: Curve

    @property
    def gains(self) -> Array:
        """(n,) nats that the constrained solution saves at each level; +inf if only it gets there.

        Never negative for match="worst", where it is optimal, and never positive for "total", where
        equal multipliers are.
        """
        return self.equal.deviation - self.constrained.deviation

    def curves(self) -> dict[str, tuple[Array, Array]]:
        """For `plot.tradeoff`: name to (levels, deviation)."""
        named = {"constrained": self.constrained, "equal multipliers": self.equal}
        return {
            name: (curve.levels[curve.reached], curve.deviation[curve.reached])
            for name, curve in named.items()
        }


class _Parallel(Parallel):
    """Parallel that moves a bar; lists, because not every backend has generators."""

    def __init__(self, bar: tqdm, **options: Any):
        super().__init__(**options)
        self.bar = bar

    def print_progress(self) -> None:
        """Called by joblib after each task."""
        self.bar.update(self.n_completed_tasks - self.bar.n)


def tradeoff(
    problem: Problem,
    relative: ArrayLike,
    *,
    match: str = "worst",
    jobs: int | None = None,
    progress: bool | None = None,
) -> Tradeoff:
    """Retention against forgetting: thresholds on every q_i against one multiplier for all.

    At each level r the problem is solved with thresholds r·(values at q). Beside it stands the
    target with λ_1 = ... = λ_m, the smallest that forgets as much: the same worst multiple
    of a value at q ("worst"), or the same multiple of their sum ("total"). Smallest on a sweep
    of six multipliers a decade, then to rounding.

    Args:
        problem: gives the models and options; its thresholds are not used.
        relative: (n,) levels, multiples of the constraint values at q, in any order.
        match: what is matched.
        jobs: parallel workers through joblib; None asks `joblib.parallel_config`, which also
            chooses the backend (processes, threads, a cluster's).
        progress: show a bar; None shows it on a terminal alone, so that notebooks repeat.

    Raises:
        InfeasibleError: some level cannot be reached; the message names it.
        ValueError: levels that are not positive, or an unknown match.
        RuntimeError: a worker process died.

    Warns:
        UserWarning: the certificate of some solution is not ok; `constrained.ok` says which.

    Source: Remark 1 (iii); equal weights are the baseline of Figures 3 and 6.

    Example:
        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-8, 8, 2001)
        >>> q = ul.GaussianMixture([0.5, 0.3, 0.2], [-3, 0, 3], [0.6] * 3).on(grid)
        >>> forget = [ul.GaussianMixture([1], [3 * i], [0.6 + i]).on(grid) for i in (0, 1)]
        >>> problem = ul.ReverseKL(retain=q, forget=forget, relative=1.0)
        >>> result = ul.tradeoff(problem, [1.5, 2.0])
        >>> result.constrained.deviation.round(3), result.equal.deviation.round(3)
        (array([0.157, 0.598]), array([0.161, 0.61 ]))
    """
    levels = _check(problem, relative, match)
    base = problem.baseline()
    sweep = _sweep(problem, base, float((problem.sense * levels).max()), match)
    tasks = (delayed(_pair)(problem, base, float(level), match, sweep) for level in levels)
    hidden = None if progress is None else not progress
    with tqdm(total=len(levels), desc="trade-off", disable=hidden) as bar:
        try:
            found = _Parallel(bar, n_jobs=jobs)(tasks)
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"a worker process died before all {len(levels)} points were done (killed, or out "
                "of memory); nothing was kept. Use fewer jobs, or jobs=1 to see its own error"
            ) from error
    constrained, equal = (_curve(problem, points, match) for points in zip(*found, strict=True))
    if not constrained.ok.all():
        warnings.warn(
            f"at relative={levels[~constrained.ok].tolist()} the certificate is not ok: what is "
            "shown is an upper bound of the optimum; refine the grid, or ask for less",
            stacklevel=2,
        )
    return Tradeoff(problem, levels, match, constrained, equal)


def _check(problem: Problem, relative: ArrayLike, match: str) -> Array:
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a ReverseKL, ForwardKL or Likelihood; got {type(problem).__name__}"
        )
    try:
        levels = np.atleast_1d(np.asarray(relative, dtype=np.float64))
    except (TypeError, ValueError):
        raise TypeError(f"relative must be a list of numbers; got {relative!r}") from None
    if levels.ndim != 1 or not len(levels) or not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError(f"relative must hold positive finite numbers; got {relative!r}")
    if match not in MATCHES:
        raise ValueError(f"match must be 'worst' or 'total'; got {match!r}")
    if not (problem.baseline() > 0).all():
        raise ValueError(
            f"relative levels need positive values at q; got {problem.baseline().tolist()}: some "
            "forget distribution equals retain"
        )
    return levels


def _level(values: Array, base: Array, sense: int, match: str) -> float:
    """Forgetting as one number, a multiple of the value at q."""
    relative = values / base
    if match == "total":
        return float(values.sum() / base.sum())
    return float(relative.min() if sense > 0 else relative.max())


def _equal(problem: Problem, strength: float) -> Point:
    """The target at equal multipliers, evaluated from its density."""
    multipliers = problem.multipliers(np.full(problem.m, strength))
    found = problem.evaluate(problem.target(multipliers))
    return Point(found.objective, found.constraints, multipliers)


def _sweep(problem: Problem, base: Array, highest: float, match: str) -> tuple[Array, Array]:
    """Strengths and sense·level along equal multipliers, up to the highest asked for."""
    unit = 1.0 if problem.sense > 0 else float(1 / base.max())
    strengths, scores = [0.0], [problem.sense * 1.0]
    for strength in unit * STRENGTHS:
        try:
            point = _equal(problem, float(strength))
        except ValueError:  # no target at such multipliers: the domain ends
            break
        strengths.append(float(strength))
        scores.append(problem.sense * _level(point.constraints, base, problem.sense, match))
        if match == "worst" and scores[-1] >= highest:
            break
    return np.array(strengths), np.array(scores)


def _pair(
    problem: Problem, base: Array, level: float, match: str, sweep: tuple[Array, Array]
) -> tuple[Point, Point]:
    """The solution at a level, and the first equal multipliers that forget as much."""
    try:
        solution = solve(problem.with_thresholds(level * base))
    except InfeasibleError as error:
        raise InfeasibleError(f"relative={level:g}: {error}", error.ceiling, error.ray) from None
    constrained = Point(
        solution.objective, solution.constraints, solution.multipliers, solution.certificate.ok
    )
    goal = problem.sense * _level(solution.constraints, base, problem.sense, match)
    strengths, scores = sweep
    enough = np.flatnonzero(scores >= goal - 1e-9)
    if not len(enough):
        nowhere = np.full(problem.m, np.inf)
        return constrained, Point(np.inf, problem.sense * nowhere, nowhere)
    first = int(enough[0])
    if first == 0:
        return constrained, _equal(problem, 0.0)

    def short(strength: float) -> float:
        constraints = _equal(problem, strength).constraints
        return problem.sense * _level(constraints, base, problem.sense, match) - goal

    low, high = strengths[first - 1], strengths[first]
    root = high if short(high) <= 0 else brentq(short, low, high, xtol=1e-15, rtol=1e-12)
    beyond = 1e-13  # a root is found from either side: take the one that forgets enough
    while short(root) < 0 and root < high:
        root, beyond = min(high, root * (1 + beyond)), 4 * beyond
    return constrained, _equal(problem, root)


def _curve(problem: Problem, points: tuple[Point, ...], match: str) -> Curve:
    base = problem.baseline()
    columns = (np.array(column) for column in zip(*points, strict=True))
    deviation, constraints, multipliers, ok = columns
    levels = [_level(values, base, problem.sense, match) for values in constraints]
    return Curve(np.array(levels), deviation, constraints, multipliers, ok)
