"""What tells tensors, networks and models apart when a run is continued; see `identity.content`."""

from __future__ import annotations

from collections.abc import Sequence
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


def weights_of(models: Sequence[DiffusionModel]) -> list[str]:
    """A digest of each network that some models have: names alone do not tell two of them apart."""
    networks = {id(one.network): one.network for one in models}.values()
    held = [one.state_dict() for one in networks if isinstance(one, nn.Module)]
    return [sha256(repr(content(dict(one))).encode()).hexdigest() for one in held]
