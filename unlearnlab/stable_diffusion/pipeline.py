"""Text-to-image pipelines whose prompts are distributions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..diffusion.predictions import require_kind
from ..identity import content, contents
from .families import Asked, family_of
from .fields import require_visible
from .loading import assembled, read_pipeline
from .lora import LoRA
from .prompt import Prompt
from .words import require_known, require_whole, words

PIXELS = 1 << 18  # in one call of the autoencoder: one image of 512 × 512


class TextToImage:
    """A text-to-image pipeline of one of the families, or one distilled from it; see `families`.

    Samples of its prompts are latents, scaled as its network sees them.

    Args:
        pipeline: a stock pipeline of diffusers; it is not changed.
        name: to show.
        size: (height, width) of its pictures in pixels, or the side of squares; by default those
            that it was trained for.
        offload: keep text encoders and autoencoder in the CPU's memory, and bring them to the
            network's device only while they are used: training calls neither (and so no student
            can change its text encoders).

    Attributes:
        pipeline: the same.
        family: what its parts are, and how its network is asked.
        shape: of a latent, (channels, height, width).
        schedule: the noise schedule of its scheduler.
        prediction: what its network predicts: "noise", "v" (Stable Diffusion 2.x), "velocity"
            (Stable Diffusion 3, FLUX) or "sample".
        words: all it knows, where its vocabulary is closed; else empty.

    Raises:
        ValueError: a pipeline of another kind, or without one of its parts; parts of different
            dtypes; a size that its network cannot draw.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str = "pipeline",
        *,
        size: int | tuple[int, int] | None = None,
        offload: bool = False,
    ):
        kind = family_of(type(pipeline).__name__)
        for part in kind.parts():
            if part not in kind.optional and getattr(pipeline, part, None) is None:
                raise ValueError(
                    f"{name} has no {part}: a pipeline needs {', '.join(kind.parts())}"
                )
        self.family = kind(pipeline, size)
        self.pipeline, self.name, self.offload = pipeline, name, offload
        self.shape = self.family.shape
        self.schedule = self.family.schedule()
        self.prediction = require_kind(self.family.prediction(), self.schedule)
        self.words = words(pipeline.tokenizer)
        self._states: dict[tuple[Asked, tuple[int, ...]], dict[str, Tensor]] = {}
        for part in (self.family.net, pipeline.vae, *self.family.text_encoders.values()):
            part.eval().requires_grad_(False)
            if offload and part is not self.family.net:
                part.to("cpu")

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        safety: bool | None = None,
        variant: str | None = None,
        size: int | tuple[int, int] | None = None,
        offload: bool = False,
    ) -> TextToImage:
        """A diffusers folder or a hub id; "tiny" is the package's own.

        Weights are read from safetensors only, and no code that comes with a model is run.

        Args:
            safety: False leaves its safety checker out, True asks for one; None takes what it has.
            variant: of its weights, such as "fp16"; the only one in a folder needs no name.
            size, offload: as in the constructor.

        Raises:
            FileNotFoundError: no such folder, and no such model on the hub or no way to reach it.
            ValueError: a pipeline of another kind, weights that are not safetensors, or no safety
                checker where one is asked for.
        """
        pipeline = read_pipeline(
            name, dtype=dtype, device=device, safety=safety, variant=variant, offload=offload
        )
        try:
            return cls(pipeline, str(name), size=size, offload=offload)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(name)!r}: {error}") from None

    @property
    def device(self) -> torch.device:
        """Of the network."""
        return self.family.net.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the network; latents are float32 where it is less."""
        numbers = self.family.net.parameters()  # read at every step: diffusers walks all modules
        return next(p.dtype for p in numbers if p.is_floating_point())

    def prompt(self, text: str, *, guidance: float = 1.0, negative: str = "") -> Prompt:
        """The distribution of latents that the pipeline draws for a prompt.

        Args:
            guidance: w of classifier-free guidance, ε̂ = ε̂_neg + w(ε̂_text − ε̂_neg); 1 for none.
                Guided predictions are no denoisers: Lemmas 2 and 3 hold at w = 1 only. FLUX.1-dev
                was distilled to take w in (3.5 is usual), without another prompt.
            negative: the prompt that guidance leads away from; "" is what the stock pipeline has
                for none.

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
        return assembled(self.pipeline, **parts)

    def with_parts(self, **parts: Any) -> TextToImage:
        """The same pipeline, but for some parts, such as a text encoder."""
        how: dict[str, Any] = {"size": self.family.pixels, "offload": self.offload}
        return TextToImage(self.assembled(**parts), self.name, **how)

    @contextmanager
    def _at_work(self, *parts: Any) -> Iterator[None]:
        """Parts on the network's device for a while, where they are kept elsewhere."""
        try:
            if self.offload:
                for one in parts:
                    one.to(self.device)
            yield
        finally:
            if self.offload:
                for one in parts:
                    one.to("cpu")

    def states(
        self, text: str, negative: bool = False, strength: float | None = None
    ) -> dict[str, Tensor]:
        """What the network sees of what it is `Asked`, one row of each condition.

        They are computed once; while text encoders are trained, at every call, with gradients.
        """
        asked = Asked(text, negative, strength)
        encoders = self.family.text_encoders.values()
        if any(p.requires_grad for one in encoders for p in one.parameters()):
            return self._read(asked)
        # A textual inversion adds to a tokenizer.
        tokenizers = [tokenizer for tokenizer, _ in self.family.limits()]
        known = (asked, tuple(map(len, tokenizers)))
        if known not in self._states:
            with torch.no_grad():
                self._states[known] = self._read(asked)
        return self._states[known]

    def forget_states(self) -> None:
        """Read prompts again: the text encoders have changed since."""
        self._states.clear()

    def _read(self, asked: Asked) -> dict[str, Tensor]:
        """What the text encoders say of a prompt, on the network's device.

        Raises:
            ValueError: as in `prompt`.
        """
        require_visible("prompt", asked.text)
        require_known(asked.text, self.words, self.pipeline.tokenizer, self.name)
        for tokenizer, longest in self.family.limits():
            require_whole(asked.text, self.pipeline, tokenizer, longest)
        with self._at_work(*self.family.text_encoders.values()):
            seen = self.family.conditions(asked)
        return {name: one.to(self.device) for name, one in seen.items()}

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [−1, 1], float32; through the safety checker, if any."""
        return self.checked(latents)[0]

    def checked(self, latents: Tensor) -> tuple[Tensor, int]:
        """Images as `decode` makes them, and how many of them the safety checker took out."""
        vae, scale = self.pipeline.vae, self.pipeline.vae_scale_factor
        with torch.no_grad(), self._at_work(vae), _wide_enough(vae):
            parts = [
                vae.decode(part / vae.config.scaling_factor + _shift(vae)).sample
                for part in latents.to(vae.device, vae.dtype).split(_at_once(latents, scale))
            ]
        images = torch.cat(parts).float().clamp(-1, 1)
        checker = getattr(self.pipeline, "safety_checker", None)
        if checker is None:
            return images, 0
        # It sees what is shown: it takes [−1, 1], as the autoencoder makes it.
        with self._at_work(checker):
            shown, flags = self.pipeline.run_safety_checker(images.clone(), self.device, self.dtype)
        taken = torch.as_tensor([bool(flag) for flag in flags], device=images.device)
        images[taken] = torch.as_tensor(shown).to(images)[taken] * 2 - 1  # its own are in [0, 1]
        return images, int(taken.sum())

    def encode(self, images: Tensor) -> Tensor:
        """Mean latents of images (n, 3, H, W) in [−1, 1], scaled as the network sees them."""
        vae = self.pipeline.vae
        with self._at_work(vae):
            latents = mean_latents(vae, images).to(torch.promote_types(self.dtype, torch.float32))
        return (latents - _shift(vae)) * vae.config.scaling_factor

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        return f"TextToImage({self.name!r}, latents {size})"


@contents.register
def _(value: TextToImage) -> dict[str, Any]:
    """The weights of its networks, where a function of a user's reads them."""
    parts = {value.family.network: value.family.net, "vae": value.pipeline.vae}
    told: dict[str, Any] = {k: content(v) for k, v in (parts | value.family.text_encoders).items()}
    return told | {"schedule": content(value.schedule)}


def mean_latents(vae: Any, images: Tensor) -> Tensor:
    """The means of an autoencoder's posteriors at images in [−1, 1], not yet scaled."""
    with torch.no_grad(), _wide_enough(vae):
        parts = images.to(vae.device, vae.dtype).split(_at_once(images, 1))
        return torch.cat([vae.encode(part).latent_dist.mean for part in parts])


def _shift(vae: Any) -> float:
    """What the latents of some autoencoders are moved by before they are scaled."""
    return vae.config.get("shift_factor") or 0.0


@contextmanager
def _wide_enough(vae: Any) -> Iterator[None]:
    """An autoencoder that overflows in float16, and says so, in float32 for a while."""
    narrow = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    try:
        yield vae.float() if narrow else vae
    finally:
        if narrow:
            vae.half()


def _at_once(x: Tensor, scale: int) -> int:
    """Images in one call of an autoencoder, `scale` times as long and wide as x."""
    return max(1, PIXELS // (x.shape[-2] * x.shape[-1] * scale**2))
