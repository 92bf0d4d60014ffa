"""Memorised digits, the paper's Figures 2 and 3 at desk scale: shares asked for, or one weight."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

import unlearnlab as ul
from figures.digits import HOW, SAMPLER, SEEDS, run_all, tools
from unlearnlab import metrics
from unlearnlab.data_unlearning import unlearn_images

MEMORISED = {"steps": 200, "batch": 24, "average": 0.95}
LEAVING = {"steps": 1500, "batch": 64, "lr": 3e-4}
SHARES = (0.4, 0.3, 0.2)  # that may come back; of images that were never repeated, up to 0.19 does
FRESH = 2048  # noised copies that judge a share
LEVELS = (300.0, 1000.0, 3000.0)  # nats, of Algorithm D.2
# Of the equal-weights baseline: up to the largest share of an image.
WEIGHTS = (0.01, 0.035, 0.06, 0.106)
SHOWN = ("at most", 0.2, 0)  # the run whose pictures are kept
NOISE_TO, CLOSE = 400, 0.25  # a picture comes back within this root mean square


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
    """What comes back of each memorised image: how often, how similar, and one picture.

    The picture is that at the quartile: one copy in four is as close to the image, or closer.
    """
    descriptor = tools()[1]
    found: dict[str, Any] = {"similarity": [], "back": [], "share": []}
    for x in planted():
        back = metrics.reconstruct(model, x, NOISE_TO, n=64, steps=25, seed=1000 + seed)
        apart = (back - x).square().flatten(1).mean(1).sqrt()
        found["share"].append(float((apart < CLOSE).float().mean()))
        found["similarity"].append(float(metrics.similarity(back, x[None], descriptor).mean()))
        found["back"].append(pixels(back[apart.argsort()[len(back) // 4 - 1]]))
    return found


def pixels(image: torch.Tensor) -> list[list[float]]:
    """An image (1, 8, 8) in numbers."""
    table: list[list[float]] = image[0].double().numpy().round(2).tolist()
    return table


def memorised_run(kind: str, level: float, seed: int) -> dict[str, Any]:
    """One student: until a share is kept, by dual updates to a level, or at one weight for all."""
    model = ul.digits.load_model("memorised")
    options: dict[str, Any] = {
        "at most": LEAVING | {"at_most": level},
        "nats": MEMORISED | {"thresholds": level},
        "equal weights": MEMORISED | {"dual_lr": 0.0, "multipliers": level, "relative": 1.0},
    }[kind]
    how = {key: value for key, value in HOW.items() if key != "evaluate"}
    start = time.process_time()
    run = unlearn_images(model, repeated(), planted(), seed=seed, **how | options)
    seconds = time.process_time() - start
    drawn = run.student.sample(400, seed=2000 + seed, **SAMPLER)
    _, descriptor, _, held_out = tools()
    found = come_back(run.student, seed) | {"drawn": [pixels(x) for x in drawn[:6]]}
    if (kind, level, seed) != SHOWN:
        del found["back"], found["drawn"]
    return {
        **found,
        "kernel distance": float(
            metrics.kernel_distance(drawn, held_out.images, descriptor, subset=300, seed=seed)
        ),
        "multipliers": run.multipliers.tolist(),
        "fresh": fresh(run, seed) if kind == "at most" else None,
        "thresholds": run.problem.thresholds.tolist(),
        "status": run.status,
        "core seconds": round(seconds, 1),
    }


def fresh(run: Any, seed: int) -> list[list[float]]:
    """The shares that come back and their errors, on noise that no reading has seen."""
    found = run.problem.measured(run.student, seed=7000 + seed, samples=FRESH)
    return [[float(share), share.stderr] for share in found]


def data_unlearning(key: str) -> dict[str, Any]:
    """Figure 3: what comes back of the worst image, and how similar, against kernel distance."""
    jobs = {}
    for seed in SEEDS:
        for kind, levels in (("at most", SHARES), ("nats", LEVELS), ("equal weights", WEIGHTS)):
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
