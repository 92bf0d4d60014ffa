"""Files that are there whole or not at all, and folders that one run holds at a time."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

LOCK, HOLDER = ".run.lock", ".run.holder.json"


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


@contextmanager
def held(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """A folder for one run, for as long as it lasts; None for no folder.

    The system's lock, which goes with the process, however it ends; a file where the file system
    has none. The thread that holds a folder may ask for it again.

    Raises:
        RuntimeError: another one holds it; the message says who.
    """
    if folder is None:
        yield
        return
    from filelock import FileLock, Timeout

    path = Path(folder)
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"folder {str(folder)!r} is in use by another run{_holder(path)}: wait until it ends, "
            "or choose another folder"
        ) from None
    try:
        if lock.lock_counter == 1:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            who = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
            write_whole(path / HOLDER, json.dumps(who).encode())
        yield
    finally:
        if lock.lock_counter == 1:
            (path / HOLDER).unlink(missing_ok=True)
        # A run that ended before it wrote anything leaves neither a lock nor a new folder behind.
        if lock.lock_counter == 1 and [one.name for one in path.glob("*")] == [LOCK]:
            (path / LOCK).unlink()
            if made:
                path.rmdir()
        lock.release()


def _holder(path: Path) -> str:
    """Who holds a folder, where it says so."""
    try:
        who = json.loads((path / HOLDER).read_bytes())
        return f" (process {who['process']} on {who['host']}, since {who['since']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""
