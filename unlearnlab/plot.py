"""Pictures of densities, dual functions, trade-offs and multipliers.

Every function draws on `ax=` or on axes of its own, in one colour-blind-safe style, labels the
axes with units and returns them. Needs Matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .density import GridDensity
from .errors import InfeasibleError
from .lyapunov import Comb
from .problems import Problem
from .solution import Solution

STYLE = str(files("unlearnlab") / "unlearnlab.mplstyle")
RETAINED, UNLEARNED, FORGOTTEN = "#0072B2", "#D55E00", "#666666"


def style() -> AbstractContextManager[None]:
    """Context manager: Matplotlib in this package's style."""
    return plt.style.context(STYLE)


def use_style() -> None:
    """Set this package's style for the rest of the session, as notebooks do."""
    plt.style.use(STYLE)


def show(ax: Axes, alt: str) -> None:
    """Show the figure of `ax` in a notebook, with `alt` as its alternative text, and close it."""
    from IPython.display import Image, display

    figure, picture = ax.get_figure(root=True), io.BytesIO()
    if figure is None:
        raise ValueError("ax belongs to no figure any more; draw it again")
    with style():
        figure.savefig(picture, format="png", dpi=100)
    plt.close(figure)
    display(Image(picture.getvalue(), format="png", alt=alt))


def density(
    *densities: GridDensity,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
    **line: Any,
) -> Axes:
    """1-D densities as curves: x against density per unit of x.

    Args:
        densities: one or more densities on 1-D grids.
        labels: one per density, for the legend.
        line: passed on to `Axes.plot`.
    """
    _require_dim(densities, 1)
    with style():
        ax = _axes(ax)
        for i, one in enumerate(densities):
            label = None if labels is None else labels[i]
            ax.plot(one.grid.axes[0], np.exp(one.log_density), label=label, **line)
        ax.set(xlabel="x", ylabel="density (1/unit of x)", ylim=(0, None))
        if labels is not None:
            ax.legend()
    return ax


def unlearning(solution: Solution, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """A 1-D solution: retained density filled, forgotten ones dashed, the unlearned one a line."""
    problem = solution.problem
    _require_dim([problem.retain], 1)
    with style():
        ax = _axes(ax)
        x = problem.retain.grid.axes[0]
        ax.fill_between(
            x,
            np.exp(problem.retain.log_density),
            color=RETAINED,
            alpha=0.25,
            lw=0,
            label="retain q",
        )
        for i, other in enumerate(problem.forget):
            label = f"forget q{_subscript(i + 1)}"
            ax.plot(x, np.exp(other.log_density), "--", color=FORGOTTEN, lw=1.2, label=label)
        ax.plot(x, np.exp(solution.model.log_density), color=UNLEARNED, label="unlearned p")
        ax.set(xlabel="x", ylabel="density (1/unit of x)", ylim=(0, None))
        ax.set_title(title or type(problem).__name__)
        ax.legend()
    return ax


def contours(
    one: GridDensity,
    *,
    ax: Axes | None = None,
    levels: Sequence[float] = (0.1, 0.5, 0.9),
    filled: bool = False,
    label: str | None = None,
    **contour: Any,
) -> Axes:
    """A 2-D density as the smallest regions that hold 10, 50 and 90 % of its mass.

    Args:
        one: a density on a 2-D grid.
        levels: shares of the mass that the regions hold.
        filled: filled regions instead of lines.
        label: for the legend.
    """
    _require_dim([one], 2)
    with style():
        ax = _axes(ax, square=True)
        masses = np.sort(one.probabilities)[::-1]
        held = np.cumsum(masses)
        at = sorted({float(masses[np.searchsorted(held, share)]) for share in levels})
        heights = one.probabilities.reshape(one.grid.cells).T
        x, y = one.grid.axes
        draw = ax.contourf if filled else ax.contour
        edges = [*at, max(float(heights.max()), at[-1] * (1 + 1e-9))] if filled else at
        drawn = draw(x, y, heights, levels=edges, **contour)
        if label is not None:
            colour = drawn.get_edgecolor() if not filled else drawn.get_facecolor()
            ax.plot([], [], color=np.asarray(colour)[-1], label=label)
            ax.legend()
        ax.set(xlabel="$x_1$", ylabel="$x_2$")
    return ax


def dual(
    problem: Problem,
    solution: Solution | None = None,
    *,
    multipliers: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The dual function, its maximum, and the gap to the primal.

    With several forget distributions it is drawn along the ray through the optimal multipliers,
    against their sum; where the thresholds are infeasible, along the ray that proves it.

    Args:
        problem: what to draw.
        solution: its solution; solved for when not given and feasible.
        multipliers: (n,) where to evaluate it; from 0 to beyond the optimum when not given.
    """
    ray = np.ones(problem.m)
    if solution is None:
        try:
            from .dual import solve

            solution = solve(problem)
        except InfeasibleError as error:
            ray = error.ray
    if solution is not None and solution.multipliers.any():
        ray = solution.multipliers
    ray = ray / ray.sum()
    best = 0.0 if solution is None else float(solution.multipliers.sum())
    if multipliers is None:
        multipliers = np.linspace(0, 2 * best if best > 0 else 1.0, 201)
    at = np.asarray(multipliers, dtype=np.float64)
    with style():
        ax = _axes(ax)
        ax.plot(at, [problem.dual_value(one * ray) for one in at], label="dual function g(λ)")
        if solution is not None:
            primal = solution.certificate.primal
            ax.axhline(primal, color=UNLEARNED, ls="--", lw=1.2, label="objective of p (primal)")
            ax.plot([best], [solution.certificate.dual], "o", color=UNLEARNED)
        along = "Σλ along the ray to λ* " if problem.m > 1 else "multiplier λ "
        ax.set(xlabel=_multiplier_label(problem, along), ylabel="value (nats)")
        ax.legend()
    return ax


def tradeoff(
    curves: dict[str, tuple[ArrayLike, ArrayLike]],
    *,
    xlabel: str,
    ylabel: str = "deviation from q (nats)",
    ax: Axes | None = None,
) -> Axes:
    """Retention against forgetting, one curve per name.

    Args:
        curves: name to (forgetting (n,), retention (n,)).
        xlabel: what forgetting is measured in, with its unit.
    """
    with style():
        ax = _axes(ax)
        for (name, (x, y)), marker in zip(curves.items(), "osD^v<>" * len(curves), strict=False):
            ax.plot(x, y, marker=marker, ms=3.5, label=name)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.legend()
    return ax


def multipliers(
    solution: Solution, *, labels: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Multipliers as bars: what the last unit of each threshold costs."""
    names = labels or [f"q{_subscript(i + 1)}" for i in range(solution.problem.m)]
    with style():
        ax = _axes(ax)
        bars = ax.bar(list(names), solution.multipliers, width=0.6)
        ax.bar_label(bars, fmt="%.3g", fontsize="small")
        ax.set(xlabel="forgotten distribution", ylabel=_multiplier_label(solution.problem))
    return ax


def comb(split: Comb, p: GridDensity, p_prime: GridDensity, *, ax: Axes | None = None) -> Axes:
    """A 1-D comb: p on the shaded set A, p′ off it."""
    _require_dim([split.density, p, p_prime], 1)
    with style():
        ax = _axes(ax)
        x = p.grid.axes[0]
        below = ax.get_xaxis_transform()
        ax.fill_between(
            x, 0, 1, where=split.mask, step="mid", transform=below, color="k", alpha=0.08, lw=0,
            label="A",
        )  # fmt: skip
        ax.plot(x, np.exp(p.log_density), "--", color=RETAINED, lw=1.2, label="p, kept on A")
        ax.plot(x, np.exp(p_prime.log_density), ":", color="k", lw=1.2, label="p′, kept off A")
        ax.plot(x, np.exp(split.density.log_density), color=UNLEARNED, lw=1.5, label="comb")
        ax.set(xlabel="x", ylabel="density (1/unit of x)", ylim=(0, None))
        ax.set_title("a comb of p and p′")
        ax.legend()
    return ax


def _multiplier_label(problem: Problem, name: str = "multiplier λ ") -> str:
    if problem.sense > 0:
        return f"{name}(nats per nat of threshold)"
    return f"{name}(nats per unit of {problem.constraint_name})"


def _subscript(i: int) -> str:
    return "".join(chr(0x2080 + int(digit)) for digit in str(i))


def _axes(ax: Axes | None, *, square: bool = False) -> Axes:
    if ax is not None:
        return ax
    return plt.subplots(figsize=(4, 4) if square else None)[1]


def _require_dim(densities: Sequence[Any], dim: int) -> None:
    for one in densities:
        if not isinstance(one, GridDensity):
            raise TypeError(f"expected densities on a grid; got {type(one).__name__}")
        if one.grid.dim != dim:
            raise ValueError(f"expected densities in {dim} dimensions; got {one.grid}")
