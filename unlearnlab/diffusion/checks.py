"""Refusals that need to know what a diffusion model provides, but no such model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import SupportError, same_space


def require_family(retain: Any, others: Sequence[Any]) -> None:
    """`require_comparable` of a problem's models, by their names in it."""
    names = ["retain", *(f"forget[{i}]" for i in range(len(others)))]
    require_comparable(names, [retain, *others])


def require_density(names: Sequence[str], models: Sequence[Any]) -> None:
    """Refuse single points and data where log-ratios are needed."""
    for name, model in zip(names, models, strict=True):
        if not model.has_density:
            raise SupportError(
                f"{name} is a {model!r}: it has no density and no log-ratio, so there is no dual "
                "problem to solve with it; use finetune with ForwardKL"
            )


def require_comparable(names: Sequence[str], models: Sequence[Any]) -> None:
    """Refuse models that are no diffusion models, or differ in shape, schedule, dtype or device."""
    for name, model in zip(names, models, strict=True):
        if isinstance(model, type) or not hasattr(model, "noise_prediction"):
            raise TypeError(f"{name} must be a diffusion model; got {type(model).__name__}")
    same_space(names, models)
