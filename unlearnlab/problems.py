"""The three unlearning problems: reverse KL (RU), forward KL (FU) and likelihood (LU).

Each minimises the deviation of p from the retained q subject to separation from q_1..q_m, and
sees its distributions only through the atom table of `ratios.py`. With t = log p/q, r_i = log q/q_i
and E the expectation under q, KL(p‖q) = E[e^t t], KL(p‖q_i) = E[e^t (t + r_i)], KL(q‖p) = −E[t] and
KL(q_i‖p) = k_i − E[ρ_i t], where ρ_i = q_i/q and k_i = KL(q_i‖q).

Equation numbers are those of Khalafi, Ribeiro and Ding (2026), arXiv 2605.30825.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .atomic import beyond_one, reverse_primal, solve_edge
from .contact import DifferenceTable, interior_point
from .density.mixture import shared_components
from .errors import Array, SupportError, finite_vector, multiplier_vector, same_space
from .model import Tilt, require_model
from .newton import STRONGEST, Dual, maximise, solved
from .search import Primal
from .ratios import LogRatios, log_normaliser, log_sum_exp, tilt_weights, tilted_moments

LARGEST_LOG_STATISTIC = 345.0  # e^345 squared is still a double: a Hessian of statistics exists


class ExponentialTable(NamedTuple):
    """Atoms of an exponential family: (N,) log weights and (N, m) finite statistics."""

    log_weights: Array
    statistics: Array


@dataclass(frozen=True)
class Evaluation:
    """Objective and constraints of a model, in the units of the problem.

    Standard errors are zero on exact models.
    """

    objective: float
    constraints: Array
    objective_stderr: float = 0.0
    constraints_stderr: Array | float = 0.0


class Problem(ABC):
    """minimise deviation(p, q) subject to sense·(constraint_i(p) − b_i) ≥ 0, i = 1..m.

    Args:
        retain: q, the pretrained distribution.
        forget: q_1..q_m, on the same space.
        thresholds: (m,) b, or one number for all.
        relative: instead of thresholds, multiples of the constraint values at q.
    """

    sense: int = +1  # +1: constraints must reach their threshold; −1: stay below it
    objective_name: str
    constraint_name: str

    def __init__(
        self,
        retain: Any,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
    ):
        require_model("retain", retain)
        if isinstance(forget, str) or not isinstance(forget, Sequence):
            raise TypeError(f"forget must be a list of models; got {type(forget).__name__}")
        if not forget:
            raise ValueError("forget is empty: name at least one distribution to forget")
        for i, model in enumerate(forget):
            require_model(f"forget[{i}]", model)
        same_space(["retain", *(f"forget[{i}]" for i in range(len(forget)))], [retain, *forget])
        self.retain = retain
        self.forget = tuple(forget)
        self._check_support()
        if (thresholds is None) == (relative is None):
            raise ValueError("give either thresholds= or relative=, not both or neither")
        name = "thresholds" if relative is None else "relative"
        given = finite_vector(
            name, thresholds if relative is None else relative, self.m, per="forget distribution"
        )
        if (given < 0).any():
            raise ValueError(f"{name} must not be negative; got {given.tolist()}")
        if relative is not None:
            given = finite_vector(
                "relative × value at q", given * self.baseline(), self.m, per="forget distribution"
            )
        self.thresholds: Array = given
        self._check_thresholds()

    @property
    def m(self) -> int:
        """Number of forget distributions."""
        return len(self.forget)

    @cached_property
    def atoms(self) -> LogRatios:
        """The retained model's atom table."""
        return self.retain.log_ratios(self.forget)

    @cached_property
    def table(self) -> Any:
        """The atoms in the form that `dual` uses."""
        return self.tabulate(self.atoms)

    def baseline(self) -> Array:
        """(m,) constraint values at p = q: where unlearning starts."""
        return self.evaluate(self.retain).constraints

    def ceilings(self) -> Array:
        """(m,) what each constraint, on its own, can reach on these atoms.

        The largest value for RU and FU, the smallest for LU. A threshold beyond it is infeasible.
        Reaching several at once may be infeasible earlier; `solve` finds out.
        """
        values = self.vertex_values()
        return values.max(axis=0) if self.sense > 0 else values.min(axis=0)

    def target(self, multipliers: ArrayLike) -> Any:
        """The minimiser p_λ of the Lagrangian at any multipliers in the domain, in closed form."""
        return self.retain.realise(self.tilt(multipliers), self.atoms)

    def dual_value(self, multipliers: ArrayLike) -> float:
        """g(λ) = min_p Lagrangian(p, λ): a lower bound on the problem's value, in nats."""
        return self._dual_value(multiplier_vector(multipliers, self.m))

    @abstractmethod
    def evaluate(self, model: Any, *, seed: int = 0) -> Evaluation:
        """Objective and constraints of `model`, from its own density alone."""

    @abstractmethod
    def tabulate(self, atoms: LogRatios) -> Any:
        """What `dual` reads, for any atoms of the retained model."""

    @abstractmethod
    def dual(self, strength: Array, table: Any) -> Dual:
        """Dual function, derivatives and violation at one strength; see `multipliers`."""

    @abstractmethod
    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """How the target at these multipliers reweights q."""

    @abstractmethod
    def vertex_values(self) -> Array:
        """(N, m) constraint values of the extreme distributions, one per atom.

        Every constraint is convex in p (linear for LU), so no p exceeds what these reach: they
        decide ceilings and infeasibility.
        """

    @abstractmethod
    def _dual_value(self, multipliers: Array) -> float: ...

    def _check_support(self) -> None:
        """Refuse densities on which the problem makes no sense."""

    def _check_thresholds(self) -> None:
        """Refuse thresholds on which the problem makes no sense."""

    # A strength is the coordinate in which the target is an exponential family or a difference:
    # the multipliers themselves, but for RU.
    def multipliers(self, strength: Array) -> Array:
        """λ at a strength."""
        return strength

    def start(self, table: Any) -> Array:
        """(m,) a strength from which Newton does well."""
        return np.zeros(self.m)

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt at a strength that the solver stopped at."""
        return self.tilt(strength)

    def edge(self) -> tuple[Tilt, Array] | None:
        """Tilt and multipliers of an optimum that `target` cannot express; None if there is none."""
        return None

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """Which kind of solution `model` is, read off the model and its multipliers."""
        return "regular" if multipliers.any() else "inactive"

    @abstractmethod
    def primal(self, log_p: Array) -> Primal:
        """Objective and violations of a distribution on the atoms (log masses), with gradients.

        The problem as it is stated, for searches that must not know of duality.
        """

    def log_base(self) -> Array | None:
        """(N,) log masses below which p may not fall, or None."""
        return None

    def admits(self, model: Any) -> bool:
        """Whether the model lies in the set that the problem ranges over."""
        return True

    def _refuse_equal(self) -> None:
        for i, model in enumerate(self.forget):
            if self.thresholds[i] > 0 and _equal(self.atoms.ratios[:, i]):
                raise ValueError(
                    f"forget[{i}] equals retain: staying close to q and away from q contradict "
                    f"each other; set thresholds[{i}] to 0 or forget something else"
                )


def _equal(log_ratios: Array) -> bool:
    """Whether q_i = q to rounding; a few cells settle most cases."""
    return all(np.abs(r).max() < 1e-12 for r in (log_ratios[:: len(log_ratios) // 64 + 1], log_ratios))


class ReverseKL(Problem):
    """Reverse-KL unlearning (RU): min KL(p‖q) subject to KL(p‖q_i) ≥ b_i, in nats.

    The optimum is p ∝ (q / Πq_i^{λ_i})^{1/(1−Λ)}, Λ = Σλ_i < 1, eq. (2). With strength
    u = λ/(1−Λ) it reads p ∝ q·exp(uᵀr), and the dual function is
    g = λᵀb − (1−Λ) log E[exp(λᵀr/(1−Λ))] = (uᵀb − K(u))/(1 + Σu_i).

    Args:
        retain, forget, thresholds, relative: see `Problem`; thresholds in nats, ≥ 0.

    Raises:
        SupportError: some q_i is zero where q is not (KL(p‖q_i) would be infinite for free).
        ValueError: q_i = q with a positive threshold.

    Example:
        Two unit Gaussians: λ* = 1 − |μ|/√(2b).

        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-12, 12, 2001)
        >>> q, q1 = (ul.GaussianMixture([1], [mean], [1]).on(grid) for mean in (0, 1))
        >>> solution = ul.solve(ul.ReverseKL(retain=q, forget=[q1], thresholds=[2.0]))
        >>> solution.multipliers.round(9), round(solution.objective, 9)
        (array([0.5]), 0.5)
    """

    objective_name = "KL(p‖q)"
    constraint_name = "KL(p‖q_i)"

    def _check_support(self) -> None:
        for i in range(self.m):
            if self.atoms.ratios[:, i].max() == np.inf:
                cells = int(np.isposinf(self.atoms.ratios[:, i]).sum())
                raise SupportError(
                    f"forget[{i}] is zero in {cells} cells where retain is not; ReverseKL needs "
                    "q_i > 0 wherever q > 0 (mix a little of q into it, or use Likelihood)"
                )

    def _check_thresholds(self) -> None:
        self._refuse_equal()

    def evaluate(self, model: Any, *, seed: int = 0) -> Evaluation:
        """KL(p‖q) and KL(p‖q_i)."""
        constraints = [float(model.kl(other, seed=seed)) for other in self.forget]
        return Evaluation(float(model.kl(self.retain, seed=seed)), np.array(constraints))

    def tabulate(self, atoms: LogRatios) -> ExponentialTable:
        """Statistics of the exponential family: the log-ratios themselves."""
        return ExponentialTable(atoms.log_weights, atoms.ratios)

    def multipliers(self, strength: Array) -> Array:
        """λ = u/(1 + Σu)."""
        return strength / (1 + strength.sum())

    def dual(self, strength: Array, table: ExponentialTable) -> Dual:
        """g = (uᵀb − K(u))/(1 + Σu), quasi-concave in u.

        Its gradient in u is (b − g − K'(u))/(1 + Σu). The matrix returned is −K''(u)/(1 + Σu), the
        Hessian up to terms that vanish with the gradient: Newton's step is that of the concave
        problem max_u uᵀ(b − g) − K(u), g held (Dinkelbach).
        """
        u, b = strength, self.thresholds
        log_normaliser, mean, covariance = tilted_moments(*table, u)
        spread = 1 + u.sum()
        value = (u @ b - log_normaliser) / spread
        divergence = u @ mean - log_normaliser  # KL(p‖q) = E_p[t]
        return Dual(
            value,
            (b - value - mean) / spread,
            -covariance / spread,
            b - divergence - mean,
            self.multipliers(u),
        )

    def _dual_value(self, multipliers: Array) -> float:
        """g(λ), also at Λ ≥ 1, where the Lagrangian is least at a single atom."""
        slack = 1 - float(multipliers.sum())
        b = self.thresholds
        if slack > 0:
            return float(
                multipliers @ b - slack * log_normaliser(*self.table, multipliers / slack)
            )
        held = self.atoms.log_weights > -np.inf
        at_atom = -slack * self.atoms.log_weights[held] - self.atoms.ratios[held] @ multipliers
        return float(multipliers @ b + at_atom.min())

    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """Eq. (2): t = uᵀr − K(u), u = λ/(1−Λ)."""
        vector = multiplier_vector(multipliers, self.m)
        slack = 1 - float(vector.sum())
        if slack <= 0:
            raise ValueError(
                f"multipliers of ReverseKL must sum to less than 1; got {vector.tolist()} with sum "
                f"{vector.sum()}: no target (2) exists there"
            )
        return self._tilt_at(vector / slack, log_normaliser(*self.table, vector / slack))

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt at u itself: 1 − Λ, taken from λ, would lose digits as Λ nears 1."""
        return self._tilt_at(
            strength, float(strength @ self.thresholds - dual.value * (1 + strength.sum()))
        )

    def _tilt_at(self, u: Array, log_normaliser: float) -> Tilt:
        return Tilt(tilt_weights(self.table.statistics, u, log_normaliser), guidance=u)

    def primal(self, log_p: Array) -> Primal:
        """KL(p‖q), b − KL(p‖q_i) and their gradients p(t + 1), −p(t + r_i + 1)."""
        return reverse_primal(log_p, *self.table, self.thresholds)

    def vertex_values(self) -> Array:
        """KL(δ_j‖q_i) = −log q_i(j), the mass of the atom."""
        held = self.atoms.log_weights > -np.inf
        return self.atoms.ratios[held] - self.atoms.log_weights[held, None]

    def edge(self) -> tuple[Tilt, Array]:
        """The optimum where Λ reaches 1: regimes `boundary` and `atomic`."""
        multipliers, value = beyond_one(*self.table, self.thresholds)
        if multipliers.sum() < 1 + 1e-9:
            # g is concave, so its maximum has Λ ≤ 1: look for it from this side along the ray.
            reach = np.geomspace(1, STRONGEST, 100)[:, None] * multipliers
            start = max(reach, key=lambda u: self.dual(u, self.table).value)
            point = maximise(lambda u: self.dual(u, self.table), start, self.thresholds)
            if point.converged:
                return self.strength_tilt(point.strength, point.dual), point.dual.multipliers
        t = solve_edge(*self.table, self.thresholds, multipliers, value)
        return Tilt(t), multipliers

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """boundary: Λ = 1 and solved; atomic: Λ ≥ 1 and a gap is left."""
        if multipliers.sum() < 1 - 1e-11:
            return super().regime(model, multipliers, ok)
        return "boundary" if ok else "atomic"


class ForwardKL(Problem):
    """Forward-KL unlearning (FU): min KL(q‖p) subject to KL(q_i‖p) ≥ b_i and log p/q ≥ −floor, in nats.

    The optimum is p = (q − Σλ_iq_i)/(1−Λ), eq. (5), while that is positive. Where it is not, p
    stays on the floor e^{−T}q (regime `contact`): the bound of [K]'s admissibility (4), without
    which there is no minimiser. With c = 1 − λᵀρ, A = {c > ηe^{−T}} and E[e^t] = 1, t = log(c/η) on
    A and −T off it, and g = −E[ct] + λᵀ(b − k). The problem is convex in t.

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
        (array([0.4953]), 'regular')
    """

    objective_name = "KL(q‖p)"
    constraint_name = "KL(q_i‖p)"

    def __init__(
        self,
        retain: Any,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        floor: float = 25.0,
    ):
        self.floor = float(finite_vector("floor", floor, 1, per="problem")[0])
        if not 0 < self.floor <= 600:
            raise ValueError(f"floor must lie between 0 and 600 nats; got {floor!r}")
        super().__init__(retain, forget, thresholds, relative=relative)

    def _check_support(self) -> None:
        for i in range(self.m):
            cells = int(np.isneginf(self.atoms.ratios[:, i]).sum())
            if cells:
                raise SupportError(
                    f"retain is zero in {cells} cells where forget[{i}] is not; ForwardKL needs "
                    "q > 0 wherever q_i > 0"
                )

    def _check_thresholds(self) -> None:
        self._refuse_equal()

    def evaluate(self, model: Any, *, seed: int = 0) -> Evaluation:
        """KL(q‖p) and KL(q_i‖p)."""
        constraints = [float(other.kl(model, seed=seed)) for other in self.forget]
        return Evaluation(float(self.retain.kl(model, seed=seed)), np.array(constraints))

    @cached_property
    def table(self) -> DifferenceTable:
        """Mixtures that share components are subtracted by weight, never by density."""
        shared = shared_components([self.retain, *self.forget])
        return DifferenceTable.of_components(self.atoms, *shared) if shared else self.tabulate(self.atoms)

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

    def primal(self, log_p: Array) -> Primal:
        """KL(q‖p) = −E[t], b − KL(q_i‖p) and their gradients −Q, q_i."""
        t = log_p - self.atoms.log_weights
        q, shares = self.table.weights, self.table.shares
        return Primal(
            -float(q @ t), -q, self.thresholds - self.table.start + t @ shares, shares
        )

    def log_base(self) -> Array:
        """log q − T."""
        return self.atoms.log_weights - self.floor

    def vertex_values(self) -> Array:
        """KL(q_i‖v_j) of v_j = e^{−T}q + (1 − e^{−T})δ_j, the extreme points of the floored set."""
        return self.table.vertex_values(self.floor)

    def edge(self) -> tuple[Tilt, Array]:
        """The optimum in contact with the floor, by an interior-point method in t."""
        t, multipliers = interior_point(self.table, self.thresholds, self.floor)
        return Tilt(t), multipliers

    def admits(self, model: Any) -> bool:
        """log p/q ≥ −T, to rounding."""
        return self._lowest(model) >= -self.floor - 1e-9

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """contact: some cell lies on the floor."""
        if not multipliers.any():
            return "inactive"
        return "contact" if self._lowest(model) <= -self.floor + 1e-3 else "regular"

    def _lowest(self, model: Any) -> float:
        held = self.retain.log_masses > -np.inf
        return float((model.log_masses[held] - self.retain.log_masses[held]).min())


class Likelihood(Problem):
    """Likelihood unlearning (LU): min KL(p‖q) subject to E_p[ℓ_i] ≤ b_i.

    The optimum is p ∝ q·exp(−λᵀℓ), eq. (7), and g = −log E[exp(−λᵀℓ)] − λᵀb, which is concave for
    a convex problem.

    Args:
        retain, forget, relative: see `Problem`.
        thresholds: (m,) b > 0 in the units of the statistic.
        statistic: "density", ℓ_i = q_i, or "ratio", ℓ_i = q_i/q.
        temperature: τ > 0; ℓ_i is raised to the power 1/τ.

    Raises:
        ValueError: a threshold of zero, an unknown statistic, a temperature that is not positive.

    Example:
        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-8, 8, 2001)
        >>> q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.5, 0.5]).on(grid)
        >>> q1 = ul.GaussianMixture([1], [2], [0.5]).on(grid)
        >>> solution = ul.solve(ul.Likelihood(retain=q, forget=[q1], relative=0.1))
        >>> solution.certificate.ok, round(solution.objective, 4)
        (True, 0.3776)
    """

    sense = -1
    objective_name = "KL(p‖q)"

    def __init__(
        self,
        retain: Any,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        statistic: str = "density",
        temperature: float = 1.0,
    ):
        if statistic not in ("density", "ratio"):
            raise ValueError(f"statistic must be 'density' or 'ratio'; got {statistic!r}")
        self.statistic = statistic
        self.constraint_name = "E_p[q_i]" if statistic == "density" else "E_p[q_i/q]"
        self.temperature = float(finite_vector("temperature", temperature, 1, per="problem")[0])
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature!r}")
        super().__init__(retain, forget, thresholds, relative=relative)

    def _check_thresholds(self) -> None:
        if not (self.thresholds > 0).all():
            raise ValueError(
                f"thresholds of Likelihood must be positive; got {self.thresholds.tolist()}: at 0 "
                "every point that q_i can produce would be forbidden; use a small number"
            )

    def log_statistic(self, atoms: LogRatios) -> Array:
        """(N, m) log ℓ_i = log q_i/τ or −r_i/τ; −inf where q_i is zero."""
        if self.statistic == "ratio":
            return -atoms.ratios / self.temperature
        if atoms.forget_log_density is None:
            raise ValueError(
                "statistic='density' needs log q_i, which this model cannot give; "
                "use statistic='ratio'"
            )
        densities = atoms.forget_log_density
        return densities if self.temperature == 1 else densities / self.temperature

    def evaluate(self, model: Any, *, seed: int = 0) -> Evaluation:
        """KL(p‖q) and E_p[ℓ_i]."""
        objective = float(model.kl(self.retain, seed=seed))
        if self.table.statistics.max() < np.exp(LARGEST_LOG_STATISTIC):
            return Evaluation(objective, model.expectation(self.table.statistics))
        logs = self.log_statistic(self.atoms)
        with np.errstate(over="ignore", invalid="ignore"):  # −inf + inf: no mass, no matter
            terms = np.where(np.isneginf(model.log_masses)[:, None], -np.inf, logs)
            terms = terms + model.log_masses[:, None]
            return Evaluation(
                objective, np.exp([log_sum_exp(np.nan_to_num(column, nan=-np.inf, posinf=1e4)) for column in terms.T])
            )

    def tabulate(self, atoms: LogRatios) -> ExponentialTable:
        """ℓ, capped at e^345: a cell beyond has no mass at any multiplier that matters."""
        logs = self.log_statistic(atoms)
        statistics = np.minimum(logs, LARGEST_LOG_STATISTIC)
        return ExponentialTable(atoms.log_weights, np.exp(statistics, out=statistics))

    def dual(self, strength: Array, table: ExponentialTable) -> Dual:
        """g = −K(−λ) − λᵀb; gradient E_p[ℓ] − b; Hessian −Cov_p(ℓ)."""
        log_normaliser, mean, covariance = tilted_moments(*table, -strength)
        violation = mean - self.thresholds
        return Dual(
            -log_normaliser - strength @ self.thresholds, violation, -covariance, violation, strength
        )

    def start(self, table: ExponentialTable) -> Array:
        """Where ℓ spans many decades, the solutions with ℓ capped at 10⁴b, 10⁸b, ... in turn.

        Newton from λ = 0 sees the largest ℓ alone and would have to lower its sights decade by
        decade; capped, it sees the cells that matter, and those above the cap empty by themselves.
        """
        strength = np.zeros(self.m)
        highest = float((table.statistics / self.thresholds).max())
        cap = 1e4
        while cap < highest and not solved(self.dual(strength, table), self.thresholds):
            capped = table._replace(statistics=np.minimum(table.statistics, cap * self.thresholds))
            strength = maximise(
                lambda x, capped=capped: self.dual(x, capped), strength, self.thresholds
            ).strength
            cap *= 1e4
        return strength

    def _dual_value(self, multipliers: Array) -> float:
        return float(-log_normaliser(*self.table, -multipliers) - multipliers @ self.thresholds)

    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """Eq. (7): t = −λᵀℓ − K."""
        vector = multiplier_vector(multipliers, self.m)
        return self._tilt_at(vector, log_normaliser(*self.table, -vector))

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt with the normaliser that the solver has at hand."""
        return self._tilt_at(strength, float(-dual.value - strength @ self.thresholds))

    def _tilt_at(self, multipliers: Array, log_normaliser: float) -> Tilt:
        return Tilt(tilt_weights(self.table.statistics, -multipliers, log_normaliser))

    def primal(self, log_p: Array) -> Primal:
        """KL(p‖q), b·log(E_p[ℓ]/b) and their gradients p(t + 1), b·pℓ/E_p[ℓ].

        The logarithm has the constraint's sign, and E_p[ℓ] may start many decades above b.
        """
        p, t, b = np.exp(log_p), log_p - self.table.log_weights, self.thresholds
        terms = p[:, None] * self.table.statistics
        values = np.maximum(terms.sum(axis=0), 1e-300)
        return Primal(float(p @ t), p * (t + 1), b * np.log(values / b), terms * (b / values))

    def vertex_values(self) -> Array:
        """ℓ_i at each atom of q."""
        return self.table.statistics[self.table.log_weights > -np.inf]
