"""A student before its judges: what it draws, and what the best model would do in its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from scipy.stats import binomtest
from torch import Tensor

from ..estimate import Estimate
from .definition import Optimum, Task

NORMAL = 1.96  # standard errors on both sides of an interval of 95 %
OTHERS = 100  # is added to a seed
LEAST = 1e-3  # nats: of a smaller optimum no ratio is taken


class Score(NamedTuple):
    """A number, its interval of 95 %, and what an ideal method scores; None where none is known."""

    value: float
    low: float
    high: float
    ideal: float | None = None

    @classmethod
    def of(cls, found: Estimate, ideal: float | None = None) -> Score:
        """From an estimate with its standard error."""
        half = NORMAL * found.stderr
        return cls(found.value, found.value - half, found.value + half, ideal)

    @classmethod
    def rate(cls, hits: int, n: int, ideal: float | None = None) -> Score:
        """Of n draws, by Wilson's interval, which is right for none and for all, too."""
        found = binomtest(hits, n).proportion_ci(method="wilson")
        return cls(hits / n, float(found.low), float(found.high), ideal)


Scores = dict[str, Score]


class Judged:
    """A task and a student for it; what several axes read is computed once.

    Attributes:
        draws: of the student, by the sampler it is deployed with.
        left: (m,) what is left of each thing to go.
        ideal: the best model for what is asked; matched: for what this student leaves.
    """

    def __init__(self, task: Task, student: Any):
        self.task: Any = task  # of a family whose own parts its own axes read
        self.student = student

    @cached_property
    def draws(self) -> Tensor:
        """Of the student."""
        return self.task.drawn(self.student)

    @cached_property
    def before(self) -> Tensor:
        """Of the retained model, from other noise: draws from the same noise are too alike."""
        return self.task.at(self.task.seed + OTHERS).drawn(self.task.retain)

    @cached_property
    def left(self) -> list[Estimate]:
        """What is left of each thing to go."""
        return self.task.forgetting(self.student, self.draws)

    @cached_property
    def ideal(self) -> Optimum:
        """The best model for what is asked."""
        return self.task.optimum()

    @cached_property
    def matched(self) -> Optimum:
        """The best model that leaves as much as this student."""
        return self.task.optimum([float(one) for one in self.left])

    @cached_property
    def best(self) -> Estimate:
        """The least KL of a model that leaves as much, with the error of what is left."""
        values, errors = ([part(one) for one in self.left] for part in (float, _error))
        found = self.matched.nats
        ends = [
            self.task.optimum([v + sign * e for v, e in zip(values, errors, strict=True)]).nats
            for sign in (-1, 1)
        ]
        spread = abs(ends[0].value - ends[1].value) / 2
        return Estimate(found.value, (found.stderr**2 + spread**2) ** 0.5)

    @property
    def others(self) -> list[str]:
        """Concepts that are to stay."""
        return [name for name in self.task.concepts if name not in self.task.named]

    def rates(self, x: Tensor, names: Sequence[str], *, known: bool = True) -> Scores:
        """How often draws show each of some concepts, beside the best model's rate where known."""
        shown, best = self.task.shown(x), self.ideal.rates if known else {}
        return {
            name: Score.rate(
                int(shown[:, self.task.concepts.index(name)].sum()), len(x), best.get(name)
            )
            for name in names
        }

    def named(self, x: Tensor, *, known: bool = True) -> Scores:
        """The same of what is to go."""
        return self.rates(x, self.task.named, known=known)


def _error(one: Estimate) -> float:
    return one.stderr
