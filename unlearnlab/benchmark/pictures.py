"""Tasks on pictures in which a classifier tells what is to go: the optimum is counted.

Whether a picture shows a thing is a function of it, and no function adds to KL: a model that shows
it as often as r pays at least what a reweighing of q by that function alone does, and the
reweighing attains it. So the optimum is a moment problem on the draws of q, each an atom.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import metrics
from ..density import Discrete
from ..dual import solve
from ..errors import Array
from ..estimate import Estimate
from ..problems import Moments
from .definition import Optimum, Task
from .draws import Draws

STEPS = 20  # of DDIM
RESAMPLED = 20  # times, of the pool: the spread of optima is their error
FEWEST = 60  # pictures of a kernel distance
SUBSET, SUBSETS = 60, 20
AS_ONE = 0.5  # of a picture: a rate below that of half a picture in the pool is taken for it


@dataclass(frozen=True)
class PictureTask(Task):
    """Pictures; what is left of a thing is how often the classifier finds it."""

    @abstractmethod
    def images(self, x: Tensor) -> Tensor:
        """(n, C, H, W) in [−1, 1] of what the model draws."""

    @property
    @abstractmethod
    def descriptor(self) -> nn.Module:
        """Of a kernel distance."""

    @abstractmethod
    def without(self, n: int, seed: int) -> Tensor:
        """(n, *shape) as the generator makes them without what is to go."""

    def sampled(self, model: Any, n: int, seed: int, **how: Any) -> Tensor:
        """n draws of an image model by as many steps as it is deployed with."""
        return model.sample(n, seed=seed, steps=STEPS, **how)

    @property
    def inverted_samples(self) -> int:
        """Half as many as the pool has."""
        return self.effort.pool // 2

    def drawn(self, student: Any, **how: Any) -> Tensor:
        """As many as the pool has."""
        return self.sampled(student, self.effort.pool, 9000 + self.seed, **how)

    @property
    def pool(self) -> Tensor:
        """Draws of the retained model, of any seed the same: the atoms that an optimum weighs."""
        return _pool(replace(self, seed=0))[0]

    @property
    def counted(self) -> Array:
        """(pool, concepts) 0 or 1: what each atom shows."""
        return _pool(replace(self, seed=0))[1]

    @property
    def places(self) -> list[int]:
        """Of what is to go, among the concepts."""
        return [self.concepts.index(name) for name in self.named]

    @property
    def asked(self) -> list[float]:
        """(m,) `relative` times the retained model's own rates."""
        return [float(self.relative * rate) for rate in self.counted[:, self.places].mean(0)]

    def forgetting(self, student: Any, x: Tensor) -> list[Estimate]:
        """How often each thing is found."""
        n, found = len(x), self.shown(x)[:, self.places].double().mean(0).tolist()
        return [Estimate(r, max(r * (1 - r), AS_ONE / n) ** 0.5 / n**0.5) for r in found]

    def deviation(self, student: Any) -> Estimate | None:
        """KL of the DDPM chain, which bounds that of pictures from above; exact of the optimum."""
        if getattr(student, "draws_only", False):
            known = student.log_ratio is not None
            return student.kl(self.retain, samples=self.effort.pool) if known else None
        how = {"samples": self.effort.chains, "steps": self.effort.chain_steps}
        found: Estimate = student.kl(self.retain, kind="path", seed=5 + self.seed, **how)
        return found

    def optimum(self, left: Sequence[float] | None = None) -> Optimum:
        """The least KL on the pool; its error is that of the pool, drawn again from itself."""
        return _optimum(replace(self, seed=0), tuple(self.asked if left is None else left))

    def distance(self, x: Tensor, reference: Tensor) -> Estimate | None:
        """Kernel distance of what the classifier sees."""
        if min(len(x), len(reference)) < FEWEST:
            return None
        own, other = (self.images(one) for one in (x, reference))
        how: dict[str, Any] = {"subset": SUBSET, "subsets": SUBSETS, "seed": self.seed}
        return metrics.kernel_distance(own, other, self.descriptor, **how)

    def best_model(self) -> Draws:
        """Draws of q, each kept as often as the optimum weighs what it shows."""
        weights = weighed(self.counted[:, self.places], self.asked)[0] * len(self.counted)
        table = {tuple(row): w for row, w in zip(self._marks(self.pool), weights, strict=True)}
        highest, last = max(table.values()), min(table.values())

        def ratio(x: Tensor) -> Array:  # what the pool never showed is as rare as its rarest
            return np.array([table.get(tuple(row), last) for row in self._marks(x)])

        def draw(n: int, seed: int) -> Tensor:
            generator, kept = np.random.default_rng(seed), self.pool[:0]
            while len(kept) < n:
                x = self.sampled(self.retain, n, seed + 7 * len(kept) + 1)
                chosen = generator.random(len(x)) < ratio(x) / highest
                kept = torch.cat([kept, x[torch.from_numpy(chosen)]])
            return kept[:n]

        return Draws(self.retain, draw, lambda x: torch.from_numpy(np.log(ratio(x))))

    def _marks(self, x: Tensor) -> list[list[bool]]:
        marks: list[list[bool]] = self.shown(x)[:, self.places].tolist()
        return marks

    def noise_model(self) -> Draws:
        """Standard normal numbers in the place of pictures."""

        def draw(n: int, seed: int) -> Tensor:
            return torch.randn(n, *self.retain.shape, generator=torch.Generator().manual_seed(seed))

        return Draws(self.retain, draw)

    def retrained_model(self) -> Draws:
        """The generator's own pictures without what is to go."""
        return Draws(self.retain, self.without)

    def blurred_model(self) -> Draws:
        """The same, each the mean of its neighbours."""

        def draw(n: int, seed: int) -> Tensor:
            x = self.without(n, seed)
            return nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

        return Draws(self.retain, draw)


@cache
def _pool(task: PictureTask) -> tuple[Tensor, Array]:
    """Draws of the retained model, and what they show."""
    x = task.sampled(task.retain, task.effort.pool, 50)
    return x, task.shown(x).double().cpu().numpy()


@lru_cache(maxsize=64)
def _optimum(task: PictureTask, left: tuple[float, ...]) -> Optimum:
    """The optimum on the pool, and its spread over pools drawn from it."""
    counted = task.counted
    shown, n = counted[:, task.places], len(counted)
    weights, nats = weighed(shown, left)
    generator = np.random.default_rng(0)
    again = [weighed(shown[generator.integers(0, n, n)], left)[1] for _ in range(RESAMPLED)]
    rates = dict(zip(task.concepts, (weights @ counted).tolist(), strict=True))
    return Optimum(Estimate(nats, float(np.std(again))), rates)


def weighed(shown: Array, left: Sequence[float]) -> tuple[Array, float]:
    """Weights (n,) of the atoms and KL of the model that shows each thing at most as often.

    Args:
        shown: (n, m) 0 or 1. left: (m,) rates; what half an atom shows stands for less.
    """
    n = len(shown)
    asked = [max(float(rate), AS_ONE / n) for rate in left]
    binding = [i for i, rate in enumerate(asked) if shown[:, i].mean() > rate]
    if not binding:
        return np.full(n, 1 / n), 0.0
    pairs = [(lambda atoms, i=i: shown[atoms, i], asked[i]) for i in binding]
    solution = solve(Moments(Discrete(np.full(n, 1 / n)), at_most=pairs))
    return solution.model.probabilities, solution.objective
