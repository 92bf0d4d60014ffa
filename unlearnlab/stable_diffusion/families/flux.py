"""FLUX.1: a transformer over 2 × 2 patches of latents, distilled to take its guidance in."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from .base import Asked
from .flows import Flow


class Flux(Flow):
    """FLUX.1: dev takes the strength of its guidance in, schnell has none."""

    stock = "FluxPipeline"
    title = "FLUX.1"
    networks: ClassVar[dict[str, str]] = {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "T5EncoderModel",
        "transformer": "FluxTransformer2DModel",
    }
    loaded: ClassVar[dict[str, str]] = {"transformer": "", "text_encoder": ""}
    t5_tokens = 512
    spacing = "trailing"

    def __init__(self, pipeline: Any, size: int | tuple[int, int] | None = None):
        super().__init__(pipeline, size)
        self.guided_inside = bool(self.net.config.guidance_embeds)

    @property
    def channels(self) -> int:
        """Of a latent: the transformer's are of four places."""
        return self.net.config.in_channels // self.patch**2

    @property
    def patch(self) -> int:
        """Latents that the pipeline packs as one, a side."""
        return 2

    def trained_size(self) -> tuple[int, int]:
        """Height and width of latents, as the stock pipeline has them by default."""
        side = self.pipeline.default_sample_size
        return side, side

    def conditions(self, asked: Asked) -> dict[str, Tensor]:
        """T5's states, CLIP's pooled state, and the strength of the guidance inside."""
        states, pooled, _ = self.pipeline.encode_prompt(
            asked.text, None, device=self.reads_on, max_sequence_length=self.t5_tokens
        )
        seen = {"states": states, "pooled": pooled}
        if asked.strength is not None:
            seen["strength"] = torch.full((1,), asked.strength, device=states.device)
        return seen

    def predict(self, net: Any, x: Tensor, t: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """The velocity, by patches of 2 × 2 in the places of a grid; the text has no places."""
        rows, channels, height, width = x.shape
        how: dict[str, Any] = {"device": x.device, "dtype": x.dtype}
        places = self.pipeline._prepare_latent_image_ids(rows, height // 2, width // 2, **how)
        told = net(
            hidden_states=self.pipeline._pack_latents(x, rows, channels, height, width),
            timestep=t.to(x.dtype),
            guidance=seen.get("strength"),
            pooled_projections=seen["pooled"],
            encoder_hidden_states=seen["states"],
            txt_ids=torch.zeros(seen["states"].shape[1], 3, **how),
            img_ids=places,
        ).sample
        scale = self.pipeline.vae_scale_factor
        return self.pipeline._unpack_latents(told, height * scale, width * scale, scale)
