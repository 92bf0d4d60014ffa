"""Families of text-to-image pipelines: each says what its parts are and how its network is asked.

| family | network | text encoders | predicts |
|---|---|---|---|
| Stable Diffusion 1.x and 2.x | UNet | CLIP | noise, v |
| Stable Diffusion XL | UNet | two CLIP | noise, v |
| Stable Diffusion 3 | transformer | two CLIP, T5 | velocity |
| FLUX.1 | transformer | CLIP, T5 | velocity, with its guidance inside |
"""

from __future__ import annotations

from typing import Any

from .base import Asked, Family
from .flux import Flux
from .sd import StableDiffusion
from .sd3 import StableDiffusion3
from .sdxl import StableDiffusionXL

FAMILIES: tuple[type[Family], ...] = (StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux)

__all__ = ["FAMILIES", "Asked", "Family", "family_of"]


def family_of(kind: Any) -> type[Family]:
    """The family of a stock pipeline's class, by its name.

    Raises:
        ValueError: none of them.
    """
    for one in FAMILIES:
        if one.stock == kind:
            return one
    known = "; ".join(f"{one.title} ({one.stock})" for one in FAMILIES)
    raise ValueError(f"supported are {known}, and pipelines distilled from them; this is a {kind}")
