"""Pipelines read from folders and the hub, and those that are refused."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..diffusion.ddpm_folder import require_scheduler
from ..diffusion.predictions import OF_DIFFUSERS
from ..diffusion.weights import reading, variant_of, whole_network
from ..errors import real
from ..files import require_unchanged

TINY = Path(__file__).parent / "weights" / "tiny"
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
NETWORKS = {
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "unet": "UNet2DConditionModel",
}
CONDITIONS = (  # of a UNet, beside text and time
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)
VOCABULARY = ("vocab.json", "merges.txt")  # of a tokenizer, where tokenizer.json has not both
OTHER_KINDS = {
    "StableDiffusionXLPipeline": "Stable Diffusion XL, with two text encoders",
    "StableDiffusion3Pipeline": "Stable Diffusion 3, a transformer trained by flow matching",
    "FluxPipeline": "Flux, a transformer trained by flow matching",
}
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
) -> Any:
    """A stock pipeline; see `TextToImage.from_pretrained`."""
    without: dict[str, Any] = {}
    if safety is False:
        without = {"safety_checker": None, "requires_safety_checker": False}
    path = TINY if str(name) == "tiny" else name
    require_unchanged(Path(path))
    unet = Path(path) / "unet"
    if any(unet.glob("*.safetensors")):  # else it is on the hub, or refused below
        variant = variant_of(unet, variant)
    if path == TINY and not (TINY / "model_index.json").is_file():
        raise FileNotFoundError(
            f"the tiny pipeline is not complete at {str(TINY)!r}; train it by "
            "python -m unlearnlab.stable_diffusion.train, or give a folder or hub id"
        )
    with quiet():
        from diffusers import DiffusionPipeline, StableDiffusionPipeline

        try:
            config = DiffusionPipeline.load_config(str(path))
            folder = Path(path)
            if not folder.is_dir():  # what the hub has of this name
                found = {"use_safetensors": True, "variant": variant}
                folder = Path(StableDiffusionPipeline.download(str(path), **found))
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise FileNotFoundError(
                f"no pipeline found at {str(name)!r} ({line}); {OFFLINE}"
            ) from None
        _require_parts(config, str(name))
        networks = {part: _network(part, folder, variant) for part in NETWORKS}
        _require_vocabulary(folder / "tokenizer")
        with reading(f"pipeline {str(name)!r}"):
            pipeline = StableDiffusionPipeline.from_pretrained(
                str(folder), use_safetensors=True, variant=variant, **networks, **without
            )
        pipeline.to(device, dtype)
    if safety and pipeline.safety_checker is None:
        raise ValueError(f"{str(name)!r} has no safety checker, and safety is on")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _network(part: str, folder: Path, variant: str | None) -> Any:
    """A part of a pipeline, whole; of the variant asked for where it has one."""
    import diffusers
    import transformers

    kind = getattr(diffusers, NETWORKS[part], None) or getattr(transformers, NETWORKS[part])
    own = variant if any((folder / part).glob(f"*.{variant}[.-]*")) else None
    return whole_network(kind, folder / part, own)


def _require_parts(config: Any, name: str) -> None:
    """Refuse a pipeline of another kind, or with parts that are missing or of another kind."""
    if not isinstance(config, Mapping):
        raise ValueError(f"{name!r}: its model_index.json must hold a JSON object")
    require_kind(config.get("_class_name"))
    given = {part: config.get(part) for part in PARTS}
    kinds = {k: v[1] if isinstance(v, list) and len(v) == 2 else None for k, v in given.items()}
    missing = [part for part, kind in kinds.items() if not kind]
    if missing:
        raise ValueError(f"{name!r} has no {', '.join(missing)}")
    for part, known in NETWORKS.items():
        if kinds[part] != known:
            raise ValueError(f"the {part} of {name!r} must be a {known}; got {kinds[part]!r}")


def _require_vocabulary(folder: Path) -> None:
    """Refuse a tokenizer without its words: it would be read, and know none of them."""
    lacks = sorted(one for one in VOCABULARY if not (folder / one).is_file())
    if lacks and not (folder / "tokenizer.json").is_file():
        raise ValueError(f"{folder} lacks tokenizer.json, or {', '.join(lacks)}; copy it again")


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


def require_kind(kind: Any) -> None:
    """Refuse pipelines that are not Stable Diffusion 1.x or 2.x."""
    if kind != "StableDiffusionPipeline":
        what = OTHER_KINDS.get(str(kind), f"a {kind}")
        raise ValueError(
            f"only Stable Diffusion 1.x and 2.x and pipelines distilled from them are supported "
            f"(StableDiffusionPipeline); this is {what}"
        )


def require_network(pipeline: Any) -> None:
    """Refuse what StableDiffusionPipeline also runs, but not as one prompt's prediction."""
    require_scheduler(type(pipeline.scheduler).__name__, "the scheduler")
    kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if kind not in OF_DIFFUSERS:
        known = ", ".join(map(repr, OF_DIFFUSERS))
        raise ValueError(f"the UNet must predict one of {known}; this one predicts {kind!r}")
    if pipeline.scheduler.config.get("thresholding"):
        raise ValueError(
            "the scheduler has thresholding true, which is for images: latents go beyond [−1, 1]; "
            "set it to false"
        )
    unet, vae = pipeline.unet.config, pipeline.vae.config
    if unet.in_channels != vae.latent_channels:
        raise ValueError(
            f"the UNet takes {unet.in_channels} channels and the autoencoder makes "
            f"{vae.latent_channels}: inpainting and other conditioned pipelines are not supported"
        )
    for name in CONDITIONS:
        if unet.get(name) is not None:
            raise ValueError(
                f"the UNet has {name} {unet[name]!r}: it asks for more than a prompt and a "
                "timestep, which is not supported"
            )
    if unet.sample_size is None:
        raise ValueError("the UNet has sample_size null: write the side of its latents there")
    if not real("the autoencoder's scaling_factor", vae.scaling_factor) > 0:
        raise ValueError(
            f"the autoencoder's scaling_factor must be positive; got {vae.scaling_factor!r}"
        )
    longest, reads = (
        pipeline.tokenizer.model_max_length,
        pipeline.text_encoder.config.max_position_embeddings,
    )
    if longest > reads:
        raise ValueError(
            f"the tokenizer's model_max_length is {longest}, and the text encoder reads {reads} "
            "tokens: write that into tokenizer_config.json"
        )
