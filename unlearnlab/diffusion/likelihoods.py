"""The likelihoods of `Likelihood` at samples of any model."""

from __future__ import annotations

import torch
from torch import Tensor

from ..problems import Likelihood
from . import quadrature

QUALITY = {"levels": 32, "noises": 4, "replicates": 2}  # of Lemma 2 in training


def log_likelihoods(problem: Likelihood, x: Tensor, *, seed: int = 0) -> Tensor:
    """(n, m) log ℓ_i = log q_i/τ, or log(q_i/q)/τ, from densities where they are known.

    Elsewhere by Lemma 2 with 128 evaluations of each model a sample.
    """
    models = list(problem.forget)
    densities = [model.log_density(x) for model in models]
    ratio = problem.statistic == "ratio"
    base = problem.retain.log_density(x) if ratio else torch.zeros(len(x)).to(x).double()
    if base is not None and all(d is not None for d in densities):
        logs = torch.stack([d - base for d in densities if d is not None], 1)
    elif ratio:
        logs = -quadrature.log_ratios(x, problem.retain, models, seed=seed, **QUALITY).value
    else:
        logs = torch.stack(
            [
                quadrature.log_density(x, model, seed=seed, **QUALITY).value if d is None else d
                for model, d in zip(models, densities, strict=True)
            ],
            1,
        )
    return logs / problem.temperature
