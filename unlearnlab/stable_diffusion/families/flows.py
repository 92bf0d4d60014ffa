"""What the families of transformers trained by flow matching share."""

from __future__ import annotations

import math
import re
from typing import ClassVar

from ...diffusion.schedule import Schedule
from .base import QUERIES, Family

TEXT = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")  # the text's side of an attention
SEQUENCE = (("base_image_seq_len", 256), ("max_image_seq_len", 4096))
SHIFT = (("base_shift", 0.5), ("max_shift", 1.15))


class Flow(Family):
    """A transformer that predicts the velocity ε − x of x_s = (1 − s)x + sε."""

    network = "transformer"
    layers = "all"
    spacing: ClassVar[str]  # of timesteps, as the stock pipeline has them

    def require(self) -> None:
        """Refuse also other schedulers than Euler's."""
        super().require()
        kind = type(self.pipeline.scheduler).__name__
        if kind != "FlowMatchEulerDiscreteScheduler":
            raise ValueError(
                f"the scheduler must be a FlowMatchEulerDiscreteScheduler, as {self.title} was "
                f"trained with; got {kind}"
            )

    def schedule(self) -> Schedule:
        """Of the flow, shifted; by the number of its tokens where the scheduler asks for that."""
        config = self.pipeline.scheduler.config
        shift = math.exp(self.log_shift()) if config.get("use_dynamic_shifting") else None
        return Schedule.from_scheduler(self.pipeline.scheduler, spacing=self.spacing, shift=shift)

    def log_shift(self) -> float:
        """log c on the line through (fewest tokens, base shift) and (most, largest shift)."""
        config = self.pipeline.scheduler.config
        (low, high), (least, most) = (
            [config.get(name, usual) for name, usual in pairs] for pairs in (SEQUENCE, SHIFT)
        )
        tokens = self.shape[1] * self.shape[2] / self.patch**2
        return least + (most - least) * (tokens - low) / (high - low)

    def prediction(self) -> str:
        """A velocity."""
        return "velocity"

    @classmethod
    def attentions(cls, name: str, layers: str) -> bool:
        """Text and picture attend to each other in one: "cross" is the text's side of it."""
        ends = TEXT if layers == "cross" else (*QUERIES, *TEXT)
        return bool(re.search(r"\.attn2?\.", name)) and name.endswith(ends)
