"""What the course asks of the package: combs, trade-off curves, explorers that follow a hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unlearnlab as ul
from benchmarks.solvers import Row, densities
from benchmarks.timing import seconds


def split() -> float:
    """Seconds of `lyapunov_split` on 20 000 cells with one constraint."""
    q, q1 = densities(20_000)
    problem = ul.ReverseKL(retain=q, forget=[q1], relative=1.3)
    ((p, other),) = ul.boundary_pairs(problem, 1)
    return float(
        np.median([seconds(lambda: ul.lyapunov_split(p, other, 0.3, problem)) for _ in range(5)])
    )


def tradeoff(kind: str) -> float:
    """Seconds of a 40-point curve with five forget distributions on 256 × 256 cells, two jobs."""
    grid = ul.Grid((-6.5, -6.5), (6.5, 6.5), (256, 256))
    means = [[0, 0], [2.5, 0], [-2.5, 0.5], [0, 2.5], [0.5, -2.5], [2.5, 2.5]]
    q = ul.GaussianMixture([0.3, 0.2, 0.15, 0.15, 0.1, 0.1], means, [0.7] * 6).on(grid)
    forget = [
        ul.GaussianMixture([1.0], [mean], [width]).on(grid)
        for mean, width in zip(means[1:], (0.7, 0.8, 0.9, 0.7, 1.0), strict=True)
    ]
    levels = np.geomspace(0.9, 0.05, 40) if kind == "Likelihood" else np.linspace(1.05, 2.5, 40)
    problem = getattr(ul, kind)(retain=q, forget=forget, relative=1.0)
    return seconds(lambda: ul.tradeoff(problem, levels, jobs=2))


def follow(control: Any, values: list[float]) -> float:
    """Median milliseconds from a change of the control to the picture of it."""

    def drag(value: float) -> None:
        control.value = value

    control.value = values[-1]
    return 1e3 * float(np.median([seconds(lambda v=v: drag(v)) for v in values]))


def explorers() -> dict[str, dict[str, float]]:
    """Milliseconds to solve from the solution beside it, and to redraw, at 2001 cells."""
    q, q1 = densities(2001)
    explorer = ul.widgets.ThresholdExplorer(q, [q1])
    problems = {
        "RU": (ul.ReverseKL, np.linspace(1.2, 2.8, 30)),
        "FU": (ul.ForwardKL, np.linspace(1.2, 20, 30)),
        "LU": (ul.Likelihood, np.geomspace(0.9, 0.02, 30)),
    }
    found = {}
    for name, (kind, levels) in problems.items():
        problem = kind(retain=q, forget=[q1], relative=1.0)
        near, times = ul.solve(problem), []
        for level in levels:
            asked = problem.with_thresholds(level * problem.baseline())
            times.append(seconds(lambda asked=asked, near=near: ul.solve(asked, near=near)))
            near = ul.solve(asked, near=near)
        explorer.kind.value = name
        redraw = follow(explorer.slider, levels.tolist())
        found[name] = {"solve": 1e3 * float(np.median(times)), "redraw": redraw}
    problem = ul.ReverseKL(retain=q, forget=[q1], relative=1.3)
    ((p, other),) = ul.boundary_pairs(problem, 1)
    shares = np.linspace(0.1, 0.9, 30)
    times = [seconds(lambda s=s: ul.lyapunov_split(p, other, s, problem)) for s in shares]
    comb = ul.widgets.CombExplorer(p, other, problem)
    redraw = follow(comb.slider, shares.round(2).tolist())
    return found | {"comb": {"solve": 1e3 * float(np.median(times)), "redraw": redraw}}


MEASURES: dict[str, Callable[[], Any]] = {
    "comb": split,
    "explorers": explorers,
    "tradeoff": lambda: {kind: tradeoff(kind) for kind in ("ReverseKL", "ForwardKL", "Likelihood")},
}


def rows(got: dict[str, Any]) -> list[Row]:
    """Rows of the table."""
    comb, curves, drags = got["comb"], got["tradeoff"], got["explorers"]
    steps = [
        (
            f"explorer, 2001 cells, {step}, RU / FU / LU / comb",
            f"≤ {aim} ms",
            " / ".join(f"{drag[step]:.0f}" for drag in drags.values()) + " ms",
            max(drag[step] for drag in drags.values()) <= aim,
        )
        for step, aim in (("solve", 10), ("redraw", 300))
    ]
    return [
        *steps,
        ("lyapunov_split, 20 000 cells, one constraint", "≤ 5 s", f"{comb:.2f} s", comb <= 5),
        (
            "tradeoff, 40 points, five forgotten, 256², RU / FU / LU",
            "≤ 20 s",
            " / ".join(f"{value:.0f}" for value in curves.values()) + " s",
            max(curves.values()) <= 20,
        ),
    ]
