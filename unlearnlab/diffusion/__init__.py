"""Rung 2: the same problems on diffusion models."""

from .composed import ComposedModel
from .exact import DiffusedMixture, PointMass
from .finetune import finetune
from .gap import ParametrisationGap, parametrisation_gap
from .model import DiffusionModel, wrap
from .network import ScoreNetwork
from .pool import Pool
from .quadrature import RatioEstimate
from .ratio import log_ratio
from .run import Run
from .schedule import Schedule

__all__ = [
    "ComposedModel",
    "DiffusedMixture",
    "DiffusionModel",
    "ParametrisationGap",
    "PointMass",
    "Pool",
    "RatioEstimate",
    "Run",
    "Schedule",
    "ScoreNetwork",
    "finetune",
    "log_ratio",
    "parametrisation_gap",
    "wrap",
]
