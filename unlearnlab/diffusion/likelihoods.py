"""The likelihoods of `Likelihood` at samples of any model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..problems import Likelihood
from . import quadrature


def log_likelihoods(
    problem: Likelihood, x: Tensor, *, seed: int = 0, quality: tuple[int, int] | None = None
) -> Tensor:
    """(n, m) log ℓ_i = log q_i/τ, or log(q_i/r)/τ, capped; from densities where they are known.

    Args:
        quality: levels and noises of Lemma 2, where they are not; by default those of training.
    """
    levels, noises = quality or problem.retain.effort.training
    options = {"levels": levels, "noises": noises, "replicates": 2, "seed": seed}
    models = list(problem.forget)
    densities = [model.log_density(x) for model in models]
    ratio = problem.statistic == "ratio"
    below = problem.retain if problem.reference is None else problem.reference
    base = below.log_density(x) if ratio else torch.zeros(len(x)).to(x).double()
    if base is not None and all(d is not None for d in densities):
        logs = torch.stack([d - base for d in densities if d is not None], 1)
    elif ratio:
        logs = -quadrature.log_ratios(x, below, models, **options).value
    else:
        logs = torch.stack(
            [
                quadrature.log_density(x, model, **options).value if d is None else d
                for model, d in zip(models, densities, strict=True)
            ],
            1,
        )
    logs = logs / problem.temperature
    return logs if problem.cap is None else logs.clamp(max=math.log(problem.cap))
