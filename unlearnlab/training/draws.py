"""Random numbers that depend on (seed, step, process) alone, and levels drawn evenly in log-SNR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..diffusion.schedule import Schedule


class Draws:
    """The random numbers of one training step.

    Each member of a stacked student has a stream of its own, the one it would have alone. Nothing
    has to be stored to resume a run: the same (seed, step, process, part) gives the same numbers.
    They are drawn on the CPU, so that they are equal on every device.
    """

    def __init__(
        self, seeds: Sequence[int], step: int, process: int = 0, part: int = 0, *, like: Tensor
    ):
        self.seeds = list(seeds)
        self.key = (step, process, part)
        self.like = like
        self.generators = []
        for seed in seeds:
            state = np.random.SeedSequence((seed, *self.key)).generate_state(1, np.uint64)[0]
            self.generators.append(torch.Generator().manual_seed(int(state >> np.uint64(1))))

    def normal(self, n: int, *shape: int) -> Tensor:
        """(K·n, *shape) standard normal."""
        parts = [torch.randn(n, *shape, generator=g) for g in self.generators]
        return torch.cat(parts).to(self.like)

    def uniform(self, n: int) -> Tensor:
        """(K, n) stratified over [0, 1): one in each n-th, in random order."""
        rows = []
        for g in self.generators:
            even = (torch.arange(n) + torch.rand(n, generator=g, dtype=torch.float64)) / n
            rows.append(even[torch.randperm(n, generator=g)])
        return torch.stack(rows)

    def pick(self, high: int, n: int) -> Tensor:
        """(K·n,) indices below `high`, stratified."""
        return (self.uniform(n) * high).long().clamp(max=high - 1).flatten()


class Levels:
    """Timesteps drawn evenly in log-SNR: ½∫f dγ = scale·E f, whatever f."""

    def __init__(self, schedule: Schedule):
        self.nodes, weights = schedule.nodes(len(schedule))
        self.scale = float(weights.sum())
        self.cumulative = torch.cumsum(weights / weights.sum(), 0)

    def draw(self, draws: Draws, n: int) -> Tensor:
        """(K·n,) timesteps on the device of the samples."""
        index = torch.searchsorted(self.cumulative, draws.uniform(n).flatten())
        return self.nodes[index.clamp(max=len(self.nodes) - 1)].to(draws.like.device)
