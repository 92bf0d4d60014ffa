"""In which precision a device counts: sums over many samples want float64, and not all have it."""

from __future__ import annotations

import torch

WITHOUT_FLOAT64 = {"mps"}  # types of devices


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices without it, such as Apple's.

    Example:
        >>> widest(torch.device("cpu")), widest(torch.device("mps"))
        (torch.float64, torch.float32)
    """
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
