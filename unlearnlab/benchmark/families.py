"""All tasks and axes by name; another file of tasks registers its own when it is imported."""

from . import axes, digits, mixtures, prompts, scenes
from .axes import offers
from .definition import names, register, task

AXES = {**axes.AXES, **prompts.AXES}
EVERYWHERE = tuple(axes.AXES)  # that every task has
for _family in (mixtures, digits, scenes):
    for _one in _family.TASKS:
        register(_one)

__all__ = ["AXES", "EVERYWHERE", "names", "offers", "register", "task"]
