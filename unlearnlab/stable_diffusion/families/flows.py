"""What the families of transformers trained by flow matching share."""

from __future__ import annotations

import math
import re
from typing import ClassVar

from ...diffusion.schedule import FLOW, Schedule
from .base import QUERIES, Family

TEXT = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")  # the text's side of an attention


class Flow(Family):
    """A transformer that predicts the velocity ε − x of x_s = (1 − s)x + sε."""

    network = "transformer"
    layers = "all"
    spacing: ClassVar[str]  # of timesteps, as the stock pipeline has them

    def require(self) -> None:
        """Refuse also other schedulers than Euler's."""
        super().require()
        kind = type(self.pipeline.scheduler).__name__
        if kind != FLOW:
            raise ValueError(
                f"the scheduler must be a {FLOW}, as {self.title} was trained with; got {kind}"
            )

    def schedule(self) -> Schedule:
        """Of the flow, shifted; by the number of its tokens where the scheduler asks for that."""
        scheduler = self.pipeline.scheduler
        shift = self.moving_shift() if scheduler.config.use_dynamic_shifting else None
        return Schedule.from_scheduler(scheduler, spacing=self.spacing, shift=shift)

    def moving_shift(self) -> float:
        """c for so many tokens: e^μ, or μ where the scheduler says "linear"."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        config = self.pipeline.scheduler.config
        tokens = self.shape[1] * self.shape[2] // self.patch**2
        mu = calculate_shift(
            tokens,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        return mu if config.time_shift_type == "linear" else math.exp(mu)

    def prediction(self) -> str:
        """A velocity."""
        return "velocity"

    @classmethod
    def attentions(cls, name: str, layers: str) -> bool:
        """Text and picture attend to each other in one: "cross" is the text's side of it."""
        ends = TEXT if layers == "cross" else (*QUERIES, *TEXT)
        return bool(re.search(r"\.attn2?\.", name)) and name.endswith(ends)
