"""Stable Diffusion 1.x pipelines whose prompts are distributions."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.schedule import Schedule
from .lora import LoRA
from .prompt import Prompt

TINY = Path(__file__).parent / "weights" / "tiny"
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
PIXELS = 1 << 18  # in one call of the autoencoder: one image of 512 × 512
CLOSED = 1000  # a vocabulary smaller than this knows whole words only
OTHER_KINDS = {
    "StableDiffusionXLPipeline": "Stable Diffusion XL, with two text encoders",
    "StableDiffusion3Pipeline": "Stable Diffusion 3, a transformer trained by flow matching",
    "FluxPipeline": "Flux, a transformer trained by flow matching",
}
OFFLINE = (
    "without a network, download the model where there is one (hf download NAME --local-dir "
    "FOLDER), copy the folder here and give its path"
)


class TextToImage:
    """A Stable Diffusion 1.x pipeline, or one distilled from it.

    Samples of its prompts are latents, scaled as the UNet sees them.

    Args:
        pipeline: a stock `diffusers.StableDiffusionPipeline`; it is not changed.
        name: to show.

    Attributes:
        pipeline: the same.
        shape: of a latent, (channels, height, width).
        schedule: the noise schedule of its scheduler.
        words: all it knows, where its vocabulary is closed; else empty.

    Raises:
        ValueError: a pipeline of another kind, or without one of its parts.
    """

    def __init__(self, pipeline: Any, name: str = "pipeline"):
        _require_kind(type(pipeline).__name__)
        for part in PARTS:
            if getattr(pipeline, part, None) is None:
                raise ValueError(f"{name} has no {part}: a pipeline needs {', '.join(PARTS)}")
        _require_network(pipeline)
        self.pipeline, self.name = pipeline, name
        size = pipeline.unet.config.sample_size
        sides = (size, size) if isinstance(size, int) else tuple(size)
        self.shape = (pipeline.unet.config.in_channels, *sides)
        self.schedule = Schedule.from_scheduler(pipeline.scheduler)
        self.words = _words(pipeline.tokenizer)
        self._states: dict[str, Tensor] = {}
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> TextToImage:
        """A diffusers folder or a hub id; "tiny" is the package's own.

        Weights are read from safetensors only, and no code that comes with a model is run.

        Raises:
            FileNotFoundError: no such folder, and no such model on the hub or no way to reach it.
            ValueError: a pipeline of another kind, or weights that are not safetensors.
        """
        path = TINY if str(name) == "tiny" else name
        if path == TINY and not (TINY / "model_index.json").is_file():
            raise FileNotFoundError(
                f"the tiny pipeline is not complete at {str(TINY)!r}; train it by "
                "python -m unlearnlab.stable_diffusion.train, or give a folder or hub id"
            )
        with _quiet():
            from diffusers import DiffusionPipeline, StableDiffusionPipeline

            try:
                config = DiffusionPipeline.load_config(str(path))
            except (OSError, ValueError) as error:
                line = str(error).strip().splitlines()[0]
                raise FileNotFoundError(
                    f"no pipeline found at {str(name)!r} ({line}); {OFFLINE}"
                ) from None
            _require_kind(config.get("_class_name"))
            missing = [part for part in PARTS if not (config.get(part) or [None])[0]]
            if missing:
                raise ValueError(f"{str(name)!r} has no {', '.join(missing)}")
            try:
                pipeline = StableDiffusionPipeline.from_pretrained(str(path), use_safetensors=True)
            except (OSError, ValueError) as error:
                line = str(error).strip().splitlines()[0]
                raise ValueError(
                    f"{str(name)!r} cannot be read as safetensors ({line}); convert it where it "
                    "can be trusted (save_pretrained(..., safe_serialization=True))"
                ) from None
            pipeline.to(device, dtype)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline, str(name))

    @property
    def device(self) -> torch.device:
        """Of the UNet."""
        return self.pipeline.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet; latents are float32 where it is less."""
        return self.pipeline.unet.dtype

    def prompt(self, text: str, *, guidance: float = 1.0, negative: str = "") -> Prompt:
        """The distribution of latents that the pipeline draws for a prompt.

        Args:
            guidance: w of classifier-free guidance, ε̂ = ε̂_neg + w(ε̂_text − ε̂_neg); 1 for none.
                Guided predictions are no denoisers: Lemmas 2 and 3 hold at w = 1 only.
            negative: the prompt that guidance leads away from.

        Raises:
            ValueError: a prompt longer than the text encoder reads, or with words that a closed
                vocabulary does not have.
        """
        return Prompt(self, text, guidance=guidance, negative=negative)

    def lora(self, rank: int = 8, **options: Any) -> LoRA:
        """A student to train, drawing what the retained prompt asks for; see `LoRA`."""
        return LoRA(self, rank=rank, **options)

    def load_lora(self, folder: str | os.PathLike[str], **options: Any) -> LoRA:
        """A student from a LoRA file, or the folder of one, in any format that diffusers reads.

        What the file changes in the text encoder is applied too, for this student alone.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the weights are of another network, or of a kind that is not supported.
        """
        return LoRA.load(self, folder, **options)

    def assembled(self, **parts: Any) -> Any:
        """A stock pipeline with other parts in the place of some."""
        stock = self.pipeline
        made = type(stock)(
            **stock.components | parts,
            requires_safety_checker=stock.config.requires_safety_checker,
        )
        made.set_progress_bar_config(disable=True)
        return made

    def with_text_encoder(self, encoder: Any) -> TextToImage:
        """The same pipeline, but for its text encoder."""
        return TextToImage(self.assembled(text_encoder=encoder), self.name)

    def states(self, text: str) -> Tensor:
        """(tokens, width) what the text encoder makes of a prompt; computed once."""
        if text not in self._states:
            tokens = self._tokens(text)
            with torch.no_grad():
                self._states[text] = self.pipeline.text_encoder(tokens)[0][0]
        return self._states[text]

    def _tokens(self, text: str) -> Tensor:
        """(1, longest) token numbers."""
        tokenizer = self.pipeline.tokenizer
        pieces = tokenizer.tokenize(text)
        unknown = sorted(set(text.lower().split()) - self.words) if self.words else []
        if unknown:
            raise ValueError(
                f"prompt {text!r} has words that {self.name!r} has never seen: "
                f"{', '.join(unknown)}; it knows {', '.join(sorted(self.words))}"
            )
        longest = tokenizer.model_max_length
        if len(pieces) > longest - 2:
            cut = "".join(pieces[longest - 2 :]).replace("</w>", " ").strip()
            raise ValueError(
                f"prompt {text!r} has {len(pieces)} tokens, and the text encoder reads "
                f"{longest - 2}: shorten it; {cut!r} would be cut off"
            )
        found = tokenizer(text, padding="max_length", max_length=longest, return_tensors="pt")
        return found.input_ids.to(self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [−1, 1], float32; through the safety checker, if any."""
        vae, scale = self.pipeline.vae, self.pipeline.vae_scale_factor
        with torch.no_grad():
            parts = [
                vae.decode(part / vae.config.scaling_factor).sample
                for part in latents.to(vae.device, vae.dtype).split(_at_once(latents, scale))
            ]
        images = torch.cat(parts).float().clamp(-1, 1)
        if self.pipeline.safety_checker is None:
            return images
        zero_one = (images + 1) / 2
        checked, _ = self.pipeline.run_safety_checker(zero_one, self.device, self.dtype)
        return torch.as_tensor(checked).to(images) * 2 - 1

    def encode(self, images: Tensor) -> Tensor:
        """Mean latents of images (n, 3, H, W) in [−1, 1], scaled as the UNet sees them."""
        vae = self.pipeline.vae
        latents = mean_latents(vae, images).to(torch.promote_types(self.dtype, torch.float32))
        return latents * vae.config.scaling_factor

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        return f"TextToImage({self.name!r}, latents {size})"


def mean_latents(vae: Any, images: Tensor) -> Tensor:
    """The means of an autoencoder's posteriors at images in [−1, 1], not yet scaled."""
    with torch.no_grad():
        parts = images.to(vae.device, vae.dtype).split(_at_once(images, 1))
        return torch.cat([vae.encode(part).latent_dist.mean for part in parts])


def _at_once(x: Tensor, scale: int) -> int:
    """Images in one call of an autoencoder, `scale` times as long and wide as x."""
    return max(1, PIXELS // (x.shape[-2] * x.shape[-1] * scale**2))


def _words(tokenizer: Any) -> set[str]:
    """The words of a closed vocabulary: tokens that end a word and no longer token."""
    if len(tokenizer) >= CLOSED:
        return set()
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    ends = {right for _, right in merges}
    return {v[:-4] for v in tokenizer.get_vocab() if v.endswith("</w>") and v not in ends}


@contextmanager
def _quiet() -> Iterator[None]:
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


def _require_kind(kind: Any) -> None:
    """Refuse pipelines that are not Stable Diffusion 1.x."""
    if kind != "StableDiffusionPipeline":
        what = OTHER_KINDS.get(str(kind), f"a {kind}")
        raise ValueError(
            f"only Stable Diffusion 1.x and pipelines distilled from it are supported "
            f"(StableDiffusionPipeline); this is {what}"
        )


def _require_network(pipeline: Any) -> None:
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
