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


def statuses(runs: dict[str, Any], alt: str) -> None:
    """Print how each run ended, and show its multiplier above its constraint.

    Args:
        runs: by what was done to them.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from .. import plot

    _, axes = plt.subplots(2, len(runs), figsize=(12, 4.2), sharex=True, sharey="row")
    for (top, bottom), (name, run) in zip(axes.T, runs.items(), strict=True):
        print(
            f"{name}\n   status  {run.status}\n   reason  {run.reason}\n   advice  {run.advice}\n"
        )
        share = np.linspace(0, 100, len(run.history["loss"]))
        top.plot(share, run.history["multipliers"][:, 0], color="C1")
        bottom.plot(share, run.history["constraints"][:, 0], color="C0")
        bottom.axhline(run.problem.thresholds[0], color="0.5", lw=0.8, ls=":")
        top.set_title(f"{name}:\n{run.status}", fontsize="small")
        bottom.set(xlabel="share of the run (%)", ylim=(0, 4))
    axes[0, 0].set(ylabel="λ (nats per nat)", ylim=(0, 1.02))
    axes[1, 0].set_ylabel("KL(p‖q₁) (nats)")
    plot.show(axes[0, 0], alt=alt)


def parts_of_gaps(gaps: dict[tuple[str, str], Any], alt: str) -> None:
    """Show and print the four parts of each gap, a panel for each network.

    Args:
        gaps: by road and network, of `parametrisation_gap`.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from .. import plot

    parts = ("duality", "estimation", "composition", "network")
    roads, sizes = (list(dict.fromkeys(names)) for names in zip(*gaps, strict=True))
    print("nats               " + "".join(f"{part:>18}" for part in parts))
    _, axes = plt.subplots(1, len(sizes), figsize=(9, 3.3), sharey=True)
    for (road, size), gap in gaps.items():
        values = [float(getattr(gap, part)) for part in parts]
        errors = [getattr(getattr(gap, part), "stderr", 0.0) for part in parts]
        cells = [f"{one:.4f} ± {error:.4f}" for one, error in zip(values, errors, strict=True)]
        print(f"{road:11} {size:7}" + "".join(f"{cell:>18}" for cell in cells))
        ax, k = axes[sizes.index(size)], roads.index(road)
        bars: Any = {"fmt": ("o", "s")[k], "ms": 6, "capsize": 3, "label": road}
        ax.errorbar(np.arange(4) + 0.2 * k - 0.1, values, errors, **bars)
    for ax, size in zip(axes, sizes, strict=True):
        ax.axhline(0, color="0.5", lw=0.8)
        ax.set_xticks(range(4), parts)
        ax.set(title=f"network {size}", xlabel="part of the gap")
    axes[0].set_ylabel("Lagrangian above D* (nats)")
    axes[0].legend()
    plot.show(axes[0], alt=alt)
