"""Gaussian mixtures: known in closed form on a grid and off it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ..errors import Array, finite_vector
from ..ratios import log_sum_exp
from .exact import normalise
from .grid import MASS_LOST, Grid, GridDensity


class GaussianMixture:
    """p(x) = Σ_j π_j N(x; μ_j, Σ_j).

    Args:
        weights: (k,) π, non-negative, sum 1.
        means: (k,) in one dimension, (k, d) above.
        stds: (k,) isotropic standard deviations, or one number for all; or
        covariances: (k, d, d) symmetric positive definite.

    Raises:
        ValueError: weights that do not sum to 1, non-positive widths, shapes that do not match.

    Example:
        >>> import unlearnlab as ul
        >>> mix = ul.GaussianMixture([0.5, 0.5], means=[-3, 3], stds=[0.6, 0.6])
        >>> round(float(mix.on(ul.Grid(-8, 8, 2001)).probabilities.sum()), 12)
        1.0
    """

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        stds: ArrayLike | None = None,
        *,
        covariances: ArrayLike | None = None,
    ):
        means_ = _numbers("means", means)
        if means_.ndim not in (1, 2) or not np.isfinite(means_).all():
            raise ValueError(f"means must be finite, shape (k,) or (k, d); got {means_.tolist()}")
        self.means = means_[:, None] if means_.ndim == 1 else means_
        k, d = self.means.shape
        self.weights = finite_vector("weights", weights, k, per="component")
        if (self.weights < 0).any() or abs(self.weights.sum() - 1) > 1e-9:
            raise ValueError(
                f"weights must be non-negative and sum to 1; got {self.weights.tolist()} "
                f"with sum {self.weights.sum()}"
            )
        if (stds is None) == (covariances is None):
            raise ValueError("give either stds= (isotropic) or covariances=, not both or neither")
        if covariances is None:
            widths = finite_vector("stds", np.asarray(stds), k, per="component")
            if (widths <= 0).any():
                raise ValueError(f"stds must be positive; got {widths.tolist()}")
            self.covariances = widths[:, None, None] ** 2 * np.eye(d)
        else:
            self.covariances = _numbers("covariances", covariances)
            if self.covariances.shape != (k, d, d):
                raise ValueError(
                    f"covariances must have shape {(k, d, d)}; got {self.covariances.shape}"
                )
        transposed = np.swapaxes(self.covariances, 1, 2)
        finite = np.isfinite(self.covariances).all()
        if not (finite and np.allclose(self.covariances, transposed, rtol=1e-10)):
            raise ValueError(
                "covariances must be symmetric positive definite and finite; "
                f"got {self.covariances.tolist()}"
            )
        try:
            self._factors = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise ValueError(
                "covariances must be symmetric positive definite and finite; "
                f"got {self.covariances.tolist()}"
            ) from None

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.means.shape[1])

    def component_log_density(self, x: ArrayLike) -> Array:
        """(N, k) log N(x; μ_j, Σ_j) at x (N, d)."""
        x = np.asarray(x, dtype=np.float64)
        points = x.reshape(-1, 1) if x.ndim < 2 else x
        if points.shape[1] != self.dim:
            raise ValueError(
                f"x must have {self.dim} columns, as the means have; got {points.shape}"
            )
        columns = []
        for mean, factor in zip(self.means, self._factors, strict=True):
            if self.dim == 1:
                whitened = (points - mean) / factor[0, 0]
            else:
                whitened = np.linalg.solve(factor, (points - mean).T).T
            log_det = np.log(np.diag(factor)).sum()
            columns.append(
                -0.5 * (whitened**2).sum(axis=1) - log_det - 0.5 * self.dim * np.log(2 * np.pi)
            )
        return np.stack(columns, axis=1)

    def log_density(self, x: ArrayLike) -> Array:
        """(N,) log p at x (N, d) or (N,), nats."""
        return np.asarray(logsumexp(self.component_log_density(x), b=self.weights, axis=1))

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """(n, d) independent draws."""
        rng = np.random.default_rng(seed)
        component = rng.choice(len(self.weights), size=n, p=self.weights / self.weights.sum())
        noise = rng.standard_normal((n, self.dim))
        return self.means[component] + np.einsum("nij,nj->ni", self._factors[component], noise)

    def diffused(self, schedule: Any = None, **options: Any) -> Any:
        """This mixture as a diffusion model with its exact noise prediction (needs torch).

        Args:
            schedule: an `unlearnlab.Schedule`; DDPM's by default.
            options: dtype= and device= of its samples.
        """
        # Named, not imported: the rung above is loaded when it is asked for.
        rung = import_module("unlearnlab.diffusion.exact")
        return rung.DiffusedMixture(self, schedule, **options)

    def on(self, grid: Grid) -> GridDensity:
        """This mixture on `grid`, normalised there.

        Warns:
            UserWarning: the cells miss more than 0.1 % of the mass, because the grid is too small
                or too coarse; the message says how much.
        """
        if not isinstance(grid, Grid):
            raise TypeError(f"grid must be a Grid; got {type(grid).__name__} {grid!r:.60}")
        if grid.dim != self.dim:
            raise ValueError(f"grid has {grid.dim} dimensions, the mixture {self.dim}")
        log_masses = self.log_density(grid.points) + np.log(grid.cell_volume)
        lost = -float(np.expm1(log_sum_exp(log_masses)))
        if abs(lost) > MASS_LOST:
            narrow = np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2)).min(axis=0)
            cause = "coarse" if (narrow < grid.spacing).any() else "small"
            warnings.warn(
                f"the grid holds {1 - lost:.4%} of the mixture's mass ({lost:+.2%} lost): "
                f"it is too {cause}; {'use more cells' if cause == 'coarse' else 'widen it'}",
                stacklevel=2,
            )
        return GridDensity(grid, normalise("mixture", log_masses), mixture=self)

    @staticmethod
    def shared_components(
        mixtures: Sequence[GaussianMixture | None], grid: Grid
    ) -> tuple[Array, Array] | None:
        """Mixtures on a grid as rows of coefficients over a common set of components.

        Returns:
            (coefficients (n, J), log_components (N, J)): mixture i, normalised on the grid, is
            Σ_j coefficients[i, j]·e^{log_components[:, j]} in cell masses; None when one of them is
            no mixture or no component is shared.
        """
        index: dict[bytes, int] = {}
        rows: list[dict[int, float]] = []
        columns: list[Array] = []
        for mix in mixtures:
            if mix is None:
                return None
            logs = mix.component_log_density(grid.points) + np.log(grid.cell_volume)
            on_grid = np.exp(log_sum_exp(np.asarray(logsumexp(logs, b=mix.weights, axis=1))))
            if abs(on_grid - 1) < 1e-13:  # rounding of the sum; dividing would carry it into λ
                on_grid = 1.0
            row: dict[int, float] = {}
            for j, weight in enumerate(mix.weights):
                key = mix.means[j].tobytes() + mix.covariances[j].tobytes()
                if key not in index:
                    index[key] = len(columns)
                    columns.append(logs[:, j])
                row[index[key]] = row.get(index[key], 0.0) + weight / on_grid
            rows.append(row)
        if len(columns) == sum(len(row) for row in rows):
            return None
        coefficients = np.array([[row.get(j, 0.0) for j in range(len(columns))] for row in rows])
        return coefficients, np.stack(columns, axis=1)

    def __repr__(self) -> str:
        return f"GaussianMixture({len(self.weights)} components in {self.dim} dimensions)"


def _numbers(name: str, value: ArrayLike) -> Array:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers; got {value!r:.60}") from None
