"""Equal-celled grids in one to three dimensions and the densities on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import Array
from ..ratios import log_sum_exp
from .exact import ExactModel, normalise

if TYPE_CHECKING:
    from .mixture import GaussianMixture

MASS_LOST = 1e-3  # share of the mass outside the grid from which a density warns


@dataclass(frozen=True)
class Grid:
    """Equal cells over a box; densities are constant on a cell.

    Args:
        low, high: the box's corners; numbers in 1-D, sequences of 2 or 3 numbers above.
        cells: number of cells along each axis.

    Cells are flattened in C order everywhere: the last axis moves fastest.

    Raises:
        ValueError: reversed or empty box, no cells, more than three dimensions.

    Example:
        >>> import unlearnlab as ul
        >>> grid = ul.Grid(low=(-1, -1), high=(1, 1), cells=(2, 4))
        >>> grid.points.shape, grid.cell_volume
        ((8, 2), 0.5)
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    cells: tuple[int, ...]

    def __init__(
        self,
        low: float | Sequence[float],
        high: float | Sequence[float],
        cells: int | Sequence[int],
    ):
        corners = [_tuple(name, value) for name, value in (("low", low), ("high", high))]
        counts = _tuple("cells", cells)
        dim = max(len(corners[0]), len(corners[1]), len(counts))
        if not 1 <= dim <= 3:
            raise ValueError(f"Grid has one to three dimensions; got {dim}")
        if not len(corners[0]) == len(corners[1]) == dim:
            raise ValueError(
                f"low and high must have one number per axis; got low={low!r}, high={high!r}, "
                f"cells={cells!r}"
            )
        if len(counts) == 1:
            counts = counts * dim
        if len(counts) != dim or any(n != int(n) or n < 1 for n in counts):
            raise ValueError(f"cells must be a positive whole number per axis; got {cells!r}")
        if any(not a < b for a, b in zip(*corners, strict=True)):
            raise ValueError(
                f"low must lie below high on every axis; got low={low!r}, high={high!r}"
            )
        object.__setattr__(self, "low", corners[0])
        object.__setattr__(self, "high", corners[1])
        object.__setattr__(self, "cells", tuple(int(n) for n in counts))

    @property
    def dim(self) -> int:
        """Number of axes."""
        return len(self.cells)

    @property
    def size(self) -> int:
        """Number of cells N."""
        return int(np.prod(self.cells))

    @property
    def spacing(self) -> Array:
        """(d,) width of a cell along each axis."""
        return (np.array(self.high) - np.array(self.low)) / np.array(self.cells)

    @property
    def cell_volume(self) -> float:
        """Volume of a cell."""
        return float(np.prod(self.spacing))

    @cached_property
    def axes(self) -> list[Array]:
        """Cell centres along each axis."""
        return [
            low + width * (np.arange(n) + 0.5)
            for low, width, n in zip(self.low, self.spacing, self.cells, strict=True)
        ]

    @cached_property
    def points(self) -> Array:
        """(N, d) cell centres."""
        return np.stack([a.ravel() for a in np.meshgrid(*self.axes, indexing="ij")], axis=1)

    def density(self, log_density: Callable[[Array], ArrayLike] | ArrayLike) -> GridDensity:
        """The density on this grid with the given unnormalised log-density.

        Args:
            log_density: a function of (N, d) points that returns (N,), or an array of N values
                (flat or in the grid's shape), in nats. −inf means no mass.

        Raises:
            TypeError: a string or another object that is neither function nor numbers.
            ValueError: NaN, +inf, −inf everywhere, or the wrong number of values.

        Warns:
            UserWarning: the grid cuts off more than 0.1 % of a function's mass, or one cell holds
                more than half of it.

        Example:
            >>> import unlearnlab as ul
            >>> q = ul.Grid(-8, 8, 400).density(lambda x: -(x[:, 0] ** 2) / 2)
            >>> round(float(q.log_density.max()), 4)  # −log √2π, less half a cell
            -0.9191
        """
        given = log_density
        values = _values("log_density", given(self.points) if callable(given) else given, self.size)
        density = GridDensity(self, normalise("log_density", values))
        if callable(given):
            _warn_if_cut(self, given)
        if self.size > 2 and density.log_masses.max() > np.log(0.5):
            share = np.exp(density.log_masses.max())
            warnings.warn(
                f"one of {self.size} cells holds {share:.0%} of the mass: the grid is too coarse "
                "for this density; use more cells",
                stacklevel=2,
            )
        return density


class GridDensity(ExactModel):
    """A normalised density on a `Grid`; made by `grid.density` or `mixture.on(grid)`.

    Attributes:
        grid: the grid.
        mixture: the Gaussian mixture it came from, if any, so that components shared between
            densities can be subtracted exactly.
    """

    def __init__(self, grid: Grid, log_masses: Array, mixture: GaussianMixture | None = None):
        super().__init__(log_masses)
        self.grid = grid
        self.mixture = mixture
        self.cell_volume = grid.cell_volume

    @property
    def space(self) -> Grid:
        """The grid: densities on equal grids can be compared."""
        return self.grid

    @property
    def points(self) -> Array:
        """(N, d) cell centres."""
        return self.grid.points

    def with_log_masses(self, log_masses: Array) -> GridDensity:
        """A density on the same grid."""
        return GridDensity(self.grid, log_masses)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The grid, and log masses with the mixture's parameters."""
        arrays = {"log_masses": self.log_masses}
        if self.mixture is not None:
            arrays |= {
                name: getattr(self.mixture, name) for name in ("weights", "means", "covariances")
            }
        grid = self.grid
        return {"low": grid.low, "high": grid.high, "cells": grid.cells}, arrays

    def shared_components(self, forget: Sequence[ExactModel]) -> tuple[Array, Array] | None:
        """Gaussian components common to mixtures on this grid; see `ExactModel`."""
        if self.mixture is None:
            return None
        mixtures = [self.mixture, *(getattr(other, "mixture", None) for other in forget)]
        return self.mixture.shared_components(mixtures, self.grid)

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """(n, d) draws: a cell by its mass, then a uniform point in it."""
        rng = np.random.default_rng(seed)
        p = self.probabilities
        cells = rng.choice(len(p), size=n, p=p / p.sum())
        jitter = (rng.random((n, self.grid.dim)) - 0.5) * self.grid.spacing
        return self.grid.points[cells] + jitter

    def __repr__(self) -> str:
        return f"GridDensity({self.grid})"


def _tuple(name: str, value: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(np.atleast_1d(np.asarray(value, dtype=np.float64)).tolist())
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a number or a sequence of numbers; got {value!r}"
        ) from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite; got {value!r}")
    return numbers


def _values(name: str, given: Any, size: int) -> Array:
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a function of (N, d) points or an array of numbers; "
            f"got {type(given).__name__} {given!r:.60}"
        ) from None
    if values.size != size:
        raise ValueError(f"{name} must give one value per cell ({size}); got shape {values.shape}")
    return values.ravel()


def _warn_if_cut(grid: Grid, log_density: Callable[[Array], ArrayLike]) -> None:
    """Warn when a function keeps more than MASS_LOST of its mass outside the grid.

    It is evaluated on a coarse grid over twice the box. A function that is not defined out there
    (it raises, or gives NaN) has no mass there.
    """
    n = {1: 2048, 2: 64, 3: 24}[grid.dim]  # a multiple of 4: the box is the middle half exactly
    low, high = np.array(grid.low), np.array(grid.high)
    wide = Grid(low - (high - low) / 2, high + (high - low) / 2, [n] * grid.dim)
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(log_density(wide.points), dtype=np.float64).ravel()
    except Exception:  # whatever the function raises, it says: not defined out there
        return
    values = np.where(np.isfinite(values), values, -np.inf)
    inside = ((wide.points > low) & (wide.points < high)).all(axis=1)
    total = log_sum_exp(values)
    lost = float(-np.expm1(log_sum_exp(values[inside]) - total)) if total > -np.inf else 0.0
    if lost > MASS_LOST:
        warnings.warn(
            f"at least {lost:.2%} of the mass lies outside the grid {grid.low} to {grid.high}: "
            "the grid is too small for this density; widen it",
            stacklevel=3,
        )
