"""Tasks on Gaussian mixtures: scores are exact, and a grid certifies the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import dual
from ..density import GaussianMixture, Grid
from ..diffusion import rejection
from ..estimate import Estimate
from ..problems import Likelihood
from ..ratios import log_sum_exp
from ..training.network import ScoreNetwork
from . import cost
from .definition import Optimum, Task
from .draws import Draws

TRAINED_ON = 20_000  # draws of q, of a network
WIDTH = 64
REFINED = 0.75  # of the cells: what the optimum moves by then is its error
MOST = 1 << 22  # draws of q, to keep some
NOISE = 100.0  # standard deviation: far from everything
BLUR = 0.8  # standard deviation that is added to every mode
INSIDE = 1e-9  # relative: how near an optimum may come to what no density passes


class Modes(NamedTuple):
    """A mixture of named modes over a broad background, and the grid that knows it.

    The background makes q_i/q vanish far from all modes: what is drawn there is no concept's.
    """

    weights: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    names: tuple[str, ...]
    width: float
    broad: float
    half: float  # of the grid's sides
    cells: int


BACKGROUND = "nothing"
LINE = Modes(
    (0.4, 0.35, 0.24, 0.01),
    ((-3.0,), (0.0,), (3.0,), (0.0,)),
    ("left", "middle", "right", BACKGROUND),
    *(0.6, 3.0, 14.0, 2001),
)
PLANE = Modes(
    (0.29, 0.2, 0.15, 0.15, 0.1, 0.1, 0.01),
    ((0.0, 0.0), (2.5, 0.0), (-2.5, 0.5), (0.0, 2.5), (0.5, -2.5), (2.5, 2.5), (0.0, 0.0)),
    ("centre", "east", "west", "north", "south", "corner", BACKGROUND),
    *(0.7, 2.5, 11.0, 160),
)


@dataclass(frozen=True)
class MixtureTask(Task):
    """Modes of a mixture to forget; in `dim` dimensions of which all but a few are noise alone.

    With x = A(u, z), A orthogonal and z ~ N(0, width²) in every mode, q/q_i is a function of u, so
    that the optimum is that of u alone: KL and every rate are the same.
    """

    modes: Modes = LINE
    forgotten_modes: tuple[str, ...] = ("middle",)
    dim: int = 1

    settings: ClassVar[dict[str, Any]] = {**Task.settings, "batch": 128, "lr": 1e-3}
    networks: ClassVar[tuple[str, ...]] = ("ScoreNetwork",)

    def __post_init__(self) -> None:
        """Refuse modes that are no mixture, and names of none.

        Raises:
            ValueError: weights that do not sum to 1, or a mode to forget that is not there.
        """
        total = sum(self.modes.weights)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"weights of modes must sum to 1; they sum to {total:g}")
        there = [name for name in self.modes.names if name != BACKGROUND]
        if not self.forgotten_modes or not set(self.forgotten_modes) <= set(there):
            raise ValueError(
                f"forgotten_modes must be of {', '.join(there)}; got {self.forgotten_modes!r}"
            )

    @property
    def concepts(self) -> tuple[str, ...]:
        """The modes."""
        return self.modes.names

    @property
    def named(self) -> tuple[str, ...]:
        """The modes to forget."""
        return self.forgotten_modes

    @property
    def mixture(self) -> GaussianMixture:
        """q."""
        return _mixture(self.modes, self.dim)

    @property
    def problem(self) -> Likelihood:
        """On the exact models."""
        return _problem(self.modes, self.forgotten_modes, self.dim, self.relative)

    @property
    def network(self) -> Any:
        """Trained on draws of q."""
        return _network(self.modes, self.dim, (), self.effort.pretraining)

    def best_model(self) -> Draws:
        """Draws of q, kept with probability w/max w; log p/q = log w − log E_q[w], on the grid."""
        problem, solution = self.problem, self.solution()
        multipliers, on_grid = solution.multipliers, solution.problem
        logs = on_grid.retain.log_masses + on_grid.log_weights(multipliers, on_grid.atoms)
        log_total = log_sum_exp(logs)

        def draw(n: int, seed: int) -> Tensor:
            return rejection(problem, multipliers, n, seed=seed, most=MOST).x

        def log_ratio(x: Tensor) -> Any:
            table = problem.retain.log_ratios(problem.compared, atoms=x)
            return problem.log_weights(multipliers, table) - log_total

        return Draws(self.retain, draw, log_ratio)

    def noise_model(self) -> Any:
        """Far from everything."""
        wide = NOISE**2 * np.eye(self.dim)[None]
        return GaussianMixture([1.0], np.zeros((1, self.dim)), covariances=wide).diffused()

    def retrained_model(self) -> Any:
        """A network trained on draws of the other modes alone."""
        return _network(self.modes, self.dim, self.forgotten_modes, self.effort.pretraining)

    def blurred_model(self) -> Any:
        """The other modes, each widened."""
        return self.without(BLUR).diffused()

    def without(self, widen: float = 0.0) -> GaussianMixture:
        """q without the modes to forget; every mode widened by so much, as a blur does."""
        return _mixture(self.modes, self.dim, self.forgotten_modes, widen)

    @property
    def anchor(self) -> Any:
        """The exact mixture of the other modes."""
        return self.without().diffused()

    def data(self, n: int) -> Tensor:
        """Draws of q."""
        return self.retain.sample(n, seed=100 + self.seed)

    def shown(self, x: Tensor) -> Tensor:
        """The mode that most likely drew each point."""
        return _most_likely(self.mixture, x.double().numpy())

    def forgetting(self, student: Any, x: Tensor) -> list[Estimate]:
        """E_p[q_i/q]."""
        values = self.problem.values_at(x)
        return [_mean(column) for column in values.T]

    def deviation(self, student: Any) -> Estimate | None:
        """KL of the density of the student's own draws."""
        if student.kind != "point":
            return None
        samples = min(self.effort.draws, 1024 if self.dim > 2 else self.effort.draws)
        found: Estimate = student.kl(self.retain, kind="point", seed=5 + self.seed, samples=samples)
        return found

    def optimum(self, left: Sequence[float] | None = None) -> Optimum:
        """Certified on the grid; its error is the certificate's gap and the grid's own."""
        found = [
            _solved(self.modes, self.forgotten_modes, self.relative, cells, left and tuple(left))
            for cells in (self.modes.cells, int(REFINED * self.modes.cells))
        ]
        best, other = found
        gap = abs(best.certificate.gap) + abs(best.objective - other.objective)
        return Optimum(Estimate(best.objective, gap), self._rates(best.model))

    def solution(self) -> Any:
        """The certified solution on the grid."""
        return _solved(self.modes, self.forgotten_modes, self.relative, self.modes.cells, None)

    def _rates(self, density: Any) -> dict[str, float]:
        """How often a density on the grid shows each mode."""
        points = density.grid.points
        shown = _most_likely(_mixture(self.modes, len(self.modes.means[0])), points)
        rates = density.probabilities @ shown.double().numpy()
        return dict(zip(self.concepts, rates.tolist(), strict=True))

    def distance(self, x: Tensor, reference: Tensor) -> Estimate | None:
        """Total variation by cells of a histogram, of u; less than two halves of one law show."""
        if min(len(x), len(reference)) < 100:
            return None
        axes = _axes(self.modes, self.dim)
        u, v = (one.double().numpy() @ axes for one in (x, reference))
        edges = [np.linspace(-6, 6, 49 if u.shape[1] == 1 else 13)] * u.shape[1]

        def histogram(points: Any) -> Any:
            inside = np.clip(points, -5.999, 5.999)  # what lies beyond counts in the last cell
            return np.histogramdd(inside, edges)[0] / len(points)

        def between(one: Any, two: Any) -> float:
            return float(0.5 * abs(histogram(one) - histogram(two)).sum())

        # Two halves of one law are further apart than two wholes, by √2.
        noise = between(v[::2], v[1::2]) / 2**0.5
        return Estimate(max(between(u, v) - noise, 0.0), noise / 2)


def _mean(column: Any) -> Estimate:
    return Estimate(float(column.mean()), float(column.std() / len(column) ** 0.5))


def _most_likely(mixture: GaussianMixture, x: Any) -> Tensor:
    logs = mixture.component_log_density(x) + np.log(mixture.weights)
    best = torch.from_numpy(logs.argmax(1))
    return torch.nn.functional.one_hot(best, len(mixture.weights)).bool()


@cache
def _axes(modes: Modes, dim: int) -> Any:
    """(dim, k) orthonormal columns: the directions in which modes differ."""
    k = len(modes.means[0])
    if dim == k:
        return np.eye(k)
    return np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, dim)))[0][:, :k]


@cache
def _mixture(
    modes: Modes, dim: int, without: tuple[str, ...] = (), widen: float = 0.0
) -> GaussianMixture:
    """The mixture, without some of its modes; the background is broad where modes differ alone."""
    axes = _axes(modes, dim)
    kept = [i for i, name in enumerate(modes.names) if name not in without]
    weights = np.array(modes.weights)[kept]
    narrow = modes.width**2 * np.eye(dim)
    wide = narrow + (modes.broad**2 - modes.width**2) * axes @ axes.T
    covariances = [wide if modes.names[i] == BACKGROUND else narrow for i in kept]
    covariances = [one + widen**2 * np.eye(dim) for one in covariances]
    means = np.array(modes.means)[kept] @ axes.T
    return GaussianMixture(weights / weights.sum(), means, covariances=covariances)


def _one(modes: Modes, dim: int, name: str) -> GaussianMixture:
    """A mode alone."""
    return _mixture(modes, dim, tuple(other for other in modes.names if other != name))


@cache
def _problem(modes: Modes, names: tuple[str, ...], dim: int, relative: float) -> Likelihood:
    others = [_one(modes, dim, name).diffused() for name in names]
    # E_q[q_i/q] = 1, exactly.
    return Likelihood(_retained(modes, dim), others, [relative] * len(names), statistic="ratio")


@cache
def _retained(modes: Modes, dim: int) -> Any:
    """q as a diffusion model, one for all thresholds: models are told apart by identity."""
    return _mixture(modes, dim).diffused()


@cache
def _solved(modes: Modes, names: tuple[str, ...], relative: float, cells: int, left: Any) -> Any:
    """The solution on a grid of so many cells; of what no density reaches, the nearest."""
    k = len(modes.means[0])
    grid = Grid([-modes.half] * k, [modes.half] * k, [cells] * k)
    q, others = _mixture(modes, k).on(grid), [_one(modes, k, name).on(grid) for name in names]
    asked = [relative] * len(names) if left is None else list(left)
    problem = Likelihood(q, others, relative=1.0, statistic="ratio")
    problem = problem.with_thresholds(np.maximum(asked, problem.ceilings() * (1 + INSIDE)))
    return dual.solve(problem)


@cache
def _network(modes: Modes, dim: int, without: tuple[str, ...], steps: int) -> ScoreNetwork:
    """Trained once in a process, for all methods."""
    x = _mixture(modes, dim, without).diffused().sample(TRAINED_ON, seed=0)
    with cost.aside():
        return ScoreNetwork(dim, width=WIDTH).fit(x, steps=steps, progress=False)


_TWO: dict[str, Any] = {"modes": PLANE, "forgotten_modes": ("east", "north")}
TASKS = (
    MixtureTask("line-mild", "three modes on a line; half of the middle one may stay", 0.5),
    MixtureTask(
        "line-severe", "three modes on a line; a twentieth of the middle one may stay", 0.05
    ),
    *(
        MixtureTask(
            name,
            f"six modes in {dim} dimensions; a fifth of each of two neighbours may stay",
            0.2,
            dim=dim,
            **_TWO,
        )
        for name, dim in (("plane", 2), ("sixteen", 16))
    ),
)
