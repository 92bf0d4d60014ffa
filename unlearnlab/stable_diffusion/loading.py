"""Pipelines read from folders and the hub, and those that are refused."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..diffusion.ddpm_folder import variant_of
from ..files import require_unchanged

TINY = Path(__file__).parent / "weights" / "tiny"
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
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
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise FileNotFoundError(
                f"no pipeline found at {str(name)!r} ({line}); {OFFLINE}"
            ) from None
        require_kind(config.get("_class_name"))
        missing = [part for part in PARTS if not (config.get(part) or [None])[0]]
        if missing:
            raise ValueError(f"{str(name)!r} has no {', '.join(missing)}")
        try:
            pipeline = StableDiffusionPipeline.from_pretrained(
                str(path), use_safetensors=True, variant=variant, **without
            )
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{str(name)!r} cannot be read as safetensors ({line}); convert it where it "
                "can be trusted (save_pretrained(..., safe_serialization=True))"
            ) from None
        pipeline.to(device, dtype)
    if safety and pipeline.safety_checker is None:
        raise ValueError(f"{str(name)!r} has no safety checker, and safety is on")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


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
    """Refuse pipelines that are not Stable Diffusion 1.x."""
    if kind != "StableDiffusionPipeline":
        what = OTHER_KINDS.get(str(kind), f"a {kind}")
        raise ValueError(
            f"only Stable Diffusion 1.x and pipelines distilled from it are supported "
            f"(StableDiffusionPipeline); this is {what}"
        )


def require_network(pipeline: Any) -> None:
    """Refuse what StableDiffusionPipeline also runs, but not as one prompt's noise prediction."""
    kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise ValueError(f"the UNet must predict noise ('epsilon'); this one predicts {kind!r}")
    taken, made = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
    if taken != made:
        raise ValueError(
            f"the UNet takes {taken} channels and the autoencoder makes {made}: inpainting and "
            "other conditioned pipelines are not supported"
        )
