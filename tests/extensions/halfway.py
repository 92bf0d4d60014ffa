"""A method and a task for the benchmark: half of the way to the rest, and a line of three modes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import unlearnlab as ul
from unlearnlab import benchmark


def towards_the_rest(task: benchmark.Task) -> Any:
    """Denoising on training samples that show nothing of what is to go.

    Args:
        task: what is retained and forgotten, samples of both, and a student to begin with.

    Returns:
        A `Run`; a student alone would do.
    """
    data = ul.DataSet(task.to_go(2048), task.retain.schedule)
    problem = ul.ForwardKL(task.retain, [data], thresholds=0.0)
    how = {**task.settings, "steps": 60, "seed": task.seed}
    return ul.baselines.naive(problem, task.student(), data=task.apart(2048), **how)


# Another task of a family is a line: here the right mode is to go instead of the middle one.
RIGHT = replace(
    benchmark.task("line-severe"),
    name="right",
    asks="three modes on a line; a twentieth of the right one may stay",
    forgotten_modes=("right",),
)
