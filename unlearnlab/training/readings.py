"""Readings of students, on draws of their own, which processes share.

Each process draws by seeds of its own, and all get the mean: what decides whether to go on must be
equal on all of them, or one waits for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.precision import widest
from ..estimate import stderr
from ..problems import Evaluation, Problem

APART = 1_000_003  # the seeds of two processes


def draws_of(problem: Problem, student: Any) -> int:
    """Draws of a reading: as many as the problem says, or else the student."""
    return int(getattr(problem.options, "draws", student.effort.draws))


def read(
    problems: Sequence[Problem],
    students: Sequence[Any],
    accelerator: Any = None,
    *,
    seed: int,
    samples: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(K, m) constraints of each student and their errors, on draws by the sampler it is meant for.

    Its deviation is not read: nothing is decided by it. Of several processes each draws its part
    of `samples`, by default of `draws_of`.
    """
    processes = 1 if accelerator is None else accelerator.num_processes
    if processes > 1:
        together = draws_of(problems[0], students[0]) if samples is None else samples
        seed, samples = _own(seed, accelerator), -(-together // processes)
    pairs = zip(problems, students, strict=True)
    found = [one.measured(student, seed=seed, samples=samples) for one, student in pairs]
    parts = ([[part(one) for one in row] for row in found] for part in (float, stderr))
    values, errors = (torch.tensor(np.array(part, dtype=np.float64)) for part in parts)
    return _of_all(values, errors, accelerator)


def evaluated(problem: Problem, student: Any, accelerator: Any = None, *, seed: int) -> Evaluation:
    """`Problem.evaluate` by each process, and so on as many times the draws in the same time."""
    found = problem.evaluate(student, seed=_own(seed, accelerator))
    values = torch.tensor([found.objective, *found.constraints], dtype=torch.float64)
    spread = [found.objective_stderr, *np.atleast_1d(found.constraints_stderr)]
    errors = torch.tensor(spread, dtype=torch.float64)
    mean, error = (part.numpy() for part in _of_all(values, errors, accelerator))
    return Evaluation(float(mean[0]), mean[1:], float(error[0]), error[1:], found.kind)


def _own(seed: int, accelerator: Any) -> int:
    return seed if accelerator is None else seed + APART * int(accelerator.process_index)


def _of_all(values: Tensor, errors: Tensor, accelerator: Any) -> tuple[Tensor, Tensor]:
    """The means of what all processes have found, and their errors."""
    if accelerator is None or accelerator.num_processes == 1:
        return values, errors
    device = accelerator.device
    pair = torch.stack([values, errors**2]).to(device, widest(device))
    mean, squares = accelerator.reduce(pair, reduction="mean").cpu().double()
    return mean, (squares / accelerator.num_processes).sqrt()
