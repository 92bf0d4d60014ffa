"""Computes the numbers behind figures/, once per version of the code: `make experiments`.

Each experiment writes figures/results/NAME.json when it is done, so an interrupted run goes on
where it stopped; one whose code has not changed is not run again.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from scipy.optimize import brentq

import unlearnlab as ul
from tools.provenance import ROOT, code_key, provenance, write_json

RESULTS = ROOT / "figures" / "results"
GRID = ul.Grid(low=-8.0, high=8.0, cells=2001)
MEANS, STD = (-3.0, 0.0, 3.0), 0.6


def three_modes(forget: float) -> tuple[ul.GridDensity, ul.GridDensity, ul.GridDensity]:
    """Three equal Gaussians, the one to forget, and the two to keep."""

    def mixture(means: list[float]) -> ul.GridDensity:
        k = len(means)
        return ul.GaussianMixture([1 / k] * k, means, [STD] * k).on(GRID)

    return mixture(list(MEANS)), mixture([forget]), mixture([m for m in MEANS if m != forget])


def figure1() -> dict[str, Any]:
    """The paper's Figure 1: the three targets for three Gaussians, the middle one forgotten."""
    q, q1, kept = three_modes(0.0)
    problems: dict[str, ul.Problem] = {
        "reverse KL": ul.ReverseKL(retain=q, forget=[q1], relative=1.8),
        "forward KL": ul.ForwardKL(retain=q, forget=[q1], relative=4.0),
        "likelihood": ul.Likelihood(retain=q, forget=[q1], relative=0.05),
    }
    x, panels = GRID.axes[0], {}
    for name, problem in problems.items():
        solution = ul.solve(problem)
        p = solution.model.probabilities
        right = x > 1.5
        panels[name] = {
            **solution.to_dict(),
            "mass left at |x| < 1.5": float(p[np.abs(x) < 1.5].sum()),
            "top of the right mode": float(x[right][p[right].argmax()]),
            "KL(p‖kept)": ul.kl(solution.model, kept),
            "density": np.exp(solution.model.log_density).round(6).tolist(),
        }
    return {
        "x": x.round(6).tolist(),
        "retain": np.exp(q.log_density).round(6).tolist(),
        "forget": np.exp(q1.log_density).round(6).tolist(),
        "panels": panels,
    }


def claim() -> dict[str, Any]:
    """Distance to what is kept, at equal unlearning likelihood: LU against the ratio target."""
    q, q1, kept = three_modes(3.0)
    free = ul.Likelihood(retain=q, forget=[q1], relative=1.0)
    ratio = ul.ReverseKL(retain=q, forget=[q1], relative=1.0)
    base = free.baseline()[0]
    shares = np.geomspace(0.01, 0.9, 25)
    rows = []
    for share in shares:
        lu = ul.solve(ul.Likelihood(retain=q, forget=[q1], relative=float(share)))

        def left(lam: float, share: float = share) -> float:
            return float(free.evaluate(ratio.target([lam])).constraints[0] / base - share)

        ru = ratio.target([brentq(left, 1e-9, 0.9)])
        rows.append([float(share), ul.kl(lu.model, kept), ul.kl(ru, kept)])
    return {"columns": ["share left", "LU", "RU"], "rows": rows}


EXPERIMENTS = {"figure1": figure1, "claim": claim}


def main() -> None:
    """Run what is missing or out of date."""
    for name, run in EXPERIMENTS.items():
        path, key = RESULTS / f"{name}.json", code_key("figures/experiments.py")
        if path.exists() and json.loads(path.read_text()).get("key") == key:
            print(f"{name}: up to date")
            continue
        start = time.perf_counter()
        result = run()
        seconds = round(time.perf_counter() - start, 2)
        about = {**provenance("numpy", "scipy"), "seeds": "none: exact", "seconds": seconds}
        write_json(path, {"key": key, "provenance": about, "result": result})
        print(f"{name}: {seconds} s")


if __name__ == "__main__":
    main()
