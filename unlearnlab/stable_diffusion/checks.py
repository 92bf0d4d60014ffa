"""Which values the fields of a configuration take."""

from __future__ import annotations

from typing import Any

import torch

from .. import baselines
from ..diffusion.schedule import LARGEST_SEED
from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from ..training.finetune import METHODS
from . import fields
from .fields import Check

PROBLEMS: dict[str, type[Problem]] = {
    "reverse-kl": ReverseKL,
    "forward-kl": ForwardKL,
    "likelihood": Likelihood,
}
BASELINES: dict[str, Any] = {
    "esd": baselines.ESD,
    "vdu": baselines.VDU,
    "ablation": baselines.Ablation,
    "fdivergence": baselines.FDivergence,
}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CHECKS: dict[str, Check] = {
    "model": fields.path,
    "init": fields.optional(fields.path),
    "variant": fields.optional(fields.text),
    "problem": fields.among(PROBLEMS),
    "out": fields.path,
    "retain": fields.prompt,
    "forget": fields.prompts,
    "unrelated": fields.prompts,
    "prompts": fields.optional(fields.path),
    "forget_images": fields.optional(fields.path),
    "anchor": fields.optional(fields.prompt),
    "keep": fields.shares,
    "judge": fields.optional(fields.path),
    "until": fields.optional(fields.among(["met"])),
    "formats": fields.names,
    "thresholds": fields.optional(fields.numbers),
    "relative": fields.optional(fields.numbers),
    "statistic": fields.among(("ratio", "density")),
    "temperature": fields.either("dim", fields.positive),
    "cap": fields.optional(fields.positive),
    "reference": fields.optional(fields.prompt),
    "method": fields.among([*METHODS, *BASELINES]),
    "rank": fields.whole(1),
    "layers": fields.optional(fields.names),
    "text_encoders": fields.switch,
    "size": fields.optional(fields.sides),
    "offload": fields.switch,
    "guidance": fields.not_negative,
    "sample_guidance": fields.not_negative,
    "sample_steps": fields.whole(1),
    "samples": fields.whole(1),
    "dtype": fields.among(DTYPES),
    "seed": fields.whole(0, LARGEST_SEED),
    "tracker": fields.optional(fields.text),
    "grid_every": fields.whole(0),
    "safety": fields.optional(fields.switch),
    "checkpointing": fields.switch,
    "attention_slicing": fields.switch,
    "options": fields.mapping,
}
PROMPTS = ("retain", "forget", "unrelated", "reference")
OF_FINETUNE: dict[str, Check] = {
    "steps": fields.whole(1),
    "batch": fields.whole(2),
    "lr": fields.positive,
    "dual_lr": fields.optional(fields.not_negative),
    "multipliers": fields.optional(fields.numbers),
    "until": fields.optional(fields.among(["met"])),
    "sampler": fields.optional(fields.among(["ddim", "ddpm"])),
    "sampling_steps": fields.whole(1),
    "evaluate": fields.switch,
    "progress": fields.optional(fields.switch),
}
