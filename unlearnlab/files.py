"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, with its folders; until it is whole, the old one stays.

    Raises:
        OSError: a folder that cannot be made or written; nothing is left behind.
    """
    goal = Path(path)
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.parent / f".{goal.name}.{os.getpid()}.partial"
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, goal)
    finally:
        partial.unlink(missing_ok=True)


def require_writable(name: str, folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that nothing can be written to, before there is something to write.

    Args:
        name: of the argument, for the message.

    Raises:
        ValueError: it is a file, or lies where nothing can be made. It is left as it was: a folder
            that was made to try it is removed again.
    """
    path = Path(folder)
    made: list[Path] = []
    try:
        for one in [*reversed(path.parents), path]:
            if not one.exists():
                one.mkdir(exist_ok=True)
                made.append(one)
        trial = path / f".{os.getpid()}.partial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(
            f"{name} {str(folder)!r} cannot be written to ({error.strerror or error}): choose "
            "another folder"
        ) from None
    finally:
        for one in reversed(made):
            with suppress(OSError):  # another process has put something there
                one.rmdir()
