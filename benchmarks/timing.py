"""Seconds of calls, and of calls taken in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(*runs: Callable[[], Any], repeats: int) -> tuple[float, ...]:
    """Medians of several calls taken in turn, after one warm-up of each."""
    for run in runs:
        run()
    times = [[seconds(run) for run in runs] for _ in range(repeats)]
    return tuple(float(x) for x in np.median(times, axis=0))
