"""The log-ratio of two diffusion models at given samples, by Lemma 2 or along paths."""

from __future__ import annotations

from typing import Any

import torch

from . import path_ratios, quadrature
from .checks import require_comparable, require_density
from .model import DiffusionModel


def log_ratio(
    x: Any,
    p: DiffusionModel,
    q: DiffusionModel,
    *,
    method: str = "lemma2",
    levels: int = quadrature.LEVELS,
    noises: int = 512,
    steps: int = 200,
    paths: int = 4,
    seed: int = 0,
    return_estimate: bool = False,
) -> Any:
    """log p(x)/q(x) in nats, of exact denoisers; both models see the same noise.

    * "lemma2": ½∫E_ε[‖ε − ε̂_q(x_t)‖² − ‖ε − ε̂_p(x_t)‖²]dγ, with noise of its own at every level.
    * "path": Σ log p(x_s|x_t)/q(x_s|x_t) over the transitions of noised paths that end in x. The
      noise of one level cancels that of the next, but for the size of the steps.

    At equal numbers of evaluations Lemma 2 is as good at clean samples, or better, above all in few
    dimensions, where its noise is quasi-random. A path gives the ratio at all levels at once.

    Args:
        x: (n, *shape) clean samples.
        p, q: models on one space.
        levels: nodes of the trapezoid rule over log-SNR, noises: draws of ε at each; of Lemma 2.
        steps: of a path, paths: to each sample; of "path".
        return_estimate: also return standard errors, and truncations: of Lemma 2 what the
            schedule's ends leave out, of a path the error of its steps.

    Returns:
        (n,) float64 tensor; or a `RatioEstimate` of value, stderr and truncation, (n,) each.

    Raises:
        TypeError, ValueError: not diffusion models; different spaces; x of another shape; an
            unknown method.
        SupportError: a `PointMass`.

    Source: [K] Lemma 2, after Kong et al. 2023; `path_ratios` for paths.

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
    if method == "lemma2":
        found = quadrature.log_ratios(points, p, [q], levels=levels, noises=noises, seed=seed)
    elif method == "path":
        found = path_ratios.log_ratios(points, p, [q], steps=steps, paths=paths, seed=seed)
    else:
        raise ValueError(f"method must be 'lemma2' or 'path'; got {method!r}")
    value, stderr, truncation = (part[:, 0] for part in found)
    return quadrature.RatioEstimate(value, stderr, truncation) if return_estimate else value
