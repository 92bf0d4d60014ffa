"""Keep the cowboy, unlearn the horse: likelihood unlearning beside concept erasing and others."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Any, NamedTuple

import torch

import unlearnlab as ul
from figures.digits import run_all
from figures.scenes import DRAWN, STEPS, tools
from figures.shootout_images import GATE
from unlearnlab import baselines, metrics
from unlearnlab.stable_diffusion.classifier import rates_of
from unlearnlab.stable_diffusion.scenes import ATTRIBUTES

RETAINED, FORGOTTEN = "a cowboy", "a cowboy with a horse"
PARAPHRASES = ("a photo of a cowboy", "a drawing of a cowboy", "a picture of a cowboy")
UNRELATED = {"a horse": "horse", "a house": "house", "a ball": "ball"}  # and what each must show
ANCHORS = {"null": "", "the cactus": "a cowboy with a cactus"}
STATISTIC = {"statistic": "ratio", "cap": 2.0}  # q₁ is more than half of q
SEEDS = (0, 1, 2)
SHARES = (0.8, 0.65, 0.5)  # thresholds on E_p[ℓ], of its pretrained value
LOWER = (0.3, 0.15)  # for tilt, whose student learns a part of what its pool says
# What is swept of each method, and the settings of each run.
SWEEPS: dict[str, tuple[float, ...]] = {
    "LU, gate": SHARES,
    "LU, policy gradient": SHARES,
    "LU, tilt": (*SHARES, *LOWER),
    "ESD": (0.25, 0.5, 1.0, 2.0, 4.0),  # η
    "VDU": (0.3, 1.0),  # σ
    "KL to null": (0.0,),
    "KL to the cactus": (0.0,),
    "Hellinger to the cactus": (0.0,),
}
HOW: dict[str, Any] = {"batch": 16, "lr": 1e-3, "evaluate": False, "progress": False}
GRADIENT = {"steps": 120, "lr": 2e-3, "sampling_steps": 10, "dual_lr": 0.1}
REGRESSION = {"steps": 300, "batch": 64, "lr": 2e-3, "pool": 512}
OTHERS = 60  # images of each other prompt
SUBSET = 60  # of a kernel distance: so many images without a horse there must be


class Task(NamedTuple):
    """The retained prompt, the problems, and images to keep: pretrained, without a horse."""

    retain: Any
    likelihood: ul.Likelihood
    reverse: ul.ReverseKL
    kept: torch.Tensor


@cache
def task() -> Task:
    """The same for all methods."""
    sd, tell = tools()
    retain, forget = sd.prompt(RETAINED), [sd.prompt(FORGOTTEN)]
    likelihood = ul.Likelihood(retain, forget, relative=1.0, **STATISTIC)
    images = retain.images(2 * DRAWN, steps=STEPS, seed=77)
    return Task(retain, likelihood, ul.ReverseKL(retain, forget, 8.0), without_horse(images, tell))


def without_horse(images: torch.Tensor, tell: Any) -> torch.Tensor:
    """The images that show none."""
    return images[~tell.attributes(images)[:, ATTRIBUTES.index("horse")]]


def trained(method: str, level: float, seed: int) -> Any:
    """The run of a method."""
    sd = tools()[0]
    likelihood, reverse = task().likelihood, task().reverse
    student, how = sd.lora(rank=8, seed=seed), HOW | {"seed": seed}
    if method.startswith("LU"):
        problem = likelihood.with_thresholds(level * likelihood.thresholds)
        if method == "LU, gate":
            how |= {**GATE, "sampling_steps": STEPS, "evaluate": True}  # read as it is drawn below
            return ul.finetune(problem, student, method="gate", **how)
        if method == "LU, tilt":
            return ul.finetune(problem, student, method="tilt", **how | REGRESSION)
        return ul.finetune(problem, student, **how | GRADIENT)
    if method == "ESD":
        how |= {"steps": 100, "lr": 2e-3, "sampling_steps": 10}
        return baselines.esd(reverse, student, guidance=level, **how)
    if method == "VDU":
        return baselines.vdu(reverse, student, spread=level, forget_clip=1.0, steps=100, **how)
    name, _, anchor = method.partition(" to ")
    how |= {"steps": 200, "divergence": name.lower(), "anchor": sd.prompt(ANCHORS[anchor])}
    return baselines.fdivergence(reverse, student, **how)


def measured(student: Any, seed: int) -> dict[str, Any]:
    """What is drawn, how likely the forgotten is, and what is kept."""
    sd, tell = tools()
    retain, likelihood, _, kept = task()
    latents = student.sample(DRAWN, steps=STEPS, seed=3000 + seed)
    images = sd.decode(latents)
    own = without_horse(images, tell)
    distance = None
    if len(own) >= SUBSET:  # fewer say nothing of a distribution
        describe = tell.descriptor()
        distance = float(metrics.kernel_distance(own, kept, describe, subset=SUBSET, seed=seed))
    draws = latents[: retain.effort.draws]
    ell = likelihood.values_at(draws, seed=seed)[:, 0]
    path = student.kl(retain, kind="path", samples=64, steps=50, seed=5)

    def rate(text: str, name: str) -> float:
        other = student.prompt(text).images(OTHERS, steps=STEPS, seed=4000 + seed)
        return rates_of(other, tell)[name]

    return {
        "rates": rates_of(images, tell),
        "likelihood": float(ell.mean()),
        "likelihood stderr": float(ell.std()) / len(ell) ** 0.5,
        "kernel distance without horse": distance,
        "KL": float(path),
        "KL stderr": path.stderr,
        "paraphrases": {text: rate(text, "horse") for text in PARAPHRASES},
        "unrelated": {text: rate(text, name) for text, name in UNRELATED.items()},
    }


def horse_run(method: str, level: float, seed: int) -> dict[str, Any]:
    """A run and what it leaves."""
    task()  # not a method's time
    start = time.perf_counter()
    run = trained(method, level, seed)
    seconds = round(time.perf_counter() - start, 1)
    about = {"status": run.status, "reason": run.reason, "multipliers": run.multipliers.tolist()}
    return {**about, "seconds": seconds, **measured(run.student, seed)}


def optima() -> dict[str, Any]:
    """What the exact optima on tilt's pool leave of the horse, and their KL of end points."""
    sd, tell = tools()
    problem = task().likelihood
    on_pool, others = problem.retain.tabulated(problem.compared, pool=REGRESSION["pool"], seed=0)
    horse = tell.attributes(sd.decode(on_pool.x))[:, ATTRIBUTES.index("horse")].numpy()
    found = {"1": {"horse": float(on_pool.probabilities @ horse), "KL": 0.0}}
    for level in SWEEPS["LU, tilt"]:
        asked = problem.with_thresholds(level * problem.thresholds).on(on_pool, others)
        best = ul.solve(asked).model
        kl = float(ul.kl(best, on_pool))
        found[f"{level:g}"] = {"horse": float(best.probabilities @ horse), "KL": kl}
    return found


def pretrained() -> dict[str, Any]:
    """The same of the pipeline itself: the mean over seeds is where every method starts."""
    untouched = tools()[0].lora(rank=8, text=RETAINED)
    return {f"seed {seed}": measured(untouched, seed) for seed in SEEDS}


def horses(key: str) -> dict[str, Any]:
    """All methods and levels, seed by seed."""
    jobs = {
        f"{method} {level:g} seed {seed}": partial(horse_run, method, level, seed)
        for seed in SEEDS
        for method, levels in SWEEPS.items()
        for level in levels
    }
    runs = run_all("horses", key, {**jobs, "pretrained": pretrained, "optima": optima})
    return {"pretrained": runs.pop("pretrained"), "optima": runs.pop("optima"), "runs": runs}
