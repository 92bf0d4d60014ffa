"""A point: one method on one task at one seed, judged on every axis, stored on its own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from ..errors import NotFiniteError
from ..identity import content
from ..provenance import provenance
from .definition import Effort, Task
from .judged import Score, Scores

EDITION = 1  # of axes and known answers: results of another are not read
FOLDER = "points"


@dataclass(frozen=True)
class Point:
    """What became of a method on a task.

    Attributes:
        task, method, seed: whose.
        key: of all that decides the result; made: machine, versions, date.
        scores: by axis, and by what it measures.
        undefined: axes that the student does not offer enough for.
        status, reason: of the run, where the method returned one; "diverged" where the student's
            draws are not finite.
        cost: seconds, rows and bytes of the method alone.
    """

    task: str
    method: str
    seed: int
    key: str
    scores: dict[str, Scores]
    undefined: list[str] = field(default_factory=list)
    status: str = ""
    reason: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether there is no student to judge, or only the last good one."""
        return self.status == "diverged"

    def to_json(self) -> str:
        """As a file holds it."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Point:
        """The same, read.

        Raises:
            ValueError: the text is no point.
        """
        try:
            found = json.loads(text)
            found["scores"] = {
                axis: {name: Score(*one) for name, one in scores.items()}
                for axis, scores in found["scores"].items()
            }
            return cls(**found)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no point of a benchmark ({error})") from None


def key_of(task: Task, method: Any, axes: Sequence[str]) -> str:
    """What tells results apart: the task, the code of the method, the axes and the edition."""
    told = [EDITION, content(task), content(method), sorted(axes)]
    return str(content(json.dumps(told, sort_keys=True).encode()))[:16]


def place(folder: Path, task: str, method: str, seed: int, key: str) -> Path:
    """The file of a point: another effort, or another method of the same name, has its own."""
    safe = re.sub(r"[^\w ,.+-]", "_", method)
    return folder / FOLDER / f"{task}, {safe}, seed {seed}, {key[:8]}.json"


def bring_forward(path: Path) -> None:
    """Make a stored point the newest of its kind: it is the one that was asked for last."""
    kind = path.name[: path.name.rindex(",")]
    others = [one for one in path.parent.glob(f"{escape(kind)},*.json") if one != path]
    newest = max((one.stat().st_mtime_ns for one in others), default=0)
    if newest >= path.stat().st_mtime_ns:
        with suppress(PermissionError):  # of someone else's file, which may be read all the same
            os.utime(path, ns=(newest + 1, newest + 1))


def stored(path: Path) -> Point | None:
    """The point that a file holds; None where there is none.

    Raises:
        ValueError: the file is damaged; it is named.
    """
    if not path.exists():
        return None
    try:
        return Point.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: remove it, and run again ({error})") from None


def everything(folder: Path, effort: Effort) -> list[Point]:
    """All points of this edition and an effort that a folder holds, the newest of each kind.

    Raises:
        ValueError: a file is damaged, and named; or all points there are of another effort.
    """
    files = sorted((folder / FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime)
    found = [point for path in files if (point := stored(path)) is not None]
    about = {"edition": EDITION, "effort": list(effort)}
    newest = {
        (point.task, point.method, point.seed): point
        for point in found
        if {name: point.made.get(name) for name in about} == about
    }
    if found and not newest:
        there = {(p.made.get("edition"), tuple(p.made.get("effort", ()))) for p in found}
        raise ValueError(
            f"{folder} holds {len(found)} points, none of edition {EDITION} and effort "
            f"{tuple(effort)}; there are {sorted(there, key=str)}. Those of --quick are reported "
            "by --report --quick, others by Results.write"
        )
    return list(newest.values())


def compute(
    task: Task, name: str, method: Callable[[Task], Any], axes: Sequence[str], key: str
) -> Point:
    """Run a method and judge its student.

    Raises:
        TypeError: the method returned no model of the task's shape.
        Exception: what the method raises, with a note of whose it is.
    """
    import torch

    from . import cost

    torch.set_num_threads(1)
    spent, outcome = cost.Cost(), None
    found: dict[str, Any] = {"scores": {}, "undefined": list(axes)}
    try:
        with cost.measured(*task.networks) as spent:
            outcome = method(task)
        found["scores"], found["undefined"] = judge(task, student_of(outcome, name, task), axes)
        found |= {part: str(getattr(outcome, part, "")) for part in ("status", "reason")}
    except NotFiniteError as error:
        found |= {"status": "diverged", "reason": str(error)}
    except Exception as error:
        error.add_note(f"the method {name!r} on the task {task.name!r}")
        raise
    made = {**provenance(), "edition": EDITION, "effort": list(task.effort)}
    return Point(task.name, name, task.seed, key, **found, cost=asdict(spent), made=made)


def student_of(outcome: Any, name: str, task: Task) -> Any:
    """The student that a method returned, or the run that holds it.

    Raises:
        TypeError: neither, or one whose draws have another shape.
    """
    student = getattr(outcome, "student", outcome)
    if not hasattr(student, "sample"):
        raise TypeError(
            f"the method {name!r} must return a student, or a Run that holds one; got "
            f"{type(outcome).__name__}"
        )
    shape = getattr(student, "shape", None)
    if shape is not None and tuple(shape) != tuple(task.retain.shape):
        raise TypeError(
            f"the method {name!r} returned a student that draws {tuple(shape)}; the task "
            f"{task.name!r} has draws of {tuple(task.retain.shape)}"
        )
    return student


def judge(task: Task, student: Any, axes: Sequence[str]) -> tuple[dict[str, Scores], list[str]]:
    """Scores of a student by axis, and the axes that it does not offer enough for."""
    from .families import AXES, offers
    from .judged import Judged

    judged, has = Judged(task, student), offers(student)
    scores: dict[str, Scores] = {}
    for name in axes:
        if AXES[name].needs in has:
            scores[name] = AXES[name].judge(judged)
    return scores, [name for name in axes if not scores.get(name)]
