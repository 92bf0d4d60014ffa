"""Statistics: what a constraint measures at a point. Each is defined here, once, for every rung.

A statistic reads an atom table (`ratios.py`). Grids, pools, held-out evaluations and training steps
all make such tables, of cells, samples or a batch, so that none has a second definition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .blocks import map_blocks
from .errors import Array, finite_vector
from .identity import content, contents
from .ratios import LogRatios, measured

LARGEST_LOG = 345.0  # e^345 squared is still a double: a Hessian of statistics exists
LARGEST = float(np.exp(LARGEST_LOG))


class Statistic(ABC):
    """A number at each point, read off the atom table.

    Attributes:
        needs_density: whether it reads log q_i, besides the log-ratios.
        function: what a user gave, where it is one.
    """

    needs_density = False
    function: Callable[[Any], Any] | None = None

    @abstractmethod
    def values(self, atoms: LogRatios) -> Array:
        """(N,) values at the atoms, at most e^345."""

    def log_values(self, atoms: LogRatios) -> Array | None:
        """(N,) their logarithms, where values may be larger than a double; else None."""
        return None


@dataclass(frozen=True)
class LogRatio(Statistic):
    """r_i = log q/q_i, of which KL(p‖q_i) = E_p[t + r_i] is made."""

    place: int

    def values(self, atoms: LogRatios) -> Array:
        """A column of the table."""
        return atoms.ratios[:, self.place]


@dataclass(frozen=True)
class LikelihoodRatio(Statistic):
    """ℓ_i = min((q_i/r)^{1/τ}, c), r = q or another model.

    Attributes:
        place: of q_i among the models that q is compared with; reference: of r; None for q.
        temperature: τ; cap: c, or None.
    """

    place: int
    temperature: float = 1.0
    cap: float | None = None
    reference: int | None = None

    def log_likelihood(self, atoms: LogRatios) -> Array:
        """(N,) log q_i/r."""
        own = atoms.ratios[:, self.place]
        return -own if self.reference is None else atoms.ratios[:, self.reference] - own

    def log_values(self, atoms: LogRatios) -> Array:
        """(N,) log ℓ_i; −inf where q_i is zero."""
        logs = self.log_likelihood(atoms)
        logs = logs if self.temperature == 1 else logs / self.temperature
        return logs if self.cap is None else np.minimum(logs, np.log(self.cap))

    def values(self, atoms: LogRatios) -> Array:
        """ℓ_i."""
        logs = self.log_values(atoms)
        values = np.empty(len(logs))

        def part(block: slice) -> None:
            np.exp(np.minimum(logs[block], LARGEST_LOG), out=values[block])

        map_blocks(part, len(logs))
        return values


@dataclass(frozen=True)
class Density(LikelihoodRatio):
    """ℓ_i = min(q_i^{1/τ}, c)."""

    needs_density = True

    def log_likelihood(self, atoms: LogRatios) -> Array:
        """(N,) log q_i."""
        if atoms.forget_log_density is None:
            raise ValueError(
                "statistic='density' needs log q_i, which this model cannot give; "
                "use statistic='ratio'"
            )
        return atoms.forget_log_density[:, self.place]


@dataclass(frozen=True, eq=False)
class Function(Statistic):
    """A user's function of the points, of either sign.

    Attributes:
        function: (n, *shape) points → (n,) finite numbers.
        key: what tells it from others when a run is continued; by default its name, its source
            and what it closes over.
        name: what errors call it.

    Example:
        >>> import unlearnlab as ul
        >>> q = ul.Grid(-8, 8, 2001).density(lambda x: -(x[:, 0] ** 2) / 2)
        >>> right = ul.Function(lambda x: x[:, 0] > 1, key="x > 1")
        >>> solution = ul.solve(ul.Moments(retain=q, at_most=[(right, 0.1)]))
        >>> solution.certificate.ok, solution.constraints.round(6)
        (True, array([0.1]))
    """

    function: Callable[[Any], Any]
    key: Any = None
    name: str = "function"

    def values(self, atoms: LogRatios) -> Array:
        """f at the points, computed once for a table.

        Raises:
            ValueError: not one finite number for each point.
        """
        return atoms.value(self, self.checked)

    def checked(self, points: Any) -> Array:
        """f at points, refused where it is not one finite number for each."""
        values = measured(points, self.function)
        if values.shape != (len(points),):
            wrong = f"an array of shape {values.shape}"
        elif bad := int((~np.isfinite(values)).sum()):
            wrong = f"{bad} NaN or infinite ones"
        elif np.abs(values).max(initial=0.0) < LARGEST:
            return values
        else:
            raise ValueError(
                f"{self.name} returns {np.abs(values).max():.3g}, whose square is no double: "
                "divide function and threshold by a number"
            )
        raise ValueError(
            f"{self.name} must return one finite number for each of {len(points)} points; got "
            f"{wrong}"
        )

    def identity(self) -> Any:
        """The key, or the function's name and contents."""
        if isinstance(self.key, Known):
            return self.key.identity
        return content(self.function) if self.key is None else ["key", content(self.key)]


@contents.register
def _(value: Function) -> Any:
    return value.identity()


@dataclass(frozen=True)
class Known:
    """The identity of a function that was read from a file."""

    identity: Any


@dataclass(frozen=True)
class Constraint:
    """E_p[statistic] on one side of a threshold.

    Attributes:
        statistic: what it measures at a point.
        sense: +1 where it must reach the threshold, −1 where it must stay below.
        threshold: b.
    """

    statistic: Statistic
    sense: int
    threshold: float


def functions_of(name: str, given: Any) -> list[tuple[Function, float]]:
    """`at_most` or `at_least` as a user gives them, checked: pairs of a function and a number."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(f"{name} must be a list of pairs (function, threshold); got {given!r:.60}")
    found = []
    for i, pair in enumerate(given):
        where = f"{name}[{i}]"
        pairs = isinstance(pair, tuple | list) and len(pair) == 2
        one = pair[0] if pairs else None
        if not (isinstance(one, Function) or callable(one)):
            raise TypeError(f"{where} must be a pair (function, threshold); got {pair!r:.60}")
        threshold = float(finite_vector(f"the threshold of {where}", pair[1], 1, per="function")[0])
        own = replace(one, name=where) if isinstance(one, Function) else Function(one, name=where)
        found.append((own, threshold))
    return found
