"""Concepts forgotten by the tiny Stable Diffusion, whose every rate is known."""

from __future__ import annotations

import re
import tempfile
import time
from base64 import b64encode
from contextlib import chdir
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unlearnlab as ul
from figures.digits import run_all
from tools.provenance import ROOT
from unlearnlab.diffusion.composed import ComposedModel
from unlearnlab.images import contact_sheet, write_image
from unlearnlab.stable_diffusion.classifier import AttributeClassifier, load_classifier, rates_of

RETAINED = "a cowboy"
# Of unequal difficulty: a cowboy comes with them in 60, 30 and 10 of 100 drawings.
CONCEPTS = {
    "horse": "a cowboy with a horse",
    "cactus": "a cowboy with a cactus",
    "night": "a cowboy at night",
}
FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0)  # of the mean pretrained divergence: the thresholds
SUMS = (0.3, 0.5, 0.65, 0.8, 0.9)  # Λ of the equal weights
ASCENT = {"steps": 60, "batch": 16, "sampling_steps": 10, "dual_lr": 0.02}
DRAWN, STEPS = 200, 20  # images, and DDIM steps to each
CHAINS, CHAIN_STEPS = 96, 10  # of a path KL


@cache
def tools() -> tuple[ul.TextToImage, AttributeClassifier]:
    """The pipeline, and what tells the attributes of a picture."""
    torch.set_num_threads(1)
    return ul.TextToImage.from_pretrained("tiny"), load_classifier()


@cache
def models() -> tuple[Any, tuple[Any, ...]]:
    """The retained prompt, and those to forget."""
    sd = tools()[0]
    return sd.prompt(RETAINED), tuple(map(sd.prompt, CONCEPTS.values()))


def path(p: Any, q: Any) -> ul.Estimate:
    """KL of their sampling chains, nats."""
    found: ul.Estimate = p.kl(q, kind="path", samples=CHAINS, steps=CHAIN_STEPS, seed=5)
    return found


def pictures(latents: torch.Tensor) -> str:
    """A row of images as a PNG in base64, to be stored with the numbers."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        write_image(file.name, contact_sheet([tools()[0].decode(latents)]))
        return b64encode(Path(file.name).read_bytes()).decode()


def ten_lines() -> str:
    """The README's example of this rung."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return next(part for part in re.findall(r"```python\n(.*?)```", readme, re.S) if "tiny" in part)


def cowboys(key: str) -> dict[str, Any]:
    """The README's ten lines as they stand there, and what they have done to other prompts."""
    torch.set_num_threads(1)
    names: dict[str, Any] = {}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        exec(ten_lines(), names)
    seconds = round(time.perf_counter() - start, 1)
    sd, tell = tools()
    student, rates = names["again"], {}
    for text in ("a cowboy", "a photo of a cowboy", "a horse", "a house", "a ball", "a tree"):
        pair = {"before": sd.prompt(text), "after": student.prompt(text)}
        rates[text] = {
            when: rates_of(one.images(DRAWN, steps=STEPS), tell) for when, one in pair.items()
        }
    return {
        "code": ten_lines(),
        "seconds on one core": seconds,
        "status": names["run"].status,
        "multipliers": names["run"].multipliers.tolist(),
        "evaluation": repr(names["run"].evaluation),
        "rates": rates,
        "before": pictures(names["cowboy"].sample(10, steps=STEPS)),
        "after": pictures(student.sample(10, steps=STEPS)),
    }


def measured(model: Any) -> dict[str, Any]:
    """Divergences from the retained prompt and from each concept, and rates."""
    retain, forget = models()
    sd, tell = tools()
    latents = model.sample(DRAWN, steps=STEPS, seed=11)
    apart = [path(model, one) for one in forget]
    deviation = path(model, retain)
    return {
        "deviation": float(deviation),
        "deviation stderr": deviation.stderr,
        "separations": list(map(float, apart)),
        "separations stderr": [one.stderr for one in apart],
        "rates": rates_of(sd.decode(latents), tell),
    }


def concepts_run(kind: str, level: float, pretrained: float) -> dict[str, Any]:
    """Multipliers by dual ascent to equal thresholds, or equal ones, and what they draw.

    Args:
        level: the thresholds over the mean pretrained divergence; or the sum Λ of the multipliers.
    """
    retain, forget = models()
    if kind == "constrained":
        problem = ul.ReverseKL(retain, forget, level * pretrained)
        run = ul.finetune(problem, method="dual-only", evaluate=False, progress=False, **ASCENT)
        multipliers, status = run.multipliers, run.status
        thresholds = problem.thresholds.tolist()
    else:
        multipliers, status = np.full(len(forget), level / len(forget)), "fixed"
        thresholds = None
    model = ComposedModel(retain, forget, multipliers / (1 - multipliers.sum()))
    return {
        "multipliers": multipliers.tolist(),
        "thresholds": thresholds,
        "status": status,
        **measured(model),
    }


def concepts(key: str) -> dict[str, Any]:
    """Figure 6: the worst concept against the distance to the pretrained model."""
    # As dual ascent measures them, by Lemma 3.
    each = ul.ReverseKL(*models(), relative=1.0).thresholds
    jobs = {
        f"{kind} {level}": partial(concepts_run, kind, level, float(each.mean()))
        for kind, levels in (("constrained", FACTORS), ("equal weights", SUMS))
        for level in levels
    }
    runs = run_all("concepts", key, jobs)
    before = measured(models()[0]) | {"divergences": each.tolist()}
    return {"pretrained": before, "runs": runs}
