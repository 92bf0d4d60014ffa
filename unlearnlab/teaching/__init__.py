"""Exercises that check themselves: `check("00.1", answer)` says right or not, and why.

`student("name")` sets whose numbers the exercises have, and `numbers_of("01.1")` prints them. The
expected answers live here, so that a lesson's cell does not give them away. A test works through
every lesson with its own solutions and confirms each of these. Lessons 00 to 05 do without torch.
Besides, `%%cuda` for cells that need a GPU, and what the lessons' first cells start from.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from .cuda import SKIPPED, add_cuda_magic
from .exercise import Exercise, shown
from .figures import (
    attainable_on_atoms,
    average_beside_comb,
    digit_rows,
    leaning_pair,
    side_by_side,
    stacked_weights,
    three_modes,
    three_to_forget,
)
from .grids import GRIDS
from .images import IMAGES
from .networks import NETWORKS
from .prompts import PROMPTS
from .students import drawn, student, who

__all__ = [
    "EXERCISES", "SKIPPED", "Exercise", "NotYet", "add_cuda_magic", "attainable_on_atoms",
    "average_beside_comb", "check", "digit_rows", "leaning_pair", "numbers_of", "side_by_side",
    "stacked_weights", "student", "three_modes", "three_to_forget",
]  # fmt: skip

EXERCISES = GRIDS | NETWORKS | IMAGES | PROMPTS
MISSED: dict[str, list[str]] = {}  # wrong answers of this kernel: each new one is worth a hint


class NotYet(AssertionError):  # noqa: N818 (students read the name)
    """An exercise that is open or wrong: no points from a grader, one sentence in a notebook."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of the traceback."""
        return [str(self)]


def numbers_of(exercise: str) -> SimpleNamespace:
    """Print the numbers that an exercise has for this student, and return them by name.

    Args:
        exercise: its number, "lesson.exercise".

    Raises:
        ValueError: no such exercise.

    Example:
        >>> from unlearnlab.teaching import numbers_of
        >>> your = numbers_of("01.1")
        Your numbers: mean = 2, b = 8
        >>> your.b
        8
    """
    yours = _numbers(exercise)
    print(_listed(yours) or "The numbers of this exercise are everyone's.")
    return SimpleNamespace(**yours)


def check(exercise: str, answer: Any) -> None:
    """Say whether an answer is right and why, and if it is not, where to look.

    Args:
        exercise: its number, "lesson.exercise".
        answer: what the student has; `...` while the exercise is still open.

    Raises:
        NotYet: the answer is wrong, or still open. Each new wrong answer brings one more hint: a
            direction, an idea, and a worked start.
        ValueError: no such exercise.

    Example:
        >>> from unlearnlab.teaching import check
        >>> check("01.1", -2)
        Right, because u = √(2b)/|μ| − 1 and p* = N(−μu, 1): away from q₁, to the other side of 0.
        >>> check("01.1", -1)
        Traceback (most recent call last):
        ...
        unlearnlab.teaching.NotYet: Not yet: your answer is -1., which is not it.
        (Your numbers: mean = 2, b = 8.)
        Hint 1 of 3: on which side of q does the optimum flee from q₁?
    """
    said = _missed(exercise, answer)
    if said and sys.platform == "emscripten":  # a browser's Run All would stop at an error
        print(said, file=sys.stderr)
    elif said:
        raise NotYet(said)


def _missed(exercise: str, answer: Any) -> str:
    """What is said of an answer that is not right; that one is, is printed, and "" is returned."""
    yours = _numbers(exercise)
    if answer is None or answer is ...:
        return "Still open: put your answer in place of the dots."
    asked = EXERCISES[exercise]
    right, why = asked.verdict(answer, yours)
    if right:
        print(f"Right, because {why}.")
        return ""
    quoted = shown(answer)
    missed = MISSED.setdefault(exercise, [])
    if f"{quoted}, {why}" not in missed:
        missed.append(f"{quoted}, {why}")
    tier = min(len(missed), len(asked.hints))
    hint = f"Hint {tier} of {len(asked.hints)}: {asked.hints[tier - 1]}"
    return " ".join([f"Not yet: your answer is {quoted}, {why}.", *_note(yours), hint])


def _listed(yours: dict[str, Any]) -> str:
    listed = ", ".join(f"{name} = {value}" for name, value in yours.items())
    return f"Your numbers: {listed}" if listed else ""


def _note(yours: dict[str, Any]) -> list[str]:
    # `your` may still hold those of another exercise.
    return [f"({_listed(yours)}.)"] if yours else []


def _numbers(exercise: str) -> dict[str, Any]:
    if not isinstance(exercise, str) or exercise not in EXERCISES:
        raise ValueError(f"exercise must be one of {', '.join(EXERCISES)}; got {exercise!r}")
    return drawn(exercise, EXERCISES[exercise].variants, who())
