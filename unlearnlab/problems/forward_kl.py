"""Forward-KL unlearning (FU)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import identity
from ..errors import Array, SupportError, finite_vector, multiplier_vector
from ..model import Model, Tilt
from ..newton import Dual
from ..ratios import LogRatios
from ..search import Primal, random_starts, search
from .contact import interior_point
from .difference import DifferenceTable
from .evaluation import Evaluation
from .stated import Stated

FEW = 64  # atoms, up to which a gap is possible and a direct search quick
WARM_ERROR = 1e-10  # of a start nearby, beyond which the whole path is walked
NEAR_CONTACT = 0.02  # of q's mass left at a point: less is in contact, to a gate
MANY, FEWER = 8192, 2048  # cells above which a coarse problem comes first, and its size
DEEPEST_FLOOR = 600.0  # nats; e^−600 is still a double


@dataclass(frozen=True)
class Floor(identity.Options):
    """The floor T, nats."""

    floor: float = 25.0


class ForwardKL(Stated):
    """Forward-KL unlearning (FU): min KL(q‖p) subject to KL(q_i‖p) ≥ b_i and log p/q ≥ −T, in nats.

    The optimum is p = (q − Σλ_iq_i)/(1−Λ), eq. (5), while that is positive. Where it is not, p
    stays on the floor e^{−T}q (regime `contact`): the bound of admissibility (4), without
    which there is no minimiser. With c = 1 − λᵀρ, A = {c > ηe^{−T}} and E[e^t] = 1, t = log(c/η) on
    A and −T off it, and g = −E[ct] + λᵀ(b − k). The problem is convex in t
    with E[e^t] ≤ 1; on a few atoms the mass that this leaves may fit nowhere (regime `atomic`).

    Args:
        retain, forget, thresholds, relative: see `Problem`; thresholds in nats, ≥ 0.
        floor: T, nats; in contact the answer depends on it.

    Raises:
        SupportError: q is zero where some q_i is not.
        ValueError: q_i = q with a positive threshold, or a floor that is not positive.

    Example:
        Forget one of two modes; at b → ∞ its multiplier tends to the mode's weight.

        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-8, 8, 2001)
        >>> q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.5, 0.5]).on(grid)
        >>> q1 = ul.GaussianMixture([1], [2], [0.5]).on(grid)
        >>> solution = ul.solve(ul.ForwardKL(retain=q, forget=[q1], thresholds=[4.0]))
        >>> solution.multipliers.round(4), solution.certificate.regime
        (array([0.4907]), 'regular')
    """

    forgets_points = True
    of_p = False
    log_most = 0.0
    log_contact = math.log(NEAR_CONTACT)
    Options = Floor
    options: Floor
    smooth_dual = False  # the floor puts kinks into it
    objective_name = "KL(q‖p)"
    constraint_name = "KL(q_i‖p)"

    def __init__(
        self,
        retain: Model,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        floor: float = 25.0,
    ):
        depth = float(finite_vector("floor", floor, 1, per="problem")[0])
        if not 0 < depth <= DEEPEST_FLOOR:
            raise ValueError(f"floor must lie between 0 and {DEEPEST_FLOOR:g} nats; got {floor!r}")
        super().__init__(retain, forget, thresholds, relative=relative, options=Floor(depth))

    @property
    def floor(self) -> float:
        """T, nats."""
        return self.options.floor

    def check_support(self) -> None:
        """Refuse densities on which the problem makes no sense."""
        for i in range(self.m):
            cells = int(np.isneginf(self.atoms.ratios[:, i]).sum())
            if cells:
                raise SupportError(
                    f"retain is zero in {cells} cells where forget[{i}] is not; ForwardKL needs "
                    "q > 0 wherever q_i > 0"
                )

    def check_distinct(self) -> None:
        """Refuse to stay close to what is to be left."""
        self._refuse_equal()

    def evaluate(self, model: Any, *, seed: int = 0, samples: int | None = None) -> Evaluation:
        """KL(q‖p), and what is `measured`."""
        deviation = self.retain.kl(model, seed=seed, samples=samples)
        return Evaluation.of(deviation, self.measured(model, seed=seed, samples=samples))

    def measured(self, model: Any, *, seed: int = 0, samples: int | None = None) -> list[Any]:
        """KL(q_i‖p)."""
        return [other.kl(model, seed=seed, samples=samples) for other in self.forget]

    @cached_property
    def table(self) -> DifferenceTable:
        """Mixtures that share components are subtracted by weight, never by density."""
        shared = self.retain.shared_components(self.forget)
        return (
            DifferenceTable.of_components(self.atoms, *shared)
            if shared
            else self.tabulate(self.atoms)
        )

    def tabulate(self, atoms: LogRatios) -> DifferenceTable:
        """q and q_i as the components to subtract."""
        return DifferenceTable.of_ratios(atoms)

    def dual(self, strength: Array, table: DifferenceTable) -> Dual:
        """g = −E[ct] + λᵀ(b − k) with the floor."""
        return table.dual(strength, self.thresholds, self.floor)

    def _dual_value(self, multipliers: Array) -> float:
        return self.dual(multipliers, self.table).value

    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """Eq. (5) with the floor: t = log(c/η) on A, −T off it."""
        vector = multiplier_vector(multipliers, self.m)
        t = self.table.log_weights_at(vector, self.floor)[0]
        if not t.max() > -self.floor:
            raise ValueError(
                f"multipliers {vector.tolist()} leave no mass: q − Σλ_iq_i ≤ 0 everywhere"
            )
        return Tilt(t)

    def log_weights(self, multipliers: ArrayLike, atoms: LogRatios) -> Array:
        """log(1 − L), L = Σλ_iρ_i; where L > 0.98, in contact with the floor, along its tangent.

        The tangent in log L: below it nothing is left to weigh, and slopes have to end somewhere.
        """
        vector = multiplier_vector(multipliers, self.m)
        used = vector > 0
        if not used.any():
            return np.zeros(len(atoms.ratios))
        log_sum = np.logaddexp.reduce(np.log(vector[used]) - atoms.ratios[:, used], axis=1)
        steepest = -(1 - NEAR_CONTACT) / NEAR_CONTACT
        inside = np.log1p(-np.exp(np.minimum(log_sum, np.log1p(-NEAR_CONTACT))))
        return inside + steepest * np.maximum(log_sum - np.log1p(-NEAR_CONTACT), 0.0)

    def contributions(self, log_p: Array) -> Array:
        """−Q·t and q_i·log(q_i/p) = −q_i·(t + r_i)."""
        t = self.log_ratio(log_p, self.atoms.log_weights > -np.inf)
        shares = self.table.shares
        ratios = np.where(shares > 0, self.atoms.ratios, 0.0)
        return -np.column_stack([self.table.weights * t, shares * (t[:, None] + ratios)])

    def primal(self, log_p: Array) -> Primal:
        """KL(q‖p) = −E[t], b − KL(q_i‖p) and their gradients −Q, q_i."""
        t = self.log_ratio(log_p, self.atoms.log_weights > -np.inf)
        q, shares = self.table.weights, self.table.shares
        return Primal(-float(q @ t), -q, self.thresholds - self.table.start + t @ shares, shares)

    def log_base(self) -> Array:
        """log q − T."""
        return self.atoms.log_weights - self.floor

    def vertex_values(self) -> Array:
        """KL(q_i‖v_j) of v_j = e^{−T}q + (1 − e^{−T})δ_j, the extreme points of the floored set."""
        return self.table.vertex_values(self.floor)

    def deeper(self) -> ForwardKL:
        """The same problem with 2T for T: how much of an answer is the floor's doing?"""
        twice = min(2 * self.floor, DEEPEST_FLOOR)
        return self.on(self.retain, self.forget, floor=twice)

    def edge(self, near: Array | None = None) -> tuple[Tilt, Array]:
        """The optimum in contact with the floor, by an interior-point method in t.

        The method relaxes E[e^t] = 1 to ≤ 1. On a few atoms the mass that it leaves may fit nowhere
        without breaking a constraint: then there is a gap, and densities are searched directly.
        """
        cells = len(self.atoms.log_weights)
        if near is None and cells > MANY:  # most of the way on a few of the cells
            stride = cells // FEWER | 1  # odd: on a grid of even rows it walks all columns
            some = self.tabulate(self.atoms.take(slice(stride // 2, None, stride)))
            near = interior_point(some, self.thresholds, self.floor)[1]
        t, multipliers, error = interior_point(self.table, self.thresholds, self.floor, near)
        if near is not None and error > WARM_ERROR:  # it was not near enough
            t, multipliers, _ = interior_point(self.table, self.thresholds, self.floor)
        log_p = self.atoms.log_weights + t
        held = np.flatnonzero(self.atoms.log_weights > -np.inf)
        if (self.primal(log_p).violations > 1e-9 * self.thresholds).any() and len(held) <= FEW:
            found = self._search(held)
            t = t if found is None else found
        return Tilt(t), multipliers

    def _search(self, held: NDArray[np.intp]) -> Array | None:
        """t of the best density that a direct search finds, or None."""
        log_q, ratios = self.atoms.log_weights[held], self.atoms.ratios[held]
        peaks = [np.where(np.arange(len(held)) == j, 12.0, 0.0) for j in range(len(held))]
        starts = [*peaks, *random_starts(log_q, ratios, 24, np.random.default_rng(0))]
        log_p = search(self.primal_on(held), starts, self.scales, log_base=log_q - self.floor)[1]
        if log_p is None:
            return None
        t = np.zeros(len(self.atoms.log_weights))
        t[held] = log_p - log_q
        return t

    def admits(self, model: Any) -> bool:
        """log p/q ≥ −T, to rounding."""
        return self._lowest(model) >= -self.floor - 1e-9

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """contact: some cell lies on the floor; atomic: on few atoms, with a gap."""
        if not multipliers.any() and ok:
            return "inactive"
        if not ok:
            return "atomic"
        return "contact" if self._lowest(model) <= -self.floor + 1e-3 else "regular"

    def _lowest(self, model: Any) -> float:
        held = self.retain.log_masses > -np.inf
        return float((model.log_masses[held] - self.retain.log_masses[held]).min())
