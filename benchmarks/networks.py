"""Rung 2: one stack of students against one after the other; times of the usual runs."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import unlearnlab as ul

MEANS, STD = [-3.0, 0.0, 3.0], 0.6
MEMBERS, STEPS = 12, 40


def models() -> tuple[Any, Any]:
    """Three Gaussians, and the outer one to forget."""
    mixture = ul.GaussianMixture([1 / 3] * 3, MEANS, [STD] * 3)
    return mixture.diffused(), ul.GaussianMixture([1.0], [3.0], [STD]).diffused()


def stacking() -> dict[str, float]:
    """Time of K runs one after the other over that of their stack, and how far they differ."""
    q, q1 = models()
    net = ul.ScoreNetwork(1)
    problems = [
        ul.ReverseKL(q, [q1], thresholds=[b]) for b in np.linspace(6.0, 12.0, MEMBERS).tolist()
    ]
    options = {"steps": STEPS, "batch": 64, "evaluate": False}
    ratios, worst = [], 0.0
    for _ in range(3):
        start = time.perf_counter()
        together = ul.finetune(problems, net.stack(MEMBERS), **options)
        between = time.perf_counter()
        alone = [ul.finetune(problem, net, **options) for problem in problems]
        ratios.append((time.perf_counter() - between) / (between - start))
        for one, other in zip(together, alone, strict=True):
            for p, r in zip(one.student.parameters(), other.student.parameters(), strict=True):
                worst = max(worst, float((p - r).abs().max()))
    return {"times faster": statistics.median(ratios), "largest difference": worst}


def training() -> dict[str, float]:
    """Seconds, and KL of the pretrained network to the truth."""
    q, q1 = models()
    start = time.perf_counter()
    net = ul.ScoreNetwork(1).fit(q.sample(20_000))
    found = {"fit": time.perf_counter() - start, "KL to the truth": float(ul.kl(q, net))}
    wide = ul.GaussianMixture([1.0], [2.0], [1.5]).diffused()
    runs = {
        "RU primal-dual": (ul.ReverseKL(q, [wide], relative=1.5), "primal-dual"),
        "FU primal-dual": (ul.ForwardKL(q, [q1], thresholds=[2.5]), "primal-dual"),
        "LU primal-dual": (ul.Likelihood(q, [q1], relative=0.2), "primal-dual"),
        "LU tilt": (ul.Likelihood(q, [q1], relative=0.2), "tilt"),
        # Likelihoods and log-ratios of networks are integrals over noise levels, by Lemma 2.
        **{
            f"LU {method} of a network": (ul.Likelihood(net, [q1], relative=0.2), method)
            for method in ("primal-dual", "tilt")
        },
    }
    for name, (problem, method) in runs.items():
        start = time.perf_counter()
        run = ul.finetune(problem, net, method=method)
        found[name] = time.perf_counter() - start
        found[f"{name} status"] = run.status
    return found


MEASURES = {"stacking": stacking, "training": training}


def rows(got: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """Lines of the table."""
    stack, train = got["stacking"], got["training"]
    faster, apart = stack["times faster"], stack["largest difference"]
    fit, divergence = train["fit"], train["KL to the truth"]
    lines: list[tuple[str, str, str, bool | None]] = [
        (
            f"{MEMBERS} students in a stack against one after the other",
            "≥ 3 × faster",
            f"{faster:.1f} ×",
            faster >= 3,
        ),
        ("… largest difference of a weight", "rounding", f"{apart:.0e}", apart < 1e-5),
        (
            "three-Gaussian score network, KL to the truth",
            "≤ 0.02 nats in 60 s",
            f"{divergence:.4f} in {fit:.0f} s",
            divergence <= 0.02 and fit <= 60,
        ),
    ]
    for name in ("RU primal-dual", "FU primal-dual", "LU primal-dual", "LU tilt"):
        lines.append((f"{name}, evaluated", "≤ 60 s", f"{train[name]:.0f} s", train[name] <= 60))
    for name in ("LU primal-dual of a network", "LU tilt of a network"):
        lines.append((f"{name}, evaluated", "", f"{train[name]:.0f} s", None))
    return lines
