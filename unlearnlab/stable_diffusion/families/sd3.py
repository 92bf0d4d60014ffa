"""Stable Diffusion 3: a transformer that reads three text encoders, of which T5 can be left out."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from .base import Asked
from .flows import Flow


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
    loaded: ClassVar[dict[str, str]] = {"transformer": "", "text_encoder": "", "text_encoder_2": ""}
    optional: ClassVar[tuple[str, ...]] = ("text_encoder_3", "tokenizer_3")
    t5_tokens = 256
    spacing = "linspace"

    @property
    def patch(self) -> int:
        """Latents that the transformer takes as one, a side."""
        return self.net.config.patch_size

    def conditions(self, asked: Asked) -> dict[str, Tensor]:
        """The states of all encoders one after the other, and CLIP's pooled states."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            asked.text,
            None,
            None,
            device=self.reads_on,
            do_classifier_free_guidance=False,
            max_sequence_length=self.t5_tokens,
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
