"""A problem as it is stated, on densities over atoms: for checks that must not know of duality.

`verify` searches such densities, and `lyapunov` divides them. `solve` needs none of this.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Array
from ..search import Primal
from .base import Problem
from .registry import require_problem


class Stated(Problem):
    """A problem that says what a density on the atoms is worth."""

    @abstractmethod
    def primal(self, log_p: Array) -> Primal:
        """Objective and violations of a distribution on the atoms (log masses), with gradients."""

    @abstractmethod
    def contributions(self, log_p: Array) -> Array:
        """(N, 1 + m) what each atom adds to the objective and to each constraint.

        They are integrals of a function of p at a point, so these sum to `evaluate`.
        """

    def log_base(self) -> Array | None:
        """(N,) log masses below which p may not fall, or None."""
        return None

    def primal_on(self, held: NDArray[Any]) -> Callable[[Array], Primal]:
        """`primal` as a function of the log masses of the atoms `held` (mask or indices) alone."""
        whole = np.full(len(self.atoms.log_weights), -np.inf)

        def primal(log_p: Array) -> Primal:
            whole[held] = log_p
            found = self.primal(whole)
            return found._replace(
                objective_gradient=found.objective_gradient[held],
                violation_gradients=found.violation_gradients[held],
            )

        return primal

    def log_ratio(self, log_p: Array, held: NDArray[Any]) -> Array:
        """(N,) t = log p/q from log masses where `held` is true, 0 elsewhere."""
        t = np.zeros(len(log_p))
        return np.subtract(log_p, self.atoms.log_weights, out=t, where=held)


def require_stated(problem: Any, what: str) -> None:
    """Refuse what is no problem, or one that does not say what a density is worth."""
    require_problem(problem)
    if not isinstance(problem, Stated):
        raise TypeError(
            f"{what} needs a problem that states itself on densities (`Stated`: primal and "
            f"contributions); {type(problem).__name__} does not"
        )
