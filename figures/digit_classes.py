"""A class of digits forgotten by our methods and every baseline: two tasks, one table."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

import unlearnlab as ul
from figures.digits import HOW, SAMPLER, SEEDS, run_all, tools
from unlearnlab import baselines, metrics

FORGOTTEN = 4
NEAREST = 9  # the class whose features are the most similar to those of 4


class Setting(NamedTuple):
    """A task: whose images must lose a class, and the problems that say so."""

    student: Any
    nearest: Any
    forward: Any
    reverse: Any
    likelihood: Any


@cache
def setting(task: str) -> Setting:
    """Asked for a 4, draw any other digit (conditional); or draw no 4 any more (unconditional)."""
    net = ul.digits.load_model("conditional")
    concept, nearest = net.labelled(FORGOTTEN), net.labelled(NEAREST)
    if task == "conditional":
        retain, student = net.labelled(None), concept
    else:
        retain = student = ul.digits.load_model("unconditional")
    shown = ul.DataSet(tools()[2].of(FORGOTTEN).images)
    ratio = {"statistic": "ratio", "temperature": 4.0}
    return Setting(
        student,
        nearest,
        ul.ForwardKL(retain, [shown], relative=1.5),
        ul.ReverseKL(retain, [concept], relative=1.3),
        ul.Likelihood(retain, [concept], relative=0.05, **ratio),
    )


# What each method reads, and its weight.
NEEDS = {
    "FU": ("forgotten data, the model", "λ by dual steps, b = 1.5 × pretrained"),
    "FU on data": ("forgotten and retained data", "λ by dual steps, b = 1.5 × pretrained"),
    "LU, tilt": ("the model, the class's model", "λ by solve, b = 0.05 × pretrained, τ = 4"),
    "LU, policy gradient": ("the model, the class's model", "λ by dual steps, the same b and τ"),
    "RU": ("the model, the class's model", "λ by dual steps, b = 1.3 × pretrained"),
    "naive": ("retained data", "none"),
    "NegGrad": ("forgotten data", "40 steps at rate 5e-5"),
    "SISS": ("all data", "k/n = 0.10, ω = ½"),
    "SISS, two passes": ("all data", "k/n = 0.10"),
    "EraseDiff": ("forgotten and retained data", "η = 0.001"),
    "ESD": ("the model, the class's model", "η = 0.5 (λ = ⅓)"),
    "VDU": ("forgotten data", "σ = 0.003, rate 1e-4"),
}
ANCHORED = ("forgotten data, an anchor", "none")


LINES = (
    *("FU", "FU on data", "LU, tilt", "LU, policy gradient", "RU"),
    *("naive", "NegGrad", "SISS", "SISS, two passes", "EraseDiff", "ESD", "VDU"),
    *("KL to null", "Hellinger to null", "χ² to null", "JS to null"),
    *("KL to the rest", "KL to the nearest", "Hellinger to the nearest"),
)
# Where the retained model is the student itself, to become the null class is to stay; and a policy
# gradient must start near the retained model, which class 4 is not.
LEFT_OUT = {
    "conditional": {"LU, policy gradient"},
    "unconditional": {name for name in LINES if name.endswith("to null")},
}


def trained(task: str, method: str, seed: int) -> Any:
    """The run of a method."""
    student, nearest, forward, reverse, likelihood = setting(task)
    train = tools()[2]
    rest = train.without(FORGOTTEN).images
    how = HOW | {"seed": seed}
    dual = {"dual_lr": 2e-4, "primal_steps": 1, "forget_clip": 1.0}
    if " to " in method:
        name, _, anchor = method.partition(" to ")
        anchors = {"null": forward.retain, "the rest": ul.DataSet(rest), "the nearest": nearest}
        how |= {"divergence": {"KL": "kl", "χ²": "chi2"}.get(name, name.lower())}
        how |= {"steps": 400, "lr": 1e-4} if name == "JS" else {}
        return baselines.fdivergence(forward, student, anchor=anchors[anchor], **how)
    match method:
        case "FU":
            return ul.finetune(forward, student, **how, **dual)
        case "FU on data":
            return ul.finetune(forward, student, data=rest, **how, **dual)
        case "LU, tilt":
            return ul.finetune(likelihood, student, method="tilt", pool=512, **how)
        case "LU, policy gradient":
            how |= {"steps": 40, "lr": 1e-4, "sampling_steps": 10}
            return ul.finetune(likelihood, student, dual_lr=0.2, **how)
        case "RU":
            return ul.finetune(reverse, student, dual_lr=5e-3, **how)
        case "naive":
            return baselines.naive(forward, student, data=rest, **how)
        case "NegGrad":
            return baselines.neggrad(forward, student, **how | {"steps": 40, "lr": 5e-5})
        case "SISS":
            return baselines.siss(forward, student, data=train.images, **how)
        case "SISS, two passes":
            how |= {"importance": False}
            return baselines.siss(forward, student, data=train.images, **how)
        case "EraseDiff":
            return baselines.erasediff(forward, student, data=rest, rate=0.001, **how)
        case "ESD":
            return baselines.esd(reverse, student, guidance=0.5, **how)
        case "VDU":
            return baselines.vdu(forward, student, spread=0.003, **how | {"lr": 1e-4})
    raise ValueError(f"method {method!r} is unknown")


def agreement(model: Any, label: int, n: int, seed: int) -> float:
    """Share of n images drawn at a label that the classifier puts there."""
    drawn = model.labelled(label).sample(n, seed=seed, **SAMPLER)
    return float(metrics.class_shares(drawn, tools()[0])[label])


def relearned(student: Any, retain: Any, seed: int) -> Any:
    """The student after 30 steps on five forgotten images; others of the class are measured."""
    images = tools()[2].of(FORGOTTEN).images
    problem = ul.ForwardKL(retain, [ul.DataSet(images[5:])], thresholds=[0.0])
    how = HOW | {"steps": 30, "batch": 16, "seed": seed}
    return baselines.naive(problem, student, data=images[:5], **how).student


def class_run(task: str, method: str, seed: int) -> dict[str, Any]:
    """What a method leaves of the class, of the rest, and of the nearest class."""
    setting(task)  # the same for all methods: not their time
    start = time.perf_counter()
    run = trained(task, method, seed)
    seconds = time.perf_counter() - start
    found = class_numbers(run.student, seed)
    again = relearned(run.student, run.problem.retain, seed)
    classifier = tools()[0]
    drawn = again.sample(150, seed=4000 + seed, **SAMPLER)
    return {
        **found,
        "forgotten class after relearning": float(
            metrics.class_shares(drawn, classifier)[FORGOTTEN]
        ),
        "multipliers": run.multipliers.tolist(),
        "status": run.status,
        "reason": run.reason,
        "seconds": round(seconds, 1),
    }


def class_numbers(model: Any, seed: int) -> dict[str, Any]:
    """Shares of classes and kernel distances of a model's own images, and of its other labels."""
    classifier, descriptor, _, held_out = tools()
    drawn = model.sample(300, seed=3000 + seed, **SAMPLER)
    shares = metrics.class_shares(drawn, classifier)
    rest = held_out.without(FORGOTTEN).images
    kept = drawn[metrics.features(drawn, classifier).argmax(1) != FORGOTTEN]
    distance = None
    if len(kept) >= 100:  # fewer say nothing of a distribution
        size = min(120, len(kept))
        distance = float(metrics.kernel_distance(kept, rest, descriptor, subset=size, seed=seed))
    found = {
        "forgotten class": float(shares[FORGOTTEN]),
        "nearest class": float(shares[NEAREST]),
        "kernel distance of the rest": distance,
        "kernel distance of all": float(
            metrics.kernel_distance(drawn, rest, descriptor, subset=120, seed=seed)
        ),
    }
    if model.classes:
        others = {k: agreement(model, k, 30, 5000 + seed) for k in range(10) if k != FORGOTTEN}
        found["other labels"] = float(np.mean(list(others.values())))
        found["nearest label"] = others[NEAREST]
    return found


def forget_class(task: str, key: str) -> dict[str, Any]:
    """All methods on one task."""
    jobs = {
        f"{method} seed {seed}": partial(class_run, task, method, seed)
        for seed in SEEDS
        for method in LINES
        if method not in LEFT_OUT[task]
    }
    runs = run_all(task, key, jobs)
    model = ul.digits.load_model(task)
    if task == "conditional":
        model = model.labelled(FORGOTTEN)
    return {"pretrained": class_numbers(model, 0), "runs": runs}
