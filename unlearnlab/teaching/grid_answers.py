"""What is right in lessons 00 to 05, where it is computed: the lessons' densities and solutions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .exercise import Verdict
from .figures import EQUAL_DEVIATION, leaning_pair, three_modes, three_to_forget


@cache
def _solved(kind: str, relative: float, forget: float = 0.0) -> Any:
    from .. import problems
    from ..dual import solve

    q, q1 = three_modes(forget)
    return solve(getattr(problems, kind)(retain=q, forget=[q1], relative=relative))


def masses_left(width: float) -> list[float]:
    """00.1: between −width and width, of the three solutions."""
    inside = np.abs(three_modes(0.0)[0].grid.axes[0]) < width
    solutions = [_solved(kind, relative) for kind, relative in EQUAL_DEVIATION.items()]
    return [float(one.model.probabilities[inside].sum()) for one in solutions]


def top_of_the_right_mode(relative: float) -> float:
    """00.2."""
    model = _solved("ReverseKL", relative).model
    x = model.grid.axes[0]
    return float(x[x > 1.5][model.probabilities[x > 1.5].argmax()])


def enough_at_a_fair_price(relative: Any, share: float, nats: float) -> Verdict:
    """00.3: the mass left, and what it costs."""
    solution = _solved("Likelihood", float(relative))
    middle = np.abs(solution.model.grid.axes[0]) < 1.5
    left, cost = solution.model.probabilities[middle].sum(), solution.objective
    if left > share:
        return False, f"which leaves {left:.4f} of the mass, more than {share:g}"
    if cost > nats:
        return False, f"which deviates by {cost:.4f} nats, more than {nats:g}"
    return True, f"it leaves {left:.4f} of the mass for {cost:.4f} nats: less of one costs more"


def likelihood_multiplier(b: float) -> float:
    """02.2: of the likelihood problem, the right mode forgotten."""
    from ..dual import solve
    from ..problems import Likelihood

    q, q1 = three_modes(3.0)
    return float(solve(Likelihood(retain=q, forget=[q1], thresholds=[b])).multipliers[0])


def bounds(function: Callable[..., Any]) -> Verdict:
    """02.1: a dual function, tried on densities that the lesson does not have."""
    from ..density import GaussianMixture
    from ..problems import ReverseKL

    if not callable(function):
        return False, "which is no function: define dual(lam, b, q, q1)"
    grid = three_modes(0.0)[0].grid
    for weight, mean, lam, b in ((0.3, 1.0, 0.1, 2.0), (0.6, -1.5, 0.4, 5.0), (0.5, 2.0, 0.7, 1.0)):
        q = GaussianMixture([weight, 1 - weight], means=[-2, 1], stds=[0.7, 0.9]).on(grid)
        q1 = GaussianMixture([1.0], means=[mean], stds=[1.2]).on(grid)
        right = ReverseKL(retain=q, forget=[q1], thresholds=[b]).dual_value([lam])
        found = float(function(lam, b, q, q1))
        if not abs(found - right) <= 1e-6 * max(1.0, abs(right)):
            return False, f"which gives {found:.6g} at λ = {lam}, b = {b} for two other densities"
    return True, (
        "your function agrees with the package's on three pairs of densities it had not seen; a "
        "value of it above 0.9 nats, at any λ, refutes the colleague"
    )


def fall_by_normalising(first: float, second: float) -> float:
    """02.3: −log of the mass that an average of two targets has, in t."""
    from ..problems import ForwardKL

    q, q1 = three_modes(3.0)
    problem = ForwardKL(retain=q, forget=[q1], relative=2.0)
    t = [problem.target([lam]).log_masses - q.log_masses for lam in (first, second)]
    return float(-np.log(q.probabilities @ np.exp((t[0] + t[1]) / 2)))


def combs(mask: Any, share: float) -> Verdict:
    """03.1: a set of cells to take `right` on, q off it, so that three integrals get their share.

    Not `left`: its three numbers are those of `right`, so no share could be told from another.
    """
    problem, right, _ = leaning_pair()
    taken = np.asarray(mask)
    if taken.shape != (right.grid.size,) or not ((taken == 0) | (taken == 1)).all():
        return False, f"which is not one True or False for each of the {right.grid.size} cells"
    log_q, log_q1 = problem.retain.log_density, problem.forget[0].log_density
    parts = {}
    for name, reference in (("KL(p‖q)", log_q), ("KL(p‖q₁)", log_q1), ("the mass", None)):
        one, other = (
            p.probabilities * (1.0 if reference is None else p.log_density - reference)
            for p in (right, problem.retain)
        )
        wanted = share * one.sum() + (1 - share) * other.sum()
        parts[name] = (np.where(taken == 1, one, other).sum() - wanted) / abs(wanted)
    name, worst = max(parts.items(), key=lambda part: abs(part[1]))
    if abs(worst) > 0.01:
        return False, f"whose comb misses the combination of {name} by {100 * worst:+.1f} %"
    size = f"{100 * abs(worst):.2f}" if abs(worst) >= 1e-4 else "less than 0.01"
    return True, (
        "what a cell adds hardly differs from what its neighbour adds, so each integral gets its "
        f"share; the worst of your three is off by {size} %"
    )


def saved_by_loosening(percent: float) -> float:
    """04.1: to first order, by the best choice."""
    from ..dual import solve
    from ..problems import Likelihood

    q, forget = three_to_forget()
    problem = Likelihood(retain=q, forget=forget, relative=0.1)
    return float(percent / 100 * (solve(problem).multipliers * problem.thresholds).max())


def raised_prices(raised: float) -> list[float]:
    """04.2."""
    from ..dual import solve
    from ..problems import ReverseKL

    q, forget = three_to_forget()
    problem = ReverseKL(retain=q, forget=forget, relative=[2.0, raised, 2.0])
    return [float(one) for one in solve(problem).multipliers]


def cost_of_one_weight(share: float) -> float:
    """04.3: in nats, above the thresholds' optimum."""
    from scipy.optimize import brentq

    from ..dual import solve
    from ..problems import Likelihood

    q, forget = three_to_forget()
    problem = Likelihood(retain=q, forget=forget, relative=share)

    def equal(lam: float) -> Any:
        return problem.evaluate(problem.target([lam] * 3))

    common = brentq(lambda lam: max(equal(lam).constraints / problem.baseline()) - share, 0.1, 100)
    return float(equal(common).objective - solve(problem).objective)


def divergence_of_points(mean: float) -> float:
    """05.1: on the grid of 64 cells."""
    from ..density import GaussianMixture, Grid
    from ..model import kl

    grid = Grid(low=-5.0, high=5.0, cells=64)
    q = GaussianMixture([0.4, 0.35, 0.25], means=[-2.5, 0, 2.5], stds=[0.6] * 3).on(grid)
    return float(kl(q, GaussianMixture([1.0], means=[mean], stds=[0.6]).on(grid)))
