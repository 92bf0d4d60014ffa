"""Methods asked for thresholds on two mixtures: are they met, and at what price?"""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Any

import numpy as np
import torch

import unlearnlab as ul
from figures import gates
from figures.digits import run_all
from unlearnlab import baselines
from unlearnlab.benchmark.cost import counted

SEEDS = (0, 1, 2)
KINDS = {
    "RU": lambda q, others, **how: ul.ReverseKL(q, others, **how),
    "FU": lambda q, others, **how: ul.ForwardKL(q, others, **how),
    "LU": lambda q, others, **how: ul.Likelihood(q, others, statistic="ratio", **how),
}
MODES = ([1 / 3] * 3, [-3.0, 0.0, 3.0], [0.6] * 3)
PLANE = (
    [0.3, 0.2, 0.15, 0.15, 0.1, 0.1],
    [[0, 0], [2.5, 0], [-2.5, 0.5], [0, 2.5], [0.5, -2.5], [2.5, 2.5]],
    [0.7] * 6,
)
# q, the q_i, and the grid that knows the optimum.
TASKS: dict[str, tuple[Any, list[Any], ul.Grid]] = {
    "three modes": (
        ul.GaussianMixture(*MODES),
        [ul.GaussianMixture([0.3, 0.7], [0.0, 1.0], [0.9, 0.5])],
        ul.Grid(-8.0, 8.0, 2001),
    ),
    "the plane": (
        ul.GaussianMixture(*PLANE),
        [
            ul.GaussianMixture([1.0], [[2.5, 0]], [0.8]),
            ul.GaussianMixture([1.0], [[0, 2.5]], [0.7]),
        ],
        ul.Grid([-8.0] * 2, [8.0] * 2, [128] * 2),
    ),
}
# What is asked for: multiples of the value at q, from mild to severe; and one for each problem.
ASKED = {
    "three modes": {
        "RU": (1.15, 1.3, 1.6),
        "FU": (1.15, 1.3, 1.8),
        "LU": (0.8, 0.6, 0.3, 0.1),
    },
    "the plane": {"RU": (1.2, 1.5), "FU": (1.2, 1.5), "LU": (0.6, 0.3)},
}
ONE = {
    "three modes": {"RU": (1.3,), "FU": (1.3,), "LU": (0.3,)},
    "the plane": {"RU": (1.5,), "FU": (1.5,), "LU": (0.3,)},
}
GATES = {
    "gate": "gate",
    "gate, particles": gates.WithParticles,
    "gate, chord": gates.Chord,
    "gate, learned": gates.Learned,
}
SMALL = {"batch": 256, "lr": 1e-3}
CHAINS = {"batch": 128, "lr": 1e-3}
CELLS = {1: 48, 2: 12}  # of a histogram, along each axis


@cache
def pretrained(task: str) -> Any:
    """A network trained on draws of q."""
    torch.set_num_threads(1)
    q = TASKS[task][0]
    return ul.ScoreNetwork(q.dim, width=64).fit(q.diffused().sample(20_000, seed=0), steps=2000)


def on_grid(task: str, kind: str, **how: Any) -> Any:
    """The problem whose optimum is exact."""
    q, forgotten, grid = TASKS[task]
    return KINDS[kind](q.on(grid), [one.on(grid) for one in forgotten], **how)


def trained(method: str, problem: Any, student: Any, seed: int) -> Any:
    """The run of a method."""
    how: dict[str, Any] = {"seed": seed, "progress": False}
    match method:
        case "gate" | "gate, particles" | "gate, chord" | "gate, learned":
            how |= {"chains": 1024, "steps": 2500, "method": GATES[method]}
            return ul.finetune(problem, student, **how, **SMALL)
        case "gate, then log-variance":
            first = trained("gate", problem, student, seed)
            how |= {"method": "log-variance", "multipliers": first.multipliers}
            return ul.finetune(problem, first.student, **how, **CHAINS)
        case "log-variance":
            return ul.finetune(problem, student, method="log-variance", **how, **CHAINS)
        case "primal-dual":
            settings = CHAINS if isinstance(problem, ul.Likelihood) else SMALL
            how |= {"method": "primal-dual", "until": "met"}
            return ul.finetune(problem, student, **how, **settings)
        case "tilt":
            return ul.finetune(problem, student, method="tilt", until="met", **how, **SMALL)
        case "ESD":
            return baselines.esd(problem, student, until="met", **how, **SMALL)
    raise ValueError(f"method {method!r} is unknown")


def moved_elsewhere(task: str, student: Any, seed: int, n: int = 4096) -> float:
    """Total variation between the student's law and q where no q_i exceeds q, each made one.

    By cells of a histogram, less what two sets of draws of q show.
    """
    q, forgotten, _ = TASKS[task]

    def histogram(x: torch.Tensor) -> np.ndarray:
        points = x.double().numpy()
        own = q.log_density(points)
        rest = np.all([one.log_density(points) < own for one in forgotten], axis=0)
        edges = [np.linspace(-6, 6, CELLS[q.dim] + 1)] * q.dim
        counts = np.histogramdd(points[rest], edges)[0]
        return np.asarray(counts / counts.sum())

    draws = [q.diffused().sample(n, seed=8000 + k + seed) for k in (0, 500)]
    one, other = map(histogram, draws)
    own = histogram(student.sample(n, seed=9000 + seed))
    return float(0.5 * (abs(own - one).sum() - abs(other - one).sum()))


def one_run(task: str, method: str, kind: str, level: float, seed: int) -> dict[str, Any]:
    """A run, what its student does on draws that no reading has seen, and the optimum's KL."""
    student = pretrained(task)  # not a method's time
    q, forgotten, _ = TASKS[task]
    asked = on_grid(task, kind, relative=level).thresholds
    problem = KINDS[kind](q.diffused(), [one.diffused() for one in forgotten], thresholds=asked)
    start = time.process_time()
    with counted("ScoreNetwork") as seen:
        run = trained(method, problem, student, seed)
    seconds = round(time.process_time() - start, 1)
    fresh = problem.evaluate(run.student, seed=7000 + seed)
    best = ul.solve(on_grid(task, kind, thresholds=fresh.constraints)).objective
    return {
        "status": run.status,
        "reason": run.reason,
        "asked": asked.tolist(),
        "values": fresh.constraints.tolist(),
        "values stderr": list(map(float, fresh.constraints_stderr)),
        "KL": fresh.objective,
        "KL stderr": fresh.objective_stderr,
        "optimum's KL": float(best),
        "collateral": moved_elsewhere(task, run.student, seed),
        "multipliers": run.multipliers.tolist(),
        "rounds": len(run.history["loss"]),
        "seconds": seconds,
        "rows": seen["rows"],
    }


def shootout(key: str) -> dict[str, Any]:
    """Gate and log-variance at all thresholds, the others at one for each problem."""
    swept = {"gate": ASKED, "log-variance": ASKED}
    swept |= dict.fromkeys(("primal-dual", "tilt", "ESD", "gate, then log-variance"), ONE)
    swept |= dict.fromkeys(("gate, particles", "gate, learned"), ONE)
    swept["gate, chord"] = {task: {"LU": kinds["LU"]} for task, kinds in ONE.items()}
    jobs = {
        f"{task}, {kind} {level:g}, {method}, seed {seed}": partial(
            one_run, task, method, kind, level, seed
        )
        for method, asked in swept.items()
        for task, kinds in asked.items()
        for kind, levels in kinds.items()
        for level in levels
        for seed in SEEDS
    }
    return {"runs": run_all("shootout", key, jobs)}
