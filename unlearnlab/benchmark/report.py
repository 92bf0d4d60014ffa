"""What points say together: means over seeds, a table for each task, an interference matrix."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files import write_whole
from .points import Point

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
        )
    )
    ideals = {
        (axis, name): mean.ideal
        for scores in found.values()
        for axis, names in scores.items()
        for name, mean in names.items()
    }
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


def interference(points: Sequence[Point]) -> dict[str, dict[str, dict[str, float]]]:
    """By method, by task: what each concept's rate is over the best model's, less one.

    A rate of the best model below one in a hundred is left out: a few draws decide its ratio.
    """
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (task, method), own in grouped(points).items():
        found[method][task] = {
            name: mean.value / mean.ideal - 1
            for name, mean in means(own).get("kept", {}).items()
            if mean.ideal is not None and mean.ideal >= 0.01
        }
    return dict(found)


def write(points: Sequence[Point], folder: Path) -> list[Path]:
    """Write results.json and README.md in a folder, each whole or not at all; returns their paths.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("points is empty: there is nothing to report; run a method first")
    data = {
        "points": [asdict(point) for point in points],
        "interference": interference(points),
    }
    written = {
        "results.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n",
        "README.md": "# The benchmark's results\n\n" + tables(points),
    }
    for name, text in written.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in written]
