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
from .definition import QUICK, Effort
from .methods import ANSWERS, fits
from .picture import ALT, figure
from .points import Point

RESULTS, PAGE, PICTURE = "results.json", "README.md", "methods.png"
GOLD = "retrained"
MATRIX = "interference"  # the axis that has tables of its own
LISTED = 6  # methods not run, by name; of more their number
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
    order = {axis: k for k, axis in enumerate(families.AXES)}
    columns.sort(key=lambda column: order.get(column[0], len(order)))  # a task may have its own
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
    reasons = [
        f"{point.method}, seed {point.seed}, diverged: {point.reason}"
        for points in rows.values()
        for point in points
        if point.diverged
    ]
    return [*lines, *(part for reason in reasons for part in ("", reason))]


def _costs(points: Sequence[Point]) -> list[str]:
    """Seconds, rows, megabytes and how many diverged; of known answers nothing is counted."""
    if points[0].method in ANSWERS:
        return [""] * 4
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
    """A mean with its interval; a dash where there is none."""
    if mean is None:
        return "–"
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
    """A share more or less, with its interval; a dash where there is none."""
    if mean is None:
        return "–"
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
            some = "; ".join(absent) if len(absent) <= LISTED else f"{len(absent)} methods"
            found.append(f"Not run on {name}: {some}.")
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


def page(points: Sequence[Point], tasks: Sequence[str], methods: Sequence[str]) -> str:
    """The report in Markdown."""
    made = sorted({(point.made["date"], point.made["machine"]) for point in points})
    lines = [
        "# All results of the benchmark",
        "",
        "Means over seeds; in brackets the ends of the widest interval of 95 % that a seed has.",
        "The first row is what the certified optimum scores, or that of a pool by its counts:",
        "nats at what is asked, while *over the optimum's* is taken at what a student leaves.",
        "A dash stands where a student does not offer what the number needs, where it diverged,",
        "where an axis was not asked for, and for a ratio to an optimum of next to no nats.",
        "",
        *sorted({_draws(point) for point in points}),
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


def _draws(point: Point) -> str:
    """What a point is judged by, in a sentence."""
    how = Effort(*point.made["effort"])
    return (
        f"Judged by {how.draws} draws of a mixture's student, {how.pool} of an image model's, "
        f"{how.chains} chains of {how.chain_steps} steps and attacks of {how.tuning} steps"
        f"{', the effort of --quick' if how == QUICK else ''}."
    )


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
