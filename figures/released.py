"""Two formulas of the paper's released code, tried: its log-probability and its likelihood.

Read in shervinkhalafi/constrained_unlearning, my_utils.py and train.py, at cfb382b and bbe20b9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from figures.scenes import STEPS, tools
from unlearnlab.diffusion.pool import tabulate
from unlearnlab.diffusion.quadrature import predict_all, square

DRAWN, LEVELS, NOISES = 128, 10, 8  # pictures; its timesteps, and noise draws at each
QUALITY = (24, 8)


def slopes() -> dict[str, float]:
    """∂/∂μ of log N(x; μ, σ²) at x = μ + σz; and of −½(x − sg μ)² through the sample x(μ)."""
    mean, sigma, z = torch.tensor(0.3, requires_grad=True), 0.5, 1.7
    x = mean + sigma * z
    theirs = torch.autograd.grad(-0.5 * (x - mean.detach()).square(), mean, retain_graph=True)[0]
    log_normal = -0.5 * ((x.detach() - mean) / sigma).square()
    return {"score": float(torch.autograd.grad(log_normal, mean)[0]), "theirs": float(theirs)}


def released() -> dict[str, Any]:
    """I = Σ_t mean over dimensions of (ε − ε̂_∅)² − (ε − ε̂_1)², beside log q_1/q_∅ by Lemma 2."""
    sd = tools()[0]
    null, concept = sd.prompt(""), sd.prompt("a cowboy with a horse")
    x = sd.prompt("a cowboy").sample(DRAWN, steps=STEPS, seed=0)
    generator = torch.Generator().manual_seed(1)
    found = torch.zeros(DRAWN, dtype=torch.float64)
    every = len(sd.schedule) // LEVELS
    for t in range(1, len(sd.schedule), every):
        noise = torch.randn((DRAWN * NOISES, *null.shape), generator=generator)
        times = torch.full((len(noise),), t)
        x_t = sd.schedule.noised(x.repeat_interleave(NOISES, 0), times, noise)
        errors = [
            square(noise - one) / null.dim for one in predict_all([null, concept], x_t, times)
        ]
        found += (errors[0] - errors[1]).reshape(DRAWN, NOISES).mean(1)
    table = tabulate(null, [concept], x, seed=5, densities=False, quality=QUALITY)
    return {
        "slopes in the mean": slopes(),
        "standard deviation of I": float(found.std()),
        "standard deviation of e^I, relative": float(found.exp().std() / found.exp().mean()),
        "standard deviation of log q_1/q": float(table.ratios.std()),
        "correlation of I and log q_1/q": float(np.corrcoef(found, -table.ratios[:, 0])[0, 1]),
    }
