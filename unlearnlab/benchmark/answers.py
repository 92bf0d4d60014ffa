"""Models whose scores are known beforehand: what a benchmark must say of them to be believed."""

from __future__ import annotations

from typing import Any

from .definition import Task


def pretrained(task: Task) -> Any:
    """The retained model itself: nothing forgotten, nothing lost."""
    return task.retain


def untouched(task: Task) -> Any:
    """The student that every method begins with: what it costs to be a network."""
    return task.student()


def optimum(task: Task) -> Any:
    """The best there is, by rejection: the ratio is 1 within its error."""
    return task.best_model()


def noise(task: Task) -> Any:
    """Draws noise: forgotten, and everything lost."""
    return task.noise_model()


def retrained(task: Task) -> Any:
    """Made without what is to go: the gold standard of deletion."""
    return task.retrained_model()


def blurred(task: Task) -> Any:
    """Without what is to go, and blurred: its rates look right, KL and distances see the blur."""
    return task.blurred_model()
