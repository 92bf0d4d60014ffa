"""The DDPMs that the package ships."""

from __future__ import annotations

from pathlib import Path

import torch

from ..diffusion.ddpm import DDPM

WEIGHTS = Path(__file__).parent / "weights"
NAMES = ("conditional", "unconditional", "memorised", "flow")
# Training images planted in the memorised model: place in `data()` → times it is repeated.
PLANTED = {100: 20, 500: 60, 1000: 180}


def load_model(
    name: str = "conditional", *, label: int | None = None, device: str | torch.device = "cpu"
) -> DDPM:
    """A DDPM of 8×8 digits.

    * "conditional": ten classes and a null class; `label` says which to draw, as `labelled` does.
    * "unconditional": digits of all classes.
    * "flow": digits of all classes, as a rectified flow: its network predicts a velocity.
    * "memorised": as "unconditional", trained with three images repeated 20, 60 and 180 times
      (`PLANTED`).

    Raises:
        ValueError: an unknown name; a label of a model that has none.
    """
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}; got {name!r}")
    return DDPM.from_pretrained(WEIGHTS / name, label=label, device=device)
