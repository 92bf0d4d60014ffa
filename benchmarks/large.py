"""A certified solve at 10⁷ cells, against the dual function written out in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unlearnlab as ul
from benchmarks.solvers import LARGE, MAKE, Row, densities
from benchmarks.timing import seconds

MOST = 4.0  # evaluations of the dual's value and gradient that a solve may cost


def plain(kind: str, q: Any, q1: Any) -> Callable[[], tuple[float, float]]:
    """The dual's value and gradient at one multiplier, as one would write them.

    LU: g = −log E[e^{−λℓ}] − λb and E_p[ℓ] − b. RU, at u = λ/(1 − λ): K(u) = log E[e^{ur}] and its
    slope E_p[r], from which both follow.
    """
    log_q = q.log_masses
    statistic = np.exp(q1.log_density) if kind == "LU" else log_q - q1.log_masses
    strength = -3.0 if kind == "LU" else 0.5

    def evaluate() -> tuple[float, float]:
        exponent = log_q + strength * statistic
        top = exponent.max()
        weights = np.exp(exponent - top)
        total = weights.sum()
        return float(top + np.log(total)), float(weights @ statistic / total)

    return evaluate


def against_plain(kind: str) -> dict[str, Any]:
    """From two densities to the certified solution, in evaluations of the dual."""
    q, q1 = densities(LARGE)
    evaluate = plain(kind, q, q1)
    box: dict[str, Any] = {}

    def ours() -> None:
        box["solution"] = ul.solve(MAKE[kind](q, q1))

    ours(), evaluate()
    times = [(seconds(ours), seconds(evaluate)) for _ in range(7)]
    fast, unit = np.median(times, axis=0)
    return {
        "evaluations": float(fast / unit),
        "steps": box["solution"].steps,
        "ok": box["solution"].certificate.ok,
    }


MEASURES: dict[str, Callable[[], Any]] = {
    f"{kind} at 10^7, evaluations": lambda kind=kind: against_plain(kind) for kind in ("LU", "RU")
}


def rows(got: dict[str, Any]) -> list[Row]:
    """Rows of the table."""
    found = []
    for kind in ("LU", "RU"):
        one = got[f"{kind} at 10^7, evaluations"]
        found.append(
            (
                f"{kind}, 10⁷ cells, in all, against the dual in plain NumPy",
                f"≤ {MOST:g} values and gradients",
                f"{one['evaluations']:.1f}",
                one["evaluations"] <= MOST and one["ok"],
            )
        )
    return found
