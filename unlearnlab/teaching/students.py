"""Whose numbers an exercise has: a name that is set once, or nbgrader's id when it grades."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from ..files import require_writable, write_whole

T = TypeVar("T")
FILE = "student.txt"


def student(name: str) -> None:
    """Set whose numbers the exercises have, for all notebooks of this folder.

    The name is kept in `student.txt` beside them; without that file the numbers are those of the
    solutions. For a course that is graded by nbgrader, take the id that it knows you by.

    Args:
        name: one line of text.

    Raises:
        ValueError: no name, or more than a line of it; or the folder cannot be written to.
    """
    if not isinstance(name, str) or len(name.split("\n")) != 1 or not name.strip():
        raise ValueError(f"name must be one line of text, such as 'ada'; got {name!r}")
    require_writable("the folder of the notebooks", Path.cwd())
    write_whole(FILE, (name.strip() + "\n").encode())
    print(f"The numbers of the exercises are those of {who()}.")


def who() -> str:
    """The name that is set; when nbgrader grades, the id whose folder it runs in; else ''.

    nbgrader runs a submission in COURSE/autograded/STUDENT/ASSIGNMENT, so what a student has
    written into a file of theirs does not count there.

    Raises:
        ValueError: student.txt holds no text.
    """
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        return Path.cwd().parent.name
    path = Path(FILE)
    if not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        message = f"{path.resolve()} holds no text: set the name again, student('ada')"
        raise ValueError(message) from None


def drawn(exercise: str, choices: Sequence[T], name: str) -> T:
    """The one of the choices that belongs to a name; the first to nobody's.

    By a hash: the same on every machine, and for each exercise anew.
    """
    if not name:
        return choices[0]
    digest = sha256(f"{name}\n{exercise}".encode()).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]
