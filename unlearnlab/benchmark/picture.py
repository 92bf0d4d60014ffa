"""The picture of a report: what each method leaves, and what it pays for it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole
from .axes import LIKELIHOOD
from .judged import Score
from .points import Point

ALT = (
    "For each method and seed: what is left of what is asked, and nats over the optimum's; less "
    "than a hundredth is drawn at a hundredth."
)
APART = ("pretrained", "untouched", "noise")  # known answers that the picture does without
MARKERS, COLOURS = "os^Dv<>", 6
ACROSS = 3  # panels in a row
LEAST = 0.01  # of what is asked; 0 has no place on a logarithmic axis


def figure(points: Sequence[Point], path: Path) -> None:
    """A picture: what each method leaves, of what is asked, and its nats over the optimum's."""
    from matplotlib import pyplot as plt

    from .. import plot

    tasks = list(dict.fromkeys(point.task for point in points))
    methods = [one for one in dict.fromkeys(point.method for point in points) if one not in APART]
    with plot.style():
        rows, columns = -(-len(tasks) // ACROSS), min(len(tasks), ACROSS)
        size = (4 * columns + 2.5, 4.2 * rows + 0.6)
        made, axes = plt.subplots(rows, columns, figsize=size, sharey="row", squeeze=False)
        for ax in axes.flat[len(tasks) :]:
            ax.set_axis_off()
        for ax, task in zip(axes.flat, tasks, strict=False):
            for point in points:
                if point.task == task and point.method in methods:
                    _dot(ax, point, methods.index(point.method))
            ax.set(xscale="log", yscale="log", title=task, xlabel="left, of what is asked")
            ax.axhline(1, color="0.6", lw=0.8)
            ax.axvline(1, color="0.6", lw=0.8)
            low, high = ax.get_xlim()
            ax.set_xlim(*_plain(ax.xaxis, max(low, LEAST / 2), high))
        for ax in axes[:, 0]:
            ax.set_ylim(*_plain(ax.yaxis, *ax.get_ylim()))  # shared by its row
            ax.set_ylabel("nats over the optimum's")
        named = {
            label: handle
            for ax in axes.flat
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        made.legend(named.values(), named, loc="outside right upper")
        file = io.BytesIO()
        made.savefig(file, format="png", metadata={"Software": None})
        plt.close(made)
    write_whole(path, file.getvalue())


def _plain(axis: Any, low: float, high: float) -> tuple[float, float]:
    """Label a logarithmic axis by 0.5, 1, 2, 5, 10; its ends, that hold at least 0.5 to 2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(low, 0.45), max(high, 2.2)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    return low, high


def _dot(ax: Any, point: Point, k: int) -> None:
    """The worst of what is left over what is asked, the ratio, and their intervals; if it has both.

    Where less than a hundredth is left it stands at a hundredth, and half an interval that reaches
    0 is drawn down to a hundredth of its number.
    """
    left = [
        _scaled(one, one.ideal)
        for name, one in point.scores.get("forgotten", {}).items()
        if name.endswith(LIKELIHOOD) and one.ideal
    ]
    ratio = point.scores.get("deviation", {}).get("over the optimum's")
    if not left or ratio is None or ratio.value <= 0:
        return
    worst = max(left, key=lambda one: one.value)
    worst = worst._replace(value=max(worst.value, LEAST), high=max(worst.high, LEAST))
    bars = [
        [[one.value - max(one.low, 0.01 * one.value)], [one.high - one.value]]
        for one in (worst, ratio)
    ]
    how: dict[str, Any] = {"color": f"C{k % COLOURS}", "marker": MARKERS[k % len(MARKERS)]}
    how |= {"xerr": bars[0], "yerr": bars[1], "elinewidth": 0.6, "fillstyle": "none"}
    ax.errorbar(worst.value, ratio.value, label=point.method, ls="none", **how)


def _scaled(score: Score, unit: float) -> Score:
    return Score(score.value / unit, score.low / unit, score.high / unit)
