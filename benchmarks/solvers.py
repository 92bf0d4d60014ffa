"""Rung 1's solver: against CVXPY, memory, scaling, import."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import xlogy

import unlearnlab as ul
from benchmarks.timing import in_turn, seconds

LARGE = 10**7
Row = tuple[str, str, str, bool | None]


def densities(cells: int) -> tuple[ul.GridDensity, ul.GridDensity]:
    grid = ul.Grid(-8.0, 8.0, cells)
    q = ul.GaussianMixture([1 / 3] * 3, [-3, 0, 3], [0.6] * 3).on(grid)
    return q, ul.GaussianMixture([1.0], [0.0], [0.6]).on(grid)


MAKE: dict[str, Callable[..., ul.Problem]] = {
    "LU": lambda q, q1: ul.Likelihood(retain=q, forget=[q1], relative=0.05),
    "RU": lambda q, q1: ul.ReverseKL(retain=q, forget=[q1], relative=1.8),
}


def against_clarabel() -> dict[str, Any]:
    """LU at 10 000 cells, from densities to a certified solution, against CVXPY with Clarabel."""
    import cvxpy as cp  # here alone, so that other benchmarks run without it

    q, q1 = densities(10_000)
    threshold = 0.05 * float(q.probabilities @ np.exp(q1.log_density))
    box: dict[str, Any] = {}

    def ours() -> None:
        box["ours"] = ul.solve(ul.Likelihood(retain=q, forget=[q1], thresholds=[threshold]))

    def theirs() -> None:
        p = cp.Variable(10_000)
        objective = -cp.sum(cp.entr(p)) - q.log_masses @ p
        constraints = [cp.sum(p) == 1, np.exp(q1.log_density) @ p <= threshold]
        program = cp.Problem(cp.Minimize(objective), constraints)
        program.solve(solver=cp.CLARABEL)
        box["theirs"] = p.value

    fast, slow = in_turn(ours, theirs, repeats=5)
    solution, p = box["ours"], np.maximum(box["theirs"], 0)
    value = float((xlogy(p, p) - p * q.log_masses).sum())
    dual = solution.certificate.dual
    return {
        "times faster than CVXPY + Clarabel": slow / fast,
        "our relative gap": abs(solution.certificate.gap),
        "its distance from our dual bound, relative": abs(value - dual) / dual,
    }


def memory(kind: str) -> float:
    """Peak memory of a solve at 10⁷ cells beyond its inputs, in arrays of 10⁷ doubles."""
    q, q1 = densities(LARGE)
    problem = MAKE[kind](q, q1)
    tracemalloc.start()
    ul.solve(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (8 * LARGE)


def scaling(kind: str) -> dict[str, float]:
    """Seconds per cell relative to 10⁷ cells."""
    per_cell = {}
    for exponent in (4, 5, 6, 7):
        q, q1 = densities(10**exponent)
        ul.solve(MAKE[kind](q, q1))
        times = [seconds(lambda q=q, q1=q1: ul.solve(MAKE[kind](q, q1))) for _ in range(5)]
        per_cell[exponent] = float(np.median(times)) / 10**exponent
    return {f"10^{e} cells": value / per_cell[7] for e, value in per_cell.items()}


def import_time() -> float:
    """Seconds that `import unlearnlab` adds to a Python start."""

    def start(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    times = [(start("import unlearnlab"), start("pass")) for _ in range(7)]
    loaded, empty = np.median(times, axis=0)
    return float(loaded - empty)


def contact() -> dict[str, float]:
    """FU in contact at 2001 cells, milliseconds: cold, and from the solution at 99 % of b."""
    q, _ = densities(2001)
    q1 = ul.GaussianMixture([1.0], [0.5], [1.5]).on(q.grid)
    problem = ul.ForwardKL(retain=q, forget=[q1], relative=4.0)
    near = ul.solve(problem.with_thresholds(0.99 * problem.thresholds))
    cold, warm = in_turn(lambda: ul.solve(problem), lambda: ul.solve(problem, near=near), repeats=9)
    return {"cold": 1e3 * cold, "warm": 1e3 * warm}


MEASURES: dict[str, Callable[[], Any]] = {
    "import": import_time,
    "clarabel": against_clarabel,
    "LU memory": lambda: memory("LU"),
    "RU memory": lambda: memory("RU"),
    "LU scaling": lambda: scaling("LU"),
    "RU scaling": lambda: scaling("RU"),
    "FU contact": contact,
}


def rows(got: dict[str, Any]) -> list[Row]:
    """Rows of the table."""
    faster = got["clarabel"]["times faster than CVXPY + Clarabel"]
    theirs = got["clarabel"]["its distance from our dual bound, relative"]
    ours = got["clarabel"]["our relative gap"]
    found: list[Row] = [
        (
            "LU, 10⁴ cells, against CVXPY + Clarabel",
            "≥ 300 × faster",
            f"{faster:.0f} ×",
            faster >= 300,
        ),
        (
            "… relative gap, ours and its",
            "ours smaller",
            f"{ours:.0e}, {theirs:.0e}",
            ours < theirs,
        ),
    ]
    for kind in ("LU", "RU"):
        arrays = got[f"{kind} memory"]
        growth = got[f"{kind} scaling"]
        shown = " / ".join(f"{growth[f'10^{e} cells']:.2f}" for e in (4, 5, 6))
        found += [
            (f"{kind}, 10⁷ cells, memory", "≤ 8 arrays of 10⁷", f"{arrays:.1f}", arrays <= 8),
            (
                f"{kind}, seconds per cell at 10⁴ / 10⁵ / 10⁶, relative to 10⁷",
                "no growth with size",
                shown,
                min(growth.values()) >= 0.5,
            ),
        ]
    loading, edge = got["import"], got["FU contact"]
    return [
        *found,
        ("import unlearnlab", "≤ 0.3 s", f"{loading:.2f} s", loading <= 0.3),
        (
            "FU in contact, 2001 cells, cold / from a solution nearby",
            "",
            f"{edge['cold']:.0f} / {edge['warm']:.0f} ms",
            None,
        ),
    ]
