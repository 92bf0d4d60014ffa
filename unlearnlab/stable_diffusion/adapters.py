"""Low-rank adapters inside a network: which are there, which are trained, and how strongly.

A layer of peft's draws y = Wx + Σ s(α/r)BAx over its active adapters. A pipeline may bring adapters
of its own: they stay active and frozen beside the one that is trained.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def layers(network: Any) -> Iterator[tuple[str, Any]]:
    """The layers with adapters, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in network.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name, layer


def active(network: Any) -> list[str]:
    """Names of the adapters that a network draws with.

    Raises:
        ValueError: some are fused into the weights, or switched off: one more would do nothing.
    """
    found: dict[str, None] = {}
    for name, layer in layers(network):
        if layer.merged:
            raise ValueError(
                f"adapters are fused into {name}: call unload_lora_weights() on the pipeline, "
                "which keeps what is fused, or unfuse_lora()"
            )
        if layer.disable_adapters:
            raise ValueError(
                f"the adapters of {name} are switched off: call enable_lora() on the pipeline, or "
                "unload_lora_weights()"
            )
        found |= dict.fromkeys(layer.active_adapters)
    return list(found)


def free_name(*networks: Any) -> str:
    """A name that no adapter of these networks has."""
    taken = {name for one in networks for name in getattr(one, "peft_config", {})}
    names = ["default", *(f"student{i}" for i in range(1, len(taken) + 1))]
    return next(name for name in names if name not in taken)


@contextmanager
def beside_others() -> Iterator[None]:
    """Without peft's remark that there are other adapters: they are kept on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
        yield


def belongs(parameter: str, adapter: str) -> bool:
    """Whether a parameter of this name is the adapter's."""
    return "lora_" in parameter and f".{adapter}." in f"{parameter}."


def shared(network: Any, adapter: str | None = None) -> Any:
    """A copy of a network that shares all its tensors but those of one adapter."""
    kept = [p for n, p in network.named_parameters() if adapter is None or not belongs(n, adapter)]
    return copy.deepcopy(network, {id(t): t for t in [*kept, *network.buffers()]})


def trainable(network: Any, adapter: str, beside: list[str]) -> Any:
    """The network with one adapter to train, in float32; those beside it are active and frozen."""
    for _, layer in layers(network):
        layer.set_adapter([*beside, adapter])  # the scales stay, unlike in `set_adapters`
    for name, p in network.named_parameters():
        own = belongs(name, adapter)
        if own:
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
        p.requires_grad_(own)
    return network


def changes(network: Any, adapter: str) -> dict[str, torch.Tensor]:
    """A and B of an adapter by layer, as peft names them, B times s(α/r): what is drawn, at α = r.

    Where ranks differ all are filled up with zeros to the largest: of a file without α, readers
    take the first rank they find for the α of every layer.

    Raises:
        ValueError: a change that is more than BA, as DoRA's.
    """
    from peft import get_peft_model_state_dict

    ranks = {name: layer.r[adapter] for name, layer in layers(network) if adapter in layer.r}
    scales = {name: layer.scaling[adapter] for name, layer in layers(network) if name in ranks}
    widest, made = max(ranks.values()), {}
    for key, tensor in get_peft_model_state_dict(network, adapter_name=adapter).items():
        name, _, part = key.partition(".lora_")
        if part not in ("A.weight", "B.weight"):
            raise ValueError(f"{key} is no part of a plain low-rank change")
        filled = [*tensor.shape]
        filled[0 if part == "A.weight" else 1] = widest - ranks[name]
        own = tensor if part == "A.weight" else tensor * scales[name]
        zeros = own.new_zeros(filled)
        made[key] = torch.cat([own, zeros], 0 if part == "A.weight" else 1).contiguous()
    return made
