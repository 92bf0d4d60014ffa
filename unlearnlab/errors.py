"""Errors a user meets, and the checks that raise them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
SMALLEST = 1e-300  # threshold whose reciprocal can still be multiplied


class InfeasibleError(ValueError):
    """No distribution meets the thresholds.

    Attributes:
        ceiling: (m,) what each constraint can reach on its own, in the units of the thresholds.
        ray: (m,) multipliers summing to 1 along which the dual function grows without bound. They
            prove infeasibility: no p has ray·constraints(p) on the required side of ray·thresholds.
    """

    def __init__(self, message: str, ceiling: Array, ray: Array):
        super().__init__(message)
        self.ceiling = ceiling
        self.ray = ray

    def __reduce__(self) -> Any:
        """So that it comes back whole from a worker process."""
        return type(self), (str(self), self.ceiling, self.ray)


class SupportError(ValueError):
    """A density is zero where the problem needs it to be positive."""


class NotFiniteError(ValueError):
    """A model has spoilt its own numbers: its predictions are NaN or too large."""


@singledispatch
def numbers(value: Any) -> Array:
    """`value` as float64; rungs register their own kinds, such as tensors on a device."""
    return np.asarray(value, dtype=np.float64)


def finite_vector(name: str, value: ArrayLike | None, size: int, *, per: str) -> Array:
    """`value` as a finite float64 vector of length `size`; one number is repeated."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        vector = numbers(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers, one per {per}; got {value!r}") from None
    if vector.ndim == 0:
        vector = np.full(size, float(vector))
    if vector.shape != (size,):
        raise ValueError(
            f"{name} must hold one number per {per}: expected {size}, got shape {vector.shape}"
        )
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite; got {vector.tolist()}")
    return vector


def real(name: str, value: Any) -> float:
    """`value` as a number; text is none, even where it reads as one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be a number; got {value!r}{hint}")
    return float(value)


def switch(name: str, value: Any) -> bool:
    """`value` as True or False; whatever else Python takes for true, such as 'no', is neither."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def multiplier_vector(multipliers: ArrayLike, size: int) -> Array:
    """Multipliers as a non-negative float64 vector, one per constraint."""
    vector = finite_vector("multipliers", multipliers, size, per="constraint")
    if (vector < 0).any():
        raise ValueError(f"multipliers must not be negative; got {vector.tolist()}")
    return vector


def same_space(names: Sequence[str], models: Sequence[Any]) -> None:
    """Refuse models that live on different grids or atom sets."""
    first = models[0].space
    for name, model in zip(names[1:], models[1:], strict=True):
        if model.space != first:
            raise ValueError(
                f"{name} lives on {model.space}, but {names[0]} lives on {first}; "
                "put both on the same one"
            )
