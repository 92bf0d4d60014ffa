"""What a run must share with a checkpoint to be continued; see `identity.content`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion.model import DiffusionModel
from ..identity import content
from ..problems import Problem
from .multipliers import Multipliers
from .settings import Settings


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


def identity_of(
    problems: Sequence[Problem],
    method: Any,
    student: nn.Module,
    settings: Settings,
    batch: int,
    options: Any,
    dual: Multipliers,
    start: Any,
) -> dict[str, Any]:
    """What a run must share with a checkpoint to continue it."""
    first, optimizer = problems[0], dual.optimizer
    defaults = {} if optimizer is None else optimizer.defaults
    return first.identity() | {
        "models": [repr(first.retain), *map(repr, first.compared)],
        "forgotten samples": [content(getattr(one, "samples", None)) for one in first.forget],
        "thresholds": [one.thresholds.tolist() for one in problems],
        "method": method.__name__,
        "objective": options.identity(),
        "student": [[name, list(p.shape)] for name, p in student.named_parameters()],
        "settings": asdict(settings) | {"save_every": None},
        "batch": batch,
        "drawn by": [student.sampler, student.sampling_steps, dual.reads],
        "dual optimiser": [
            type(optimizer).__name__,
            {name: repr(value) for name, value in sorted(defaults.items())},
        ],
        "first multipliers": start.tolist(),
    }
