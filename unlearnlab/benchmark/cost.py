"""What a method costs: seconds of the processor, rows that networks see, bytes held by autograd."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook


@dataclass
class Cost:
    """Of one call.

    Attributes:
        seconds: of the processor, in all threads.
        rows: samples that networks have seen, of any kind.
        bytes: the most that autograd kept at once.
    """

    seconds: float = 0.0
    rows: int = 0
    bytes: int = 0


@dataclass
class _Aside:
    """What is spent for a task and by no method: how deep in it we are, and seconds so far."""

    depth: int = 0
    seconds: float = 0.0


_ASIDE = _Aside()


@contextmanager
def aside() -> Iterator[None]:
    """What is spent inside is not counted: a network that a task trains for all methods."""
    start = time.process_time()
    _ASIDE.depth += 1
    try:
        yield
    finally:
        _ASIDE.depth -= 1
        if not _ASIDE.depth:
            _ASIDE.seconds += time.process_time() - start


@contextmanager
def measured(*kinds: str) -> Iterator[Cost]:
    """What is spent inside; rows are counted of networks of these classes, by name."""
    cost, start = Cost(), time.process_time() - _ASIDE.seconds
    with Held() as held, counted(*kinds) as seen:
        try:
            yield cost
        finally:
            cost.seconds = time.process_time() - _ASIDE.seconds - start
            cost.rows, cost.bytes = seen["rows"], held.peak


@contextmanager
def counted(*kinds: str) -> Iterator[dict[str, int]]:
    """Rows that networks of these classes, by name, see inside."""
    found = {"rows": 0}

    def hook(module: nn.Module, given: Any) -> None:
        if type(module).__name__ in kinds and not _ASIDE.depth:
            found["rows"] += len(given[0])

    handle = register_module_forward_pre_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


class _Kept:
    """A tensor that a graph holds."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


class Held:
    """The most bytes that autograd kept at once, each storage counted once.

    Args:
        apart: tensors that are there in any case, such as weights: they are not counted.
    """

    def __init__(self, apart: Iterable[Tensor] = ()):
        self.apart = {place(one) for one in apart}
        self.users: dict[int, int] = {}
        self.now = self.peak = 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept.tensor)

    def _keep(self, tensor: Tensor) -> _Kept:
        kept, at = _Kept(tensor), place(tensor)
        if at not in self.apart and not _ASIDE.depth:
            size = tensor.untyped_storage().nbytes()
            if not self.users.get(at):
                self.now += size
                self.peak = max(self.peak, self.now)
            self.users[at] = self.users.get(at, 0) + 1
            weakref.finalize(kept, self._drop, at, size)
        return kept

    def _drop(self, at: int, size: int) -> None:
        self.users[at] -= 1
        if not self.users[at]:
            self.now -= size

    def __enter__(self) -> Held:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.__exit__(*error)


def place(tensor: Tensor) -> int:
    """Where its storage lies: the same for all views of it."""
    return tensor.untyped_storage()._cdata  # tensors on "meta" have no pointers
