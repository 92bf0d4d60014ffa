"""What the lessons' first cells start from: densities, models and figures, one function each.

A lesson calls one of them, so that its first cell is short; `name??` in a notebook shows its code.
"""

from __future__ import annotations

from functools import cache
from typing import Any

THICKNESS = 0.6  # standard deviation of the lessons' modes


@cache
def three_modes(forget: float) -> tuple[Any, Any]:
    """Three equal Gaussians at −3, 0 and 3 on a grid, and the one of them to forget.

    Args:
        forget: where the mode to forget lies.

    Returns:
        (q, q₁), both `GridDensity` on 2001 cells from −8 to 8.

    Example:
        >>> q, q1 = three_modes(0)
        >>> q.grid.cells
        (2001,)
    """
    from ..density import GaussianMixture, Grid

    grid = Grid(low=-8.0, high=8.0, cells=2001)
    q = GaussianMixture([1 / 3] * 3, means=[-3, 0, 3], stds=[THICKNESS] * 3).on(grid)
    return q, GaussianMixture([1.0], means=[forget], stds=[THICKNESS]).on(grid)


# The thresholds of lesson 00: the deviation is 0.30 nats in each of the three problems.
EQUAL_DEVIATION = {"ReverseKL": 1.8, "ForwardKL": 2.456, "Likelihood": 0.0567}


@cache
def leaning_pair() -> tuple[Any, Any, Any]:
    """Lesson 03: a problem, and two densities on its threshold, leaning to either side.

    The middle one of three modes is forgotten by reverse KL, at 1.3 times what q has. The densities
    are q·exp(±sx), with the s at which KL(p‖q₁) is the threshold exactly.

    Returns:
        (problem, right, left).
    """
    from scipy.optimize import brentq

    from ..problems import ReverseKL

    q, q1 = three_modes(0.0)
    problem = ReverseKL(retain=q, forget=[q1], relative=1.3)

    def leaning(slope: float) -> Any:
        return q.grid.density(q.log_density + slope * q.grid.axes[0])

    def missing(slope: float) -> float:
        return float(problem.thresholds[0] - problem.evaluate(leaning(slope)).constraints[0])

    slope = brentq(missing, 0, 3)
    return problem, leaning(slope), leaning(-slope)


def side_by_side(solutions: dict[str, Any], alt: str) -> None:
    """Show solutions by name, a panel each: curves in one dimension, regions of mass in two.

    In the plane the shades hold 10, 50 and 90 % of the unlearned mass, the dashed line 90 % of what
    is forgotten.

    Args:
        solutions: of problems with one distribution to forget.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    flat = next(iter(solutions.values())).model.grid.dim == 1
    size = (10, 3) if flat else (10, 3.7)
    _, axes = plt.subplots(1, len(solutions), figsize=size, sharex=True, sharey=True)
    for ax, (name, solution) in zip(axes, solutions.items(), strict=True):
        if flat:
            plot.unlearning(solution, ax=ax, title=name)
            continue
        shades = ["#9ecae1", "#4292c6", "#08519c"]
        plot.contours(solution.model, ax=ax, filled=True, colors=shades)
        forgotten = solution.problem.forget[0]
        plot.contours(forgotten, ax=ax, levels=[0.9], colors="#D55E00", linestyles="dashed")
        ax.set(title=name, aspect="equal")
    plot.show(axes[0], alt=alt)
