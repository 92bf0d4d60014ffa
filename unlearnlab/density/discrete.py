"""Distributions on finitely many atoms, where Lyapunov's theorem has nothing to say."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Array
from .exact import ExactModel, normalise


class Discrete(ExactModel):
    """A distribution on N atoms.

    Args:
        probabilities: (N,) non-negative numbers that sum to 1.

    Raises:
        ValueError: negative, NaN, or a sum other than 1.

    Example:
        >>> import unlearnlab as ul
        >>> d = ul.Discrete([0.25, 0.75])
        >>> d.split(2).probabilities.round(9).tolist()
        [0.125, 0.125, 0.375, 0.375]
    """

    atomic = True

    def __init__(self, probabilities: ArrayLike):
        try:
            p = np.array(probabilities, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            raise TypeError(f"probabilities must be numbers; got {probabilities!r}") from None
        if not (p >= 0).all():
            raise ValueError(f"probabilities must not be negative or NaN; got {p.tolist()}")
        if p.size == 0 or abs(p.sum() - 1) > 1e-9:
            raise ValueError(f"probabilities must sum to 1; got {p.size} with sum {p.sum()}")
        with np.errstate(divide="ignore"):
            super().__init__(normalise("probabilities", np.log(p)))

    @property
    def space(self) -> tuple[str, int]:
        """The number of atoms."""
        return ("atoms", len(self.log_masses))

    def with_log_masses(self, log_masses: Array) -> Self:
        """A distribution on the same atoms."""
        model = object.__new__(type(self))
        ExactModel.__init__(model, log_masses)
        return model

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The number of atoms, and their log masses."""
        return {"atoms": len(self.log_masses)}, {"log_masses": self.log_masses}

    def split(self, k: int) -> Discrete:
        """Every atom divided into k equal parts: the same distribution, closer to non-atomic."""
        if not (np.isfinite(k) and k == int(k) and k >= 1):
            raise ValueError(f"k must be a positive whole number; got {k!r}")
        return self.with_log_masses(np.repeat(self.log_masses, int(k)) - np.log(k))

    def sample(self, n: int, *, seed: int = 0) -> NDArray[np.int64]:
        """(n,) atom indices drawn by their probabilities."""
        p = self.probabilities
        return np.random.default_rng(seed).choice(len(p), size=n, p=p / p.sum())

    def __repr__(self) -> str:
        return f"Discrete({len(self.log_masses)} atoms)"
