"""Exercises that answer: `check` compares a student's number with the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def check(
    answer: Any,
    expected: Any,
    *,
    tolerance: float = 1e-3,
    hint: str = "",
    name: str = "your answer",
) -> bool:
    """Print whether an answer is right, and if it is not, how far off and where to look.

    Args:
        answer: what the student has; None or `...` while the exercise is still open.
        expected: the right answer, or a function that tells right from wrong.
        tolerance: largest difference that counts as right, relative to max(1, |expected|).
        hint: printed with a wrong answer.
        name: what to call the answer.

    Returns:
        True when the answer is right.

    Example:
        >>> from unlearnlab.teaching import check
        >>> check(0.5, 0.5)
        Right.
        True
        >>> check(0.4, 0.5, hint="λ* = 1 − |μ|/√(2b)")
        Not yet: your answer is 0.4, too small. Hint: λ* = 1 − |μ|/√(2b)
        False
    """
    if answer is None or answer is ...:
        print(f"Still open: put {name} in place of the dots.")
        return False
    reason = _wrong(answer, expected, tolerance)
    if reason is None:
        print("Right.")
        return True
    print(f"Not yet: {name} is {_show(answer)}, {reason}." + (f" Hint: {hint}" if hint else ""))
    return False


def _wrong(answer: Any, expected: Any, tolerance: float) -> str | None:
    if callable(expected):
        test: Callable[[Any], bool] = expected
        try:
            return None if test(answer) else "which does not do it"
        except Exception as error:  # a student's answer may be of any kind
            return f"which cannot be used ({error})"
    if isinstance(expected, str):
        return None if str(answer).strip().lower() == expected.lower() else "which is not it"
    try:
        given, right = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return "which is not a number"
    if given.shape != right.shape:
        return f"of shape {given.shape}; expected shape {right.shape}"
    if not np.isfinite(given).all():
        return "which is not finite"
    off = np.abs(given - right) > tolerance * np.maximum(1.0, np.abs(right))
    if not off.any():
        return None
    if given.ndim == 0:
        return "too small" if given < right else "too large"
    return f"off in {int(off.sum())} of {off.size} entries"


def _show(answer: Any) -> str:
    if isinstance(answer, str):
        return repr(answer)
    try:
        return np.array2string(np.asarray(answer, dtype=float), precision=6, threshold=8)
    except (TypeError, ValueError):
        return repr(answer)[:60]
