"""LoRA files: read by diffusers' own loader, and written for others that read them.

What the loader drops or guesses in silence is refused or set here: keys of networks that the
pipeline does not have, DoRA's magnitudes, α of each layer of a kohya file.
"""

from __future__ import annotations

import copy
import inspect
import os
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..files import staged, student_in
from . import adapters
from .families import Family
from .loading import assembled, quiet

STUDENT = "lora"  # what a run's folder calls its student's
FILE = "pytorch_lora_weights.safetensors"
KOHYA = "lora_kohya.safetensors"
PEFT = "base_model.model."  # before the names in peft's own files, whose α stands elsewhere
FORMATS = ("diffusers", "kohya", "merged")
LETTERS = {"A": "lora_down", "B": "lora_up"}


def found_at(place: str | os.PathLike[str]) -> Path:
    """The file of a LoRA: itself, or the one in a folder, which may be a run's.

    Raises:
        FileNotFoundError: no such place; no file in it, or several, none of the usual name.
    """
    path = student_in(place, STUDENT)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"no LoRA at {str(place)!r}: there is no such file or folder")
    there = sorted(path.glob("*.safetensors"))
    named = [one for one in there if one.name == FILE]
    if len(named or there) != 1:
        names = ", ".join(one.name for one in there) or "no .safetensors at all"
        raise FileNotFoundError(
            f"folder {str(place)!r} holds no {FILE}, and {names}: give the path of the file"
        )
    return (named or there)[0]


def load_into(family: Family, pipeline: Any, path: Path, adapter: str) -> None:
    """Apply a LoRA file to a pipeline's network and text encoders, whole, under a name.

    Raises:
        ValueError: it cannot be read, or has parts that the pipeline does not; it names the file.
    """
    try:
        raw = load_file(path)
        spoilt = [key for key, tensor in raw.items() if not tensor.float().isfinite().all()]
        if spoilt:
            raise ValueError(f"{spoilt[0]} is not finite")
        tensors, metadata = _known(family, path, raw)
        for part in family.loaded:
            if any(key.startswith(f"{part}.") for key in tensors):
                told = any(key.startswith(f"{part}.") for key in metadata or {})
                how: dict[str, Any] = {"adapter_name": adapter}
                how["metadata"] = metadata if told else None
                own, load = getattr(pipeline, part), pipeline.load_lora_into_text_encoder
                if part == family.network:
                    load = getattr(pipeline, f"load_lora_into_{part}")
                    how[part] = own
                else:
                    how |= {"text_encoder": own, "prefix": part}
                if "network_alphas" in inspect.signature(load).parameters:
                    how["network_alphas"] = None  # each layer's own is set below
                with quiet(), adapters.beside_others():
                    load(tensors, **how)
        _settle(family, pipeline, raw, tensors, adapter)
    except (RuntimeError, ValueError, LookupError, TypeError, SafetensorError, OSError) as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} cannot be applied: it is of another network, or of a kind that is not "
            f"supported ({line})"
        ) from None


def _known(family: Family, path: Path, raw: dict[str, Tensor]) -> tuple[Any, Any]:
    """Tensors and metadata as diffusers understands them; every name begins with a part."""
    odd = [key for key in raw if "dora_scale" in key or "lora_magnitude_vector" in key]
    if odd:
        raise ValueError(f"it is a DoRA, which is not supported: {odd[0]}")
    if any(key.startswith(PEFT) for key in raw):
        raise ValueError(
            "it is in peft's own format, whose alpha stands in another file; write it by "
            "diffusers' save_lora_weights"
        )
    tensors, *_, metadata = type(family.pipeline).lora_state_dict(
        str(path), use_safetensors=True, return_lora_metadata=True
    )
    if not any(key.startswith(tuple(f"{part}." for part in family.loaded)) for key in tensors):
        own = family.network  # as the network itself saves it
        tensors = {f"{own}.{key}": tensor for key, tensor in tensors.items()}
        metadata = {f"{own}.{key}": value for key, value in (metadata or {}).items()}
    others = [key for key in tensors if key.split(".")[0] not in family.loaded]
    if others:
        raise ValueError(f"there is nothing to apply {others[0]} to")
    return tensors, metadata


def _settle(
    family: Family,
    pipeline: Any,
    raw: dict[str, Tensor],
    tensors: dict[str, Tensor],
    adapter: str,
) -> None:
    """Refuse a file that was not applied whole; set the scale of each layer that has an α."""
    alphas = {key: float(value) for key, value in raw.items() if key.endswith(".alpha")}
    for part, prefix in family.loaded.items():
        own = [name for name in tensors if name.startswith(f"{part}.") and "alpha" not in name]
        network = getattr(pipeline, part)
        held = [n for n, _ in network.named_parameters() if adapters.belongs(n, adapter)]
        biases = [name for name in held if not name.endswith(".weight")]
        if biases:
            raise ValueError(f"it has biases, which other formats cannot hold: {biases[0]}")
        if len(own) != len(held):
            raise ValueError(f"of {len(own)} tensors for its {part}, {len(held)} find their layer")
        for name, layer in adapters.layers(network):
            plain = prefix + name.removeprefix("text_model.").replace(".", "_")
            for key in (plain, plain.replace("lora_te_", "lora_te1_")):
                # Not the loader's: where α differ from layer to layer, it keeps none of them.
                alpha = alphas.pop(f"{key}.alpha", None)
                if alpha is not None:
                    layer.lora_alpha[adapter] = alpha
                    layer.set_scale(adapter, 1.0)
    if alphas:
        raise ValueError(f"{next(iter(alphas))} belongs to no layer")


def exact(family: Family, path: Path, networks: dict[str, Any], adapter: str) -> None:
    """Give the adapter of each part the numbers of the file: diffusers rounds them to W's dtype."""
    from diffusers.utils.state_dict_utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )
    from peft import set_peft_model_state_dict

    tensors, _ = _known(family, path, load_file(path))
    for part, network in networks.items():
        start = f"{part}."
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        if part != family.network:
            own = convert_state_dict_to_peft(convert_state_dict_to_diffusers(own))
            if not hasattr(network, "text_model"):  # as newer transformers name the layers
                own = {k.removeprefix("text_model."): v for k, v in own.items()}
        elif own and "lora_A" not in next(iter(own)):
            own = convert_unet_state_dict_to_peft(own)
        set_peft_model_state_dict(network, own, adapter_name=adapter)


def write(family: Family, pipeline: Any, names: dict[str, str], folder: Path, form: str) -> None:
    """Write a pipeline's adapters to a folder.

    Args:
        names: of the adapter of each part.
        form: "diffusers", `pytorch_lora_weights.safetensors`; "kohya", `lora_kohya.safetensors`,
            as A1111, ComfyUI and kohya's scripts read it; "merged", a whole pipeline.

    Raises:
        ValueError: another form; a folder that already holds something, for "merged".
    """
    if form not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {form!r}")
    if form == "kohya" and not family.loaded[family.network]:
        raise ValueError(
            f"format 'kohya' is for UNets; of {family.title} write 'diffusers' or 'merged'"
        )
    if form == "merged":
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{str(folder)!r} already holds something; nothing was overwritten")
        with quiet(), staged(folder) as stage:
            _merged(family, pipeline).save_pretrained(stage, safe_serialization=True)
        return
    found = {p: adapters.changes(getattr(pipeline, p), name) for p, name in names.items()}
    for part in found.keys() - {family.network}:
        # The name that files have, whatever this transformers calls it.
        found[part] = {
            f"text_model.{key.removeprefix('text_model.')}": tensor
            for key, tensor in found[part].items()
        }
    with staged(folder) as stage:
        if form == "diffusers":
            layers = {f"{part}_lora_layers": tensors for part, tensors in found.items()}
            type(pipeline).save_lora_weights(stage, **layers, safe_serialization=True)
        else:
            save_file(_as_kohya(family, found), stage / KOHYA, {"format": "pt"})


def _as_kohya(family: Family, found: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """By diffusers' converter; its names of a text encoder are those of the larger models."""
    from diffusers.utils import convert_state_dict_to_kohya

    flat = {f"{part}.{key}": tensor for part, own in found.items() for key, tensor in own.items()}
    made = convert_state_dict_to_kohya(flat)
    first = "lora_te1_" if "text_encoder_2" in family.loaded else "lora_te_"
    return {
        re.sub("^lora_te1_", first, key): tensor.float() if tensor.ndim == 0 else tensor
        for key, tensor in made.items()
    }


def _merged(family: Family, pipeline: Any) -> Any:
    """A pipeline whose weights hold the changes, and that has no adapters; nothing is shared."""
    there = [part for part in family.loaded if getattr(pipeline, part) is not None]
    made = assembled(pipeline, **{one: copy.deepcopy(getattr(pipeline, one)) for one in there})
    made.fuse_lora(components=there)
    made.unload_lora_weights()
    return made
