"""Unlearning in diffusion models as constrained optimisation, with answers that can be checked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Certificate": "certificate",
    "ComposedModel": "diffusion",
    "DDPM": "diffusion",
    "DataSet": "diffusion",
    "DiffusionModel": "diffusion",
    "GatedModel": "diffusion",
    "Discrete": "density",
    "Estimate": "estimate",
    "ForwardKL": "problems",
    "Function": "statistics",
    "GaussianMixture": "density",
    "Grid": "density",
    "GridDensity": "density",
    "InfeasibleError": "errors",
    "Likelihood": "problems",
    "Moments": "problems",
    "PointMass": "diffusion",
    "Pool": "diffusion",
    "Run": "training",
    "Schedule": "diffusion",
    "parametrisation_gap": "training",
    "ScoreNetwork": "training",
    "finetune": "training",
    "log_ratio": "diffusion",
    "rejection": "diffusion",
    "wrap": "diffusion",
    "NoisingChain": "density.paths",
    "Problem": "problems",
    "ReverseKL": "problems",
    "Solution": "solution",
    "SupportError": "errors",
    "TextToImage": "stable_diffusion",
    "boundary_pairs": "lyapunov",
    "certify": "certificate",
    "kl": "model",
    "load": "density.storage",
    "lyapunov_split": "lyapunov",
    "solve": "dual",
    "tradeoff": "curves",
    "verify": "verify",
}
_MODULES = (
    *("baselines", "benchmark", "data_unlearning", "digits", "images", "metrics"),
    *("plot", "stable_diffusion", "teaching", "widgets"),
)

__all__ = [*sorted(_HOME), *_MODULES]

if TYPE_CHECKING:
    from . import (
        baselines,
        benchmark,
        data_unlearning,
        digits,
        images,
        metrics,
        plot,
        stable_diffusion,
        teaching,
        widgets,
    )
    from .certificate import Certificate, certify
    from .curves import tradeoff
    from .density import Discrete, GaussianMixture, Grid, GridDensity
    from .density.paths import NoisingChain
    from .density.storage import load
    from .diffusion import (
        DDPM,
        ComposedModel,
        DataSet,
        DiffusionModel,
        GatedModel,
        PointMass,
        Pool,
        Schedule,
        log_ratio,
        rejection,
        wrap,
    )
    from .dual import solve
    from .errors import InfeasibleError, SupportError
    from .estimate import Estimate
    from .lyapunov import boundary_pairs, lyapunov_split
    from .model import kl
    from .problems import ForwardKL, Likelihood, Moments, Problem, ReverseKL
    from .solution import Solution
    from .stable_diffusion import TextToImage
    from .statistics import Function
    from .training.finetune import finetune
    from .training.gap import parametrisation_gap
    from .training.network import ScoreNetwork
    from .training.run import Run
    from .verify import verify


def __getattr__(name: str) -> Any:
    # Names are imported when first used: `import unlearnlab` costs nothing but itself.
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'unlearnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
