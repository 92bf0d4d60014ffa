"""Methods on tasks: points in parallel, each stored when it is done, so that a run goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from ..curves import BrokenProcessPool
from ..files import expanded, held, require_writable, write_whole
from ..identity import content
from .axes import LIKELIHOOD
from .definition import Effort, Task
from .points import Point, bring_forward, compute, key_of, place, stored

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Results:
    """What a run leaves.

    Attributes:
        points: in the order of tasks, methods and seeds.
    """

    points: list[Point]

    def markdown(self) -> str:
        """A table for each task, means over seeds beside what an ideal method scores."""
        from .report import tables

        return tables(self.points)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write results.json, README.md and methods.png to a folder; their paths."""
        from .families import names
        from .methods import known
        from .report import write

        where = Path(expanded("folder", folder)).absolute()
        require_writable("folder", where)
        return write(self.points, where, names(), list(known()))

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.markdown()

    def __repr__(self) -> str:
        return f"Results({len(self.points)} points)"


def run(
    method: Any,
    tasks: Any = None,
    *,
    seeds: int | Sequence[int] = SEEDS,
    axes: str | Sequence[str] | None = None,
    effort: Effort | None = None,
    folder: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    progress: bool = False,
) -> Results:
    """Score a method, or several, on tasks whose optimum is known.

    Args:
        method: a function from a `Task` to a student or a `Run`; the name of one of the package's,
            such as "gate" or "gate, tuned"; or several, as a list of both or {name: function}.
            A function has a name that no method of the package has.
        tasks: names, or tasks themselves; by default all.
        seeds: each is a run of its own.
        axes: names of `AXES`; by default all that a task has.
        effort: what judging spends; `benchmark.QUICK` for a first look.
        folder: where points are stored, one by one; those that are there already are read, as long
            as task, method and axes are the same. On a cluster, one that its workers see.
        jobs: points at a time; None leaves it to the joblib backend that is in force, such as
            `joblib.parallel_config("dask")`, and without one computes them in turn.
        progress: print a line for each point: what is left, what it cost, and whether it was read.

    Raises:
        ValueError, TypeError: unknown names; a method that returns no student.
        RuntimeError: a worker process died, or another run holds the folder; what is stored stays.

    Example:
        >>> from unlearnlab import benchmark
        >>> def mine(task):
        ...     return task.retain  # forgets nothing
        >>> found = benchmark.run(mine, ["line-severe"], seeds=[0], axes=["deviation"])
        >>> found.points[0].scores["deviation"]["nats"].value
        0.0
    """
    methods, chosen = _methods(method), _tasks(tasks)
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    if effort is not None and not isinstance(effort, Effort):
        raise TypeError(f"effort must be an Effort, such as benchmark.QUICK; got {effort!r}")
    where = None if folder is None else Path(expanded("folder", folder)).absolute()
    if where is not None:
        require_writable("folder", where)
    triples = list(product(seeds, chosen, methods.items()))
    jobs_of = [
        delayed(_one)(task.at(seed, effort), name, make, _axes(task, axes), where, progress)
        for seed, task, (name, make) in triples
    ]
    with held(where):
        try:
            points = Parallel(n_jobs=jobs)(jobs_of)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died (killed, or out of memory); what is done is stored where a "
                "folder was given: run again to go on, with fewer jobs"
            ) from error
        if where is not None:
            for point in points:  # of workers that do not see the folder
                path = place(where, point.task, point.method, point.seed, point.key)
                if stored(path) is None:
                    write_whole(path, point.to_json().encode())
    order = {(task.name, name): k for k, (task, name) in enumerate(product(chosen, methods))}
    points.sort(key=lambda point: (order[point.task, point.method], point.seed))
    return Results(points)


def _one(
    task: Task,
    name: str,
    method: Callable[[Task], Any],
    axes: Sequence[str],
    folder: Path | None,
    progress: bool,
) -> Point:
    """A point, read or computed and stored."""
    key = key_of(task, method, axes)
    path = None if folder is None else place(folder, task.name, name, task.seed, key)
    point = None if path is None else stored(path)
    read = point is not None
    if path is not None and read:
        bring_forward(path)
    if point is None:
        point = compute(task, name, method, axes, key)
        if path is not None:
            write_whole(path, point.to_json().encode())
    if progress:
        print(progress_line(point, read=read), file=sys.stderr, flush=True)
    return point


def progress_line(point: Point, *, read: bool) -> str:
    """A line on a point: its status, what is left of what is asked, its nats, its seconds."""
    parts = [point.status] if point.status else []
    for name, one in point.scores.get("forgotten", {}).items():
        if one.ideal is not None and name.endswith(LIKELIHOOD):
            parts.append(f"{name.removesuffix(LIKELIHOOD)} {one.value:.3g} of {one.ideal:.3g}")
    ratio = point.scores.get("deviation", {}).get("over the optimum's")
    if ratio is not None:
        parts.append(f"{ratio.value:.2f} times the optimum's nats")
    parts.append("read from the folder" if read else f"{point.cost['seconds']:.0f} s")
    return f"{point.task}, {point.method}, seed {point.seed}: {'; '.join(parts)}"


def _methods(method: Any) -> dict[str, Callable[[Task], Any]]:
    """Functions by name."""
    from .methods import known, named

    if isinstance(method, Mapping):
        found = dict(method)
    else:
        alone = isinstance(method, str) or callable(method) or hasattr(method, "sample")
        pairs = [
            (one, named([one])[one])
            if isinstance(one, str)
            else (getattr(one, "__name__", type(one).__name__), one)
            for one in ([method] if alone else method)
        ]
        found = dict(pairs)
        if len(found) < len(pairs):
            given = ", ".join(name for name, _ in pairs)
            raise ValueError(
                f"methods must differ in their names; got {given}: give {{name: function}}"
            )
    there = known()
    for name, one in found.items():
        if not callable(one) or (hasattr(one, "sample") and not isinstance(one, type)):
            raise TypeError(f"method {name!r} must be a function of a task; got {one!r}")
        if name in there and content(one) != content(there[name]):
            raise ValueError(f"{name!r} is a method of the package: give yours another name")
    return found


def _tasks(given: Any) -> list[Task]:
    from .families import names, task

    if given is None:
        given = names()
    asked = [given] if isinstance(given, str | Task) else list(given)
    for one in asked:
        if isinstance(one, Task) and one.name in names():
            listed = task(one.name)
            if listed.at(one.seed, one.effort) != one:
                raise ValueError(
                    f"a task {one.name!r} is there already, and this one differs from it: give it "
                    "another name"
                )
    found = [one if isinstance(one, Task) else task(one) for one in asked]
    if len({one.name for one in found}) < len(found):
        told = ", ".join(one.name for one in found)
        raise ValueError(f"tasks must differ in their names, which points are kept by; got {told}")
    return found


def _axes(task: Task, asked: str | Sequence[str] | None) -> list[str]:
    from .families import EVERYWHERE

    own = (*EVERYWHERE, *task.axes)
    if asked is None:
        return list(own)
    asked = [asked] if isinstance(asked, str) else asked
    for name in asked:
        if name not in own:
            raise ValueError(f"axes of {task.name} are {', '.join(own)}; got {name!r}")
    return list(asked)
