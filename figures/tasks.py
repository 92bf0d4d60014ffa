"""Five tasks on which a threshold is asked for and met: what students start from and are judged by.

Each knows the exact optimum, on a grid or on a pool with good ratios, so that a student's nats can
be put over what the optimum pays for the same constraint values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

import unlearnlab as ul
from figures.digit_classes import FORGOTTEN, setting
from figures.digits import SAMPLER
from figures.digits import tools as digit_tools
from figures.scenes import DRAWN, STEPS, tools
from unlearnlab import metrics
from unlearnlab.diffusion.pool import _pools, tabulate
from unlearnlab.stable_diffusion.classifier import rates_of

GOOD = (24, 8)  # levels and noises of ratios that judge, on images
JUDGED, POOL = 96, 192  # images whose ratios are measured so: of a student, and of a pool
PATH = {"samples": 48, "steps": 200}  # of a path KL: fewer steps count too much
MODES = {
    "q": ([1 / 3] * 3, [-3.0, 0.0, 3.0], [0.6] * 3),
    "forgotten": [([0.3, 0.7], [0.0, 1.0], [0.9, 0.5])],
}
PLANE = {
    "q": (
        [0.3, 0.2, 0.15, 0.15, 0.1, 0.1],
        [[0, 0], [2.5, 0], [-2.5, 0.5], [0, 2.5], [0.5, -2.5], [2.5, 2.5]],
        [0.7] * 6,
    ),
    "forgotten": [([1.0], [[2.5, 0]], [0.8]), ([1.0], [[0, 2.5]], [0.7])],
}
KINDS = {
    "RU": lambda q, others, **how: ul.ReverseKL(q, others, **how),
    "FU": lambda q, others, **how: ul.ForwardKL(q, others, **how),
    "LU": lambda q, others, **how: ul.Likelihood(q, others, statistic="ratio", **how),
}
Numbers = dict[str, Any]


class Task(NamedTuple):
    """A problem, a student, and what judges it.

    Attributes:
        problem: from the formulation and the level asked for, a multiple of the value at q.
        student: from a seed.
        judge: of a student: "values" of the constraints, "KL" paid, and what else moved.
        optimum: KL that the exact optimum pays for these values, and how it is known.
    """

    problem: Callable[[str, float], Any]
    student: Callable[[int], Any]
    judge: Callable[[Any, Any, int], Numbers]
    optimum: Callable[[Any, list[float]], float | None]


def mixtures(known: Numbers, dim: int, cells: int) -> Task:
    """Exact scores of a mixture; the optimum on a grid."""
    grid = ul.Grid([-8.0] * dim, [8.0] * dim, [cells] * dim)
    q = ul.GaussianMixture(*known["q"])
    forgotten = [ul.GaussianMixture(*one) for one in known["forgotten"]]

    @cache
    def pretrained() -> Any:
        torch.set_num_threads(1)
        net = ul.ScoreNetwork(dim, width=64)
        return net.fit(q.diffused().sample(20_000, seed=0), steps=2000)

    def on_grid(kind: str, **how: Any) -> Any:
        return KINDS[kind](q.on(grid), [one.on(grid) for one in forgotten], **how)

    def problem(kind: str, level: float) -> Any:
        b = on_grid(kind, relative=level).thresholds
        return KINDS[kind](q.diffused(), [one.diffused() for one in forgotten], thresholds=b)

    def judge(asked: Any, student: Any, seed: int) -> Numbers:
        found = asked.evaluate(student, seed=7000 + seed)
        return {
            "values": found.constraints.tolist(),
            "KL": found.objective,
            "KL stderr": found.objective_stderr,
            "collateral": moved_elsewhere(student, q, forgotten, seed),
        }

    def optimum(asked: Any, values: list[float]) -> float | None:
        kind = {"ReverseKL": "RU", "ForwardKL": "FU", "Likelihood": "LU"}[type(asked).__name__]
        return float(ul.solve(on_grid(kind, thresholds=values)).objective)

    return Task(problem, lambda seed: pretrained(), judge, optimum)


def moved_elsewhere(student: Any, q: Any, forgotten: list[Any], seed: int, n: int = 4096) -> float:
    """Total variation between the student's law and q where no q_i exceeds q, each made one.

    By cells of a histogram, less what two sets of draws of q show.
    """

    def histogram(x: torch.Tensor) -> np.ndarray:
        points = x.double().numpy()
        own = q.log_density(points)
        rest = np.all([one.log_density(points) < own for one in forgotten], axis=0)
        edges = [np.linspace(-6, 6, 49 if x.shape[1] == 1 else 13)] * x.shape[1]
        counts = np.histogramdd(points[rest], edges)[0]
        return np.asarray(counts / counts.sum())

    draws = [q.diffused().sample(n, seed=8000 + k + seed) for k in (0, 500)]
    one, other = map(histogram, draws)
    own = histogram(student.sample(n, seed=9000 + seed))
    return float(0.5 * (abs(own - one).sum() - abs(other - one).sum()))


def digits() -> Task:
    """Draw digits without a 4; the optimum on a pool of the network's own draws."""
    asked = setting("unconditional")
    net, concept = asked.likelihood.retain, asked.reverse.forget[0]
    own = {"statistic": "ratio", "temperature": 4.0}

    def problem(kind: str, level: float) -> Any:
        make = ul.Likelihood if kind == "LU" else KINDS[kind]
        more = own if kind == "LU" else {}
        return make(net, [concept], relative=level, **more)

    def judge(asked: Any, student: Any, seed: int) -> Numbers:
        classifier, descriptor, _, held_out = digit_tools()
        drawn = student.sample(300, seed=3000 + seed, **SAMPLER)
        shares = metrics.class_shares(drawn, classifier)
        kept = drawn[metrics.features(drawn, classifier).argmax(1) != FORGOTTEN]
        rest = held_out.without(FORGOTTEN).images
        size = min(120, len(kept))
        away = metrics.kernel_distance(kept, rest, descriptor, subset=size, seed=seed)
        return {
            **on_images(asked, student, drawn[:JUDGED], seed),
            "share": float(shares[FORGOTTEN]),
            "collateral": float(away),
        }

    return Task(problem, lambda seed: net, judge, from_pool)


def scenes(forgotten: list[str], named: list[str]) -> Task:
    """Draw a cowboy without what is named; the optimum on a pool of the pipeline's own draws."""
    retained = "a cowboy"

    @cache
    def problem(kind: str, level: float) -> Any:
        sd = tools()[0]
        q, others = sd.prompt(retained), [sd.prompt(text) for text in forgotten]
        if kind == "LU":
            return ul.Likelihood(q, others, relative=level, statistic="ratio", cap=2.0)
        return KINDS[kind](q, others, relative=level)

    def judge(asked: Any, student: Any, seed: int) -> Numbers:
        sd, tell = tools()
        drawn = student.sample(DRAWN, steps=STEPS, seed=3000 + seed)
        rates = rates_of(sd.decode(drawn), tell)
        before = rates_of(asked.retain.images(DRAWN, steps=STEPS, seed=3000 + seed), tell)
        others = [abs(rates[name] - before[name]) for name in rates if name not in named]
        return {
            **on_images(asked, student, drawn[:JUDGED], seed),
            "share": [rates[name] for name in named],
            "collateral": max(others),
        }

    return Task(problem, lambda seed: tools()[0].lora(rank=8, seed=seed), judge, from_pool)


def on_images(asked: Any, student: Any, drawn: torch.Tensor, seed: int) -> Numbers:
    """Constraint values with good ratios, relative to q's by the same; KL along paths."""
    path = student.kl(asked.retain, kind="path", seed=5 + seed, **PATH)
    found = {"KL": float(path), "KL stderr": path.stderr}
    if isinstance(asked, ul.Likelihood):
        values = asked.values_at(drawn, seed=seed, quality=GOOD)
        base = pool_of(asked)[2]
        found["values"] = (values.mean(0) / base).tolist()
        found["values stderr"] = (values.std(0) / base / len(values) ** 0.5).tolist()
    return found


@cache
def pool_of(asked: Any) -> Any:
    """q and the q_i on POOL draws of q with good ratios, and the value of each constraint at q."""
    q = asked.retain
    table = tabulate(q, asked.compared, q.sample(POOL, seed=99), densities=False, quality=GOOD)
    on_pool, others = _pools(table)
    return on_pool, others, asked.on(on_pool, others).evaluate(on_pool).constraints


def from_pool(asked: Any, values: list[float]) -> float | None:
    """The pool's optimum at these values, relative to q's own; of likelihoods alone."""
    if not isinstance(asked, ul.Likelihood):
        return None
    on_pool, others, base = pool_of(asked)
    stated = asked.on(on_pool, others).with_thresholds(np.array(values) * base)
    return float(ul.solve(stated).objective)


HORSE = ["a cowboy with a horse"]
THREE = [*HORSE, "a cowboy with a cactus", "a cowboy at night"]


@cache
def tasks() -> dict[str, Task]:
    """All of them, by name."""
    digit_tools()
    return {
        "three modes": mixtures(MODES, 1, 2001),
        "the plane": mixtures(PLANE, 2, 128),
        "digits": digits(),
        "the horse": scenes(HORSE, ["horse"]),
        "three concepts": scenes(THREE, ["horse", "cactus", "night"]),
    }
