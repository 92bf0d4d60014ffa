"""What a task is: something to forget, how much of it, and what the best model would score."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from ..errors import Array
from ..estimate import Estimate


class Effort(NamedTuple):
    """How much judging a student spends.

    Args:
        draws: of a mixture's student, for rates and likelihoods.
        pool: of an image model, for rates, and of the retained one, on which optima are counted.
        chains: of a KL along paths; chain_steps: of each.
        tuning: steps of an attack that is trained.
        pretraining: steps of a network that a task trains for itself.
    """

    draws: int = 4096
    pool: int = 400
    chains: int = 48
    chain_steps: int = 200
    tuning: int = 150
    pretraining: int = 2000


FULL = Effort()
QUICK = Effort(1024, 160, 24, 60, 40, 800)


class Optimum(NamedTuple):
    """The best that any model can do.

    Attributes:
        nats: least KL(p‖q) of a model that forgets so much, with its error.
        rates: how often that model shows each concept.
    """

    nats: Estimate
    rates: dict[str, float]


@dataclass(frozen=True)
class Task(ABC):
    """A thing to forget. A method is a function from a task to a student.

    Attributes:
        name, version: results of other versions are not compared.
        asks: in a sentence.
        relative: the threshold, as a share of what the retained model has.
        seed: of the student, of its training data and of all that judges it.
        effort: what judging spends.

    Class attributes:
        settings: of `finetune`, that published runs on such models have.
        offers: what a method may read; see `methods.Method`.
        published: of some methods by name, besides.
        networks: classes by name, whose rows are counted.
        axes: that it has besides those of every task.
        concepts: what a draw may show.
        named: those of them that are to go.
    """

    name: str
    asks: str
    relative: float
    version: int = 1
    seed: int = 0
    effort: Effort = FULL

    settings: ClassVar[dict[str, Any]] = {"evaluate": False, "progress": False}
    offers: ClassVar[tuple[str, ...]] = ("samples", "ratios")
    published: ClassVar[dict[str, dict[str, Any]]] = {}
    networks: ClassVar[tuple[str, ...]] = ()
    axes: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def concepts(self) -> tuple[str, ...]:
        """What a draw may show, by name."""

    @property
    @abstractmethod
    def named(self) -> tuple[str, ...]:
        """What is to go."""

    @property
    @abstractmethod
    def problem(self) -> Any:
        """What is asked for: E_p[q_i/q] ≤ relative·E_q[q_i/q]."""

    @property
    def retain(self) -> Any:
        """q, the model whose draws are to stay as they are."""
        return self.problem.retain

    @property
    def forget(self) -> tuple[Any, ...]:
        """The models of what is to go."""
        return self.problem.forget

    @property
    def thresholds(self) -> Array:
        """(m,) in the units of the problem."""
        return self.problem.thresholds

    @property
    @abstractmethod
    def network(self) -> Any:
        """The pretrained model as a network."""

    def student(self) -> Any:
        """A copy of the pretrained network to train: its parameters ask for gradients."""
        return self.network.for_training()

    @abstractmethod
    def data(self, n: int) -> Tensor:
        """(n, *shape) samples as the retained model was trained on."""

    @abstractmethod
    def shown(self, x: Tensor) -> Tensor:
        """(n, concepts) bool: what each draw shows."""

    @abstractmethod
    def forgetting(self, student: Any, x: Tensor) -> list[Estimate]:
        """(m,) what is left of each thing to go, from draws x of the student."""

    @abstractmethod
    def deviation(self, student: Any) -> Estimate | None:
        """KL(p‖q) of a student, in nats; None where it cannot be measured."""

    @abstractmethod
    def optimum(self, left: Sequence[float] | None = None) -> Optimum:
        """The best model that leaves so much: as much as is asked for, or the values (m,) given."""

    @abstractmethod
    def distance(self, x: Tensor, reference: Tensor) -> Estimate | None:
        """How far two sets of draws lie apart, 0 for the same law; None for too few."""

    @abstractmethod
    def best_model(self) -> Any:
        """The optimum for what is asked, by rejection; see `answers` for this and the next."""

    @abstractmethod
    def noise_model(self) -> Any:
        """Draws noise."""

    @abstractmethod
    def retrained_model(self) -> Any:
        """Made without what is to go."""

    @abstractmethod
    def blurred_model(self) -> Any:
        """The same, blurred."""

    @property
    def asked(self) -> list[float]:
        """(m,) what may be left of each thing to go, in the units of `forgetting`."""
        return [float(b) for b in self.thresholds]

    @property
    def inverted_samples(self) -> int:
        """How many of what is to go are inverted to noise."""
        return self.effort.draws // 4

    def forgotten(self, n: int) -> Tensor:
        """(n, *shape) samples of what is to go, of all things as many."""
        each = -(-n // len(self.forget))
        parts = [one.sample(each, seed=self.seed + 500 + i) for i, one in enumerate(self.forget)]
        return torch.cat(parts)[:n]

    def apart(self, n: int) -> Tensor:
        """(≤ n, *shape) of n training samples those that show nothing of what is to go."""
        x = self.data(n)
        return x[~self.hit(x)]

    def to_go(self, n: int) -> Tensor:
        """(≤ n, *shape) of n training samples those that show some of it."""
        x = self.data(n)
        return x[self.hit(x)]

    @property
    @abstractmethod
    def anchor(self) -> Any:
        """A model to become in the place of what is to go: the rest, or the nearest."""

    def hit(self, x: Tensor) -> Tensor:
        """(n,) which draws show any of what is to go."""
        shown = self.shown(x)
        return shown[:, [self.concepts.index(name) for name in self.named]].any(1)

    def drawn(self, student: Any, **how: Any) -> Tensor:
        """Draws of a student, as many as the effort says, by the sampler it is deployed with."""
        return student.sample(self.effort.draws, seed=9000 + self.seed, **how)

    def at(self, seed: int, effort: Effort | None = None) -> Self:
        """The same task at another seed."""
        return replace(self, seed=seed, effort=self.effort if effort is None else effort)

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: what it is made of, not what it has computed."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


_KNOWN: dict[str, Task] = {}


def register(task: Task) -> None:
    """Add a task under its name.

    Raises:
        ValueError: the name is taken.
    """
    if task.name in _KNOWN:
        raise ValueError(f"a task {task.name!r} is there already: choose another name")
    _KNOWN[task.name] = task


def names() -> list[str]:
    """The names of all tasks, in order."""
    return list(_KNOWN)


def task(name: str) -> Task:
    """A task by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _KNOWN:
        raise ValueError(unknown("task", name, list(_KNOWN)))
    return _KNOWN[name]


def unknown(what: str, name: str, there: Sequence[str]) -> str:
    """A sentence on a name that is none of those there: what is near it, or all of them."""
    near = difflib.get_close_matches(str(name), there, n=1, cutoff=0.8)
    if near:
        return f"there is no {what} {name!r}: did you mean {near[0]!r}?"
    return f"{what} must be one of {'; '.join(there)}; got {name!r}"
