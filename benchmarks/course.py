"""What the course asks of the package: combs, trade-off curves, explorers that follow a hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unlearnlab as ul
from benchmarks.solvers import densities, seconds

Row = tuple[str, str, str, bool | None]


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


MEASURES: dict[str, Callable[[], Any]] = {
    "comb": split,
    "tradeoff": lambda: {kind: tradeoff(kind) for kind in ("ReverseKL", "ForwardKL", "Likelihood")},
}


def rows(got: dict[str, Any]) -> list[Row]:
    """Rows of the table."""
    comb, curves = got["comb"], got["tradeoff"]
    return [
        ("lyapunov_split, 20 000 cells, one constraint", "≤ 5 s", f"{comb:.2f} s", comb <= 5),
        (
            "tradeoff, 40 points, five forgotten, 256², RU / FU / LU",
            "≤ 20 s",
            " / ".join(f"{value:.0f}" for value in curves.values()) + " s",
            max(curves.values()) <= 20,
        ),
    ]
