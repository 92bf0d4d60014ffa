"""What a run must share with a checkpoint to be continued; see `identity.content`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from torch import Tensor, nn

from ..diffusion.model import DiffusionModel
from ..diffusion.schedule import Schedule
from ..identity import array_told, attributes, content, contents
from ..problems import Problem
from .checkpoint import raw
from .multipliers import Multipliers
from .settings import Settings


@contents.register(Tensor)
def _(value: Tensor) -> str:
    return array_told(value.dtype, value.shape, raw(value))


@contents.register(Schedule)
def _(value: Schedule) -> list[Any]:
    return [content(value.betas), value.spacing, value.steps_offset, value.ends_at]


@contents.register(nn.Module)
def _(value: nn.Module) -> dict[str, Any]:
    held = {name: item for name, item in attributes(value).items() if name not in MODULE}
    if type(value).__module__.partition(".")[0] in LIBRARIES:
        held = {}  # said by its layers; the rest is where it came from
    return {
        "kind": type(value).__qualname__,
        "layers": content(nn.Module.__repr__(value)),
        "weights": weights_told(value.state_dict()),
        "attributes": content(held),
    }


@contents.register(DiffusionModel)
def _(value: DiffusionModel) -> dict[str, Any]:
    """What it holds; a network that others may share is told apart, once (`weights_of`)."""
    told = {name: content(item) for name, item in value.told().items() if name not in MODULE}
    own = {"weights": weights_told(value.state_dict())} if isinstance(value, nn.Module) else {}
    return {"kind": type(value).__qualname__} | told | own


LIBRARIES = {"torch", "diffusers", "transformers", "peft"}
MODULE = frozenset(vars(nn.Module()))  # what torch keeps in every module


def weights_told(weights: Mapping[str, Tensor]) -> str:
    """A digest of weights, by their names."""
    found = sha256()
    for name, tensor in weights.items():
        found.update(f"{name} {content(tensor)}\n".encode())
    return found.hexdigest()


def weights_of(models: Sequence[DiffusionModel]) -> list[str]:
    """A digest of each network that some models share."""
    networks = {id(one.network): one.network for one in models if one.network is not one}
    return [
        weights_told(one.state_dict()) for one in networks.values() if isinstance(one, nn.Module)
    ]


def identity_of(
    problems: Sequence[Problem],
    method: Any,
    student: nn.Module,
    settings: Settings,
    batch: int,
    options: Any,
    dual: Multipliers,
    start: Any,
    processes: int,
) -> dict[str, Any]:
    """What a run must share with a checkpoint to continue it: its models, data and settings."""
    first, optimizer = problems[0], dual.optimizer
    trained = {name: p for name, p in student.named_parameters() if p.requires_grad}
    defaults = {} if optimizer is None else optimizer.defaults
    return first.identity() | {
        "retained": content(first.retain),
        "forgotten": [content(one) for one in first.compared],
        "networks": weights_of([first.retain, *first.compared]),
        "processes": processes,
        "thresholds": [one.thresholds.tolist() for one in problems],
        "method": method.__name__,
        "objective": options.identity(),
        "student": {name: list(tensor.shape) for name, tensor in trained.items()},
        "student's first weights": weights_told(trained),
        "settings": asdict(settings) | {"save_every": None, "steps": None},
        "batch": batch,
        "drawn by": [student.sampler, student.sampling_steps, dual.reads],
        "dual optimiser": [
            type(optimizer).__name__,
            {name: repr(value) for name, value in sorted(defaults.items())},
        ],
        "first multipliers": start.tolist(),
    }
