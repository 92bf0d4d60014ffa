"""What points say together: means over seeds, a table for each task, an interference matrix."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files import write_whole
from . import families
from .methods import fits
from .points import Point

RESULTS, PAGE, PICTURE = "results.json", "README.md", "methods.png"
ALT = "For each method and seed: what is left of what is asked, and nats over the optimum's."
GOLD = "retrained"
MATRIX = "interference"  # the axis that has tables of its own
APART = ("pretrained", "untouched", "noise")  # known answers that the picture does without
MARKERS, COLOURS = "os^Dv<>", 6
Rows = dict[tuple[str, str], list[Point]]  # by task and method


class Mean(NamedTuple):
    """Over seeds: the mean, the least and largest ends of their intervals, and the ideal."""

    value: float
    low: float
    high: float
    ideal: float | None


def grouped(points: Sequence[Point]) -> Rows:
    """Points of one task and one method together."""
    found: Rows = defaultdict(list)
    for point in points:
        found[point.task, point.method].append(point)
    return dict(found)


def means(points: Sequence[Point]) -> dict[str, dict[str, Mean]]:
    """By axis and name, over those points of one method that have it."""
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        for axis, scores in point.scores.items():
            for name, score in scores.items():
                found[axis][name].append(score)
    return {
        axis: {
            name: Mean(
                float(np.mean([one.value for one in scores])),
                min(one.low for one in scores),
                max(one.high for one in scores),
                scores[0].ideal,
            )
            for name, scores in names.items()
        }
        for axis, names in found.items()
    }


def tables(points: Sequence[Point]) -> str:
    """A table for each task: a row for each method, a column for each number."""
    rows = grouped(points)
    parts = []
    for task in dict.fromkeys(task for task, _ in rows):
        own = {method: found for (name, method), found in rows.items() if name == task}
        parts += [f"## {task}", "", *_table(own), ""]
    return "\n".join(parts)


def _table(rows: dict[str, list[Point]]) -> list[str]:
    """One task: the first row is what an ideal method scores."""
    found = {method: means(points) for method, points in rows.items()}
    columns = list(
        dict.fromkeys(
            (axis, name)
            for scores in found.values()
            for axis, names in scores.items()
            for name in names
            if axis != MATRIX
        )
    )
    ideals = {
        (axis, name): mean.ideal
        for scores in found.values()
        for axis, names in scores.items()
        for name, mean in names.items()
    }
    for axis, name in columns:  # where no optimum is known, deletion is what to compare with
        gold = found.get(GOLD, {}).get(axis, {}).get(name)
        if ideals[axis, name] is None and gold is not None:
            ideals[axis, name] = gold.value
    head = ["method", "seeds", *(f"{axis}: {name}" for axis, name in columns)]
    head += ["seconds", "rows (10⁶)", "MB held", "diverged"]
    lines = [_row(head), _row(["---"] * len(head))]
    lines.append(_row(["**ideal**", "", *(number(ideals[one]) for one in columns), *[""] * 4]))
    for method, points in rows.items():
        cells = [shown(found[method].get(axis, {}).get(name)) for axis, name in columns]
        lines.append(_row([method, str(len(points)), *cells, *_costs(points)]))
    return lines


def _costs(points: Sequence[Point]) -> list[str]:
    """Seconds, rows, megabytes and how many diverged."""
    cost = {name: np.mean([one.cost[name] for one in points]) for name in points[0].cost}
    diverged = sum(one.diverged for one in points)
    return [
        f"{cost['seconds']:.0f}",
        f"{cost['rows'] / 1e6:.2f}",
        f"{cost['bytes'] / 1e6:.1f}",
        f"{diverged} of {len(points)}",
    ]


def number(value: float | None) -> str:
    """A number by three digits; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.1e}"


def shown(mean: Mean | None) -> str:
    """A mean with its interval."""
    if mean is None:
        return ""
    return f"{number(mean.value)} ({number(mean.low)}, {number(mean.high)})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def matrices(points: Sequence[Point]) -> str:
    """Interference as tables, one for each task: rows are methods, columns what was to stay."""
    found = {kind: means(own).get(MATRIX, {}) for kind, own in grouped(points).items()}
    parts: list[str] = []
    for task in dict.fromkeys(point.task for point in points):
        rows = {method: row for (name, method), row in found.items() if name == task and row}
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        if columns:
            parts += [f"### {task}", "", _row(["method", *columns])]
            parts += [_row(["---"] * (len(columns) + 1))]
            for method, row in rows.items():
                cells = [percent(row.get(name)) for name in columns]
                parts.append(_row([method, *cells]))
            parts.append("")
    return "\n".join(parts)


def percent(mean: Mean | None) -> str:
    """A share more or less, with its interval."""
    if mean is None:
        return ""
    return "{:+.0f} % ({:+.0f}, {:+.0f})".format(*(100 * part for part in mean[:3]))


def missing(points: Sequence[Point], tasks: Sequence[str], methods: Sequence[str]) -> list[str]:
    """Sentences on what has not been run: whole tasks, and methods that fit the others."""
    there = grouped(points)
    without = [name for name in tasks if not any(name == task for task, _ in there)]
    found = [f"No method has been run on {', '.join(without)}."] if without else []
    for name in tasks:
        absent = [
            one for one in methods if (name, one) not in there and fits(one, families.task(name))
        ]
        if name not in without and absent:
            found.append(f"Not run on {name}: {'; '.join(absent)}.")
    return found


def summary(points: Sequence[Point]) -> dict[str, Any]:
    """By task, method, axis and name: the mean, its interval and the ideal, and by cost."""
    found: dict[str, Any] = defaultdict(dict)
    for (task, method), own in grouped(points).items():
        costs = {name: float(np.mean([one.cost[name] for one in own])) for name in own[0].cost}
        scores = {
            axis: {name: mean._asdict() for name, mean in names.items()}
            for axis, names in means(own).items()
        }
        found[task][method] = {**scores, "cost": costs, "seeds": len(own)}
    return dict(found)


def figure(points: Sequence[Point], path: Path) -> None:
    """A picture: what each method leaves, of what is asked, and its nats over the optimum's."""
    import io

    from matplotlib import pyplot as plt

    from .. import plot

    rows = grouped(points)
    tasks = list(dict.fromkeys(task for task, _ in rows))
    methods = [name for name in dict.fromkeys(name for _, name in rows) if name not in APART]
    with plot.style():
        made, axes = plt.subplots(
            1, len(tasks), figsize=(4 * len(tasks) + 2.5, 4.8), sharey=True, squeeze=False
        )
        for ax, task in zip(axes[0], tasks, strict=True):
            for k, method in enumerate(methods):
                for x, ratio in _dots(rows.get((task, method), [])):
                    marker, colour = MARKERS[k % len(MARKERS)], f"C{k % COLOURS}"
                    ax.plot(x, ratio, marker, color=colour, label=method, fillstyle="none")
            ax.set(xscale="log", yscale="log", title=task, xlabel="left, of what is asked")
            ax.axhline(1, color="0.6", lw=0.8)
            ax.axvline(1, color="0.6", lw=0.8)
        axes[0, 0].set_ylabel("nats over the optimum's")
        named = {
            label: handle
            for ax in axes[0]
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        made.legend(named.values(), named, loc="outside right upper")
        file = io.BytesIO()
        made.savefig(file, format="png", metadata={"Software": None})
        plt.close(made)
    write_whole(path, file.getvalue())


def _dots(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Of each point that has both: the worst of what is left over what is asked, and the ratio."""
    found = []
    for point in points:
        left = [
            one.value / one.ideal
            for name, one in point.scores.get("forgotten", {}).items()
            if name.endswith("likelihood") and one.ideal
        ]
        ratio = point.scores.get("deviation", {}).get("over the optimum's")
        if left and ratio is not None and ratio.value > 0 and max(left) > 0:
            found.append((max(left), ratio.value))
    return found


def page(points: Sequence[Point], tasks: Sequence[str], methods: Sequence[str]) -> str:
    """The report in Markdown."""
    made = sorted({(point.made["date"], point.made["machine"]) for point in points})
    lines = [
        "# All results of the benchmark",
        "",
        "Means over seeds; in brackets the ends of the widest interval of 95 % that a seed has.",
        "The first row is what the certified optimum scores, or that of a pool by its counts. A",
        "cell is empty where a student does not offer what the number needs.",
        "",
        *(f"Computed on {date} ({machine})." for date, machine in made),
        *missing(points, tasks, methods),
        "",
        f"![{ALT}]({PICTURE})",
        "",
        tables(points),
        "## What happens to everything else",
        "",
        "How much more or less often each thing is drawn than by the best model that forgets as",
        "much: +50 % is half as often again.",
        "",
        matrices(points),
    ]
    return "\n".join(lines)


def ordered(points: Sequence[Point], tasks: Sequence[str], methods: Sequence[str]) -> list[Point]:
    """Tasks and methods as they are listed; those of a user's own after them, by name."""

    def place(point: Point) -> tuple[Any, ...]:
        places = [
            listed.index(name) if name in listed else len(listed)
            for name, listed in ((point.task, tasks), (point.method, methods))
        ]
        return (*places, point.task, point.method, point.seed)

    return sorted(points, key=place)


def write(
    points: Sequence[Point], folder: Path, tasks: Sequence[str] = (), methods: Sequence[str] = ()
) -> list[Path]:
    """Write results.json, README.md and a picture to a folder, each whole or not at all.

    Args:
        tasks, methods: all there are, so that the page says what has not been run.

    Returns:
        Their paths.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("points is empty: there is nothing to report; run a method first")
    points = ordered(points, tasks, methods)
    written = {
        RESULTS: json.dumps({"summary": summary(points)}, indent=1, ensure_ascii=False) + "\n",
        PAGE: page(points, tasks, methods),
    }
    figure(points, folder / PICTURE)
    for name, text in written.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in (*written, PICTURE)]
