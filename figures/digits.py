"""Unlearning on handwritten digits: memorised images, a class of a conditional model, a class of an
unconditional one, by our methods and by every baseline.

Each run is stored when it is done, so that an interrupted experiment goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

import unlearnlab as ul
from tools.provenance import ROOT, write_json
from unlearnlab import baselines, metrics
from unlearnlab.data_unlearning import unlearn_images

SEEDS = (0, 1, 2)
FORGOTTEN = 4
NEAREST = 9  # the class whose features are the most similar to those of 4
SAMPLER = {"steps": 20}
HOW = {"batch": 32, "steps": 100, "lr": 5e-4, "evaluate": False, "progress": False}
MEMORISED = {"steps": 200, "batch": 24, "average": 0.95, "forget_clip": 1.0}
WORKING = ROOT / "figures" / "results" / "working"
LEVELS = (30.0, 60.0, 100.0)  # nats: an image never planted costs about a hundred
WEIGHTS = (0.01, 0.02, 0.05, 0.1)  # of the equal-weights baseline
NOISE_TO = 300


@cache
def tools() -> tuple[Any, Any, Any, Any]:
    """Classifier, its descriptor, training and held-out digits."""
    torch.set_num_threads(1)
    classifier = ul.digits.load_classifier()
    return (
        classifier,
        classifier.descriptor(),
        ul.digits.data(),
        ul.digits.data(held_out=True),
    )


def run_all(name: str, key: str, jobs: dict[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """The results of all jobs, two at a time; those of the same code that are stored are read."""

    def one(label: str, job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = WORKING / name / f"{label}.json"
        if path.exists() and (stored := json.loads(path.read_text()))["key"] == key:
            return stored["result"]
        torch.set_num_threads(1)
        start = time.perf_counter()
        result = job()
        result["seconds in all"] = round(time.perf_counter() - start, 1)
        print(f"  {name} {label}: {result['seconds in all']} s", flush=True)
        write_json(path, {"key": key, "result": result})
        return result

    found = Parallel(n_jobs=2)(delayed(one)(label, job) for label, job in jobs.items())
    return dict(zip(jobs, found, strict=True))


# Memorised images: Figures 2 and 3


def planted() -> list[torch.Tensor]:
    """The memorised images, the rarest first."""
    images = tools()[2].images
    return [images[place] for place in ul.digits.PLANTED]


def repeated() -> torch.Tensor:
    """The memorised model's training data: every image as often as it saw it."""
    images = tools()[2].images
    more = [images[place].expand(times - 1, 1, 8, 8) for place, times in ul.digits.PLANTED.items()]
    return torch.cat([images, *more])


def come_back(model: Any, seed: int) -> dict[str, Any]:
    """What comes back of each memorised image: mean similarity to it, and one picture."""
    descriptor = tools()[1]
    found: dict[str, Any] = {"similarity": [], "back": []}
    for x in planted():
        back = metrics.reconstruct(model, x, NOISE_TO, n=32, seed=1000 + seed)
        found["similarity"].append(float(metrics.similarity(back, x[None], descriptor).mean()))
        found["back"].append(pixels(back[0]))
    return found


def pixels(image: torch.Tensor) -> list[list[float]]:
    """An image (1, 8, 8) in numbers."""
    table: list[list[float]] = image[0].double().numpy().round(2).tolist()
    return table


def memorised_run(kind: str, level: float, seed: int) -> dict[str, Any]:
    """One student, by dual updates to a level or at one weight for all images."""
    model = ul.digits.load_model("memorised")
    options: dict[str, Any] = {"dual_lr": 8e-5, "primal_steps": 1, "thresholds": level}
    if kind == "equal weights":
        options = {"dual_lr": 0.0, "multipliers": level, "relative": 1.0}
    how = {key: value for key, value in HOW.items() if key != "evaluate"}
    start = time.perf_counter()
    run = unlearn_images(model, repeated(), planted(), seed=seed, **how | MEMORISED, **options)
    seconds = time.perf_counter() - start
    drawn = run.student.sample(400, seed=2000 + seed, **SAMPLER)
    _, descriptor, _, held_out = tools()
    return {
        **come_back(run.student, seed),
        "drawn": [pixels(x) for x in drawn[:6]],
        "kernel distance": float(
            metrics.kernel_distance(drawn, held_out.images, descriptor, subset=300, seed=seed)
        ),
        "multipliers": run.multipliers.tolist(),
        "constraints": run.history["constraints"][-30:].mean(0).tolist(),
        "thresholds": run.problem.thresholds.tolist(),
        "status": run.status,
        "seconds": round(seconds, 1),
    }


def data_unlearning(key: str) -> dict[str, Any]:
    """Figure 3: worst similarity to a forgotten image against kernel distance."""
    jobs = {}
    for seed in SEEDS:
        for kind, levels in (("constrained", LEVELS), ("equal weights", WEIGHTS)):
            for level in levels:
                jobs[f"{kind} {level} seed {seed}"] = partial(memorised_run, kind, level, seed)
    runs = run_all("data_unlearning", key, jobs)
    model = ul.digits.load_model("memorised")
    drawn = model.sample(400, seed=2000, **SAMPLER)
    _, descriptor, _, held_out = tools()
    plain = ul.digits.load_model("unconditional")
    return {
        "planted": list(ul.digits.PLANTED.values()),
        "images": [pixels(x) for x in planted()],
        "runs": runs,
        "pretrained": {
            **come_back(model, 0),
            "kernel distance": float(
                metrics.kernel_distance(drawn, held_out.images, descriptor, subset=300)
            ),
        },
        "never planted": come_back(plain, 0),
    }


# A class: all methods on one task


def conditional_methods(seed: int) -> dict[str, Callable[[], Any]]:
    """Asked for a 4, draw something else: q is the null class, q_1 the class 4."""
    net = ul.digits.load_model("conditional")
    null, four, student = net.labelled(None), net.labelled(FORGOTTEN), net.labelled(FORGOTTEN)
    return _methods(null, four, student, net.labelled(NEAREST), seed)


def unconditional_methods(seed: int) -> dict[str, Callable[[], Any]]:
    """Draw no 4 any more: q is the unconditional model, q_1 the class 4 of the conditional one."""
    model = ul.digits.load_model("unconditional")
    net = ul.digits.load_model("conditional")
    return _methods(model, net.labelled(FORGOTTEN), model, net.labelled(NEAREST), seed)


def _methods(
    retain: Any, concept: Any, student: Any, nearest: Any, seed: int
) -> dict[str, Callable[[], Any]]:
    _, _, train, _ = tools()
    rest = train.without(FORGOTTEN).images
    shown = ul.DataSet(train.of(FORGOTTEN).images)
    forward = ul.ForwardKL(retain, [shown], relative=1.5)
    reverse = ul.ReverseKL(retain, [concept], relative=1.3)
    ratio = {"statistic": "ratio", "temperature": 4.0}
    likelihood = ul.Likelihood(retain, [concept], relative=0.05, **ratio)
    how = HOW | {"seed": seed}
    dual = {"dual_lr": 2e-4, "primal_steps": 1, "forget_clip": 1.0}
    anchored = partial(baselines.fdivergence, forward, student)
    found = {
        "FU": lambda: ul.finetune(forward, student, **how, **dual),
        "FU on data": lambda: ul.finetune(forward, student, data=rest, **how, **dual),
        "LU, tilt": lambda: ul.finetune(likelihood, student, method="tilt", pool=512, **how),
        "RU": lambda: ul.finetune(reverse, student, dual_lr=5e-3, **how),
        "naive": lambda: baselines.naive(forward, student, data=rest, **how),
        "NegGrad": lambda: baselines.neggrad(forward, student, **how | {"steps": 40, "lr": 5e-5}),
        "SISS": lambda: baselines.siss(forward, student, data=train.images, **how),
        "SISS, two passes": lambda: baselines.siss(
            forward, student, data=train.images, importance=False, **how
        ),
        "EraseDiff": lambda: baselines.erasediff(forward, student, data=rest, rate=0.001, **how),
        "ESD": lambda: baselines.esd(reverse, student, guidance=0.5, **how),
        "VDU": lambda: baselines.vdu(forward, student, spread=0.003, **how | {"lr": 1e-4}),
        "KL to the rest": lambda: anchored(anchor=ul.DataSet(rest), **how),
        "KL to the nearest": lambda: anchored(anchor=nearest, **how),
        "Hellinger to the nearest": lambda: anchored(anchor=nearest, divergence="hellinger", **how),
    }
    if student is retain:  # towards the null class would be to stay; and chains start from q
        found["LU, policy gradient"] = lambda: ul.finetune(
            likelihood, student, sampling_steps=10, dual_lr=0.2, **how | {"steps": 40, "lr": 1e-4}
        )
        return found
    for name, divergence in (("KL", "kl"), ("Hellinger", "hellinger"), ("χ²", "chi2")):
        found[f"{name} to null"] = partial(anchored, anchor=retain, divergence=divergence, **how)
    found["JS to null"] = lambda: anchored(
        anchor=retain, divergence="js", **how | {"steps": 400, "lr": 1e-4}
    )
    return found


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
    methods = conditional_methods if task == "conditional" else unconditional_methods
    start = time.perf_counter()
    run = methods(seed)[method]()
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
    }
    if model.classes:
        others = {k: agreement(model, k, 30, 5000 + seed) for k in range(10) if k != FORGOTTEN}
        found["other labels"] = float(np.mean(list(others.values())))
        found["nearest label"] = others[NEAREST]
    return found


def forget_class(task: str, key: str) -> dict[str, Any]:
    """All methods on one task."""
    methods = conditional_methods if task == "conditional" else unconditional_methods
    jobs = {
        f"{method} seed {seed}": partial(class_run, task, method, seed)
        for seed in SEEDS
        for method in methods(seed)
    }
    runs = run_all(task, key, jobs)
    model = ul.digits.load_model(task)
    if task == "conditional":
        model = model.labelled(FORGOTTEN)
    return {"pretrained": class_numbers(model, 0), "runs": runs}
