"""Stable Diffusion XL: two text encoders, a pooled state, and the size that is asked for."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from .base import Asked
from .sd import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL, its base model."""

    stock = "StableDiffusionXLPipeline"
    title = "Stable Diffusion XL"
    networks: ClassVar[dict[str, str]] = {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "unet": "UNet2DConditionModel",
    }
    loaded: ClassVar[dict[str, str]] = {
        "unet": "lora_unet_",
        "text_encoder": "lora_te1_text_model_",
        "text_encoder_2": "lora_te2_text_model_",
    }
    asked_by: ClassVar[dict[str, str]] = {"addition_embed_type": "text_time"}

    def require(self) -> None:
        """Refuse also latents that are not scaled by one number."""
        super().require()
        for name in ("latents_mean", "latents_std"):
            if self.pipeline.vae.config.get(name) is not None:
                raise ValueError(
                    f"the autoencoder has {name}: latents with a mean and a spread for each "
                    "channel are not supported"
                )

    def conditions(self, asked: Asked) -> dict[str, Tensor]:
        """States, the pooled state, and (height, width, top, left, height, width) in pixels.

        The stock pipeline has zeros for no negative prompt, where its configuration says so.
        """
        states, _, pooled, _ = self.pipeline.encode_prompt(
            asked.text, device=self.reads_on, do_classifier_free_guidance=False
        )
        seen = {"states": states, "pooled": pooled}
        if asked.negative and not asked.text and self.pipeline.config.force_zeros_for_empty_prompt:
            seen = {name: torch.zeros_like(one) for name, one in seen.items()}
        times = self.pipeline._get_add_time_ids(
            self.pixels, (0, 0), self.pixels, states.dtype, pooled.shape[-1]
        )
        return seen | {"times": times.to(states.device)}

    def predict(self, net: Any, x: Tensor, t: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """Noise or v."""
        added = {"text_embeds": seen["pooled"], "time_ids": seen["times"]}
        return net(x, t, encoder_hidden_states=seen["states"], added_cond_kwargs=added).sample
