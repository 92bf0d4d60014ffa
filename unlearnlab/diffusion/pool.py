"""Pools: weighted samples on which the exact dual solver works as it does on cells.

Samples of a mixture of q and the q_i carry balance-heuristic weights, which need log-ratios only.
A pool is then a distribution on finitely many atoms, one vector of log masses for each model.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ..density.exact import ExactModel
from ..errors import Array
from ..ratios import LogRatios, log_sum_exp
from . import quadrature
from .model import DiffusionModel, require_density, require_family
from .schedule import whole


@dataclass(frozen=True, eq=False)
class Samples:
    """The atoms of a pool: points (N, *shape) and the models they were drawn for."""

    x: Tensor
    retain: DiffusionModel
    forget: tuple[DiffusionModel, ...]

    def __getitem__(self, index: Any) -> Samples:
        index = torch.as_tensor(index) if isinstance(index, np.ndarray) else index
        return replace(self, x=self.x[index])


def tabulate(
    retain: DiffusionModel, forget: Sequence[Any], x: Tensor, *, seed: int = 0
) -> LogRatios:
    """Log-ratios and forgotten log-densities at samples x of q, equally weighted.

    They are exact where every model knows its density, else Lemma 2 with its variance.
    """
    require_family(retain, forget)
    names = ["retain", *(f"forget[{i}]" for i in range(len(forget)))]
    require_density(names, [retain, *forget])
    if x.shape[1:] != retain.shape or not torch.isfinite(x).all():
        raise ValueError(
            f"samples must be finite and of shape {retain.shape}, stacked; got {tuple(x.shape)}"
            f"{'' if torch.isfinite(x).all() else ' with NaN or infinity'}"
        )
    log_weights = np.full(len(x), -np.log(len(x)))
    points = Samples(x, retain, tuple(forget))
    densities = [model.log_density(x) for model in (retain, *forget)]
    known = [d.cpu().numpy() for d in densities if d is not None]
    if len(known) == len(densities):
        table = np.stack(known[1:], 1)
        return LogRatios(log_weights, known[0][:, None] - table, table, None, points)
    # A Gaussian beside the q_i costs next to nothing, and gives log q itself.
    reference = quadrature.Gaussian(retain, seed=seed)
    levels, noises = retain.effort.pool
    found = quadrature.log_ratios(
        x, retain, [*forget, reference], levels=levels, noises=noises, replicates=2, seed=seed
    )
    ratios = found.value.cpu().numpy()
    log_q = ratios[:, -1:] + reference.log_density(x).cpu().numpy()[:, None]
    variance = found.stderr[:, :-1].square().cpu().numpy()
    return LogRatios(log_weights, ratios[:, :-1], log_q - ratios[:, :-1], variance, points)


def draw(
    retain: DiffusionModel, forget: Sequence[Any], *, size: int, seed: int
) -> tuple[Pool, list[Pool]]:
    """q and q_1..q_m as weights on one pool of `size` samples, half of q, half of the q_i.

    With π the shares of the pool and r_i = log q/q_i, the mass of q at a sample is proportional to
    1/(π_0 + Σπ_i e^{−r_i}) (the balance heuristic) and that of q_i to e^{−r_i} times it.
    """
    whole("pool", size, 16 * (len(forget) + 1))
    models = [retain, *forget]
    forgotten = [size // (2 * len(forget))] * len(forget)
    counts = [size - sum(forgotten), *forgotten]
    require_family(retain, forget)
    draws = [
        model.sample(n, seed=seed * 1000 + i, quasi=True)
        for i, (model, n) in enumerate(zip(models, counts, strict=True))
    ]
    x = torch.cat(draws)
    table = tabulate(retain, forget, x, seed=seed)
    shares = np.log(np.array(counts) / size)
    terms = np.column_stack([np.full(size, shares[0]), shares[1:] - table.ratios])
    return _pools(replace(table, log_weights=-np.logaddexp.reduce(terms, axis=1)))


_LAST: WeakKeyDictionary[DiffusionModel, Any] = WeakKeyDictionary()


def last_pool(
    retain: DiffusionModel, forget: Sequence[Any], *, size: int, seed: int
) -> tuple[Pool, list[Pool]]:
    """`draw`, or what it returned last for the same models with the same parameters."""
    models = (retain, *forget)
    versions = [p._version for m in models if isinstance(m, nn.Module) for p in m.parameters()]
    key = ([id(one) for one in forget], versions, size, seed)
    if retain not in _LAST or _LAST[retain][0] != key:
        # The models are kept as well, lest others get their ids.
        _LAST[retain] = (key, draw(retain, forget, size=size, seed=seed), list(forget))
    return _LAST[retain][1]


def _pools(table: LogRatios) -> tuple[Pool, list[Pool]]:
    """q and the q_i, each normalised on the samples of a table."""
    log_weights = table.log_weights - log_sum_exp(table.log_weights)
    masses = log_weights[:, None] - table.ratios
    masses -= np.array([log_sum_exp(column) for column in masses.T])
    table = replace(table, log_weights=log_weights, ratios=log_weights[:, None] - masses)
    return Pool(log_weights, table), [Pool(column, table) for column in masses.T.copy()]


class Pool(ExactModel):
    """A distribution over the samples of a pool.

    Attributes:
        table: the log-ratios at the samples; pools compare on the same table only.
    """

    atomic = True

    def __init__(self, log_masses: Array, table: LogRatios):
        super().__init__(log_masses)
        self.table = table
        self.subject = f"weights on a pool of {len(log_masses)} samples"

    @property
    def space(self) -> Hashable:
        """The samples: pools are compared only with weights on the same ones."""
        return self.table  # by identity

    def with_log_masses(self, log_masses: Array) -> Pool:
        """Other weights on the same samples."""
        return Pool(log_masses, self.table)

    def log_ratios(
        self, forget: Sequence[ExactModel], *, atoms: Any = None, seed: int = 0
    ) -> LogRatios:
        """The table that the pool was drawn with."""
        return self.table

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """n of the samples (n, *shape), drawn with replacement by their masses."""
        index = np.random.default_rng(seed).choice(len(self.log_masses), n, p=self.probabilities)
        return self.x[torch.from_numpy(index)]

    @property
    def x(self) -> Tensor:
        """(N, *shape) the samples that the masses belong to."""
        return self.table.points.x

    def take(self, index: Any) -> tuple[Pool, list[Pool]]:
        """The retained and forgotten pools on the samples at `index`, with repetitions."""
        return _pools(self.table.take(index))

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """How many samples, and their log masses."""
        return {"pool": len(self.log_masses)}, {"log_masses": self.log_masses}

    def __repr__(self) -> str:
        return f"Pool({len(self.log_masses)} samples)"
