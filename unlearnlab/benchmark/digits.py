"""Tasks on handwritten digits: a class, and three memorised images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import digits, metrics
from ..diffusion import DataSet, PointMass
from ..problems import Likelihood
from ..training.returns import Near, Returns
from . import cost
from .definition import Task
from .pictures import STEPS, PictureTask

TEMPERATURE = 4.0  # log-ratios of images are tens of nats
CLOSE = 0.25  # root mean square within which a picture is a memorised one


@dataclass(frozen=True)
class DigitTask(PictureTask):
    """A class of digits, of a model that draws all."""

    digit: int = 4

    settings: ClassVar[dict[str, Any]] = {**Task.settings, "batch": 32, "lr": 5e-4, "steps": 100}
    networks: ClassVar[tuple[str, ...]] = ("UNet2DModel",)
    published: ClassVar[dict[str, dict[str, Any]]] = {
        "tilt": {"until": None, "pool": 512},
        "primal-dual": {
            **{"until": None, "steps": 40, "lr": 1e-4, "sampling_steps": 10, "dual_lr": 0.2},
        },
        "gate": {
            **{"chains": 96, "chain_steps": 30, "primal_steps": 60, "steps": 240, "batch": 64},
            **{"sampling_steps": STEPS, "lr": 3e-4},
        },
        "log-variance": {"steps": 60, "batch": 16, "sampling_steps": STEPS, "lr": 1e-4},
        "ESD": {"guidance": 0.5},
        "NegGrad": {"steps": 40, "lr": 5e-5},
        "VDU": {"lr": 1e-4},
        "JS to the rest": {"lr": 1e-4, "steps": 400},
    }

    @property
    def concepts(self) -> tuple[str, ...]:
        """The ten digits."""
        return tuple(map(str, range(10)))

    @property
    def named(self) -> tuple[str, ...]:
        """The class."""
        return (str(self.digit),)

    @property
    def retain(self) -> Any:
        """The model of all digits."""
        return _model("unconditional")

    @property
    def problem(self) -> Any:
        """LU, on the model of the class."""
        return _class_problem(self.digit, self.relative)

    @property
    def network(self) -> Any:
        """The model itself."""
        return self.retain

    @property
    def anchor(self) -> Any:
        """All other digits, as data."""
        return DataSet(_digits().without(self.digit).images)

    def data(self, n: int) -> Tensor:
        """The training digits, at most n."""
        return _digits().images[:n]

    def shown(self, x: Tensor) -> Tensor:
        """The class that the classifier puts each picture in."""
        found = metrics.features(x, _classifier()).argmax(1)
        return nn.functional.one_hot(found, 10).bool()

    def images(self, x: Tensor) -> Tensor:
        """Pictures are what the model draws."""
        return x.clamp(-1.5, 1.5)

    @property
    def descriptor(self) -> nn.Module:
        """The classifier's convolutions."""
        return _classifier().descriptor()

    def without(self, n: int, seed: int) -> Tensor:
        """Digits of the other classes that no model was trained on, with repetitions."""
        return _some(_digits(held_out=True).without(self.digit).images, n, seed)

    def forgotten(self, n: int) -> Tensor:
        """Training digits of the class."""
        return _digits().of(self.digit).images[self.seed : self.seed + n]


@dataclass(frozen=True)
class ImagesTask(DigitTask):
    """Three training images that the model has memorised, planted 20, 60 and 180 times.

    `relative` is of the shares that come back of noised copies, where methods train; and of how
    often draws lie near an image, where it is judged.
    """

    offers: ClassVar[tuple[str, ...]] = ("samples", "images")
    published: ClassVar[dict[str, dict[str, Any]]] = {
        **DigitTask.published,
        "leave-out": {"steps": 1500, "batch": 64, "lr": 3e-4},
    }

    @property
    def concepts(self) -> tuple[str, ...]:
        """The images by how often they were planted, and the digits besides."""
        return (*self.named, *(f"another {digit}" for digit in range(10)))

    @property
    def named(self) -> tuple[str, ...]:
        """The images."""
        return tuple(f"planted {times} times" for times in digits.PLANTED.values())

    @property
    def retain(self) -> Any:
        """The model that has memorised them."""
        return _model("memorised")

    @property
    def problem(self) -> Any:
        """At most a share of each image's noised copies may come back."""
        return _images_problem(self.relative)

    @property
    def forget(self) -> tuple[Any, ...]:
        """A point each."""
        return tuple(PointMass(x) for x in _planted())

    @property
    def anchor(self) -> Any:
        """All other digits, as data."""
        return DataSet(self.apart(4096))

    def data(self, n: int) -> Tensor:
        """The training digits, every image as often as the model saw it, in any order."""
        images = _digits().images
        again = [
            images[place].expand(times - 1, 1, 8, 8) for place, times in digits.PLANTED.items()
        ]
        x = torch.cat([*again, images])
        return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))][:n]

    def shown(self, x: Tensor) -> Tensor:
        """Which image lies near; of what is near none, the digit."""
        near = torch.stack([Near(one, CLOSE)(x) > 0 for one in _planted()], 1)
        return torch.cat([near, super().shown(x) & ~near.any(1, keepdim=True)], 1)

    def forgotten(self, n: int) -> Tensor:
        """The images, in turn."""
        return _planted().repeat(-(-n // 3), 1, 1, 1)[:n]

    def without(self, n: int, seed: int) -> Tensor:
        """Digits that no model was trained on."""
        return _some(_digits(held_out=True).images, n, seed)


def _some(x: Tensor, n: int, seed: int) -> Tensor:
    """n of them at random, with repetitions."""
    return x[torch.randint(len(x), (n,), generator=torch.Generator().manual_seed(seed))]


@cache
def _digits(held_out: bool = False) -> Any:
    return digits.data(held_out=held_out)


@cache
def _classifier() -> Any:
    return digits.load_classifier()


@cache
def _planted() -> Tensor:
    return _digits().images[list(digits.PLANTED)]


@cache
def _model(name: str) -> Any:
    return digits.load_model(name)


@cache
def _class_problem(digit: int, relative: float) -> Any:
    own = _model("conditional").labelled(digit)
    ratio: dict[str, Any] = {"statistic": "ratio", "temperature": TEMPERATURE}
    with cost.aside():
        return Likelihood(_model("unconditional"), [own], relative=relative, **ratio)


@cache
def _images_problem(relative: float) -> Any:
    with cost.aside():
        return Returns(_model("memorised"), list(_planted()), relative=relative)


TASKS = (
    DigitTask("digit", "digits of all classes; a twentieth of the fours may stay", 0.05),
    ImagesTask("images", "digits, three of them memorised; a fifth of each may come back", 0.2),
)
