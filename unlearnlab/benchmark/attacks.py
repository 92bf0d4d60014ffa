"""Ways to have drawn what a student was made to forget."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..diffusion import sampling
from ..diffusion.quadrature import predict
from .definition import Task


def inverted(model: Any, x: Tensor, steps: int) -> Tensor:
    """(n, *shape) the noise from which DDIM draws x, nearly: its steps taken backwards.

    x_t = α_t(x_s − σ_sε̂)/α_s + σ_tε̂, with ε̂ at x_s in the place of that at x_t, which is not
    known yet.

    Source: Song et al. (2021), Denoising diffusion implicit models, Section 4.3.
    """
    schedule = model.schedule
    visited = schedule.timesteps(steps)[::-1]
    bars = [schedule.ends_at, *(float(schedule.alphas_cumprod[t]) for t in visited)]
    seen = [visited[0], *visited[:-1]]  # where ε̂ is known
    x = x.to(model.device, model.dtype)
    for t, bar, after in zip(seen, bars, bars[1:], strict=False):
        times = torch.full((len(x),), t, device=x.device)
        keep = math.sqrt(after / bar)
        turn = math.sqrt(1 - after) - keep * math.sqrt(1 - bar)
        x = sampling.Step(t, keep, turn, 0.0).mean(x, predict(model, x, times))
    return x


def drawn_from(student: Any, noise: Tensor, steps: int) -> Tensor:
    """(n, *shape) what DDIM makes of noise."""
    chain = sampling.chain(student.schedule, "ddim", steps)
    generator = torch.Generator()  # DDIM draws nothing
    for taken in sampling.unfold(student, noise, chain, generator, student.limit):
        noise = taken.x_s
    return noise


def from_inverted(task: Task, student: Any) -> Tensor:
    """What a student draws from noise that the retained model had inverted from what is to go."""
    steps = student.sampling_steps
    x = task.forgotten(max(32, task.inverted_samples))
    return drawn_from(student, inverted(task.retain, x, steps), steps)
