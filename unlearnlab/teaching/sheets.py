"""Sheets of pictures for the lessons on text-to-image models, a row each, with whole labels.

In a notebook `scene_rows??` shows the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CELL = 0.62  # inches a picture, at most
WIDEST = 9.6  # inches a sheet: what a notebook shows without shrinking it
NOTHING: Mapping[tuple[int, int], str] = {}


def sheet_on(
    ax: Any,
    rows: Mapping[str, Any],
    columns: int = 10,
    named: Mapping[tuple[int, int], str] = NOTHING,
) -> None:
    """Draw pictures on an axes, a row for each name.

    Args:
        ax: of Matplotlib.
        rows: name to (n, 3, H, W) pictures in [−1, 1]; the first `columns` of each are drawn.
        columns: pictures in a row.
        named: (row, column) to a word. Such a picture has a border, and the word in it.
    """
    from matplotlib.patches import Rectangle

    from ..images import contact_sheet

    picture = contact_sheet([row[:columns].detach().cpu() for row in rows.values()])
    ax.imshow((picture.clamp(-1, 1).permute(1, 2, 0).numpy() + 1) / 2, interpolation="nearest")
    high, wide = picture.shape[1] / len(rows), picture.shape[2] / columns
    ax.set_yticks((np.arange(len(rows)) + 0.5) * high, list(rows))
    ax.set_xticks([])
    for (row, column), word in named.items():
        corner = column * wide, row * high - 0.5
        ax.add_patch(Rectangle(corner, wide - 1, high - 1, fill=False, color="C1", lw=2.5))
        how = {"fontsize": "x-small", "ha": "center", "va": "bottom", "color": "white"}
        box = {"facecolor": "C1", "edgecolor": "none", "pad": 1.0}
        ax.text(corner[0] + wide / 2, corner[1] + high - 3, word, bbox=box, **how)


def scene_rows(
    rows: Mapping[str, Any],
    alt: str,
    label: str = "ten draws",
    columns: int = 10,
    named: Mapping[tuple[int, int], str] = NOTHING,
) -> None:
    """Show pictures, a row for each name.

    Args:
        rows: name to (n, 3, H, W) pictures in [−1, 1]; a name may have several lines.
        alt: what the sheet shows, for those who do not see it.
        label: what a column is.
        columns: pictures in a row.
        named: (row, column) to a word that stands in this picture, which gets a border.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    # By hand: the automatic layout cuts labels off beside pictures, whose shape is fixed.
    figure, ax = plt.subplots(layout="none")
    sheet_on(ax, rows, columns, named)
    labels = [text.get_window_extent().width / figure.dpi for text in ax.get_yticklabels()]
    beside, below = max(labels) + 0.2, 0.32
    cell = min(CELL, (WIDEST - beside) / columns)
    wide, high = beside + columns * cell + 0.05, below + len(rows) * cell + 0.05
    figure.set_size_inches(wide, high)
    box = (beside / wide, below / high, columns * cell / wide, len(rows) * cell / high)
    ax.set_position(box)
    ax.set_xlabel(label)
    plot.show(ax, alt=alt)


def became(before: Any, after: Any, classifier: Any, lost: str, found: str) -> Any:
    """(n,) whether a picture that showed `lost` before shows `found` in its place after.

    Args:
        before, after: (n, 3, H, W) pictures from the same noise.
        classifier: of `load_classifier`.
        lost, found: two of its attributes.
    """
    from ..stable_diffusion.classifier import ATTRIBUTES

    was, now = classifier.attributes(before), classifier.attributes(after)
    one, other = ATTRIBUTES.index(lost), ATTRIBUTES.index(found)
    return was[:, one] & ~now[:, one] & now[:, other]


def rates_beside(
    shown: Mapping[str, Sequence[str]],
    truth: Mapping[str, Mapping[str, float]],
    counted: Mapping[str, Mapping[str, float]],
    n: int,
    alt: str,
) -> None:
    """Show how often attributes are drawn beside how often they should be, a panel for each text.

    A point is a count of n pictures with bars of two standard errors, 2√(r(1 − r)/n).

    Args:
        shown: text to the attributes in its panel, from top to bottom.
        truth, counted: text to the rates of its attributes.
        n: pictures of each text that were counted.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    _, (axes,) = plt.subplots(1, len(shown), figsize=(WIDEST, 2.9), sharex=True, squeeze=False)
    for ax, (text, names) in zip(axes, shown.items(), strict=True):
        place = np.arange(len(names))
        share = np.array([counted[text][name] for name in names])
        marks = [truth[text][name] for name in names]
        ax.plot(marks, place, "|", color="black", ms=16, mew=2, label="drawings")
        error = 2 * np.sqrt(share * (1 - share) / n)
        ax.errorbar(share, place, xerr=error, fmt="o", ms=5, label=f"model, {n} draws")
        ax.set_yticks(place, names)
        ax.set(title=f"“{text}”", xlabel="share that shows it", ylim=(len(names) - 0.4, -0.6))
    axes[-1].legend(loc="lower right")
    plot.show(axes[0], alt=alt)


def log_ratios_by_group(
    ratio: Any, error: Any, groups: Mapping[str, Any], titles: Sequence[str], alt: str
) -> None:
    """Show log-ratios with their standard errors, a panel each; outliers have a box of their own.

    An outlier lies more than three interquartile ranges below the lower quartile.

    Args:
        ratio, error: (n, k), the first k = len(titles) columns are shown.
        groups: name to (n,) which of the points belong to it.
        titles: of the panels.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    figure = plt.figure(figsize=(WIDEST, 3.3))
    parts: Any = figure.subfigures(1, len(titles), squeeze=False)[0]
    for k, (part, title) in enumerate(zip(parts, titles, strict=True)):
        low, high = np.quantile(ratio[:, k], (0.25, 0.75))
        outlying = ratio[:, k] < low - 3 * (high - low)
        names, shares = (["box", "main"], (1, 3)) if outlying.any() else (["main"], (1,))
        axes = part.subplot_mosaic([names], sharey=True, width_ratios=shares)
        for name, shown in (("main", ~outlying), ("box", outlying)):
            if name in axes:
                _bars(axes[name], ratio[:, k], error[:, k], groups, shown)
        if "box" in axes:
            axes["box"].set(facecolor="0.95", title=f"outliers: {outlying.sum()}")
            axes["box"].spines[["top", "right"]].set_visible(True)
            axes["box"].margins(x=0.35)
            axes["main"].tick_params(labelleft=False)
        axes["main"].axvline(0, color="0.6", lw=0.8)
        axes["main"].set(title=title, xlabel="log q₁/q (nats), ± a standard error")
    plot.show(axes["main"], alt=alt)


def _bars(ax: Any, value: Any, error: Any, groups: Mapping[str, Any], shown: Any) -> None:
    # A row for each group; a point keeps its height in whichever box it is shown.
    for row, (kind, colour) in enumerate(zip(groups.values(), ("C0", "C1"), strict=True)):
        picked = kind & shown
        place = row + np.linspace(-0.3, 0.3, kind.sum())[picked[kind]]
        bars = {"fmt": "o", "ms": 3, "lw": 0.8, "color": colour, "xerr": error[picked]}
        ax.errorbar(value[picked], place, **bars)
    ax.set(ylim=(len(groups) - 0.5, -0.5))
    ax.set_yticks(range(len(groups)), list(groups))


def both_curves(rows: Mapping[str, Sequence[Any]], alt: str) -> None:
    """Show how far the nearest concept is, and how often one is drawn, over what is given up.

    Args:
        rows: name to path KLs to q, path KLs to the nearest concept, their errors, rates of the
            most frequent concept and their errors.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    _, axes = plt.subplots(1, 2, figsize=(9.4, 3.4))
    for (name, row), marker in zip(rows.items(), ("o--", "s-"), strict=True):
        deviation, worst, error, rate, doubt = row
        how: Any = {"fmt": marker, "ms": 5, "capsize": 2, "label": name}
        axes[0].errorbar(deviation, worst, error, **how)
        axes[1].errorbar(deviation, rate, doubt, **how)
    axes[0].set(ylabel="path KL to the nearest concept (nats)", ylim=(0, None))
    axes[1].set(ylabel="rate of the most frequent concept", ylim=(0, 0.8))
    for ax in axes:
        ax.set_xlabel("path KL to the pretrained q (nats)")
    axes[0].legend(loc="lower right")
    plot.show(axes[0], alt=alt)
