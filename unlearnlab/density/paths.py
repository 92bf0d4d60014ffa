"""Path measures of a noising chain with three states, where they can be computed exactly."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ..errors import Array, finite_vector
from ..model import kl, require_model
from ..ratios import log_sum_exp
from .grid import Grid, GridDensity

STATES = 3  # as many as a grid has axes


class NoisingChain:
    """x₀ → x₁ → x₂ by x_{k+1} = α_kx_k + σ_kε, σ_k² = 1 − α_k², ε standard normal, on a grid.

    The kernel k(x_{k+1}|x_k) is the Gaussian at the cell centres, normalised over the grid. A path
    measure Q(x₀, x₁, x₂) = q(x₀)k(x₁|x₀)k(x₂|x₁) is a density on the grid's cube, so the three
    problems take it like any other.

    Args:
        grid: 1-D grid of every state; 64 cells make a cube of 262 144.
        signal: α_0, α_1, strictly between 0 and 1.

    Raises:
        ValueError: a grid of more than one dimension, or α outside (0, 1).

    Source: the path distributions of Theorem 5, in discrete time.

    Example:
        >>> import unlearnlab as ul
        >>> chain = ul.NoisingChain(ul.Grid(-4, 4, 32))
        >>> q, q1 = (ul.GaussianMixture([1], [m], [0.6]).on(chain.grid) for m in (0, 1))
        >>> paths = chain.paths(q), chain.paths(q1)
        >>> paths[0].grid.cells, abs(ul.kl(*paths) - ul.kl(q, q1)) < 1e-12  # the chain rule
        ((32, 32, 32), True)
    """

    def __init__(self, grid: Grid, signal: tuple[float, float] = (0.9, 0.8)):
        if not isinstance(grid, Grid) or grid.dim != 1:
            raise ValueError(f"NoisingChain needs a 1-D grid; got {grid!r}")
        alphas = finite_vector("signal", signal, STATES - 1, per="step of the chain")
        if not ((alphas > 0) & (alphas < 1)).all():
            raise ValueError(
                f"signal must be {STATES - 1} numbers strictly between 0 and 1; got {signal!r}"
            )
        self.grid = grid
        self.signal = tuple(alphas.tolist())
        self.cube = Grid(grid.low * STATES, grid.high * STATES, grid.cells * STATES)
        self.log_kernels: list[Array] = [_log_kernel(grid.axes[0], alpha) for alpha in self.signal]

    def paths(self, start: GridDensity) -> GridDensity:
        """The path measure whose x₀ has density `start`."""
        _require_on(self.grid, "start", start)
        first, second = self.log_kernels
        log_masses = start.log_masses[:, None, None] + first[:, :, None] + second[None, :, :]
        return GridDensity(self.cube, log_masses.ravel())

    def marginal(self, paths: GridDensity, state: int) -> GridDensity:
        """The density of x₀, x₁ or x₂ under a path measure."""
        _require_on(self.cube, "paths", paths)
        if not isinstance(state, int) or state not in range(STATES):
            raise ValueError(f"state must be 0, 1 or 2; got {state!r}")
        table = paths.log_masses.reshape(self.cube.cells)
        others = tuple(axis for axis in range(STATES) if axis != state)
        log_masses = np.asarray(logsumexp(table, axis=others))  # far tails do not underflow
        return GridDensity(self.grid, log_masses - log_sum_exp(log_masses))

    def departure(self, paths: GridDensity) -> float:
        """KL(P ‖ p₀ ⊗ kernels), nats: how far P is from noising its own x₀ by this chain."""
        return float(kl(paths, self.paths(self.marginal(paths, 0))))


def _require_on(grid: Grid, name: str, model: GridDensity) -> None:
    require_model(name, model)
    if model.space != grid:
        raise ValueError(f"{name} lives on {model.space}, but this chain needs {grid}")


def _log_kernel(x: Array, alpha: float) -> Array:
    """(n, n) log k(x_{k+1}|x_k), rows sum to 1."""
    logs = -((x[None, :] - alpha * x[:, None]) ** 2) / (2 * (1 - alpha**2))
    return np.stack([row - log_sum_exp(row) for row in logs])
