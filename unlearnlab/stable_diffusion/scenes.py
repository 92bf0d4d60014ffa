"""Drawn scenes with captions, whose every attribute has a known rate: what the tiny model saw.

A caption names a subject, and may name its companion, its colour or its place. What it does not
name is drawn all the same, at the rates below: a cowboy comes with a horse in 60 of 100 drawings,
and a ball is red in 70. So it is known how often anything should appear for any caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

SIZE = 32  # pixels
FINE = 4  # drawn that many times larger, then averaged: smooth edges

SUBJECTS = {"cowboy": 0.3, "ball": 0.25, "house": 0.15, "horse": 0.1, "cactus": 0.1, "tree": 0.1}
# What comes along without being asked for, by subject.
COMPANIONS = {
    "cowboy": {"horse": 0.6, "cactus": 0.3},
    "ball": {"tree": 0.3},
    "house": {"tree": 0.5, "horse": 0.15},
    "horse": {"tree": 0.25},
    "cactus": {},
    "tree": {"ball": 0.2},
}
COLOURS = {"red": 0.7, "blue": 0.1, "green": 0.1, "yellow": 0.1}  # of a ball
AT_HOME = {"meadow": 0.6, "desert": 0.1, "night": 0.3}
PLACES = {subject: AT_HOME for subject in SUBJECTS} | {
    "cowboy": {"meadow": 0.3, "desert": 0.6, "night": 0.1},
    "cactus": {"meadow": 0.1, "desert": 0.8, "night": 0.1},
}
ATTRIBUTES = (*SUBJECTS, *COLOURS, *AT_HOME)  # that the classifier tells
ASKED = {"companion": 0.35, "colour": 0.5, "place": 0.35}  # how often a caption names one
OPENINGS = ("a ", "a photo of a ", "a drawing of a ", "a picture of a ")
WHERE = {"meadow": "in a meadow", "desert": "in the desert", "night": "at night"}
JOINED = ("with", "and")


class Caption(NamedTuple):
    """What a caption asks for; None where it says nothing."""

    subject: str
    companion: str | None = None
    colour: str | None = None
    place: str | None = None

    def text(self, generator: np.random.Generator | None = None) -> str:
        """In words: one of several phrasings, or without a generator the plainest."""
        opening, joined = OPENINGS[0], JOINED[0]
        if generator is not None:
            opening, joined = generator.choice(OPENINGS), generator.choice(JOINED)
        colour = f"{self.colour} " if self.colour else ""
        words = f"{opening}{colour}{self.subject}"
        if self.companion:
            words += f" {joined} a {self.companion}"
        return f"{words} {WHERE[self.place]}" if self.place else words

    def rates(self) -> dict[str, float]:
        """The share of drawings that have each attribute."""
        present = dict.fromkeys(SUBJECTS, 0.0) | COMPANIONS[self.subject] | {self.subject: 1.0}
        if self.companion:
            present[self.companion] = 1.0
        colours = COLOURS if self.colour is None else {self.colour: 1.0}
        places = PLACES[self.subject] if self.place is None else {self.place: 1.0}
        return {
            **present,
            **{name: present["ball"] * colours.get(name, 0.0) for name in COLOURS},
            **{name: places.get(name, 0.0) for name in AT_HOME},
        }


class Scene(NamedTuple):
    """What is drawn: objects from left to right, the colour of a ball, and the place."""

    objects: tuple[str, ...]
    colour: str
    place: str

    def attributes(self) -> list[bool]:
        """Which of `ATTRIBUTES` it has."""
        shown = {*self.objects, self.place}
        if "ball" in self.objects:
            shown.add(self.colour)
        return [name in shown for name in ATTRIBUTES]


def draw_caption(generator: np.random.Generator) -> Caption:
    """A caption: any subject, and now and then something about it."""
    subject = _pick(SUBJECTS, generator)
    asked = {name: generator.random() < rate for name, rate in ASKED.items()}
    companions = list(COMPANIONS[subject])
    return Caption(
        subject,
        str(generator.choice(companions)) if companions and asked["companion"] else None,
        str(generator.choice(list(COLOURS))) if subject == "ball" and asked["colour"] else None,
        str(generator.choice(list(AT_HOME))) if asked["place"] else None,
    )


def draw_scene(caption: Caption, generator: np.random.Generator) -> Scene:
    """A scene that shows what is asked for, and the rest at its rates."""
    rates = COMPANIONS[caption.subject].items()
    along = [name for name, rate in rates if generator.random() < rate or name == caption.companion]
    objects = generator.permutation([caption.subject, *along]).tolist()
    colour = caption.colour or _pick(COLOURS, generator)
    return Scene(tuple(objects), colour, caption.place or _pick(PLACES[caption.subject], generator))


def draw(scene: Scene, generator: np.random.Generator) -> Tensor:
    """The scene as an image (3, 32, 32) in [−1, 1]; places and sizes vary a little."""
    side = SIZE * FINE
    image = Image.new("RGB", (side, side))
    pen = ImageDraw.Draw(image)
    horizon = side * generator.uniform(0.6, 0.68)
    sky, ground = _BACKGROUNDS[scene.place]
    pen.rectangle((0, 0, side, side), fill=sky)
    pen.rectangle((0, horizon, side, side), fill=ground)
    if scene.place == "night":
        _disc(pen, side * generator.uniform(0.1, 0.9), side * 0.13, side * 0.07, (250, 245, 200))
    count = len(scene.objects)
    room = side / count
    for i, name in enumerate(scene.objects):
        spare = 0.13 * room if count > 1 else 0.22 * room
        x = room * (i + 0.5) + generator.uniform(-spare, spare)
        foot = side * generator.uniform(0.82, 0.9)
        size = side * generator.uniform(0.29, 0.33) * (1.35, 1.1, 1.0)[count - 1]
        colour = _BALLS[scene.colour] if name == "ball" else None
        _OBJECTS[name](_Pen(pen, x, foot, size), colour)
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)


class Drawings(NamedTuple):
    """Images (n, 3, 32, 32) in [−1, 1], their captions, and which attributes they have (n, 13)."""

    images: Tensor
    captions: list[str]
    attributes: Tensor


def drawings(n: int, *, seed: int = 0, captions: Sequence[Caption] | None = None) -> Drawings:
    """n drawings, of given captions in turn or of random ones."""
    generator = np.random.default_rng(seed)
    images, texts, rows = [], [], []
    for i in range(n):
        caption = captions[i % len(captions)] if captions else draw_caption(generator)
        scene = draw_scene(caption, generator)
        images.append(draw(scene, generator))
        texts.append(caption.text(generator))
        rows.append(scene.attributes())
    return Drawings(torch.stack(images), texts, torch.tensor(rows))


def words() -> list[str]:
    """All words that captions have."""
    every = [*OPENINGS, *JOINED, *WHERE.values(), *SUBJECTS, *COLOURS]
    return sorted({word for text in every for word in text.split()})


def _pick(rates: dict[str, float], generator: np.random.Generator) -> str:
    return str(generator.choice(list(rates), p=list(rates.values())))


Colour = tuple[int, int, int]
_BACKGROUNDS: dict[str, tuple[Colour, Colour]] = {
    "meadow": ((150, 205, 240), (110, 180, 80)),
    "desert": ((250, 215, 160), (225, 180, 110)),
    "night": ((50, 60, 125), (65, 105, 100)),
}
_BALLS: dict[str, Colour] = {
    "red": (215, 40, 40),
    "blue": (45, 75, 220),
    "green": (30, 140, 50),
    "yellow": (250, 225, 20),
}


class _Pen(NamedTuple):
    """Draws in units of an object's size: x from its middle, y upwards from its foot."""

    pen: ImageDraw.ImageDraw
    x: float
    foot: float
    size: float

    def at(self, *points: float) -> list[float]:
        pairs = zip(points[::2], points[1::2], strict=True)
        return [v for x, y in pairs for v in (self.x + x * self.size, self.foot - y * self.size)]

    def box(self, left: float, low: float, right: float, high: float, fill: Colour) -> None:
        self.pen.rectangle(self.at(left, high, right, low), fill=fill)

    def oval(self, left: float, low: float, right: float, high: float, fill: Colour) -> None:
        self.pen.ellipse(self.at(left, high, right, low), fill=fill)

    def shape(self, *points: float, fill: Colour) -> None:
        self.pen.polygon(self.at(*points), fill=fill)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: Colour) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _cowboy(p: _Pen, colour: Colour | None) -> None:
    p.box(-0.2, 0.0, -0.04, 0.6, (50, 60, 130))
    p.box(0.04, 0.0, 0.2, 0.6, (50, 60, 130))
    p.box(-0.26, 0.5, 0.26, 1.05, (200, 60, 50))
    p.oval(-0.19, 1.0, 0.19, 1.42, (240, 195, 155))
    p.box(-0.42, 1.33, 0.42, 1.43, (95, 55, 25))
    p.box(-0.22, 1.4, 0.22, 1.68, (95, 55, 25))


def _horse(p: _Pen, colour: Colour | None) -> None:
    brown = (130, 75, 35)
    for x in (-0.46, -0.26, 0.14, 0.32):
        p.box(x, 0.0, x + 0.12, 0.5, brown)
    p.oval(-0.52, 0.35, 0.48, 0.85, brown)
    p.shape(0.2, 0.6, 0.48, 0.6, 0.66, 1.2, 0.46, 1.25, fill=brown)
    p.shape(0.42, 1.28, 0.66, 1.24, 0.86, 0.98, 0.72, 0.9, 0.5, 1.05, fill=brown)
    p.shape(-0.5, 0.75, -0.68, 0.25, -0.58, 0.25, -0.4, 0.65, fill=(70, 40, 20))
    p.shape(0.2, 0.8, 0.42, 1.32, 0.5, 1.25, 0.34, 0.75, fill=(70, 40, 20))


def _cactus(p: _Pen, colour: Colour | None) -> None:
    green = (25, 140, 75)
    p.box(-0.13, 0.0, 0.13, 1.35, green)
    p.oval(-0.13, 1.2, 0.13, 1.5, green)
    p.box(-0.45, 0.55, 0.0, 0.72, green)
    p.box(-0.45, 0.55, -0.28, 1.05, green)
    p.box(0.0, 0.4, 0.45, 0.57, green)
    p.box(0.28, 0.4, 0.45, 0.95, green)


def _ball(p: _Pen, colour: Colour | None) -> None:
    assert colour is not None
    p.oval(-0.42, 0.0, 0.42, 0.84, colour)
    light = tuple((c + 2 * 255) // 3 for c in colour)
    p.oval(-0.24, 0.46, -0.02, 0.68, (light[0], light[1], light[2]))


def _house(p: _Pen, colour: Colour | None) -> None:
    p.box(-0.45, 0.0, 0.45, 0.75, (235, 225, 205))
    p.shape(-0.58, 0.72, 0.58, 0.72, 0.0, 1.3, fill=(170, 60, 45))
    p.box(-0.32, 0.0, -0.08, 0.45, (110, 65, 35))
    p.box(0.08, 0.3, 0.32, 0.54, (90, 150, 200))


def _tree(p: _Pen, colour: Colour | None) -> None:
    p.box(-0.1, 0.0, 0.1, 0.6, (105, 65, 35))
    for x, y in ((-0.45, 0.5), (0.0, 0.5), (-0.22, 0.85)):
        p.oval(x, y, x + 0.45, y + 0.55, (50, 135, 55))


_OBJECTS: dict[str, Callable[[_Pen, Colour | None], None]] = {
    "cowboy": _cowboy,
    "horse": _horse,
    "cactus": _cactus,
    "ball": _ball,
    "house": _house,
    "tree": _tree,
}
