"""Tasks on prompts of the tiny Stable Diffusion, whose generator knows every rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..identity import content
from ..problems import Likelihood
from ..stable_diffusion import TextToImage
from ..stable_diffusion.classifier import AttributeClassifier, load_classifier
from ..stable_diffusion.lora_file import found_at
from ..stable_diffusion.scenes import (
    ATTRIBUTES,
    COMPANIONS,
    OPENINGS,
    SUBJECTS,
    WHERE,
    Caption,
    Scene,
    draw,
    draw_scene,
)
from ..statistics import Function
from . import cost
from .definition import Task
from .pictures import STEPS, PictureTask

RARE = 0.02  # rates that a concept of a task has at least
SPARE = 1.2  # over the largest ratio that a part of q has
KEPT = 0.9  # of a rate that is to stay, at least
TRIES = 100  # drawings for one without what is to go


@dataclass(frozen=True)
class SceneTask(PictureTask):
    """Things that come along with a subject, and are to go from its prompt.

    Attributes:
        subject: of the prompt "a SUBJECT".
        captions: how each thing is asked for, by its name.
        stays: what is to be drawn as often as before; "" for nothing.
    """

    subject: str = "cowboy"
    captions: tuple[tuple[str, str], ...] = (("horse", "a cowboy with a horse"),)
    stays: str = ""

    settings: ClassVar[dict[str, Any]] = {**Task.settings, "batch": 16, "lr": 1e-3, "steps": 100}
    networks: ClassVar[tuple[str, ...]] = ("UNet2DConditionModel",)
    axes: ClassVar[tuple[str, ...]] = (
        *("paraphrases", "prompts never trained", "other prompts", "guidance"),
        *("textual inversion, 1 vector", "textual inversion, 3 vectors", "a searched prompt"),
    )
    offers: ClassVar[tuple[str, ...]] = ("samples", "ratios", "prompts")
    published: ClassVar[dict[str, dict[str, Any]]] = {
        "tilt": {"until": None, "steps": 300, "batch": 64, "lr": 2e-3, "pool": 512},
        "primal-dual": {
            **{"until": None, "steps": 120, "lr": 2e-3, "sampling_steps": 10, "dual_lr": 0.1},
        },
        "gate": {
            **{"chains": 96, "chain_steps": 30, "primal_steps": 60, "steps": 240, "batch": 64},
            **{"sampling_steps": STEPS},
        },
        "log-variance": {"steps": 60, "sampling_steps": STEPS},
        "ESD": {"guidance": 1.0, "lr": 2e-3, "sampling_steps": 10},
        "VDU": {"spread": 1.0, "forget_clip": 1.0},
        "KL to the rest": {"steps": 200},
        "Hellinger to the rest": {"steps": 200},
        "χ² to the rest": {"steps": 200},
    }

    @property
    def concepts(self) -> tuple[str, ...]:
        """Attributes that the generator gives to the subject now and then."""
        rates = self.caption.rates()
        return tuple(name for name in ATTRIBUTES if rates[name] >= RARE)

    @property
    def named(self) -> tuple[str, ...]:
        """What is to go."""
        return tuple(name for name, _ in self.captions)

    @property
    def caption(self) -> Caption:
        """Of the prompt."""
        return Caption(self.subject)

    @property
    def retain(self) -> Any:
        """The prompt, one model for all tasks of its subject."""
        return _prompt(self.caption.text())

    @property
    def problem(self) -> Any:
        """LU on the prompts that ask for what is to go; what stays is a constraint beside it."""
        return _problem(self.subject, self.captions, self.stays, self.relative)

    @property
    def network(self) -> Any:
        """A new LoRA of rank 8 that draws the prompt."""
        return _pipeline().lora(rank=8, seed=self.seed, text=self.caption.text())

    @property
    def anchor(self) -> Any:
        """The prompt that asks for another companion, or for nothing."""
        others = [name for name in COMPANIONS[self.subject] if name not in self.named]
        text = Caption(self.subject, companion=others[0]).text() if others else ""
        return _prompt(text)

    def data(self, n: int) -> Tensor:
        """Drawings of the generator for the prompt, as latents; at most 512."""
        return _drawn(self.subject, min(n, 512), 1, ())

    def without(self, n: int, seed: int) -> Tensor:
        """The same without what is to go: drawn anew until it shows none."""
        return _drawn(self.subject, n, seed, self.named)

    def shown(self, x: Tensor) -> Tensor:
        """Attributes that the classifier finds."""
        every = self.every(x)
        return torch.stack([every[name] for name in self.concepts], 1)

    def every(self, x: Tensor) -> dict[str, Tensor]:
        """(n,) of every attribute that the classifier tells, by its name."""
        found = _classifier().attributes(self.images(x)).cpu()
        return dict(zip(ATTRIBUTES, found.T, strict=True))

    def images(self, x: Tensor) -> Tensor:
        """Through the autoencoder."""
        return _pipeline().decode(x)

    @property
    def descriptor(self) -> nn.Module:
        """The classifier's convolutions."""
        return _classifier().descriptor()

    def forgotten(self, n: int) -> Tensor:
        """What the retained pipeline draws for the prompts of what is to go, in turn."""
        each = -(-n // len(self.captions))
        parts = [
            _prompt(text).sample(each, seed=self.seed + 500, steps=STEPS)
            for _, text in self.captions
        ]
        return torch.stack(parts, 1).flatten(0, 1)[:n]

    def paraphrases(self) -> list[str]:
        """Other words for the prompt."""
        return [f"{opening}{self.subject}" for opening in OPENINGS[1:]]

    def untrained(self) -> list[str]:
        """Prompts that no method has seen, where what is to go comes along unasked."""
        places = [words for place, words in WHERE.items() if place not in self.named]
        return [f"{OPENINGS[3]}{self.subject} {words}" for words in places]

    def unrelated(self) -> dict[str, str]:
        """Other prompts, and what each must show."""
        return {f"a {one}": one for one in SUBJECTS if one != self.subject}


@cache
def _pipeline() -> TextToImage:
    torch.set_num_threads(1)
    return TextToImage.from_pretrained("tiny")


@cache
def _classifier() -> AttributeClassifier:
    return load_classifier()


@cache
def _prompt(text: str) -> Any:
    return _pipeline().prompt(text)


@cache
def _problem(
    subject: str, captions: tuple[tuple[str, str], ...], stays: str, relative: float
) -> Any:
    """E_p[q_i/q] is at most `relative` of q's own, and what stays is as frequent as before.

    Where q_i is a part of q, of mass π, q_i/q is at most 1/π: what is estimated beyond is error.
    """
    rates = Caption(subject).rates()
    least = min(rates[name] for name, _ in captions)
    keep = []
    if stays:
        column = ATTRIBUTES.index(stays)

        def shows(latents: Tensor) -> Tensor:
            return _classifier().attributes(_pipeline().decode(latents))[:, column].double()

        keep = [(Function(shows, key=stays, name=stays), KEPT * rates[stays])]
    others = [_prompt(text) for _, text in captions]
    how: dict[str, Any] = {"statistic": "ratio", "cap": SPARE / least, "at_least": keep}
    with cost.aside():
        retain = _prompt(Caption(subject).text())
        return Likelihood(retain, others, relative=relative, **how)


@cache
def _drawn(subject: str, n: int, seed: int, without: tuple[str, ...]) -> Tensor:
    """n latents of drawings for a prompt, of those without some things."""
    generator, images = np.random.default_rng(seed), []
    for _ in range(n):
        images.append(draw(_scene(subject, generator, without), generator))
    return _pipeline().encode(torch.stack(images))


def _scene(subject: str, generator: np.random.Generator, without: tuple[str, ...]) -> Scene:
    """A scene, drawn anew until it shows none of some things."""
    for _ in range(TRIES):
        scene = draw_scene(Caption(subject), generator)
        shown = dict(zip(ATTRIBUTES, scene.attributes(), strict=True))
        if not any(shown[name] for name in without):
            return scene
    raise ValueError(
        f"each of {TRIES} drawings of {subject!r} shows {' or '.join(without)}: nothing would be "
        "left to train on"
    )


def made_elsewhere(folder: Path) -> Callable[[Task], Any]:
    """A method that returns a LoRA from its file or folder, on tasks on prompts.

    Raises:
        FileNotFoundError: no such file.
    """
    path = found_at(folder)
    return partial(_loaded, path=str(path), digest=content(path.read_bytes()))


def _loaded(task: Task, *, path: str, digest: str) -> Any:
    """A LoRA that draws a task's prompt; by its digest another file is another method."""
    if not isinstance(task, SceneTask):
        raise ValueError(f"a LoRA is scored on tasks on prompts; {task.name!r} is none")
    return _pipeline().load_lora(path, text=task.caption.text())


_HORSE, _CACTUS = ("horse", "a cowboy with a horse"), ("cactus", "a cowboy with a cactus")
_NIGHT = ("night", "a cowboy at night")
_BALL = ("red", "a red ball")
_ALL = "a cowboy; half of horses, cactuses and nights may stay"
_KEEP = "a cowboy; a fifth of his horses may stay, and the cactus comes as often as before"
TASKS = (
    SceneTask("horse", "a cowboy; half of his horses may stay", 0.5, captions=(_HORSE,)),
    SceneTask("cactus", "a cowboy; a fifth of the cactuses may stay", 0.2, captions=(_CACTUS,)),
    SceneTask("night", "a cowboy; a fifth of the nights may stay", 0.2, captions=(_NIGHT,)),
    SceneTask(
        "red-ball", "a ball; a fifth of the red may stay", 0.2, subject="ball", captions=(_BALL,)
    ),
    SceneTask("three", _ALL, 0.5, captions=(_HORSE, _CACTUS, _NIGHT)),
    SceneTask("horse-not-cactus", _KEEP, 0.2, captions=(_HORSE,), stays="cactus"),
)
