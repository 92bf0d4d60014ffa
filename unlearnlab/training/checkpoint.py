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

NAME, PREVIOUS = "run.safetensors", "run.safetensors.previous"
FORMAT = "unlearnlab run 3"
AWAY = "move it away or choose another folder"
VERSION = re.compile(r"unlearnlab run \d+")
DIGEST = re.compile("[0-9a-f]{64}")
TOLD = 6  # differences that a message lists


def write(folder: Path, state: Any, identity: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers and strings; the state before is kept.

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
    write_whole(folder / NAME, content, before=folder / PREVIOUS)


def found(folder: Path) -> Path | None:
    """The checkpoint of a folder: the last, or the one before where that was moved away."""
    return next((folder / name for name in (NAME, PREVIOUS) if (folder / name).exists()), None)


def read(folder: Path, identity: dict[str, Any]) -> Any:
    """The state that `write` stored, on the CPU; None where there is no checkpoint.

    Raises:
        ValueError: the file is damaged, is not a checkpoint, or is of another run or version; it is
            left as it is. Where the state before it is whole, the message says how to continue it.
    """
    path = found(folder)
    if path is None:
        return None
    try:
        stored, state = opened(path)
    except ValueError as error:
        raise ValueError(f"{error}; {_offer(path, identity)}; nothing was overwritten") from None
    apart = _apart(stored, identity)
    if apart:
        more = f"; and {len(apart) - TOLD} more" if len(apart) > TOLD else ""
        raise ValueError(
            f"{path} is of another run: {'; '.join(apart[:TOLD])}{more}; {AWAY}; nothing was "
            "overwritten"
        )
    return state


def opened(path: Path) -> tuple[Any, Any]:
    """Identity and state of a checkpoint whose every bit is what was written."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}: {error})"
        ) from None
    form = header.get("format", "")
    if form != FORMAT and VERSION.fullmatch(form):
        raise ValueError(f"{path} is of another version ({form!r}; this one reads {FORMAT!r})")
    if form != FORMAT:
        raise ValueError(f"{path} is no checkpoint of a run (format {form!r})")
    if header.pop("sha256", None) != _digest(tensors, header):
        raise ValueError(f"{path} is damaged: its contents are not what was written")
    try:
        return json.loads(header["identity"]), _unpack(json.loads(header["skeleton"]), tensors)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error})") from None


def _offer(path: Path, identity: dict[str, Any]) -> str:
    """What to do about a checkpoint that cannot be read."""
    before = path.with_name(PREVIOUS)
    try:
        stored, state = opened(before)
        if path == before or _apart(stored, identity):
            return AWAY
        return f"move it away to continue from {PREVIOUS} beside it, of round {state['round']}"
    except (ValueError, LookupError, TypeError):
        return AWAY


def _apart(stored: Any, identity: dict[str, Any]) -> list[str]:
    """What differs between a checkpoint's identity and a run's, item by item."""
    now = json.loads(json.dumps(identity, sort_keys=True))
    return [
        f"its {where} is {_short(there)}, here it is {_short(here)}"
        for where, there, here in differences(stored, now)
    ]


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
