"""What tells tensors, networks and models apart when a run is continued; see `identity.content`."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion.model import DiffusionModel
from ..identity import content


@content.register(Tensor)
def _(value: Tensor) -> list[Any]:
    rows = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return [list(value.shape), str(value.dtype), sha256(rows.numpy().tobytes()).hexdigest()]


@content.register(nn.Module)
def _(value: nn.Module) -> list[Any]:
    return [type(value).__qualname__, content(dict(value.state_dict()))]


@content.register(DiffusionModel)
def _(value: DiffusionModel) -> str:
    return repr(value)
