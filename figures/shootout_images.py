"""Digits and prompts asked for thresholds: are they met, what do they cost, and in what time?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import rel_entr

import unlearnlab as ul
from figures.concepts import CONCEPTS, RETAINED
from figures.digit_classes import FORGOTTEN, setting
from figures.digits import run_all
from figures.digits import tools as digit_tools
from figures.scenes import STEPS, tools
from unlearnlab import baselines, metrics
from unlearnlab.benchmark.cost import counted
from unlearnlab.diffusion.pool import _pools, tabulate
from unlearnlab.estimate import stderr

SEEDS = (0, 1, 2)
FARTHER = 1.3  # times q's own divergence: of RU and FU
GOOD = (24, 8)  # levels and noises of the ratios that judge
JUDGED, POOL = 128, 192  # pictures that judge: of a student, and of the pool
NETWORKS = ("UNet2DModel", "UNet2DConditionModel")  # whose rows are counted
DRAWN = 200  # pictures that a classifier names
PATH = {"samples": 48, "steps": 200}  # of a path KL: fewer steps count too much
GATE = {"chains": 96, "chain_steps": 30, "primal_steps": 60, "steps": 900, "batch": 64}
CHAINS = {"primal_steps": 30, "steps": 240, "batch": 16}  # eight readings, a quarter of an hour
ERASING = {"primal_steps": 60, "steps": 900, "batch": 32}
Run = dict[str, Any]
Rates = dict[str, float]


class Task(NamedTuple):
    """A threshold to keep, or several.

    Attributes:
        problem: what is asked for.
        levels: thresholds, as multiples of q's own values.
        student: from a seed.
        rates: of draws, how often a classifier finds what.
        named: what is to go, as the classifier calls it; all other rates are collateral.
        how: settings of a run.
    """

    problem: Any
    levels: list[float]
    student: Callable[[int], Any]
    rates: Callable[[torch.Tensor], Rates]
    named: tuple[str, ...]
    how: dict[str, Any]


def stated(kind: str, q: Any, others: list[Any], level: float, **ratio: Any) -> tuple[Any, float]:
    """Likelihoods down to `level` times q's own, or divergences to `FARTHER` times; and which."""
    if kind == "LU":
        return ul.Likelihood(q, others, relative=level, statistic="ratio", **ratio), level
    return {"RU": ul.ReverseKL, "FU": ul.ForwardKL}[kind](q, others, relative=FARTHER), FARTHER


def digits(kind: str) -> Task:
    """Draw digits without a 4."""
    asked, classifier = setting("unconditional"), digit_tools()[0]
    net, fours = asked.likelihood.retain, list(asked.likelihood.forget)
    problem, level = stated(kind, net, fours, 0.3, temperature=4.0)

    def rates(images: torch.Tensor) -> Rates:
        found = metrics.features(images, classifier).argmax(1)
        return {str(digit): float((found == digit).float().mean()) for digit in range(10)}

    how = {"lr": 3e-4, "sampling_steps": 20}
    return Task(problem, [level], lambda seed: net, rates, (str(FORGOTTEN),), how)


def scenes(kind: str, named: list[str], level: float) -> Task:
    """Draw a cowboy without what is named."""
    sd, tell = tools()
    q, others = sd.prompt(RETAINED), [sd.prompt(CONCEPTS[name]) for name in named]
    problem, level = stated(kind, q, others, level, cap=2.0)

    def rates(latents: torch.Tensor) -> Rates:
        from unlearnlab.stable_diffusion.classifier import rates_of

        return rates_of(sd.decode(latents), tell)

    levels, how = [level] * len(others), {"lr": 1e-3, "sampling_steps": STEPS}
    return Task(problem, levels, lambda seed: sd.lora(rank=8, seed=seed), rates, tuple(named), how)


@cache
def task(name: str, kind: str) -> Task:
    """One of them."""
    torch.set_num_threads(1)
    known = {
        "digits": lambda: digits(kind),
        "the horse": lambda: scenes(kind, ["horse"], 0.65),
        "three concepts": lambda: scenes(kind, list(CONCEPTS), 0.8),
    }
    return known[name]()


@cache
def pool_of(name: str, kind: str) -> tuple[Any, list[Any], Any]:
    """q and the q_i on draws of q with good ratios, made one each; and q's own values as before."""
    asked = task(name, kind).problem
    draws = asked.retain.sample(POOL, seed=99)
    table = tabulate(asked.retain, asked.compared, draws, densities=False, quality=GOOD)
    on_pool, others = _pools(table)
    if kind == "LU":
        return on_pool, others, asked.values(table).mean(0)
    return on_pool, others, np.array(list(map(float, asked.measured(asked.retain, samples=512))))


def by_counting(before: Rates, after: Rates, named: tuple[str, ...]) -> float:
    """The least KL in nats of any model that shows each of these as often: of its rate alone.

    Whether a picture shows a horse is a function of it, and no function adds to KL.
    """

    def kl(name: str) -> float:
        p, q = (np.array([rate[name], 1 - rate[name]]) for rate in (after, before))
        return float(rel_entr(p, q).sum())

    return max(map(kl, named))


def trained(name: str, kind: str, method: str, seed: int) -> Any:
    """The run of a method, until it has met the task's thresholds or used up its steps."""
    asked = task(name, kind)
    how: dict[str, Any] = {"seed": seed, "progress": False, **asked.how}
    match method:
        case "gate":
            return ul.finetune(asked.problem, asked.student(seed), method="gate", **how, **GATE)
        case "gate, then log-variance":
            first = trained(name, kind, "gate", seed)
            how |= {"method": "log-variance", "multipliers": first.multipliers}
            return ul.finetune(asked.problem, first.student, **how, **CHAINS)
        case "ESD":
            return baselines.esd(asked.problem, asked.student(seed), until="met", **how, **ERASING)
    raise ValueError(f"method {method!r} is unknown")


def image_run(name: str, kind: str, method: str, seed: int) -> Run:
    """A run, and what its student is worth."""
    task(name, kind)  # not a method's time
    start = time.process_time()
    with counted(*NETWORKS) as seen:
        run = trained(name, kind, method, seed)
    seconds = round(time.process_time() - start, 1)
    return {
        "status": run.status,
        "reason": run.reason,
        **worth(name, kind, run.student, seed, steps=STEPS),
        "multipliers": run.multipliers.tolist(),
        "rounds": len(run.history["loss"]),
        "seconds": seconds,
        "rows": seen["rows"],
    }


def chain_run(name: str, kind: str, multipliers: list[float], seed: int) -> Run:
    """The gated chain itself, without a student: what is the gate's, and what the student's?"""
    start = time.process_time()
    with counted(*NETWORKS) as seen:
        gated = task(name, kind).problem.gated(multipliers)
        found = worth(name, kind, gated, seed, steps=PATH["steps"], particles=False)
    return {
        "status": "not trained",
        "reason": "the gated chain at the multipliers of a student",
        **found,
        "multipliers": multipliers,
        "rounds": 0,
        "seconds": round(time.process_time() - start, 1),
        "rows": seen["rows"],
    }


def worth(name: str, kind: str, model: Any, seed: int, **drawing: Any) -> Run:
    """A model by readings and draws of its own, and what the pool's optimum pays for its values."""
    asked, (on_pool, others, base) = task(name, kind), pool_of(name, kind)
    problem = asked.problem
    drawn = model.sample(DRAWN, seed=3000 + seed, **drawing)
    after = asked.rates(drawn)
    before = asked.rates(problem.retain.sample(DRAWN, steps=STEPS, seed=3000 + seed))
    if kind == "LU":
        ratios = problem.values_at(drawn[:JUDGED], seed=seed, quality=GOOD)
        values, errors = ratios.mean(0) / base, ratios.std(0) / np.sqrt(len(ratios)) / base
    else:  # of RU from below
        read = problem.measured(model, seed=seed, samples=JUDGED)
        values, errors = (np.array([part(one) for one in read]) / base for part in (float, stderr))
    path = model.kl(problem.retain, kind="path", seed=5 + seed, **PATH)
    same = problem.on(on_pool, others)
    best = ul.solve(same.with_thresholds(values * same.baseline()))
    return {
        "asked": asked.levels,
        "values": values.tolist(),
        "values stderr": errors.tolist(),
        "KL": float(path),
        "KL stderr": path.stderr,
        "optimum's KL": float(best.objective),
        "least KL by counting": by_counting(before, after, asked.named),
        "collateral": max(abs(after[k] - before[k]) for k in after if k not in asked.named),
        "rates": after,
        "rates before": before,
    }


# Of a rare concept the ratio has a heavy tail, and no run knows its threshold: one shows it.
RUNS = {
    ("the horse", "LU", "gate"): SEEDS,
    ("digits", "LU", "gate"): SEEDS[:1],
    ("digits", "RU", "gate"): SEEDS[:1],
    ("digits", "FU", "gate"): SEEDS[:1],
    ("the horse", "RU", "gate"): SEEDS[:1],
    ("the horse", "FU", "gate"): SEEDS[:1],
    ("the horse", "LU", "ESD"): SEEDS,
    ("the horse", "LU", "gate, then log-variance"): SEEDS[:1],
    ("three concepts", "LU", "gate"): SEEDS[:1],
}


def shootout_images(key: str) -> dict[str, Any]:
    """Each method until it has met a task's threshold; and the gated chain, without a student."""
    torch.set_num_threads(1)

    def label(name: str, kind: str, method: str, seed: int) -> str:
        return f"{name}, {kind} {task(name, kind).levels[0]:g}, {method}, seed {seed}"

    jobs = {
        label(*about, seed): partial(image_run, *about, seed)
        for about, seeds in RUNS.items()
        for seed in seeds
    }
    runs = run_all("shootout_images", key, jobs)
    chains = {}
    horse = ("the horse", "LU")
    for seed in SEEDS[:2]:
        multipliers = runs[label(*horse, "gate", seed)]["multipliers"]
        chain = partial(chain_run, *horse, multipliers, seed)
        chains[label(*horse, "the gated chain itself", seed)] = chain
    return {"runs": {**runs, **run_all("shootout_images", key, chains)}}
