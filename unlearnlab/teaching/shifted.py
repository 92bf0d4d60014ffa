"""Lesson 10's student: one Gaussian whose mean is its only parameter, so that all is known by hand.

`name??` in a notebook shows the code of each of these.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..diffusion import DiffusionModel, Schedule
from ..problems import ReverseKL
from ..training.finetune import finetune

SCHEDULE = Schedule()


class Shifted(DiffusionModel, torch.nn.Module):
    """N(m, 1), with m as its only parameter: the noise prediction is σ(x_t − αm)."""

    members = 1

    def __init__(self, mean: float = 0.0):
        torch.nn.Module.__init__(self)
        DiffusionModel.__init__(self, (1,), SCHEDULE, torch.float32)
        self.mean = torch.nn.Parameter(torch.tensor([float(mean)]))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(B, 1) of noised points (B, 1) and timesteps (B,)."""
        alpha, sigma = self.schedule.at(t, x_t)
        return sigma * (x_t - alpha * self.mean)

    noise_prediction = forward

    def for_training(self) -> Shifted:
        """A copy with parameters of its own."""
        return copy.deepcopy(self)


def gaussian(mean: float) -> Any:
    """N(mean, 1) as a diffusion model, exactly."""
    from ..density import GaussianMixture

    return GaussianMixture([1.0], means=[mean], stds=[1.0]).diffused(SCHEDULE)


def two_gaussians(b: float) -> Any:
    """Reverse KL for q = N(0, 1) and q₁ = N(1, 1). By hand: λ* = 1 − 1/√(2b), m* = 1 − √(2b)."""
    return ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[b])


def train(problem: Any, student: Any, **options: Any) -> Any:
    """`finetune` in batches of 256 at a rate of 0.03, without the evaluation at the end."""
    return finetune(problem, student, evaluate=False, **({"batch": 256, "lr": 0.03} | options))


def damped(parameters: Any) -> Any:
    """A dual optimiser that brakes: a PI controller, nuPI of the library cooper, at a step of 0.05.

    Besides the violation it sees how the violation changes.
    """
    from cooper.optim import nuPI

    gains: Any = {"Kp": torch.tensor(5.0), "Ki": torch.tensor(1.0)}
    return nuPI(parameters, lr=0.05, maximize=True, **gains)


def multiplier_paths(runs: dict[str, Any], alt: str) -> None:
    """Show the multiplier of each run against the share of its steps, and λ* dotted.

    Args:
        runs: by name, of `two_gaussians`.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from .. import plot

    size = (3 * len(runs), 2.9)
    _, axes = plt.subplots(1, len(runs), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (name, run) in zip(axes[0], runs.items(), strict=True):
        path = run.history["multipliers"][:, 0]
        ax.plot(np.linspace(0, 100, len(path)), path, color="C1")
        best = 1 - 1 / (2 * float(run.problem.thresholds[0])) ** 0.5
        ax.axhline(best, color="0.5", lw=0.8, ls=":")
        ax.set_title(name.replace(", ", ",\n"), fontsize="small")
        ax.set(xlabel="share of the primal steps (%)", ylim=(0, 1.02))
    axes[0, 0].set_ylabel("multiplier λ (nats per nat)")
    plot.show(axes[0, 0], alt=alt)
