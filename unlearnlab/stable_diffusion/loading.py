"""Pipelines read from folders and the hub, and those that are refused."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..diffusion.weights import reading, variant_of, whole_network
from ..files import require_unchanged
from .families import Family, family_of

TINY = Path(__file__).parent / "weights" / "tiny"
VOCABULARY = ("vocab.json", "merges.txt")  # of a tokenizer, where tokenizer.json has not both
OFFLINE = (
    "without a network, download the model where there is one (hf download NAME --local-dir "
    "FOLDER), copy the folder here and give its path"
)


def read_pipeline(
    name: str | os.PathLike[str],
    *,
    dtype: torch.dtype,
    device: str | torch.device,
    safety: bool | None,
    variant: str | None,
    offload: bool,
) -> Any:
    """A stock pipeline; see `TextToImage.from_pretrained`."""
    path = TINY if str(name) == "tiny" else name
    require_unchanged(Path(path))
    if path == TINY and not (TINY / "model_index.json").is_file():
        raise FileNotFoundError(
            f"the tiny pipeline is not complete at {str(TINY)!r}; train it by "
            "python -m unlearnlab.stable_diffusion.train, or give a folder or hub id"
        )
    with quiet():
        import diffusers

        with _found_at(str(name)):
            config = diffusers.DiffusionPipeline.load_config(str(path))
        family, folder = _require_parts(config, str(name)), Path(path)
        if not folder.is_dir():  # what the hub has of this name
            with _found_at(str(name)):
                how: Any = {"use_safetensors": True, "variant": variant}
                folder = Path(diffusers.DiffusionPipeline.download(str(path), **how))
        if any((folder / family.network).glob("*.safetensors")):  # else it is refused below
            variant = variant_of(folder / family.network, variant)
        there = [part for part in family.networks if _is_there(config, part)]
        networks = {part: _network(family, part, folder, variant, dtype) for part in there}
        for tokenizer in family.encoders().values():
            if _is_there(config, tokenizer):
                _require_vocabulary(folder / tokenizer)
        lacks = [part for part in family.optional if not _is_there(config, part)]
        more: dict[str, Any] = dict.fromkeys(lacks)
        if "safety_checker" in config and safety is False:
            more |= {"safety_checker": None, "requires_safety_checker": False}
        with reading(f"pipeline {str(name)!r}"):
            pipeline = getattr(diffusers, family.stock).from_pretrained(
                str(folder), use_safetensors=True, variant=variant, **networks, **more
            )
        pipeline.to("cpu" if offload else device, dtype)
        getattr(pipeline, family.network).to(device)
    if safety and getattr(pipeline, "safety_checker", None) is None:
        raise ValueError(f"{str(name)!r} has no safety checker, and safety is on")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def _found_at(name: str) -> Iterator[None]:
    """Errors that say how to get what is not there."""
    try:
        yield
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise FileNotFoundError(f"no pipeline found at {name!r} ({line}); {OFFLINE}") from None


def _network(
    family: type[Family], part: str, folder: Path, variant: str | None, dtype: torch.dtype
) -> Any:
    """A part of a pipeline, whole; of the variant asked for where it has one."""
    import diffusers
    import transformers

    name = family.networks[part]
    kind = getattr(diffusers, name, None) or getattr(transformers, name)
    own = variant if any((folder / part).glob(f"*.{variant}[.-]*")) else None
    return whole_network(kind, folder / part, own, torch_dtype=dtype)


def _is_there(config: Mapping[str, Any], part: str) -> bool:
    """Whether a pipeline's index names a class for a part."""
    told = config.get(part)
    return isinstance(told, list) and len(told) == 2 and bool(told[1])


def _require_parts(config: Any, name: str) -> type[Family]:
    """Its family; refuse one of none, or with parts that are missing or of another kind."""
    if not isinstance(config, Mapping):
        raise ValueError(f"{name!r}: its model_index.json must hold a JSON object")
    family = family_of(config.get("_class_name"))
    there = {part: _is_there(config, part) for part in family.parts()}
    missing = [part for part in there if not there[part] and part not in family.optional]
    if missing:
        raise ValueError(f"{name!r} has no {', '.join(missing)}")
    for part, known in family.networks.items():
        if there[part] and config[part][1] != known:
            raise ValueError(f"the {part} of {name!r} must be a {known}; got {config[part][1]!r}")
    return family


def _require_vocabulary(folder: Path) -> None:
    """Refuse a tokenizer without its words: it would be read, and know none of them."""
    if (folder / "tokenizer.json").is_file() or (folder / "spiece.model").is_file():
        return
    lacks = sorted(one for one in VOCABULARY if not (folder / one).is_file())
    if lacks:
        raise ValueError(f"{folder} lacks tokenizer.json, or {', '.join(lacks)}; copy it again")


def assembled(stock: Any, **parts: Any) -> Any:
    """A stock pipeline like this one, with other parts in the place of some."""
    known = inspect.signature(type(stock).__init__).parameters
    told = {name: value for name, value in stock.config.items() if name in known}
    made = type(stock)(**told | stock.components | parts)
    made.set_progress_bar_config(disable=True)
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and remarks of the libraries while they load a model."""
    import transformers
    from diffusers.utils import logging as diffusers_log

    log = transformers.logging
    before, bars = log.get_verbosity(), diffusers_log.is_progress_bar_enabled()
    level = diffusers_log.get_verbosity()
    log.set_verbosity_error()
    diffusers_log.set_verbosity_error()
    log.disable_progress_bar()
    diffusers_log.disable_progress_bar()
    try:
        with warnings.catch_warnings():  # of the hub's client, about diffusers' own calls
            warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`", UserWarning)
            yield
    finally:
        log.set_verbosity(before)
        diffusers_log.set_verbosity(level)
        log.enable_progress_bar()
        if bars:
            diffusers_log.enable_progress_bar()
