"""Methods asked for likelihoods on digits and on prompts: are they met, and at what price?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch

import unlearnlab as ul
from figures.digit_classes import FORGOTTEN, setting
from figures.digits import SAMPLER, run_all
from figures.digits import tools as digit_tools
from figures.scenes import DRAWN, STEPS, tools
from figures.shootout import counted
from unlearnlab import baselines, metrics
from unlearnlab.diffusion.pool import _pools, tabulate
from unlearnlab.stable_diffusion.classifier import rates_of

SEEDS = (0, 1, 2)
GOOD = (24, 8)  # levels and noises of the ratios that judge
JUDGED, POOL = 128, 192  # images whose ratios are measured so: of a student, and of the pool
PATH = {"samples": 48, "steps": 200}  # of a path KL: fewer steps count too much
RETAINED, HORSE = "a cowboy", "a cowboy with a horse"
THREE = (HORSE, "a cowboy with a cactus", "a cowboy at night")
Run = dict[str, Any]


class Task(NamedTuple):
    """Likelihoods to bring down.

    Attributes:
        problem: from a multiple of the value at q.
        student: from a seed.
        drawn: of a student and a seed: draws, and what else moved.
        how: settings of a run.
    """

    problem: Callable[[float], Any]
    student: Callable[[int], Any]
    drawn: Callable[[Any, int], tuple[torch.Tensor, float]]
    how: dict[str, Any]


def digits() -> Task:
    """Draw digits without a 4."""
    asked = setting("unconditional")
    net, concept = asked.likelihood.retain, asked.reverse.forget[0]
    net.effort = net.effort._replace(draws=128)  # of a reading, and four times as many at its end
    classifier, descriptor, _, held_out = digit_tools()
    rest = held_out.without(FORGOTTEN).images

    def problem(level: float) -> Any:
        ratio = {"statistic": "ratio", "temperature": 4.0}
        return ul.Likelihood(net, [concept], relative=level, **ratio)

    def drawn(student: Any, seed: int) -> tuple[torch.Tensor, float]:
        images = student.sample(300, seed=3000 + seed, **SAMPLER)
        kept = images[metrics.features(images, classifier).argmax(1) != FORGOTTEN]
        size = min(120, len(kept))
        away = metrics.kernel_distance(kept, rest, descriptor, subset=size, seed=seed)
        return images, float(away)

    return Task(problem, lambda seed: net, drawn, {"lr": 3e-4})


def scenes(forgotten: tuple[str, ...], named: tuple[str, ...]) -> Task:
    """Draw a cowboy without what is named."""
    sd, tell = tools()
    q, others = sd.prompt(RETAINED), [sd.prompt(text) for text in forgotten]

    def problem(level: float) -> Any:
        return ul.Likelihood(q, others, relative=level, statistic="ratio", cap=2.0)

    def drawn(student: Any, seed: int) -> tuple[torch.Tensor, float]:
        latents = student.sample(DRAWN, steps=STEPS, seed=3000 + seed)
        rates = rates_of(sd.decode(latents), tell)
        before = rates_of(q.images(DRAWN, steps=STEPS, seed=3000 + seed), tell)
        return latents, max(abs(rates[name] - before[name]) for name in rates if name not in named)

    return Task(problem, lambda seed: sd.lora(rank=8, seed=seed), drawn, {"lr": 1e-3})


@cache
def task(name: str) -> Task:
    """One of them."""
    torch.set_num_threads(1)
    known = {
        "digits": digits,
        "the horse": lambda: scenes((HORSE,), ("horse",)),
        "three concepts": lambda: scenes(THREE, ("horse", "cactus", "night")),
    }
    return known[name]()


@cache
def pool_of(name: str) -> Any:
    """q and the q_i on POOL draws of q with good ratios, and each constraint's value at q."""
    asked = task(name).problem(0.5)
    q = asked.retain
    draws = q.sample(POOL, seed=99)
    table = tabulate(q, asked.compared, draws, densities=False, quality=GOOD)
    on_pool, others = _pools(table)
    return on_pool, others, asked.on(on_pool, others).baseline()


def trained(method: str, problem: Any, student: Any, how: dict[str, Any]) -> Any:
    """The run of a method."""
    how = {**how, "batch": 64, "progress": False, "sampling_steps": 20}
    match method:
        case "gate":
            stored = {"chains": 96, "chain_steps": 30, "primal_steps": 60, "steps": 900}
            return ul.finetune(problem, student, method="gate", **how, **stored)
        case "ESD":
            how |= {"primal_steps": 25, "steps": 300, "until": "met", "batch": 32}
            return baselines.esd(problem, student, **how)
        case "gate, then log-variance":
            first = trained("gate", problem, student, how)
            how |= {"batch": 16, "primal_steps": 20, "steps": 100, "evaluate": False}
            how |= {"method": "log-variance", "multipliers": first.multipliers}
            return ul.finetune(problem, first.student, **how)
    raise ValueError(f"method {method!r} is unknown")


def one_run(name: str, method: str, level: float, seed: int) -> Run:
    """A run, its student by ratios and draws of their own, and what the pool's optimum pays."""
    from diffusers import UNet2DConditionModel, UNet2DModel

    asked = task(name)
    problem, (on_pool, others, base) = asked.problem(level), pool_of(name)
    start = time.process_time()
    with counted(UNet2DModel, UNet2DConditionModel) as seen:
        run = trained(method, problem, asked.student(seed), {**asked.how, "seed": seed})
    seconds = round(time.process_time() - start, 1)
    draws, collateral = asked.drawn(run.student, seed)
    found = problem.values_at(draws[:JUDGED], seed=seed, quality=GOOD) / base
    values = found.mean(0)
    path = run.student.kl(problem.retain, kind="path", seed=5 + seed, **PATH)
    best = ul.solve(problem.on(on_pool, others).with_thresholds(values * base))
    return {
        "status": run.status,
        "reason": run.reason,
        "asked": [level] * problem.m,
        "values": values.tolist(),
        "values stderr": (found.std(0) / np.sqrt(len(found))).tolist(),
        "KL": float(path),
        "KL stderr": path.stderr,
        "optimum's KL": float(best.objective),
        "collateral": collateral,
        "multipliers": run.multipliers.tolist(),
        "rounds": len(run.history["loss"]),
        "seconds": seconds,
        "rows": seen["rows"],
    }


ASKED = {"the horse": 0.65, "digits": 0.3, "three concepts": 0.75}
METHODS = {
    "the horse": ("gate", "ESD", "gate, then log-variance"),
    "digits": ("gate", "ESD"),
    "three concepts": ("gate",),
}


def shootout_images(key: str) -> dict[str, Any]:
    """A threshold for each task; values are multiples of q's."""
    jobs = {
        f"{name}, LU {level:g}, {method}, seed {seed}": partial(one_run, name, method, level, seed)
        for name, level in ASKED.items()
        for seed in SEEDS
        for method in METHODS[name]
    }
    return {"runs": run_all("shootout_images", key, jobs)}
