"""Rung 1: distributions whose every integral is a finite sum."""

from .discrete import Discrete
from .exact import ExactModel
from .grid import Grid, GridDensity
from .mixture import GaussianMixture

__all__ = ["Discrete", "ExactModel", "GaussianMixture", "Grid", "GridDensity"]
