"""What lessons 06 and 07 start from: mixtures on a line, noised, beside their noise predictions.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..density import GaussianMixture, Grid
from ..diffusion import Schedule

SCHEDULE = Schedule()
GRID = Grid(low=-8.0, high=8.0, cells=2001)


def noised(mix: Any, t: int) -> Any:
    """A mixture on a line, noised to timestep t, as a density on 2001 cells from −8 to 8.

    A noised mixture is a mixture: each mode moves to α·mean and gets the variance α²·std² + σ².
    """
    alpha, sigma = float(SCHEDULE.signal[t]), float(SCHEDULE.noise[t])
    variances = alpha**2 * mix.covariances[:, 0, 0] + sigma**2
    return GaussianMixture(mix.weights, alpha * mix.means[:, 0], np.sqrt(variances)).on(GRID)


def predicted(model: Any, t: int) -> Any:
    """(2001,) noise predictions of a model at the grid's points, at timestep t."""
    points = torch.tensor(GRID.axes[0], dtype=torch.float32)[:, None]
    return model.noise_prediction(points, torch.full((len(points),), int(t)))[:, 0].double().numpy()


def melting(mix: Any, levels: Sequence[int], alt: str) -> None:
    """Show a mixture at several timesteps, beside N(0, 1).

    Args:
        levels: the timesteps, a panel each.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    x = GRID.axes[0]
    _, axes = plt.subplots(1, len(levels), figsize=(11, 2.8), sharex=True, sharey=True)
    for ax, t in zip(axes, levels, strict=True):
        height = np.exp(noised(mix, t).log_density)
        ax.fill_between(x, height, color="C0", alpha=0.35, lw=0, label="q, noised")
        ax.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), "k--", lw=1, label="N(0, 1)")
        ax.set(title=f"t = {t}", xlabel="$x_t$ (units of x)", xlim=(-5.5, 5.5), ylim=(0, 0.58))
        scales = f"α = {SCHEDULE.signal[t]:.2f}\nσ = {SCHEDULE.noise[t]:.2f}"
        ax.text(-5.3, 0.5, scales, fontsize="small", va="center")
    axes[0].set_ylabel("density (1/unit of x)")
    axes[-1].legend(loc="upper right", fontsize="x-small")
    plot.show(axes[0], alt=alt)


def ratio_beside_densities(mixtures: dict[str, Any], at: Any, found: Any, alt: str) -> None:
    """Show two densities, and the logarithm of their ratio beside estimates of it.

    Args:
        mixtures: two, by name; the first over the second.
        at: (n, 1) where the ratio was estimated; found: the `Estimate`.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    one, other = (mix.on(GRID) for mix in mixtures.values())
    _, axes = plt.subplots(1, 2, figsize=(10, 3.2))
    plot.density(one, other, labels=list(mixtures), ax=axes[0])
    axes[0].set(title="two densities", xlim=(-6, 7))
    exact = one.log_density - other.log_density
    axes[1].plot(GRID.axes[0], exact, color="0.5", label="exact, from the densities")
    dots = {"fmt": "o", "ms": 3.5, "color": "black", "capsize": 2}
    label = "estimate, from noise predictions"
    axes[1].errorbar(at[:, 0], found.value, found.stderr, label=label, **dots)
    axes[1].set(xlabel="x", ylabel=f"log {'/'.join(mixtures)} (nats)", title="their log-ratio")
    axes[1].set(xlim=(-6, 7), ylim=(-3.5, 1))
    axes[1].legend(loc="lower left")
    plot.show(axes[0], alt=alt)
