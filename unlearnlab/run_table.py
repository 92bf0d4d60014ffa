"""What a run was asked for and what became of it, as numbers and as a short table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .problems import Evaluation, Problem
from .training.run import slack


def constraints_of(problem: Problem, found: Evaluation) -> dict[str, Any]:
    """What was asked of each constraint, its value before and after, and whether it is met.

    Args:
        found: the student on draws that judge alone.
    """
    signs = ["≥" if sense > 0 else "≤" for sense in problem.senses]
    asked = zip(problem.names, signs, problem.thresholds, strict=True)
    return {
        "asked": [f"{name} {sign} {value:.4g}" for name, sign, value in asked],
        "constraints before": problem.baseline().tolist(),
        "constraints after": found.constraints.tolist(),
        "met": (problem.shortfalls(found.constraints) <= slack(problem, found)).tolist(),
    }


def aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell; numbers by four digits."""
    text = [[f"{x:.4g}" if isinstance(x, float) else x for x in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in text
    ]
