"""What grids and discrete distributions share: a table of log masses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from ..blocks import elementwise, map_blocks, smallest
from ..errors import Array, same_space
from ..model import Tilt, realise, require_model
from ..ratios import LogRatios, log_sum_exp


class ExactModel:
    """A distribution over finitely many cells, held as log masses.

    Attributes:
        log_masses: (N,) log probability of each cell, nats; −inf where there is no mass.
        cell_volume: what turns masses into densities; 1 for atoms.
        subject: what a certificate of such a model certifies.
        atomic: whether the cells are atoms, which no set can divide.
    """

    sampled = False
    kind = "point"
    subject = "the distribution"
    cell_volume: float = 1.0
    atomic: bool = False

    def __init__(self, log_masses: Array):
        self.log_masses = log_masses
        log_masses.flags.writeable = False

    @property
    def space(self) -> Hashable:
        """What must be equal for two models to be compared."""
        raise NotImplementedError

    def with_log_masses(self, log_masses: Array) -> Self:
        """A model on the same cells with other (normalised) log masses."""
        raise NotImplementedError

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What rebuilds the model: JSON-ready description, and arrays."""
        raise NotImplementedError

    @cached_property
    def log_density(self) -> Array:
        """(N,) normalised log density, nats."""
        return self.log_masses - np.log(self.cell_volume)

    @cached_property
    def probabilities(self) -> Array:
        """(N,) cell masses, sum 1."""
        masses = elementwise(np.exp, self.log_masses)
        masses.flags.writeable = False
        return masses

    @property
    def points(self) -> Any:
        """What functions are asked about: one for each cell."""
        return np.arange(len(self.log_masses))

    def log_ratios(
        self, others: Sequence[Any], *, atoms: Any = None, seed: int = 0, densities: bool = True
    ) -> LogRatios:
        """Cells as atoms, with exact log-ratios; the other arguments are for sampled models."""
        q = self.log_masses
        ratios = np.empty((len(q), len(others)))
        for i, other in enumerate(others):
            elementwise(_difference, q, other.log_masses, out=ratios[:, i])
        if not self._full_support:
            ratios[np.isneginf(q)[:, None] & np.isnan(ratios)] = 0.0
        logs = [other.log_density for other in others] or [np.empty((len(q), 0))]
        table = logs[0].reshape(len(q), -1) if len(logs) == 1 else np.stack(logs, axis=1)
        return LogRatios(q, ratios, table, points=self.points)

    def tabulated(self, others: Sequence[Any], *, pool: int, seed: int) -> tuple[Any, list[Any]]:
        """These models themselves: their cells are the atoms."""
        return self, list(others)

    def separation(self, other: ExactModel, *, seed: int = 0, samples: int | None = None) -> float:
        """KL(self‖other) in nats, exactly."""
        return self.kl(other)

    def expectations(self, problem: Any, *, seed: int = 0, samples: int | None = None) -> Array:
        """(m,) E_p of what each constraint of `problem` measures, exactly."""
        return np.asarray(problem.means(self))

    def kl(
        self, other: ExactModel, *, kind: str = "point", seed: int = 0, samples: int | None = None
    ) -> float:
        """KL(self‖other) in nats, exactly; see `unlearnlab.kl`."""
        require_model("other", other)
        same_space(["p", "q"], [self, other])
        if other is self:
            return 0.0
        p, log_p, log_q = self.probabilities, self.log_masses, other.log_masses

        def part(block: slice) -> float:
            with np.errstate(invalid="ignore"):
                value = float(p[block] @ (log_p[block] - log_q[block]))
            if np.isfinite(value):
                return value
            held = log_p[block] > -np.inf  # 0·log 0 = 0
            if np.isneginf(log_q[block][held]).any():
                return np.inf
            return float(p[block][held] @ (log_p[block][held] - log_q[block][held]))

        # KL ≥ 0; rounding alone takes it below.
        value = float(np.sum(map_blocks(part, len(p))))
        return 0.0 if -1e-9 < value < 0 else value

    def shared_components(self, forget: Sequence[ExactModel]) -> tuple[Array, Array] | None:
        """Components that this model and `forget` share, to be subtracted by weight.

        Returns:
            (coefficients (1 + m, J), log masses (N, J)) of this model and each of `forget` over J
            components; None when they share none.
        """
        return None

    def expectation(self, statistic: Array) -> Array:
        """(m,) E_p[s] of a table s (N, m); masses of zero ignore what is infinite."""
        p = self.probabilities

        def part(block: slice) -> Array:
            with np.errstate(invalid="ignore"):
                value = p[block] @ statistic[block]
            if np.isfinite(value).all():
                return value
            held = p[block] > 0
            return p[block][held] @ statistic[block][held]

        return np.sum(map_blocks(part, len(p)), axis=0)

    @cached_property
    def _full_support(self) -> bool:
        return smallest(self.log_masses) > -np.inf


def _difference(a: Array, b: Array, out: Array) -> None:
    with np.errstate(invalid="ignore"):  # −inf − (−inf), which its caller mends; each thread's own
        np.subtract(a, b, out=out)


@realise.register
def _(retain: ExactModel, tilt: Tilt, atoms: LogRatios) -> ExactModel:
    """The density q·e^t."""
    return retain.with_log_masses(elementwise(np.add, retain.log_masses, tilt.log_ratio))


def normalise(name: str, log_masses: Array) -> Array:
    """Log masses shifted to sum 1, refused when they are no distribution."""
    if np.isnan(log_masses).any():
        raise ValueError(
            f"{name} holds {int(np.isnan(log_masses).sum())} NaN; every log-density must be a "
            "number (−inf for no mass)"
        )
    total = log_sum_exp(log_masses)
    if total == np.inf:
        raise ValueError(f"{name} holds +inf: a point mass is not a density; use finite values")
    if total == -np.inf:
        raise ValueError(f"{name} is zero everywhere (all −inf); no distribution has that density")
    return log_masses - total
