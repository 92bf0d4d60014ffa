"""Files that are there whole or not at all, and folders that one run holds at a time."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from typing import BinaryIO

LOCK, HOLDER = ".run.lock", ".run.holder.json"
PARTIAL = ".partial"  # how the names of files end that are not whole yet; they begin with a dot
SUMS = "SHA256SUMS"
LISTED = re.compile("(?P<sum>[0-9a-f]{64})  (?P<name>.+)")
VARIABLE = re.compile(r"\$\{?\w")
TRIED = 1 << 20  # bytes that a folder must take


def write_whole(
    path: str | os.PathLike[str], content: bytes, *, before: Path | None = None
) -> None:
    """Write a file, with its folders; until it is whole, the old one stays.

    Args:
        before: where to keep the old one.

    Raises:
        OSError: a folder that cannot be made or written; nothing is left behind.
    """
    goal = Path(path)
    goal.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(goal, before=before) as file:
        file.write(content)


@contextmanager
def whole_file(goal: Path, *, before: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write to, in an existing folder, that takes its name once it is whole.

    Until then the old one stays, and then moves to `before`; after an error nothing is left behind.
    """
    partial = _partial(goal)
    try:
        with _naming(goal), open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None and goal.exists():
            _keep(goal, before)
        os.replace(partial, goal)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _naming(goal: Path) -> Iterator[None]:
    """Errors of the system that name what could not be written, safetensors' own among them."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as where a disk is full
            error.filename = str(goal)
        raise
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # the core does without safetensors
            raise
        raise OSError(f"{str(goal)!r} cannot be written to ({error})") from None


def _partial(goal: Path) -> Path:
    """What a file is called until it is whole: a name of this thread's alone."""
    return goal.parent / f".{goal.name}.{os.getpid()}.{threading.get_ident()}{PARTIAL}"


def _keep(path: Path, other: Path) -> None:
    """Give a file a second name, so that at no moment the first is missing."""
    partial = _partial(other)
    try:
        os.link(path, partial)
        os.replace(partial, other)
    except OSError:  # a file system without links
        write_whole(other, path.read_bytes())
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def staged(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write to, whose files move to another when all are written, each whole.

    Those of subfolders first: what describes a folder, such as diffusers' model_index.json, comes
    last, so that a folder cut off is not taken for whole. All have the permissions that files have
    here; safetensors' own are for the owner alone. SHA256SUMS lists them, for `require_unchanged`
    and `sha256sum -c`.

    Raises:
        OSError: what cannot be written, by name; then nothing is moved.
    """
    goal = Path(folder)
    goal.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=goal, prefix=".", suffix=PARTIAL) as stage:
        with _naming(goal):
            yield Path(stage)
        made = [one for one in Path(stage).rglob("*") if one.is_file()]
        usual = Path(stage, PARTIAL)
        usual.touch()
        mode = stat.S_IMODE(usual.stat().st_mode)
        sums = {one.relative_to(stage).as_posix(): _sum(one) for one in made}
        known = {name: one for name, one in _sums(goal).items() if name not in sums}
        _write_sums(goal, known)  # of what is being replaced, nothing is said meanwhile
        for one in sorted(made, key=lambda path: (-len(path.parts), path)):
            one.chmod(mode)
            with open(one, "rb+") as file:
                os.fsync(file.fileno())
            own = goal / one.relative_to(stage)
            own.parent.mkdir(parents=True, exist_ok=True)
            os.replace(one, own)
        _write_sums(goal, known | sums)


def require_unchanged(folder: Path, *names: str) -> None:
    """Refuse files that are not as `staged` has written them; those of others are not known.

    Args:
        names: of the files; by default all that are listed.

    Raises:
        ValueError: one is changed or missing, or the list is damaged; it is named.
    """
    for name, listed in _sums(folder).items():
        if names and name not in names:
            continue
        path = folder / name
        if not path.is_file() or _sum(path) != listed:
            raise ValueError(
                f"{path} is damaged or missing: it is not what was written there; write it again, "
                f"or remove {SUMS} beside it if it was changed on purpose"
            )


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of files that a folder lists, where they are."""
    if not (folder / SUMS).exists():
        return {}
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    found = [LISTED.fullmatch(line) for line in lines]
    if not all(found):
        raise ValueError(f"{folder / SUMS} is damaged: remove it, and write the folder again")
    return {one["name"]: one["sum"] for one in found if one}


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    lines = [f"{one}  {name}\n" for name, one in sums.items() if (folder / name).exists()]
    if lines or (folder / SUMS).exists():
        write_whole(folder / SUMS, "".join(lines).encode())


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def expanded(name: str, path: str | os.PathLike[str]) -> str:
    """A path with `~` and variables in it, as a shell reads it.

    Args:
        name: of the argument, for the message.

    Raises:
        ValueError: it is empty, or names a variable or a home that there is not.
    """
    given = os.fspath(path)
    found = os.path.expandvars(os.path.expanduser(given))
    if not found:
        raise ValueError(f"{name} is empty: name a file or folder")
    if found.startswith("~") or VARIABLE.search(found):
        raise ValueError(f"{name} {given!r} names a home or a variable that is not there")
    return found


def require_writable(name: str, folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that nothing can be written to, before there is something to write.

    Args:
        name: of the argument, for the message.

    Raises:
        ValueError: it is a file, lies where nothing can be made, or its disk is full. It is left as
            it was: a folder that was made to try it is removed again.
    """
    path = Path(folder)
    made: list[Path] = []
    try:
        for one in [*reversed(path.parents), path]:
            if not one.exists():
                one.mkdir(exist_ok=True)
                made.append(one)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(TRIED))
    except OSError as error:
        raise ValueError(
            f"{name} {str(folder)!r} cannot be written to ({_why(path, error)}): choose another "
            "folder"
        ) from None
    finally:
        for one in reversed(made):
            with suppress(OSError):  # another process has put something there
                one.rmdir()


def _why(path: Path, error: OSError) -> str:
    """What stands in the way of a folder; of a link to nowhere, the system says `File exists`."""
    broken = path.is_symlink() and not path.exists()
    return "a broken link" if broken else str(error.strerror or error)


def student_in(place: str | os.PathLike[str], name: str) -> Path:
    """A folder of a student: itself, or what a run's folder holds under this name."""
    inner = Path(place, name)
    return inner if inner.is_dir() else Path(place)


@contextmanager
def held(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """A folder for one run, for as long as it lasts; None for no folder.

    The system's lock, which goes with the process, however it ends; a file where the file system
    has none. The thread that holds a folder may ask for it again. Who gets it removes what killed
    runs have left half written.

    Raises:
        RuntimeError: another one holds it; the message says who. Or its lock cannot be made.
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
    except OSError as error:  # such as where a folder has its name
        raise RuntimeError(
            f"{str(path / LOCK)!r}, which a run holds its folder by, cannot be locked "
            f"({error.strerror or error}): remove it, or choose another folder"
        ) from None
    try:
        if lock.lock_counter == 1:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            who = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
            write_whole(path / HOLDER, json.dumps(who).encode())
            _clear(path)
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


def _clear(path: Path) -> None:
    """Remove what runs that were killed while they wrote have left in a folder and those in it."""
    for stray in [*path.glob(f".*{PARTIAL}"), *path.glob(f"*/.*{PARTIAL}")]:
        if stray.is_dir():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            stray.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    """Who holds a folder, where it says so."""
    try:
        who = json.loads((path / HOLDER).read_bytes())
        return f" (process {who['process']} on {who['host']}, since {who['since']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""
