"""Rung 2: the same problems on diffusion models."""

from .composed import ComposedModel
from .ddpm import DDPM
from .exact import DiffusedMixture
from .gates import GatedModel
from .model import DiffusionModel
from .particles import rejection
from .pool import Pool
from .quadrature import RatioEstimate
from .ratio import log_ratio
from .samples import DataSet, PointMass
from .schedule import Schedule
from .wrapped import wrap

__all__ = [
    "DDPM",
    "ComposedModel",
    "DataSet",
    "DiffusedMixture",
    "DiffusionModel",
    "GatedModel",
    "PointMass",
    "Pool",
    "RatioEstimate",
    "Schedule",
    "log_ratio",
    "rejection",
    "wrap",
]
