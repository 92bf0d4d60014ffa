"""A LoRA asked for a likelihood on prompts: is it met, what does it cost, and in what time?"""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Any

import numpy as np
import torch

import unlearnlab as ul
from figures.digits import run_all
from figures.scenes import DRAWN, STEPS, tools
from figures.shootout import counted
from unlearnlab.diffusion.pool import _pools, tabulate
from unlearnlab.stable_diffusion.classifier import rates_of

SEEDS = (0, 1)
RETAINED, FORGOTTEN = "a cowboy", "a cowboy with a horse"
LEVEL = 0.65  # of E_q[ℓ]
GATE = {"chains": 96, "chain_steps": 30, "primal_steps": 60, "steps": 900, "batch": 64, "lr": 1e-3}
GOOD = (24, 8)  # levels and noises of the ratios that judge
JUDGED, POOL = 128, 192  # pictures whose ratios are measured so: of a student, and of the pool
PATH = {"samples": 48, "steps": 200}  # of a path KL: fewer steps count too much


@cache
def problem() -> Any:
    """Draw a cowboy without the horse."""
    sd = tools()[0]
    ratio: dict[str, Any] = {"statistic": "ratio", "cap": 2.0}
    return ul.Likelihood(sd.prompt(RETAINED), [sd.prompt(FORGOTTEN)], relative=LEVEL, **ratio)


@cache
def pool() -> tuple[Any, list[Any], Any]:
    """q and q₁ on draws of q with good ratios, made one each; and E_q[ℓ] as it was before."""
    asked = problem()
    draws = asked.retain.sample(POOL, seed=99)
    table = tabulate(asked.retain, asked.compared, draws, densities=False, quality=GOOD)
    on_pool, others = _pools(table)
    return on_pool, others, asked.values(table).mean(0)


def horse_run(seed: int) -> dict[str, Any]:
    """A run, its student by ratios and draws of their own, and what the pool's optimum pays."""
    from diffusers import UNet2DConditionModel

    sd, tell = tools()
    asked, (on_pool, others, base) = problem(), pool()
    start = time.process_time()
    with counted(UNet2DConditionModel) as seen:
        student = sd.lora(rank=8, seed=seed)
        how: dict[str, Any] = {"seed": seed, "sampling_steps": STEPS, "progress": False, **GATE}
        run = ul.finetune(asked, student, method="gate", **how)
    seconds = round(time.process_time() - start, 1)
    latents = run.student.sample(DRAWN, steps=STEPS, seed=3000 + seed)
    rates = rates_of(sd.decode(latents), tell)
    before = rates_of(asked.retain.images(DRAWN, steps=STEPS, seed=3000 + seed), tell)
    found = asked.values_at(latents[:JUDGED], seed=seed, quality=GOOD) / base
    path = run.student.kl(asked.retain, kind="path", seed=5 + seed, **PATH)
    same = asked.on(on_pool, others)
    best = ul.solve(same.with_thresholds(found.mean(0) * same.baseline()))
    return {
        "status": run.status,
        "reason": run.reason,
        "asked": [LEVEL],
        "values": found.mean(0).tolist(),
        "values stderr": (found.std(0) / np.sqrt(len(found))).tolist(),
        "KL": float(path),
        "KL stderr": path.stderr,
        "optimum's KL": float(best.objective),
        "collateral": max(abs(rates[k] - before[k]) for k in rates if k != "horse"),
        "rates": rates,
        "rates before": before,
        "multipliers": run.multipliers.tolist(),
        "rounds": len(run.history["loss"]),
        "seconds": seconds,
        "rows": seen["rows"],
    }


def shootout_horse(key: str) -> dict[str, Any]:
    """The gate, until the likelihood is at most 65 % of q's."""
    torch.set_num_threads(1)
    jobs = {f"the horse, LU {LEVEL:g}, gate, seed {s}": partial(horse_run, s) for s in SEEDS}
    return {"runs": run_all("shootout_horse", key, jobs)}
