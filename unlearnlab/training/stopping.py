"""Stopped is not lost: SIGINT and SIGTERM end a run after its round, and it is saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME = 1.0  # seconds in which a second signal is the first, passed on by a launcher


class Stopped(KeyboardInterrupt):
    """A run that a signal has ended: after its round, and saved.

    Attributes:
        code: what a command exits with, 128 + the signal's number: 130 or 143.
    """

    def __init__(self, number: int, where: str, folder: Path):
        super().__init__(number, where, folder)
        self.number, self.where, self.folder = number, where, folder
        self.code = 128 + number

    def told(self, how: str) -> str:
        """What has happened, and how to go on."""
        name = signal.Signals(self.number).name
        return f"stopped by {name} {self.where}; folder {str(self.folder)!r} holds it: {how}"

    def __str__(self) -> str:
        return self.told("resume=True continues it")


class Stopping:
    """Hears signals while it is entered; of a main thread's run that has a folder to be saved in.

    A second signal does at once what it did before: it ends the process.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.before: dict[int, Any] = {}
        self.caught, self.at = 0, 0.0

    def __enter__(self) -> Stopping:
        if self.folder is not None and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                known = signal.getsignal(number)
                if known not in (None, signal.SIG_IGN):  # as of jobs in the background
                    self.before[number] = signal.signal(number, self.heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, known in self.before.items():
            signal.signal(number, known)
        self.before = {}

    def heard(self, number: int, _: Any) -> None:
        """Remember the first; let the second do what it would have done."""
        if not self.caught:
            self.caught, self.at = number, time.monotonic()
            # Not by print, which the signal may have interrupted.
            os.write(2, b"\nstopping after this round; once more stops at once, and loses it\n")
        elif time.monotonic() > self.at + SAME:
            self.__exit__()
            signal.raise_signal(number)

    def asked(self, accelerator: Any) -> int:
        """The signal that any process has heard, the same on all of them; 0 for none."""
        if accelerator.num_processes == 1:
            return self.caught
        own = torch.tensor([self.caught], device=accelerator.device)
        return int(accelerator.gather(own).max())


@contextmanager
def as_command(*, speaks: bool) -> Iterator[None]:
    """A command that exits with 130 or 143 where a signal has stopped it.

    A launcher, such as `accelerate launch` or torchrun, has exit codes of its own.

    Args:
        speaks: whether this process says so.
    """
    try:
        yield
    except Stopped as stopped:
        if speaks:
            print(stopped.told("--resume continues it"), file=sys.stderr)
        raise SystemExit(stopped.code) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
