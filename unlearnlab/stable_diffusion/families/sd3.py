"""Stable Diffusion 3: a transformer that reads three text encoders, of which T5 can be left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor

from .base import Asked
from .flows import Flow

T5_TOKENS = 256  # that the stock pipeline has T5 read, with the end


class StableDiffusion3(Flow):
    """Stable Diffusion 3 and 3.5."""

    stock = "StableDiffusion3Pipeline"
    title = "Stable Diffusion 3"
    networks: ClassVar[dict[str, str]] = {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModelWithProjection",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "text_encoder_3": "T5EncoderModel",
        "transformer": "SD3Transformer2DModel",
    }
    encoders: ClassVar[dict[str, str]] = {
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
        "text_encoder_3": "tokenizer_3",
    }
    loaded: ClassVar[dict[str, str]] = {"transformer": "", "text_encoder": "", "text_encoder_2": ""}
    optional: ClassVar[tuple[str, ...]] = ("text_encoder_3", "tokenizer_3")
    spacing = "linspace"

    @property
    def patch(self) -> int:
        """Latents that the transformer takes as one, a side."""
        return self.net.config.patch_size

    def limits(self) -> Iterator[tuple[Any, int]]:
        """The two of CLIP, and T5's, which has an end alone."""
        for tokenizer, longest in super().limits():
            t5 = tokenizer is self.pipeline.tokenizer_3
            yield tokenizer, T5_TOKENS - 1 if t5 else longest

    def conditions(self, asked: Asked) -> dict[str, Tensor]:
        """The states of all encoders one after the other, and CLIP's pooled states."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            asked.text,
            None,
            None,
            device=self.reads_on,
            do_classifier_free_guidance=False,
            max_sequence_length=T5_TOKENS,
        )
        return {"states": states, "pooled": pooled}

    def predict(self, net: Any, x: Tensor, t: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """The velocity."""
        return net(
            hidden_states=x,
            timestep=1000 * t,
            encoder_hidden_states=seen["states"],
            pooled_projections=seen["pooled"],
        ).sample
