"""Lemma 2 for users: the log-ratio of two diffusion models at given samples."""

from __future__ import annotations

from typing import Any

import torch

from . import quadrature
from .checks import require_comparable, require_density
from .model import DiffusionModel


def log_ratio(
    x: Any,
    p: DiffusionModel,
    q: DiffusionModel,
    *,
    levels: int = quadrature.LEVELS,
    noises: int = 512,
    seed: int = 0,
    return_estimate: bool = False,
) -> Any:
    """log p(x)/q(x) = ½∫E_ε[‖ε − ε̂_q(x_t)‖² − ‖ε − ε̂_p(x_t)‖²]dγ, Lemma 2, in nats.

    Both models see the same noise. Holds for exact denoisers; the error bar is of the Monte-Carlo
    mean over ε alone.

    Args:
        x: (n, *shape) clean samples.
        p, q: models on one space.
        levels: nodes of the trapezoid rule over log-SNR.
        noises: draws of ε for each sample and node.
        return_estimate: also return standard errors and truncations.

    Returns:
        (n,) float64 tensor; or a `RatioEstimate` of value, stderr and truncation, (n,) each.

    Raises:
        TypeError, ValueError: not diffusion models; different spaces; x of another shape.
        SupportError: a `PointMass`.

    Source: [K] Lemma 2, after Kong et al. 2023.

    Example:
        >>> import torch, unlearnlab as ul
        >>> p, q = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> ul.log_ratio(x, p, q).round(decimals=2).tolist()  # (x − 1)²/2 − x²/2
        [0.5, -1.5]
    """
    require_comparable(["p", "q"], [p, q])
    require_density(["p", "q"], [p, q])
    points = torch.as_tensor(x).to(p.device, p.dtype)
    if points.shape[1:] != p.shape or not torch.isfinite(points).all():
        raise ValueError(
            f"x must hold finite samples of shape {p.shape}, stacked; got shape "
            f"{tuple(points.shape)}"
        )
    found = quadrature.log_ratios(points, p, [q], levels=levels, noises=noises, seed=seed)
    value, stderr, truncation = (part[:, 0] for part in found)
    return quadrature.RatioEstimate(value, stderr, truncation) if return_estimate else value
