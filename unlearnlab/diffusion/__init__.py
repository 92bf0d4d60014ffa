"""Rung 2: the same problems on diffusion models."""

from .composed import ComposedModel
from .ddpm import DDPM
from .exact import DiffusedMixture
from .finetune import finetune
from .gap import ParametrisationGap, parametrisation_gap
from .model import DiffusionModel, wrap
from .network import ScoreNetwork
from .pool import Pool
from .quadrature import RatioEstimate
from .ratio import log_ratio
from .run import Run
from .samples import DataSet, PointMass
from .schedule import Schedule

__all__ = [
    "DDPM",
    "ComposedModel",
    "DataSet",
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
