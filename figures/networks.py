"""The paper's Figure 4 on score networks: what training adds to the exact curves of the grid.

Three equal Gaussians, the outer one forgotten. Each curve is trained as one stack of students, all
levels and seeds side by side: constrained LU by policy gradient (Algorithm D.3), and the reverse-KL
Lagrangian at fixed multipliers (Algorithm D.1 with dual steps of 0), the paper's baseline.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import unlearnlab as ul
from figures.experiments import MEANS, STD, three_modes
from unlearnlab.diffusion import sampling

LEVELS = np.geomspace(0.02, 0.8, 12)  # of the pretrained likelihood, asked of LU
FIXED = np.geomspace(0.004, 0.35, 12)  # multipliers of the baseline
SEEDS = (0, 1, 2)
SAMPLES = 4096


def mixture(means: list[float]) -> ul.GaussianMixture:
    """Equal Gaussians at `means`."""
    return ul.GaussianMixture([1 / len(means)] * len(means), means, [STD] * len(means))


def figure4() -> dict[str, Any]:
    """KL to the retained modes against the likelihood left, for trained students."""
    schedule = ul.Schedule()
    exact, forget = mixture(list(MEANS)).diffused(schedule), mixture([MEANS[2]]).diffused(schedule)
    net = ul.ScoreNetwork(1, schedule).fit(exact.sample(20_000))
    grid = three_modes(MEANS[2])
    base = float(ul.Likelihood(*_pair(grid), relative=1.0).baseline()[0])
    seeds = [seed for seed in SEEDS for _ in LEVELS]
    constrained = [
        ul.Likelihood(net, [forget], thresholds=[level * base]) for _ in SEEDS for level in LEVELS
    ]
    starts = [ul.solve(ul.Likelihood(*_pair(grid), relative=level)).multipliers for level in LEVELS]
    lu = ul.finetune(
        constrained,
        net.stack(len(constrained)),
        multipliers=np.array(starts * len(SEEDS)),
        seed=seeds,
        batch=128,
        lr=3e-3,
        steps=250,
        evaluate=False,
    )
    weighted = [ul.ReverseKL(net, [forget], thresholds=[1.0]) for _ in seeds]
    ru = ul.finetune(
        weighted,
        net.stack(len(weighted)),
        multipliers=np.array(list(FIXED) * len(SEEDS))[:, None],
        seed=seeds,
        batch=128,
        dual_lr=0,
        evaluate=False,
    )
    composed = [ul.ComposedModel(net, [forget], [lam / (1 - lam)]) for lam in FIXED]
    return {
        "pretrained": {"KL(q‖network)": ul.kl(exact, net).value},
        "LU": [[float(level), *_points(lu, k, base)] for k, level in enumerate(LEVELS)],
        "RU": [[float(lam), *_points(ru, k, base)] for k, lam in enumerate(FIXED)],
        "composed": [_measure(model, base) for model in composed],
        "LU statuses": [run.status for run in lu],
        "exact": _exact(grid, base),
    }


def _pair(grid: Any) -> tuple[Any, list[Any]]:
    return grid[0], [grid[1]]


def _points(runs: list[ul.Run], k: int, base: float) -> list[list[float]]:
    """[likelihood left, KL to the retained modes, KL to q] of one level, for each seed."""
    return [_measure(runs[s * len(LEVELS) + k].student, base) for s in range(len(SEEDS))]


def _measure(model: Any, base: float) -> list[float]:
    """From the exact density of the model's own DDIM samples."""
    exact, forget, kept = (
        mixture(means).diffused(model.schedule)
        for means in (list(MEANS), [MEANS[2]], list(MEANS[:2]))
    )
    x, log_p = sampling.with_log_density(model, SAMPLES, steps=100, seed=99)
    left = forget.log_density(x).exp().mean() / base
    to_kept = (log_p - kept.log_density(x)).mean()
    to_q = (log_p - exact.log_density(x)).mean()
    return [float(left), float(to_kept), float(to_q)]


def _exact(grid: Any, base: float) -> dict[str, list[list[float]]]:
    """The same three numbers of the exact targets."""
    q, q1, kept = grid
    ratio = ul.ReverseKL(q, [q1], relative=1.0)
    free = ul.Likelihood(q, [q1], relative=1.0)

    def row(p: Any) -> list[float]:
        left = float(free.evaluate(p).constraints[0]) / base
        return [left, float(ul.kl(p, kept)), float(ul.kl(p, q))]

    shares = np.geomspace(0.01, 0.95, 40)
    return {
        "LU": [row(ul.solve(ul.Likelihood(q, [q1], relative=float(s))).model) for s in shares],
        "RU": [row(ratio.target([lam])) for lam in np.geomspace(0.002, 0.5, 40)],
    }
