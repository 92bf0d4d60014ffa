"""All tasks by name; another file of tasks registers its own when it is imported."""

from . import mixtures
from .definition import names, task

__all__ = ["mixtures", "names", "task"]
