"""What lessons start from, so that a first cell is short: densities and pictures, a function each.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

THICKNESS = 0.6  # standard deviation of the lessons' modes


@cache
def three_modes(forget: float, cells: int = 2001) -> tuple[Any, Any]:
    """Three equal Gaussians at −3, 0 and 3 on a grid, and the one of them to forget.

    Args:
        forget: where the mode to forget lies.
        cells: of the grid, from −8 to 8.

    Returns:
        (q, q₁), both `GridDensity`.

    Example:
        >>> q, q1 = three_modes(0)
        >>> q.grid.cells
        (2001,)
    """
    from ..density import GaussianMixture, Grid

    grid = Grid(low=-8.0, high=8.0, cells=cells)
    q = GaussianMixture([1 / 3] * 3, means=[-3, 0, 3], stds=[THICKNESS] * 3).on(grid)
    return q, GaussianMixture([1.0], means=[forget], stds=[THICKNESS]).on(grid)


@cache
def three_to_forget() -> tuple[Any, list[Any]]:
    """Lesson 04: four unequal Gaussians, and three densities to forget, the last one wide.

    Returns:
        (q, [q₁, q₂, q₃]), each a `GridDensity`.
    """
    from ..density import GaussianMixture, Grid

    grid = Grid(low=-9.0, high=9.0, cells=2001)
    q = GaussianMixture([0.4, 0.3, 0.2, 0.1], means=[-4, -1, 1.5, 4], stds=[0.7] * 4).on(grid)
    places = ((-1, 0.7), (1.5, 0.7), (4, 1.5))
    return q, [GaussianMixture([1.0], means=[m], stds=[s]).on(grid) for m, s in places]


# The thresholds of lesson 00: the deviation is 0.30 nats in each of the three problems.
EQUAL_DEVIATION = {"ReverseKL": 1.8, "ForwardKL": 2.456, "Likelihood": 0.0567}


@cache
def leaning_pair(cells: int = 2001) -> tuple[Any, Any, Any]:
    """Lesson 03: a problem, and two densities on its threshold, leaning to either side.

    The middle one of three modes is forgotten by reverse KL, at 1.3 times what q has. The densities
    are q·exp(±sx), with the s at which KL(p‖q₁) is the threshold exactly.

    Args:
        cells: of the grid.

    Returns:
        (problem, right, left).
    """
    from scipy.optimize import brentq

    from ..problems import ReverseKL

    q, q1 = three_modes(0.0, cells)
    problem = ReverseKL(retain=q, forget=[q1], relative=1.3)

    def leaning(slope: float) -> Any:
        return q.grid.density(q.log_density + slope * q.grid.axes[0])

    def missing(slope: float) -> float:
        return float(problem.thresholds[0] - problem.evaluate(leaning(slope)).constraints[0])

    slope = brentq(missing, 0, 3)
    return problem, leaning(slope), leaning(-slope)


def average_beside_comb(comb: Any, p: Any, other: Any, alt: str) -> None:
    """Show what `lyapunov_split` made of two densities: their average, and their comb.

    Args:
        comb: of p and other; its set A, where it is p, is marked below the axis.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    x = p.grid.axes[0]
    _, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
    for ax, mixed, name in zip(
        axes, (comb.average, comb.density), ("average", "comb"), strict=True
    ):
        labels = ["p, leaning right", "p′, leaning left"]
        plot.density(p, other, labels=labels, ax=ax, ls="--", lw=1, alpha=0.7)
        ax.plot(x, np.exp(mixed.log_density), color="black", lw=0.8, label=name)
        ax.set(title=f"half of each: the {name}", ylim=(-0.03, None))
    on = "A, where it is p"
    axes[1].fill_between(x, 0, -0.02, where=comb.mask, color="C0", lw=0, label=on)
    for ax in axes:
        ax.legend()
    plot.show(axes[0], alt=alt)


def attainable_on_atoms(q: Any, q1: Any, steps: int = 400) -> tuple[Any, Any]:
    """(n,) KL(p‖q₁) and KL(p‖q) of every p on three atoms whose masses are multiples of 1/steps."""
    from scipy.special import rel_entr

    one, two = (part.ravel() for part in np.mgrid[: steps + 1, : steps + 1])
    p = np.stack([one, two, steps - one - two], 1)[one + two <= steps] / steps
    return rel_entr(p, q1.probabilities).sum(1), rel_entr(p, q.probabilities).sum(1)


def side_by_side(solutions: dict[str, Any], alt: str, marks: Any = ()) -> None:
    """Show solutions by name, a panel each: curves in one dimension, regions of mass in two.

    In the plane the shades hold 10, 50 and 90 % of the unlearned mass, the dashed line 90 % of what
    is forgotten.

    Args:
        solutions: of problems with one distribution to forget.
        alt: what the picture shows, for those who do not see it.
        marks: (n, 2) points of the plane to mark with crosses.
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
        ax.plot(*np.transpose(marks), "k+")
        ax.set(title=name, aspect="equal")
    if flat:
        top = max(line.get_ydata().max() for ax in axes for line in ax.lines)
        axes[0].set_ylim(0, 1.05 * top)
        for ax in axes[1:]:
            ax.set_ylabel("")
            ax.get_legend().remove()
    plot.show(axes[0], alt=alt)


def digit_rows(
    rows: dict[str, Any],
    label: str,
    alt: str,
    below: str = "16 draws; the same noise in each row",
) -> None:
    """Show sixteen digits of each row, from black to white.

    Args:
        rows: name to (n, 1, 8, 8) images in [−1, 1], n at least 16.
        label: what the names are.
        alt: what the picture shows, for those who do not see it.
        below: the axis's name.
    """
    import matplotlib.pyplot as plt

    from .. import plot
    from ..images import contact_sheet

    _, ax = plt.subplots(figsize=(9, 0.9 + 0.5 * len(rows)))
    images = contact_sheet([row[:16] for row in rows.values()])[0].numpy()
    ax.imshow(images, cmap="gray", vmin=-1, vmax=1)
    ax.set_yticks(np.arange(len(rows)) * 10 + 4.5, list(rows))
    ax.set_xticks([])
    ax.set(xlabel=below, ylabel=label)
    plot.show(ax, alt=alt)


def stacked_weights(names: list[str], millions: dict[str, tuple[float, ...]], alt: str) -> Any:
    """Show the weights of pipelines in half precision, by part.

    Args:
        names: of the pipelines.
        millions: part to the parameters that it has in each pipeline, in millions.
        alt: what the picture shows, for those who do not see it.

    Returns:
        (len(names),) their sums in GB, at two bytes a parameter.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    _, ax = plt.subplots(figsize=(8, 2.4))
    left = np.zeros(len(names))
    for part, counts in millions.items():
        size = np.array(counts) * 1e6 * 2 / 1e9
        ax.barh(names, size, left=left, label=part)
        left += size
    ax.set(xlabel="weights in half precision (GB)", xlim=(0, 1.5 * left.max()))
    ax.invert_yaxis()
    ax.legend(loc="center right")
    plot.show(ax, alt=alt)
    return left
