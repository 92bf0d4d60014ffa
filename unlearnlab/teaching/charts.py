"""Charts of the lessons that are not about drawing charts: curves, and dots in rows.

In a notebook `name??` shows the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

LINES = ("-", "--", "-.", ":")
MARKS = ("o", "s", "D", "^")
NO_LEVELS: Mapping[str, float] = {}


def curves(
    x: Any,
    rows: Mapping[str, Any],
    alt: str,
    *,
    errors: Mapping[str, Any] | None = None,
    levels: Mapping[str, float] = NO_LEVELS,
    styles: Sequence[str] = LINES,
    size: tuple[float, float] = (6.4, 3.4),
    **axes: Any,
) -> None:
    """Show curves, one for each name.

    Args:
        x: (n,) places; None for 0, 1, ..., as many as each row has.
        rows: name to (n,) values.
        alt: what the picture shows, for those who do not see it.
        errors: name to the half lengths of bars.
        levels: text to a height, it stands beside a thin line there.
        styles: of Matplotlib, such as "o--", in the order of the rows.
        size: in inches.
        axes: of `Axes.set`: xlabel, ylabel, xlim, ylim, yscale, title; and xticks, places to texts.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    _, ax = plt.subplots(figsize=size)
    for (name, values), style in zip(rows.items(), cycle(styles), strict=False):
        place = np.arange(len(values)) if x is None else x
        error = None if errors is None else errors[name]
        ax.errorbar(place, values, error, fmt=style, ms=5, capsize=2, label=name)
    ticks = axes.pop("xticks", None)
    ax.set(**axes)
    if ticks is not None:
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.minorticks_off()
    for text, height in levels.items():
        ax.axhline(height, color="0.5", lw=0.8)
        where: Any = {"transform": ax.get_yaxis_transform(), "va": "center"}
        ax.text(1.01, height, text, fontsize="small", color="0.35", **where)
    if len(rows) > 1:
        ax.legend(fontsize="small")
    plot.show(ax, alt=alt)


def dots(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    alt: str,
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
    lines: Mapping[str, float] | None = None,
) -> None:
    """Show numbers as dots, a row for each name and a panel for each kind of number.

    Args:
        names: of the rows, from top to bottom.
        panels: label of a panel to its series: what it is called to a number for each row.
        alt: what the picture shows, for those who do not see it.
        limits: label of a panel to the ends of its axis.
        lines: label of a panel to where a dotted line stands.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    size = (10, 1.0 + 0.3 * len(names))
    _, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    place = np.arange(len(names))
    for ax, (label, series) in zip(axes[0], panels.items(), strict=True):
        shifts = 0.15 * (np.arange(len(series)) - (len(series) - 1) / 2)
        colours: Any = cycle(["black"] if len(series) == 1 else ["C0", "C1", "C2", "C3"])
        for shift, mark, (name, values) in zip(shifts, cycle(MARKS), series.items(), strict=False):
            ax.plot(list(values), place + shift, mark, label=name, color=next(colours))
        if lines and label in lines:
            ax.axvline(lines[label], color="0.5", lw=0.8, ls=":")
        ax.set(xlabel=label, xlim=None if limits is None else limits.get(label))
        if len(series) > 1:  # above the panel: inside it would hide dots
            above: Any = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.0}
            ax.legend(fontsize="small", ncols=len(series), **above)
    axes[0, 0].set_yticks(place, names)
    axes[0, 0].invert_yaxis()
    plot.show(axes[0, 0], alt=alt)
