"""Several concepts forgotten at once by the tiny Stable Diffusion, whose every rate is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

import unlearnlab as ul
from figures.digits import SEEDS, run_all
from figures.scenes import DRAWN, STEPS, tools
from unlearnlab.diffusion.composed import ComposedModel
from unlearnlab.diffusion.sampling import path_kls
from unlearnlab.stable_diffusion.classifier import rates_of

RETAINED = "a cowboy"
# Of unequal difficulty: a cowboy comes with them in 60, 30 and 10 of 100 drawings.
CONCEPTS = {
    "horse": "a cowboy with a horse",
    "cactus": "a cowboy with a cactus",
    "night": "a cowboy at night",
}
THRESHOLDS = (3.0, 5.0, 8.0, 12.0)  # nats, the same for all
SUMS = (0.1, 0.2, 0.3, 0.4, 0.5)  # Λ of the equal weights
ASCENT = {"steps": 45, "batch": 12, "sampling_steps": 8}
DUAL_LR = 0.06  # over the threshold: what a dual step adds where nothing is separated yet
CHAINS, CHAIN_STEPS = 96, 10  # of a path KL


@cache
def models() -> tuple[Any, tuple[Any, ...]]:
    """The retained prompt, and those to forget."""
    sd = tools()[0]
    return sd.prompt(RETAINED), tuple(map(sd.prompt, CONCEPTS.values()))


def measured(model: Any, seed: int) -> dict[str, Any]:
    """Divergences from the retained prompt and from each concept, and rates."""
    retain, forget = models()
    sd, tell = tools()
    latents = model.sample(DRAWN, steps=STEPS, seed=3000 + seed)
    chains = {"samples": CHAINS, "steps": CHAIN_STEPS, "seed": 5000 + seed}
    deviation, *apart = path_kls(model, [retain, *forget], **chains)
    return {
        "deviation": float(deviation),
        "deviation stderr": deviation.stderr,
        "separations": list(map(float, apart)),
        "separations stderr": [one.stderr for one in apart],
        "rates": rates_of(sd.decode(latents), tell),
    }


def concepts_run(kind: str, level: float, seed: int) -> dict[str, Any]:
    """Multipliers by dual ascent to one threshold for all, or equal ones, and what they draw.

    Args:
        level: the threshold in nats; or the sum Λ of the multipliers.
    """
    retain, forget = models()
    if kind == "constrained":
        how: dict[str, Any] = {**ASCENT, "dual_lr": DUAL_LR / level, "seed": seed}
        how |= {"evaluate": False, "progress": False}
        run = ul.finetune(ul.ReverseKL(retain, forget, level), method="dual-only", **how)
        multipliers, status = run.multipliers, run.status
    else:
        multipliers, status = np.full(len(forget), level / len(forget)), "fixed"
    model = ComposedModel(retain, forget, multipliers / (1 - multipliers.sum()))
    return {"multipliers": multipliers.tolist(), "status": status, **measured(model, seed)}


def concepts(key: str) -> dict[str, Any]:
    """Figure 6: the worst concept against the distance to the pretrained model."""
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        f"{kind} {level} seed {seed}": partial(concepts_run, kind, level, seed)
        for kind, levels in (("constrained", THRESHOLDS), ("equal weights", SUMS))
        for level in levels
        for seed in SEEDS
    }
    jobs |= {
        f"pretrained seed {seed}": lambda seed=seed: measured(models()[0], seed) for seed in SEEDS
    }
    return {"runs": run_all("concepts", key, jobs)}
