"""Trade-off curves: what is kept against what is forgotten, constrained and with equal weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from tqdm import tqdm

from .dual import solve
from .errors import Array, InfeasibleError, Mask
from .problems import Problem, require_problem
from .ratios import log_sum_exp

try:
    from joblib.externals.loky.process_executor import BrokenProcessPool
except ImportError:  # in a browser there are no processes, and joblib works in line

    class BrokenProcessPool(RuntimeError):  # type: ignore[no-redef]  # noqa: N818
        """Never raised there."""

    tqdm.monitor_interval = 0  # nor are there threads, and tqdm would start one


STRENGTHS = np.geomspace(1e-4, 1e16, 121)  # six a decade; in units of the dual's own scale
STRONGEST = 1e7  # for RU and FU: beyond it log-ratios would be multiplied up to their rounding
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

        Never negative for match="worst", where it is optimal; for "total", where equal multipliers
        are, never positive but for +inf: RU has no target with Λ ≥ 1.
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
        ValueError: levels that are not positive, an unknown match, or `at_least` in the problem.
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
            found = _Parallel(bar, n_jobs=_jobs(jobs))(tasks)
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
    require_problem(problem)
    try:
        levels = np.atleast_1d(np.asarray(relative, dtype=np.float64))
    except (TypeError, ValueError):
        raise TypeError(f"relative must be a list of numbers; got {relative!r}") from None
    if levels.ndim != 1 or not len(levels) or not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError(f"relative must hold positive finite numbers; got {relative!r}")
    if not isinstance(match, str) or match not in MATCHES:
        raise ValueError(f"match must be 'worst' or 'total'; got {match!r}")
    if (problem.senses != problem.sense).any():
        raise ValueError(
            "problem has at_least= beside its other constraints, and one level for all of them "
            "would loosen some where it tightens others; solve problem.with_thresholds(...) at "
            "each point instead"
        )
    if not (problem.baseline() > 0).all():
        raise ValueError(
            f"relative levels need positive values at q; got {problem.baseline().tolist()}: some "
            "forget distribution equals retain, or a function's mean is not positive"
        )
    return levels


def _jobs(jobs: int | None) -> int | None:
    if jobs is not None and (not isinstance(jobs, int) or jobs == 0):
        raise ValueError(f"jobs must be a whole number other than 0, or None; got {jobs!r}")
    return jobs


def _level(values: Array, base: Array, sense: int, match: str) -> float:
    """Forgetting as one number, a multiple of the value at q."""
    relative = values / base
    if match == "total":
        return float(values.sum() / base.sum())
    return float(relative.min() if sense > 0 else relative.max())


def _equal(problem: Problem, strength: float, beyond: float = 0.0, share: float = 0.0) -> Point:
    """The target at equal multipliers, evaluated from its density.

    With a share, that much of the way (in log p) to the target at `beyond`. FU's target can jump
    between two neighbouring numbers λ, where c = 1 − Λρ passes through zero. FU is convex in log p,
    so what lies between two minimisers of the Lagrangian is another.
    """
    multipliers = problem.multipliers(np.full(problem.m, strength))
    model = problem.target(multipliers)
    if share > 0:
        other = problem.target(problem.multipliers(np.full(problem.m, beyond)))
        between = (1 - share) * model.log_masses + share * other.log_masses
        model = model.with_log_masses(between - log_sum_exp(between))
    found = problem.evaluate(model)
    return Point(found.objective, found.constraints, multipliers)


def _sweep(problem: Problem, base: Array, highest: float, match: str) -> tuple[Array, Array]:
    """Strengths and sense·level along equal multipliers, up to the highest asked for."""
    strong = STRENGTHS[STRENGTHS <= STRONGEST]
    scaled = strong if problem.sense > 0 else STRENGTHS / base.max()
    strengths, scores = [0.0], [problem.sense * 1.0]
    for strength in scaled:
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
    enough = np.flatnonzero(scores >= goal - 1e-12 * abs(goal))
    if not len(enough):
        nowhere = np.full(problem.m, np.inf)
        return constrained, Point(np.inf, problem.sense * nowhere, nowhere)
    first = int(enough[0])
    if first == 0:
        return constrained, _equal(problem, 0.0)

    def excess(strength: float, beyond: float = 0.0, share: float = 0.0) -> float:
        constraints = _equal(problem, strength, beyond, share).constraints
        return problem.sense * _level(constraints, base, problem.sense, match) - goal

    low, high = float(strengths[first - 1]), float(strengths[first])
    for end in (low, high):  # at an end to rounding: nothing to search
        if (excess(end) >= 0) == (end == low):
            return constrained, _equal(problem, end)
    root = brentq(excess, low, high, xtol=1e-300, rtol=1e-12)
    before, after, step = root, root, 1e-15  # close around the root from both sides
    while excess(before) > 0 and before > low:
        before, step = max(low, root * (1 - step)), 4 * step
    step = 1e-15
    while excess(after) < 0 and after < high:
        after, step = min(high, root * (1 + step)), 4 * step
    if excess(after) - excess(before) <= 1e-9 * abs(goal):  # no jump
        return constrained, _equal(problem, after)
    share = brentq(lambda at: excess(before, after, at), 0.0, 1.0, xtol=1e-14)
    return constrained, _equal(problem, before, after, share)


def _curve(problem: Problem, points: tuple[Point, ...], match: str) -> Curve:
    base = problem.baseline()
    columns = (np.array(column) for column in zip(*points, strict=True))
    deviation, constraints, multipliers, ok = columns
    levels = [_level(values, base, problem.sense, match) for values in constraints]
    return Curve(np.array(levels), deviation, constraints, multipliers, ok)
