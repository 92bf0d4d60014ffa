"""The paper's Figure 4 on score networks: what training adds to the exact curves of the grid.

Three equal Gaussians, the outer one forgotten. LU and RU are asked for thresholds until their
students meet them; the paper's baseline is the reverse-KL Lagrangian at fixed multipliers
(Algorithm D.1 with dual steps of 0), one stack of students for all multipliers and seeds.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import torch

import unlearnlab as ul
from figures.digits import SEEDS, run_all
from figures.experiments import MEANS, STD, three_modes
from unlearnlab.diffusion import sampling

LEVELS = np.geomspace(0.02, 0.8, 6)  # of the pretrained likelihood, asked of LU
FIXED = np.geomspace(0.004, 0.35, 6)  # multipliers: RU is asked for what their targets have
SAMPLES = 4096
HOW: dict[str, Any] = {"batch": 128, "progress": False}


def mixture(means: list[float]) -> ul.GaussianMixture:
    """Equal Gaussians at `means`."""
    return ul.GaussianMixture([1 / len(means)] * len(means), means, [STD] * len(means))


@cache
def diffused() -> tuple[Any, Any]:
    """q and the outer mode, noised exactly: what problems on networks read."""
    return mixture(list(MEANS)).diffused(), mixture([MEANS[2]]).diffused()


@cache
def pretrained() -> Any:
    """A network trained on draws of q: where students start."""
    torch.set_num_threads(1)
    q = diffused()[0]
    return ul.ScoreNetwork(1, q.schedule, width=64).fit(q.sample(20_000))


@cache
def on_grid(kind: str) -> Any:
    """The problem whose optimum is exact."""
    q, q1, _ = three_modes(MEANS[2])
    return {"LU": ul.Likelihood, "RU": ul.ReverseKL}[kind](q, [q1], relative=1.0)


def asked_run(kind: str, level: float, seed: int) -> dict[str, Any]:
    """A student that is trained until it meets a threshold.

    Args:
        level: LU's share of the likelihood; for RU the multiplier whose target sets the threshold.
    """
    exact, net = on_grid(kind), pretrained()
    if kind == "LU":
        b, start = level * exact.baseline(), None
    else:
        b, start = exact.evaluate(exact.target([level])).constraints, [level]
    q, outer = diffused()
    problem = type(exact)(q, [outer], thresholds=b)
    run = ul.finetune(problem, net, until="met", multipliers=start, seed=seed, **HOW)
    values = run.evaluation.constraints
    return {
        "point": measured(run.student),
        "status": run.status,
        "asked": list(map(float, b)),
        "values": values.tolist(),
        "optimum's KL": float(ul.solve(exact.with_thresholds(values)).objective),  # for them
        "multipliers": run.multipliers.tolist(),
        "readings": len(run.history["loss"]),
    }


def fixed_runs() -> dict[str, Any]:
    """The paper's baseline, level by level and seed by seed."""
    net, seeds, (q, outer) = pretrained(), [seed for seed in SEEDS for _ in FIXED], diffused()
    weighted = [ul.ReverseKL(q, [outer], thresholds=[1.0]) for _ in seeds]
    multipliers = np.tile(FIXED, len(SEEDS))[:, None]
    how = {**HOW, "dual_lr": 0, "evaluate": False}
    runs = ul.finetune(weighted, net.stack(len(seeds)), multipliers=multipliers, seed=seeds, **how)
    return {"points": [measured(run.student) for run in runs]}


def figure4(key: str) -> dict[str, Any]:
    """KL to the retained modes against the likelihood left, for trained students."""
    levels = {"LU": LEVELS.tolist(), "RU": FIXED.tolist()}
    jobs: dict[str, Any] = {
        f"{kind} {level:.4f} seed {seed}": partial(asked_run, kind, level, seed)
        for kind, some in levels.items()
        for level in some
        for seed in SEEDS
    }
    runs = run_all("figure4", key, {**jobs, "fixed": fixed_runs})
    fixed = np.array(runs.pop("fixed")["points"]).reshape(len(SEEDS), len(FIXED), -1)
    q, outer = diffused()
    composed = [ul.ComposedModel(q, [outer], [lam / (1 - lam)]) for lam in FIXED]
    return {
        "pretrained": {"KL(q‖network)": ul.kl(q, pretrained()).value},
        "levels": levels,
        "runs": runs,
        "fixed": fixed.transpose(1, 0, 2).tolist(),
        "composed": [measured(model) for model in composed],
        "exact": curves(),
    }


def measured(model: Any) -> list[float]:
    """[likelihood left, KL to the retained modes, KL to q], of the model's own DDIM samples.

    Their density is exact.
    """
    q, forget, kept = (
        mixture(means).diffused(model.schedule)
        for means in (list(MEANS), [MEANS[2]], list(MEANS[:2]))
    )
    x, log_p = sampling.with_log_density(model, SAMPLES, steps=100, seed=99)
    left = forget.log_density(x).exp().mean() / on_grid("LU").baseline()[0]
    return [float(left), *(float((log_p - one.log_density(x)).mean()) for one in (kept, q))]


def curves() -> dict[str, list[list[float]]]:
    """The same three numbers of the exact targets."""
    q, q1, kept = three_modes(MEANS[2])
    free, ratio = on_grid("LU"), on_grid("RU")

    def row(p: Any) -> list[float]:
        left = float(free.evaluate(p).constraints[0] / free.baseline()[0])
        return [left, float(ul.kl(p, kept)), float(ul.kl(p, q))]

    shares = np.geomspace(0.01, 0.95, 40)
    return {
        "LU": [row(ul.solve(ul.Likelihood(q, [q1], relative=float(s))).model) for s in shares],
        "RU": [row(ratio.target([lam])) for lam in np.geomspace(0.002, 0.5, 40)],
    }
