"""Stable Diffusion 1.x and 2.x pipelines whose prompts are distributions."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from torch import Tensor

from ..diffusion.predictions import OF_DIFFUSERS
from ..diffusion.schedule import Schedule
from ..identity import content, contents
from .fields import require_visible
from .loading import PARTS, read_pipeline, require_kind, require_network
from .lora import LoRA
from .prompt import Prompt

PIXELS = 1 << 18  # in one call of the autoencoder: one image of 512 × 512
CLOSED = 1000  # a vocabulary smaller than this knows whole words only


class TextToImage:
    """A Stable Diffusion 1.x or 2.x pipeline, or one distilled from it.

    Samples of its prompts are latents, scaled as the UNet sees them.

    Args:
        pipeline: a stock `diffusers.StableDiffusionPipeline`; it is not changed.
        name: to show.

    Attributes:
        pipeline: the same.
        shape: of a latent, (channels, height, width).
        schedule: the noise schedule of its scheduler.
        prediction: what its UNet predicts: "noise", "v" (Stable Diffusion 2.x) or "sample".
        words: all it knows, where its vocabulary is closed; else empty.

    Raises:
        ValueError: a pipeline of another kind, or without one of its parts.
    """

    def __init__(self, pipeline: Any, name: str = "pipeline"):
        require_kind(type(pipeline).__name__)
        for part in PARTS:
            if getattr(pipeline, part, None) is None:
                raise ValueError(f"{name} has no {part}: a pipeline needs {', '.join(PARTS)}")
        require_network(pipeline)
        self.pipeline, self.name = pipeline, name
        size = pipeline.unet.config.sample_size
        sides = (size, size) if isinstance(size, int) else tuple(size)
        self.shape = (pipeline.unet.config.in_channels, *sides)
        self.schedule = Schedule.from_scheduler(pipeline.scheduler)
        told = pipeline.scheduler.config.get("prediction_type", "epsilon")
        self.prediction = OF_DIFFUSERS[told]
        self.words = _words(pipeline.tokenizer)
        self._states: dict[tuple[str, int], Tensor] = {}
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        safety: bool | None = None,
        variant: str | None = None,
    ) -> TextToImage:
        """A diffusers folder or a hub id; "tiny" is the package's own.

        Weights are read from safetensors only, and no code that comes with a model is run.

        Args:
            safety: False leaves its safety checker out, True asks for one; None takes what it has.
            variant: of its weights, such as "fp16"; the only one in a folder needs no name.

        Raises:
            FileNotFoundError: no such folder, and no such model on the hub or no way to reach it.
            ValueError: a pipeline of another kind, weights that are not safetensors, or no safety
                checker where one is asked for.
        """
        pipeline = read_pipeline(name, dtype=dtype, device=device, safety=safety, variant=variant)
        try:
            return cls(pipeline, str(name))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(name)!r}: {error}") from None

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
            ValueError: a prompt longer than the text encoder reads, with characters that cannot be
                seen, or with words that a closed vocabulary does not have.
        """
        return Prompt(self, text, guidance=guidance, negative=negative)

    def lora(self, rank: int = 8, **options: Any) -> LoRA:
        """A student to train, drawing what the retained prompt asks for; see `LoRA`."""
        return LoRA(self, rank=rank, **options)

    def load_lora(self, folder: str | os.PathLike[str], **options: Any) -> LoRA:
        """A student from a LoRA file, or the folder of one or of a run, as diffusers reads it.

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
        known = (text, len(self.pipeline.tokenizer))  # a textual inversion adds to it
        if known not in self._states:
            require_visible("prompt", text)
            tokens = self._tokens(text)
            with torch.no_grad():
                self._states[known] = self.pipeline.text_encoder(tokens)[0][0]
        return self._states[known]

    def _tokens(self, given: str) -> Tensor:
        """(1, longest) token numbers; a textual inversion of several vectors is several tokens."""
        tokenizer = self.pipeline.tokenizer
        text = self.pipeline.maybe_convert_prompt(given, tokenizer)
        pieces = tokenizer.tokenize(text)
        added = tokenizer.get_added_vocab()
        words = {word for word in text.split() if word not in added}
        unknown = sorted({word.lower() for word in words} - self.words) if self.words else []
        if unknown:
            raise ValueError(
                f"prompt {given!r} has words that {self.name!r} has never seen: "
                f"{', '.join(unknown)}; it knows {', '.join(sorted(self.words))}"
            )
        longest = tokenizer.model_max_length
        if len(pieces) > longest - 2:
            cut = "".join(pieces[longest - 2 :]).replace("</w>", " ").strip()
            raise ValueError(
                f"prompt {given!r} has {len(pieces)} tokens, and the text encoder reads "
                f"{longest - 2}: shorten it; {cut!r} would be cut off"
            )
        found = tokenizer(text, padding="max_length", max_length=longest, return_tensors="pt")
        return found.input_ids.to(self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [−1, 1], float32; through the safety checker, if any."""
        return self.checked(latents)[0]

    def checked(self, latents: Tensor) -> tuple[Tensor, int]:
        """Images as `decode` makes them, and how many of them the safety checker took out."""
        vae, scale = self.pipeline.vae, self.pipeline.vae_scale_factor
        with torch.no_grad():
            parts = [
                vae.decode(part / vae.config.scaling_factor).sample
                for part in latents.to(vae.device, vae.dtype).split(_at_once(latents, scale))
            ]
        images = torch.cat(parts).float().clamp(-1, 1)
        if self.pipeline.safety_checker is None:
            return images, 0
        # It sees what is shown: it takes [−1, 1], as the autoencoder makes it.
        shown, flags = self.pipeline.run_safety_checker(images.clone(), self.device, self.dtype)
        taken = torch.as_tensor([bool(flag) for flag in flags], device=images.device)
        images[taken] = torch.as_tensor(shown).to(images)[taken] * 2 - 1  # its own are in [0, 1]
        return images, int(taken.sum())

    def encode(self, images: Tensor) -> Tensor:
        """Mean latents of images (n, 3, H, W) in [−1, 1], scaled as the UNet sees them."""
        vae = self.pipeline.vae
        latents = mean_latents(vae, images).to(torch.promote_types(self.dtype, torch.float32))
        return latents * vae.config.scaling_factor

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        return f"TextToImage({self.name!r}, latents {size})"


@contents.register
def _(value: TextToImage) -> dict[str, Any]:
    """The weights of its networks, where a function of a user's reads them."""
    parts = ("unet", "vae", "text_encoder")
    told: dict[str, Any] = {part: content(getattr(value.pipeline, part)) for part in parts}
    return told | {"schedule": content(value.schedule)}


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
