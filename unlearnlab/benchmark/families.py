"""All tasks and axes by name; another file of tasks registers its own when it is imported."""

from . import digits, mixtures, prompts, scenes
from .axes import AXES, EVERYWHERE, offers
from .definition import names, task

__all__ = [
    "AXES",
    "EVERYWHERE",
    "digits",
    "mixtures",
    "names",
    "offers",
    "prompts",
    "scenes",
    "task",
]
