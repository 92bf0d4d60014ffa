"""What an exercise is, and what is said of an answer to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = dict[str, Any]  # by name, as the lesson prints them
Verdict = tuple[bool, str]
NOBODYS: Sequence[Numbers] = ({},)


@dataclass(frozen=True)
class Exercise:
    """What is asked, what is right, why it is, and where to look.

    Attributes:
        expected: what is right: a number, several, or a function that computes it from the
            student's numbers; None where `judge` tells.
        because: follows "Right, because"; it may name the student's numbers in braces.
        hints: a direction, an idea, a worked start. One more is shown at each new wrong answer.
        tolerance: of each number, relative to max(1, |expected|).
        variants: numbers that differ by student; the first ones are those of the solutions.
        judge: for answers of which several are right: (whether it is, what is said of it), of the
            answer and the student's numbers. What it says of a right one takes the place of
            `because`.
    """

    expected: Any
    because: str
    hints: tuple[str, str, str]
    tolerance: float = 1e-3
    variants: Sequence[Numbers] = NOBODYS
    judge: Callable[..., Verdict] | None = None

    def verdict(self, answer: Any, numbers: Numbers) -> Verdict:
        """Whether an answer is right for these numbers, and why it is or what is wrong with it."""
        if self.judge is not None:
            try:
                return self.judge(answer, **numbers)
            except Exception as error:  # a student's answer may be of any kind
                return False, f"which cannot be used ({type(error).__name__}: {error})"
        right = self.expected(**numbers) if callable(self.expected) else self.expected
        fault = wrong(answer, np.asarray(right, dtype=float), self.tolerance)
        return fault is None, fault or self.because.format(**numbers)


def wrong(answer: Any, right: Any, tolerance: float) -> str | None:
    """What is wrong with an answer that should be a number or a list of them, as a clause.

    It says neither "too large" nor "too small", for with either one could bisect.
    """
    given = as_numbers(answer)
    if isinstance(given, str):
        return given
    if given.shape != right.shape:
        return shapes(given, right)
    if not np.isfinite(given).all():
        return "which is not finite"
    off = np.abs(given - right) > tolerance * np.maximum(1.0, np.abs(right))
    if not off.any():
        return None
    return "which is not it" if right.ndim == 0 else f"off in {off.sum()} of {off.size} entries"


def as_numbers(answer: Any) -> Any:
    """An answer as an array, or a clause that says why it is none."""
    if isinstance(answer, str | bytes):
        return "which is text: numbers are asked for, without quotes"
    if isinstance(answer, bool | np.bool_):
        return "which is yes or no: a number is asked for"
    if callable(answer) and not hasattr(answer, "__array__"):
        return "which is a function: call it, and hand in what it returns"
    if hasattr(answer, "detach"):  # a tensor, perhaps with a gradient or on another device
        answer = answer.detach().cpu()
    try:
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return "which is not a number"


def shapes(given: Any, right: Any) -> str:
    """A clause about an answer of the wrong shape."""
    asked = "one number is" if right.ndim == 0 else f"{right.size} numbers in one list are"
    if given.size == right.size == 1:
        return f"an array of shape {given.shape} where {asked} asked for: take its .item()"
    kind = "one number" if given.ndim == 0 else f"an array of shape {given.shape}"
    return f"{kind} where {asked} asked for"


def shown(answer: Any) -> str:
    """An answer as it is quoted back."""
    given = as_numbers(answer)
    if isinstance(given, str):  # a function or a class by its name, without its address
        return getattr(answer, "__name__", repr(answer))[:60]
    return np.array2string(given, precision=6, threshold=8)
