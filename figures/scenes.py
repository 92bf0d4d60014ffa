"""The first example on the tiny Stable Diffusion, and what experiments on it share."""

from __future__ import annotations

import re
import tempfile
import time
from base64 import b64encode
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import torch

import unlearnlab as ul
from tools.provenance import ROOT
from unlearnlab.images import contact_sheet, write_image
from unlearnlab.stable_diffusion.classifier import AttributeClassifier, load_classifier, rates_of

DRAWN, STEPS = 200, 20  # images, and DDIM steps to each


@cache
def tools() -> tuple[ul.TextToImage, AttributeClassifier]:
    """The pipeline, and what tells the attributes of a picture."""
    torch.set_num_threads(1)
    return ul.TextToImage.from_pretrained("tiny"), load_classifier()


def pictures(latents: torch.Tensor) -> str:
    """A row of images as a PNG in base64, to be stored with the numbers."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        write_image(file.name, contact_sheet([tools()[0].decode(latents)]))
        return b64encode(Path(file.name).read_bytes()).decode()


def ten_lines() -> str:
    """The first example on prompts."""
    page = (ROOT / "site" / "prompts.md").read_text(encoding="utf-8")
    return next(part for part in re.findall(r"```python\n(.*?)```", page, re.S) if "tiny" in part)


def cowboys(key: str) -> dict[str, Any]:
    """The ten lines as they stand on the page, and what they have done to other prompts."""
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
