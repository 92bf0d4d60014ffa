"""What a diffusers folder of an image model says of itself, and what of it is refused."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from ..files import staged, student_in, write_whole
from .reading import Reading
from .schedule import FLOW, Schedule
from .weights import OFFLINE, reading, variant_of, whole_network

STATED = "unlearnlab.json"  # what diffusers has no field for
SINGLE = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}
STUDENT = "student"  # what a run's folder calls its student's
GIVE = (
    "give a model trained to predict noise on a variance-preserving schedule (DDPM, DDIM), or a "
    f"flow with {FLOW}"
)
# Schedulers whose networks take no noise at α_t² + σ_t² = 1, by what their names hold.
OTHER_KINDS = {
    "FlowMatch": "flow matching",
    "FlowMap": "flow matching",
    "EDM": "EDM, whose network takes noise levels",
    "CMStochastic": "a consistency model",
    "LCM": "a consistency model",
    "TCD": "a consistency model",
    "SdeVe": "variance-exploding",
    "KarrasVe": "variance-exploding",
}


def local(name: str | os.PathLike[str]) -> Path:
    """The folder of a model: one here, a run's student, or what the hub has of this name.

    Raises:
        FileNotFoundError: neither, or no way to reach the hub.
        ValueError: a single file.
    """
    path = Path(name)
    if path.is_dir():
        return student_in(path, STUDENT)
    if path.is_file() or path.suffix in SINGLE:
        raise ValueError(
            f"{str(name)!r} is a single-file checkpoint, which does not say what its network looks "
            "like: convert it to a folder where it came from (DDPMPipeline(unet, scheduler)"
            ".save_pretrained(FOLDER))"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(f"no DDPM found at {str(name)!r} ({line}); {OFFLINE}") from None


def part(folder: Path, name: str) -> Path:
    """Where a part of a pipeline lies: below its name, or beside the others."""
    return folder / name if (folder / name).is_dir() else folder


def config_of(folder: Path, name: str) -> dict[str, Any]:
    """A config file as it is.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no JSON object.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"no DDPM found at {str(folder)!r} (it lacks {name}); {OFFLINE}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); copy it again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object; got {type(found).__name__}")
    return found


def require_pixels(folder: Path) -> None:
    """Refuse pipelines that have more than a network and a scheduler, such as latent ones.

    Raises:
        ValueError: with what it is.
    """
    if not (folder / "model_index.json").is_file():
        return
    index = config_of(folder, "model_index.json")
    held = {key for key, value in index.items() if not key.startswith("_") and value}
    more = sorted(held - {"unet", "scheduler"})
    if more:
        latent = "its network draws latents, not images: " if {"vae", "vqvae"} & set(more) else ""
        raise ValueError(
            f"{folder} is a {index.get('_class_name', 'pipeline')}, with {', '.join(more)} besides "
            f"a unet and a scheduler: {latent}a DDPM of images has these two alone (prompts: "
            "ul.TextToImage)"
        )


def read_scheduler(folder: Path) -> Any:
    """The scheduler of a folder, of its own class, whose defaults fill what is not stated.

    Raises:
        ValueError: of another kind of model, or with learned variances.
    """
    import diffusers

    config = config_of(folder, "scheduler_config.json")
    name = str(config.get("_class_name", "DDPMScheduler"))
    where = f"{folder / 'scheduler_config.json'} is of {name}"
    if name != FLOW:
        require_scheduler(name, where)
    made: Any = getattr(diffusers, name, None)
    if not isinstance(made, type):
        raise ValueError(f"{where}: unknown to diffusers; {GIVE}")
    if missing := getattr(made, "_backends", None):  # a stand-in of diffusers
        raise ValueError(f"{where}, which needs {', '.join(missing)}: install it, or {GIVE}")
    if not issubclass(made, diffusers.SchedulerMixin):  # a network would be built to say so
        raise ValueError(f"{where}, which is no scheduler; {GIVE}")
    # Warnings are of keys that a newer or older version knows.
    with warnings.catch_warnings(), reading(str(folder / "scheduler_config.json")):
        warnings.simplefilter("ignore")
        scheduler = made.from_config(config)
    if name == FLOW:
        return scheduler
    if getattr(scheduler, "betas", None) is None or "beta_schedule" not in scheduler.config:
        raise ValueError(f"{where}, which has no betas; {GIVE}")
    variance = str(scheduler.config.get("variance_type"))
    if variance.startswith("learned"):
        raise ValueError(
            f"{where} with variance_type={variance!r}: learned variances have no place in the "
            "objectives here; give a model with fixed ones"
        )
    if variance.startswith("fixed_large"):
        warnings.warn(
            f"{where} with variance_type={variance!r}; sampler='ddpm' draws with the posterior's "
            "variance here ('fixed_small')",
            stacklevel=3,
        )
    return scheduler


def require_scheduler(name: str, where: str) -> None:
    """Refuse schedulers of models that predict no noise on a variance-preserving schedule.

    Raises:
        ValueError: what they are of.
    """
    kinds = [kind for part_of, kind in OTHER_KINDS.items() if part_of in name]
    if kinds:
        raise ValueError(f"{where}: {kinds[0]}; {GIVE}")


def require_network(config: dict[str, Any], path: Path | str) -> None:
    """Refuse networks that are no DDPM of images of one size.

    Raises:
        ValueError: the field, its value and what to do.
    """
    told = {key: config.get(key) for key in ("class_embed_type", "time_embedding_type")}
    channels = config.get("in_channels", 3), config.get("out_channels", 3)
    reasons = {
        f"_class_name {config.get('_class_name')!r}: give a UNet2DModel": (
            config.get("_class_name", "UNet2DModel") != "UNet2DModel"
        ),
        "sample_size null: write the images' side into the file, as it was trained with": (
            config.get("sample_size") is None
        ),
        f"class_embed_type {told['class_embed_type']!r}: give a model with num_class_embeds or "
        "none": told["class_embed_type"] is not None,
        "time_embedding_type 'fourier', of variance-exploding models: give one with "
        "'positional'": told["time_embedding_type"] == "fourier",
        f"{channels[1]} out_channels for {channels[0]} in_channels (learned variances, or a "
        "condition): give a model with as many": channels[0] != channels[1],
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"{path} has {reason}")


def read_network(folder: Path, variant: str | None, dtype: torch.dtype) -> Any:
    """The network of a folder, whole and finite.

    Raises:
        ValueError: weights that are not safetensors, damaged, incomplete or not finite; a variant
            that is not there, or several to choose from.
    """
    from diffusers import UNet2DModel

    require_network(config_of(folder, "config.json"), folder / "config.json")
    return whole_network(UNet2DModel, folder, variant_of(folder, variant), torch_dtype=dtype)


def stated(folder: Path) -> dict[str, Any]:
    """What `DDPM.save` stated beside diffusers' files; nothing where there is no such file."""
    return config_of(folder, STATED) if (folder / STATED).is_file() else {}


def scheduler_for(schedule: Schedule, reading: Reading) -> Any:
    """A diffusers scheduler that walks a schedule as we do: the folder's own where it still does.

    A spacing that diffusers does not know is stated beside it.
    """
    import diffusers

    if reading.scheduler:
        name = reading.scheduler["_class_name"]
        own: Any = getattr(diffusers, name).from_config(reading.scheduler)
        if Schedule.from_scheduler(own) == schedule:
            return own
    if reading.kind == "velocity":
        flow = diffusers.FlowMatchEulerDiscreteScheduler(len(schedule) + 1)
        if Schedule.from_scheduler(flow, spacing=schedule.spacing) != schedule:
            raise ValueError(
                f"diffusers has no scheduler of the flow {schedule!r}: it is not saved"
            )
        return flow
    limit = reading.limit
    options: dict[str, Any] = {
        "trained_betas": schedule.betas.tolist(),
        "timestep_spacing": "leading" if schedule.spacing == "log_snr" else schedule.spacing,
        "steps_offset": schedule.steps_offset,
        "prediction_type": reading.prediction,
        "clip_sample": limit is not None and limit.share is None,
        "thresholding": limit is not None and limit.share is not None,
    }
    if limit is not None:
        options |= {"clip_sample_range": limit.reach, "sample_max_value": limit.most}
        options |= {} if limit.share is None else {"dynamic_thresholding_ratio": limit.share}
    if schedule.ends_at < 1:  # which is DDIM's to say
        return diffusers.DDIMScheduler(len(schedule.betas), set_alpha_to_one=False, **options)
    return diffusers.DDPMScheduler(len(schedule.betas), **options)


def write(
    folder: Path, unet: Any, schedule: Schedule, reading: Reading, null_class: bool | None
) -> None:
    """Write a diffusers `DDPMPipeline` folder, each file whole or not at all."""
    from diffusers import DDPMPipeline

    pipeline: Any = DDPMPipeline(unet, scheduler_for(schedule, reading))
    more: dict[str, Any] = {}
    if null_class is not None:
        more["null_class"] = null_class
    if schedule.spacing == "log_snr" or reading.kind == "velocity":
        more["timestep_spacing"] = schedule.spacing
    with staged(folder) as made:
        pipeline.save_pretrained(made, safe_serialization=True)
        if more:
            write_whole(made / STATED, (json.dumps(more, indent=1) + "\n").encode())
        else:
            (folder / STATED).unlink(missing_ok=True)  # of another model that lay here
