"""Pools: weighted samples on which the exact dual solver works as it does on cells.

Samples of a mixture of q and the q_i carry balance-heuristic weights, which need log-ratios only.
A pool is then a distribution on finitely many atoms, one vector of log masses for each model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..density.exact import ExactModel
from ..errors import Array, numbers
from ..estimate import Estimate
from ..ratios import LogRatios, log_sum_exp, measured
from . import quadrature
from .checks import require_density, require_family
from .schedule import whole

if TYPE_CHECKING:
    from .model import DiffusionModel


@dataclass(frozen=True, eq=False)
class Samples:
    """The atoms of a pool: points (N, *shape) and the models they were drawn for."""

    x: Tensor
    retain: DiffusionModel
    forget: tuple[DiffusionModel, ...]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Samples:
        index = torch.as_tensor(index) if isinstance(index, np.ndarray) else index
        return replace(self, x=self.x[index])


@measured.register
def _(points: Samples, function: Callable[[Any], Any]) -> Array:
    """A user's function of samples, in calls of at most as many as fit the retained model."""
    with torch.no_grad():
        parts = [numbers(function(x)) for x in points.x.split(points.retain.rows)]
    if any(part.ndim == 0 for part in parts):
        return np.stack(parts)  # refused by its shape
    return np.concatenate(parts)


@numbers.register
def _(values: Tensor) -> Array:
    return values.detach().cpu().double().numpy()


class AtomTables:
    """How a diffusion model comes by its atom tables: at given samples, or on a pool of its own."""

    def log_ratios(
        self: Any,
        others: Sequence[Any],
        *,
        atoms: Any = None,
        seed: int = 0,
        densities: bool = True,
        quality: tuple[int, int] | None = None,
        anchor: quadrature.Gaussian | None = None,
    ) -> LogRatios:
        """The table of log q/q_i at `atoms` (n, *shape), by default draws of this model.

        Args:
            densities: whether log q_i is asked for as well.
            quality: levels and noises of Lemma 2, where densities are not known.
            anchor: the Gaussian that log q is measured from where it is not known.
        """
        x = self.sample(self.effort.draws, seed=seed) if atoms is None else atoms
        how: dict[str, Any] = {"densities": densities, "quality": quality, "anchor": anchor}
        return tabulate(self, others, x, seed=seed, **how)

    def tabulated(self: Any, others: Sequence[Any], *, pool: int, seed: int) -> Any:
        """This model and `others` as weights on a common pool of samples; see `draw`.

        Drawn anew each time. To solve several problems on one pool, put them on it:
        `problem.on(*retain.tabulated(problem.compared, pool=..., seed=...))`.
        """
        return draw(self, others, size=pool, seed=seed)

    def expectations(
        self: Any, problem: Any, *, seed: int = 0, samples: int | None = None
    ) -> list[Estimate]:
        """E_p of what each constraint measures, p this model, from `samples` draws of it."""
        x = self.sample(self.effort.draws if samples is None else samples, seed=seed + 1)
        values = problem.values_at(x, seed=seed, quality=problem.retain.effort.reading)
        errors = values.std(axis=0) / np.sqrt(len(values))
        pairs = zip(values.mean(axis=0), errors, strict=True)
        return [Estimate(float(value), float(error)) for value, error in pairs]


def tabulate(
    retain: DiffusionModel,
    others: Sequence[Any],
    x: Tensor,
    *,
    seed: int = 0,
    densities: bool = True,
    quality: tuple[int, int] | None = None,
    anchor: quadrature.Gaussian | None = None,
) -> LogRatios:
    """Log-ratios and log-densities at samples x of q, equally weighted.

    Whatever two densities decide is exact; the rest is Lemma 2, with its variance.
    """
    require_family(retain, others)
    names = ["retain", *(f"forget[{i}]" for i in range(len(others)))]
    require_density(names, [retain, *others])
    x = x.to(retain.device)
    if x.shape[1:] != retain.shape or not torch.isfinite(x).all():
        raise ValueError(
            f"samples must be finite and of shape {retain.shape}, stacked; got {tuple(x.shape)}"
            f"{'' if torch.isfinite(x).all() else ' with NaN or infinity'}"
        )
    n, m = len(x), len(others)
    log_weights, points = np.full(n, -np.log(n)), Samples(x, retain, tuple(others))
    ratios, variance, logs = np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m))
    own, *known = [model.log_density(x) for model in (retain, *others)] if m else [None]
    unknown = [i for i in range(m) if own is None or known[i] is None]
    asked = [others[i] for i in unknown]
    anchored = densities and own is None and any(one is None for one in known)
    if anchored:  # a Gaussian beside the q_i costs next to nothing, and gives log q itself
        anchor = quadrature.Gaussian(retain, seed=seed) if anchor is None else anchor
        asked.append(anchor)
    if asked:
        levels, noises = quality or retain.effort.pool
        found = quadrature.log_ratios(
            x, retain, asked, levels=levels, noises=noises, replicates=2, seed=seed
        )
        values, errors = numbers(found.value), numbers(found.stderr)
        ratios[:, unknown], variance[:, unknown] = (
            values[:, : len(unknown)],
            np.square(errors[:, : len(unknown)]),
        )
    log_q = None if own is None else numbers(own)
    if anchored and anchor is not None:
        log_q = values[:, -1] + numbers(anchor.log_density(x))
    for i, density in enumerate(known):
        if i not in unknown and log_q is not None:
            ratios[:, i] = log_q - numbers(density)
        if density is not None:
            logs[:, i] = numbers(density)
        elif log_q is not None:
            logs[:, i] = log_q - ratios[:, i]
    complete = all(one is not None for one in known) or log_q is not None
    return LogRatios(
        log_weights,
        ratios,
        logs if complete else None,
        variance if unknown else None,
        points,
    )


def draw(
    retain: DiffusionModel, forget: Sequence[Any], *, size: int, seed: int
) -> tuple[Pool, list[Pool]]:
    """q and q_1..q_m as weights on one pool of `size` samples, half of q, half of the q_i.

    All of q where there are no others.

    With π the shares of the pool and r_i = log q/q_i, the mass of q at a sample is proportional to
    1/(π_0 + Σπ_i e^{−r_i}) (the balance heuristic) and that of q_i to e^{−r_i} times it.
    """
    whole("pool", size, 16 * (len(forget) + 1))
    models = [retain, *forget]
    forgotten = [size // (2 * max(1, len(forget)))] * len(forget)
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


def _pools(table: LogRatios) -> tuple[Pool, list[Pool]]:
    """q and the q_i, each normalised on the samples of a table."""
    log_weights = table.log_weights - log_sum_exp(table.log_weights)
    masses = log_weights[:, None] - table.ratios
    masses -= np.array([log_sum_exp(column) for column in masses.T]).reshape(1, -1)
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
        self, others: Sequence[Any], *, atoms: Any = None, seed: int = 0, densities: bool = True
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
