"""Unlearning towards an anchor by several f-divergences: score networks on three Gaussians.

The modes of figure 4: the outer one is forgotten by becoming, there, the middle one. [N], arXiv
2509.21167, reports that squared Hellinger dominates squared error (KL) in what is forgotten and
what is kept.
"""

from __future__ import annotations

from typing import Any

import unlearnlab as ul
from figures.digits import SEEDS
from figures.experiments import MEANS
from figures.networks import measured, mixture, on_grid
from unlearnlab.baselines.fdivergence import fdivergence

RUNS = (  # divergence, steps; of the learned ones, one in five moves the student
    ("kl", 100),
    ("hellinger", 100),
    ("chi2", 100),
    ("kl", 400),
    ("hellinger", 400),
    ("chi2", 400),
    ("js", 2000),
)


def anchors() -> dict[str, Any]:
    """Likelihood left and KL to the kept modes after equal steps of AdamW at rate 10⁻³."""
    schedule = ul.Schedule()
    exact, forget, anchor = (
        mixture(means).diffused(schedule) for means in (list(MEANS), [MEANS[2]], [MEANS[1]])
    )
    net = ul.ScoreNetwork(1, schedule).fit(exact.sample(20_000))
    problem = ul.Likelihood(net, [forget], thresholds=0.01 * on_grid("LU").baseline())
    rows = []
    for name, steps in RUNS:
        for seed in SEEDS[:1] if name == "js" else SEEDS:
            run = fdivergence(
                problem,
                net,
                divergence=name,
                anchor=anchor,
                steps=steps,
                batch=128,
                seed=seed,
                evaluate=False,
            )
            path = float(run.history["objective"][-1])
            rows.append([name, steps, seed, *measured(run.student), path])
    columns = ["divergence", "steps", "seed", "left", "KL to the kept", "KL to q", "path KL"]
    return {"columns": columns, "pretrained": measured(net), "rows": rows}
