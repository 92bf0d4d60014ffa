"""Methods asked for a threshold, on five tasks: is it met, and at what price over the optimum's?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import unlearnlab as ul
from figures.digits import run_all
from figures.tasks import tasks
from unlearnlab import baselines

SEEDS = (0, 1, 2)
NETWORKS = ("ScoreNetwork", "UNet2DModel", "UNet2DConditionModel")
# What is asked for: multiples of the value at q, from mild to severe.
ASKED = {
    "three modes": {
        "RU": (1.15, 1.3, 1.6),
        "FU": (1.15, 1.3, 1.8),
        "LU": (0.8, 0.6, 0.3, 0.1),
    },
    "the plane": {"RU": (1.2, 1.5), "FU": (1.2, 1.5), "LU": (0.6, 0.3)},
    "digits": {"LU": (0.5, 0.2)},
    "the horse": {"LU": (0.8, 0.5)},
    "three concepts": {"LU": (0.75,)},
}
MIDDLE = {
    "three modes": {"RU": (1.3,), "FU": (1.3,), "LU": (0.3,)},
    "the plane": {"RU": (1.5,), "FU": (1.5,), "LU": (0.3,)},
}
SMALL = {"batch": 256, "lr": 1e-3}
IMAGES = {"batch": 64, "chain_steps": 30, "sampling_steps": 20, "steps": 500}
GATE = {
    "three modes": {**SMALL, "chains": 1024, "steps": 2500},
    "the plane": {**SMALL, "chains": 1024, "steps": 2500},
    "digits": {**IMAGES, "chains": 128, "lr": 3e-4},
    "the horse": {**IMAGES, "chains": 96, "lr": 1e-3},
    "three concepts": {**IMAGES, "chains": 96, "lr": 1e-3},
}
CHAINS = {"batch": 128, "lr": 1e-3}


def trained(task: str, method: str, problem: Any, student: Any, seed: int) -> Any:
    """The run of a method."""
    how: dict[str, Any] = {"seed": seed, "progress": False}
    match method:
        case "gate":
            return ul.finetune(problem, student, method="gate", **how, **GATE[task])
        case "log-variance":
            return ul.finetune(problem, student, method="log-variance", **how, **CHAINS)
        case "primal-dual":
            settings = CHAINS if isinstance(problem, ul.Likelihood) else SMALL
            return ul.finetune(problem, student, until="met", **how, **settings)
        case "tilt":
            return ul.finetune(problem, student, method="tilt", until="met", **how, **SMALL)
        case "ESD":
            return baselines.esd(problem, student, until="met", **how, **SMALL)
    raise ValueError(f"method {method!r} is unknown")


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Rows that the networks see inside."""
    found = {"rows": 0}

    def hook(module: Any, given: Any) -> None:
        if type(module).__name__ in NETWORKS:
            found["rows"] += len(given[0])

    handle = register_module_forward_pre_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


def one_run(task: str, method: str, kind: str, level: float, seed: int) -> dict[str, Any]:
    """A run, what its student does, and what the optimum would have paid for it."""
    torch.set_num_threads(1)
    found = tasks()[task]
    problem, student = found.problem(kind, level), found.student(seed)
    start = time.perf_counter()
    with counted() as seen:
        run = trained(task, method, problem, student, seed)
    seconds = round(time.perf_counter() - start, 1)
    told = found.judge(problem, run.student, seed)
    values = told.get("values")
    best = None if values is None else found.optimum(problem, values)
    return {
        "status": run.status,
        "reason": run.reason,
        "asked": problem.thresholds.tolist(),
        "held out": run.evaluation.constraints.tolist(),
        "held out stderr": list(map(float, run.evaluation.constraints_stderr)),
        "multipliers": run.multipliers.tolist(),
        "rounds": len(run.history["loss"]),
        "seconds": seconds,
        "rows": seen["rows"],
        **told,
        "optimum's KL": best,
    }


def jobs() -> dict[str, Any]:
    """The gate on everything, the others on small networks at one threshold each."""
    swept = {"gate": ASKED}
    swept |= dict.fromkeys(("log-variance", "primal-dual", "tilt", "ESD"), MIDDLE)
    return {
        f"{task}, {kind} {level:g}, {method}, seed {seed}": partial(
            one_run, task, method, kind, level, seed
        )
        for method, asked in swept.items()
        for task, kinds in asked.items()
        for kind, levels in kinds.items()
        for level in levels
        for seed in SEEDS
    }


def shootout(key: str) -> dict[str, Any]:
    """All runs."""
    return {"runs": run_all("shootout", key, jobs())}
