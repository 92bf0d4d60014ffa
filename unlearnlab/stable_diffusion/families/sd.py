"""Stable Diffusion 1.x and 2.x: a UNet that attends to the states of one text encoder."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ...diffusion.ddpm_folder import require_scheduler
from ...diffusion.predictions import OF_DIFFUSERS
from ...diffusion.schedule import Schedule
from .base import Asked, Family

CONDITIONS = (  # of a UNet, beside text and time
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)


class StableDiffusion(Family):
    """Stable Diffusion 1.x and 2.x."""

    stock = "StableDiffusionPipeline"
    title = "Stable Diffusion 1.x and 2.x"
    networks: ClassVar[dict[str, str]] = {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "unet": "UNet2DConditionModel",
    }
    loaded: ClassVar[dict[str, str]] = {
        "unet": "lora_unet_",
        "text_encoder": "lora_te_text_model_",
    }
    asked_by: ClassVar[dict[str, str]] = {}  # conditions that it has, beside text and time

    def require(self) -> None:
        """Refuse schedulers of other kinds, and UNets that ask for more than a prompt."""
        super().require()
        require_scheduler(type(self.pipeline.scheduler).__name__, "the scheduler")
        config = self.pipeline.scheduler.config
        kind = config.get("prediction_type", "epsilon")
        if kind not in OF_DIFFUSERS:
            known = ", ".join(map(repr, OF_DIFFUSERS))
            raise ValueError(f"the UNet must predict one of {known}; this one predicts {kind!r}")
        if config.get("thresholding"):
            raise ValueError(
                "the scheduler has thresholding true, which is for images: latents go beyond "
                "[−1, 1]; set it to false"
            )
        for name in CONDITIONS:
            value = self.net.config.get(name)
            if value != self.asked_by.get(name):
                raise ValueError(
                    f"the UNet has {name} {value!r}: it asks for more than a prompt and a "
                    "timestep, which is not supported"
                )

    def schedule(self) -> Schedule:
        """From its betas."""
        return Schedule.from_scheduler(self.pipeline.scheduler)

    def prediction(self) -> str:
        """As the scheduler says."""
        return OF_DIFFUSERS[self.pipeline.scheduler.config.get("prediction_type", "epsilon")]

    def conditions(self, asked: Asked) -> dict[str, Tensor]:
        """The states of the text encoder."""
        states, _ = self.pipeline.encode_prompt(asked.text, self.reads_on, 1, False)
        return {"states": states}

    def predict(self, net: Any, x: Tensor, t: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """Noise or v."""
        return net(x, t, encoder_hidden_states=seen["states"]).sample
