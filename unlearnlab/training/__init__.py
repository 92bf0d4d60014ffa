"""How a student is made: finetune, its one loop, objectives, statuses, checkpoints and runs."""

from .finetune import finetune
from .gap import ParametrisationGap, parametrisation_gap
from .network import ScoreNetwork
from .run import Run

__all__ = ["ParametrisationGap", "Run", "ScoreNetwork", "finetune", "parametrisation_gap"]
