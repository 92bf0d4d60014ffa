"""Sums over many cells, in pieces that stay in the processor's cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Cells in a block. 256 KiB a float64 array: a few stay in the second-level cache, and NumPy's loops
# are long beside the interpreter's work between them, for which threads wait on each other.
BLOCK = 32768
PARALLEL_FROM = 1 << 18  # cells; below this a thread costs more than it saves

T = TypeVar("T")


@lru_cache(maxsize=1)
def _pool() -> tuple[ThreadPoolExecutor | None, int]:
    if sys.platform == "emscripten":  # browsers: no threads
        return None, 1
    available = getattr(os, "sched_getaffinity", None)
    workers = len(available(0)) if available else os.cpu_count() or 1
    return (ThreadPoolExecutor(workers), workers) if workers > 1 else (None, 1)


def map_blocks(function: Callable[[slice], T], cells: int) -> list[T]:
    """[function(block) for each block of `cells` cells], in order.

    NumPy releases the interpreter lock inside its loops, so large inputs use all processors. The
    blocks depend on `cells` alone: results are equal on any number of processors.
    """
    blocks = [slice(at, min(at + BLOCK, cells)) for at in range(0, cells, BLOCK)]
    pool, workers = _pool() if cells >= PARALLEL_FROM else (None, 1)
    if pool is None:
        return [function(block) for block in blocks]
    runs = 4 * workers  # more runs than workers: an interrupted processor holds up less
    size = -(-len(blocks) // runs)
    parts = pool.map(
        lambda at: [function(block) for block in blocks[at : at + size]],
        range(0, len(blocks), size),
    )
    return [result for part in parts for result in part]


def elementwise(
    function: Callable[..., object],
    *tables: NDArray[np.float64],
    out: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """A NumPy ufunc of tables, block by block: most of its time is that of fetching new memory."""
    result = np.empty(len(tables[0])) if out is None else out
    map_blocks(
        lambda block: function(*(table[block] for table in tables), out=result[block]), len(result)
    )
    return result


def smallest(values: NDArray[np.float64]) -> float:
    """The least of many numbers, along the first axis in blocks; NaN where there is one."""
    return float(np.min(map_blocks(lambda block: values[block].min(), len(values))))


def largest(values: NDArray[np.float64]) -> float:
    """The greatest of many numbers, likewise."""
    return float(np.max(map_blocks(lambda block: values[block].max(), len(values))))


if hasattr(os, "register_at_fork"):  # a forked child inherits the pool's object, not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
