"""How a student is made: finetune, its one loop, objectives, statuses, checkpoints and runs."""

# They register objectives, and what tells tensors and models apart.
from . import denoising, identities, policy_gradient, reverse_kl  # noqa: F401
from .finetune import finetune
from .gap import ParametrisationGap, parametrisation_gap
from .network import ScoreNetwork
from .run import Run, judge

__all__ = [
    "ParametrisationGap",
    "Run",
    "ScoreNetwork",
    "finetune",
    "judge",
    "parametrisation_gap",
]
