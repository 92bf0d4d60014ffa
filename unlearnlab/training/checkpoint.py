"""Checkpoints: one safetensors file, whole or not at all, that only its own run can continue."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..files import write_whole
from ..identity import differences

NAME = "run.safetensors"
FORMAT = "unlearnlab run 3"
DIGEST = re.compile("[0-9a-f]{64}")
TOLD = 6  # differences that a message lists


def write(folder: Path, state: Any, identity: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers and strings; the old file stays until then.

    Args:
        identity: what a run must share with the checkpoint to continue it.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, tensors)
    header = {
        "format": FORMAT,
        "identity": json.dumps(identity, sort_keys=True),
        "skeleton": json.dumps(skeleton),
    }
    header["sha256"] = _digest(tensors, header)
    content = save(tensors, metadata=header)
    write_whole(folder / NAME, content)


def read(folder: Path, identity: dict[str, Any]) -> Any:
    """The state that `write` stored, on the CPU; None where there is no checkpoint.

    Raises:
        ValueError: the file is damaged, is not a checkpoint, or is of another run; it is left as it
            is.
    """
    path = folder / NAME
    if not path.exists():
        return None
    advice = "move it away or choose another folder; nothing was overwritten"
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}: {error}); {advice}"
        ) from None
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{path} is no checkpoint of a run (format {header.get('format')!r}); {advice}"
        )
    if header.pop("sha256", None) != _digest(tensors, header):
        raise ValueError(f"{path} is damaged: its contents are not what was written; {advice}")
    stored = json.loads(header["identity"])
    now = json.loads(json.dumps(identity, sort_keys=True))
    apart = list(differences(stored, now))
    if apart:
        more = f"; and {len(apart) - TOLD} more" if len(apart) > TOLD else ""
        items = [
            f"its {where} is {_short(there)}, here it is {_short(here)}"
            for where, there, here in apart[:TOLD]
        ]
        raise ValueError(f"{path} is of another run: {'; '.join(items)}{more}; {advice}")
    return _unpack(json.loads(header["skeleton"]), tensors)


def _digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """SHA-256 of all that a checkpoint says: names, kinds, shapes and bytes."""
    found = sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)} ".encode())
        found.update(raw(tensors[name]))
    return found.hexdigest()


def raw(tensor: Tensor) -> bytes:
    """The bytes of a tensor's numbers, in order."""
    rows = torch.empty(tensor.numel(), dtype=tensor.dtype)  # whatever the strides were
    rows.copy_(tensor.detach().flatten())
    return rows.view(torch.uint8).numpy().tobytes()


def _short(value: Any) -> str:
    """A value as a message shows it: digests by their beginnings."""
    text = DIGEST.sub(lambda found: f"{found[0][:8]}…", repr(value))
    return text if len(text) <= 80 else text[:77] + "..."


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The structure of `value` in JSON, with its tensors moved into `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unpack(skeleton: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    if kind == "value":
        return content
    items = [_unpack(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)


def to_cpu(value: Any) -> Any:
    """A copy of nested state whose tensors are on the CPU, safe from later steps."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: to_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(item) for item in value)
    return value


def finite(state: Any) -> bool:
    """Whether every tensor in nested state is finite."""
    if isinstance(state, Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, dict):
        return all(finite(item) for item in state.values())
    return not isinstance(state, list | tuple) or all(finite(item) for item in state)
