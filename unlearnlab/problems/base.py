"""What the three unlearning problems share.

A problem sees its distributions only through the atom table of `ratios.py`. With t = log p/q,
r_i = log q/q_i and E the expectation under q, KL(p‖q) = E[e^t t], KL(p‖q_i) = E[e^t (t + r_i)],
KL(q‖p) = −E[t] and KL(q_i‖p) = k_i − E[ρ_i t], where ρ_i = q_i/q and k_i = KL(q_i‖q).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Array, SupportError, finite_vector, multiplier_vector, same_space
from ..estimate import stderr
from ..model import Tilt, require_model
from ..newton import Dual
from ..ratios import LogRatios
from ..search import Primal


class ExponentialTable(NamedTuple):
    """Atoms of an exponential family: (N,) log weights and (N, m) finite statistics."""

    log_weights: Array
    statistics: Array


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Objective and constraints of a model, in the units of the problem.

    Attributes:
        objective: deviation from the retained model, nats.
        constraints: (m,).
        objective_stderr, constraints_stderr: standard errors; zero on exact models.
        kind: of the divergences, see `kl`: "path" where those of the samples cannot be computed.
    """

    objective: float
    constraints: Array
    objective_stderr: float = 0.0
    constraints_stderr: Array | float = 0.0
    kind: str = "point"

    @classmethod
    def of(cls, objective: Any, constraints: Sequence[Any], kind: str = "point") -> Evaluation:
        """Floats or estimates, as `kl` returns them."""
        return cls(
            float(objective),
            np.array([float(value) for value in constraints]),
            stderr(objective),
            np.array([stderr(value) for value in constraints]),
            kind,
        )

    def __repr__(self) -> str:
        errors = np.broadcast_to(self.constraints_stderr, self.constraints.shape)
        pairs = zip(self.constraints, errors, strict=True)
        constraints = ", ".join(f"{value:.4f} ± {error:.4f}" for value, error in pairs)
        return (
            f"Evaluation(objective {self.objective:.4f} ± {self.objective_stderr:.4f}, "
            f"constraints {constraints}{'' if self.kind == 'point' else ', along paths'})"
        )


class Problem(ABC):
    """minimise deviation(p, q) subject to sense·(constraint_i(p) − b_i) ≥ 0, i = 1..m.

    Args:
        retain: q, the pretrained distribution.
        forget: q_1..q_m, on the same space.
        thresholds: (m,) b, or one number for all.
        relative: instead of thresholds, multiples of the constraint values at q.
    """

    sense: int = +1  # +1: constraints must reach their threshold; −1: stay below it
    smooth_dual: bool = True  # else Newton may stall, and `edge` takes over
    forgets_points: bool = False  # whether a q_i may be a single point, without a density
    options: tuple[str, ...] = ()  # what the class takes besides models and thresholds
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
        self._refuse_points()
        if not retain.sampled:  # else the table is drawn, and checked, when the problem is solved
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
        if not retain.sampled:
            self._check_distinct()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(retain={self.retain!r}, forget {self.m}, "
            f"thresholds={self.thresholds.tolist()})"
        )

    @property
    def m(self) -> int:
        """Number of forget distributions."""
        return len(self.forget)

    @property
    def compared(self) -> tuple[Any, ...]:
        """All models that q is compared with: those to forget, and what else a problem needs."""
        return self.forget

    @cached_property
    def atoms(self) -> LogRatios:
        """The retained model's atom table."""
        if self.retain.sampled:
            raise TypeError(
                f"{self.retain!r} has no table of its own: solve draws a pool of samples for it"
            )
        return self.retain.log_ratios(self.compared)

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

    def _check_support(self) -> None:  # noqa: B027 - a hook
        """Refuse densities on which the problem makes no sense."""

    def _check_thresholds(self) -> None:  # noqa: B027 - a hook
        """Refuse thresholds on which the problem makes no sense."""

    def _check_distinct(self) -> None:  # noqa: B027 - a hook
        """Refuse to stay close to what is to be left."""

    # A strength is the coordinate in which the target is an exponential family or a difference:
    # the multipliers themselves, but for RU.
    def multipliers(self, strength: Array) -> Array:
        """λ at a strength."""
        return strength

    def strength(self, multipliers: Array) -> Array | None:
        """The strength of these multipliers; None where there is none."""
        return multipliers

    def start(self, table: Any) -> Array:
        """(m,) a strength from which Newton does well."""
        return np.zeros(self.m)

    def strength_tilt(self, strength: Array, dual: Dual) -> Tilt:
        """The tilt at a strength that the solver stopped at."""
        return self.tilt(strength)

    def edge(self, near: Array | None = None) -> tuple[Tilt, Array] | None:
        """Tilt and multipliers of an optimum that `target` cannot express, or None.

        Args:
            near: (m,) multipliers of a problem that differs little.
        """
        return None

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """Which kind of solution `model` is, read off the model and its multipliers."""
        return "regular" if multipliers.any() else "inactive"

    @abstractmethod
    def primal(self, log_p: Array) -> Primal:
        """Objective and violations of a distribution on the atoms (log masses), with gradients.

        The problem as it is stated, for searches that must not know of duality.
        """

    def primal_on(self, held: NDArray[Any]) -> Callable[[Array], Primal]:
        """`primal` as a function of the log masses of the atoms `held` (mask or indices) alone."""
        whole = np.full(len(self.atoms.log_weights), -np.inf)

        def primal(log_p: Array) -> Primal:
            whole[held] = log_p
            found = self.primal(whole)
            return found._replace(
                objective_gradient=found.objective_gradient[held],
                violation_gradients=found.violation_gradients[held],
            )

        return primal

    def log_ratio(self, log_p: Array, held: NDArray[Any]) -> Array:
        """(N,) t = log p/q from log masses where `held` is true, 0 elsewhere."""
        t = np.zeros(len(log_p))
        return np.subtract(log_p, self.atoms.log_weights, out=t, where=held)

    def violations(self, constraints: Array) -> Array:
        """(m,) how far constraint values miss their thresholds, relative to them; ≤ 0: met."""
        signed: Array = self.sense * (self.thresholds - constraints)
        return signed / np.where(self.thresholds > 0, self.thresholds, 1.0)

    @abstractmethod
    def contributions(self, log_p: Array) -> Array:
        """(N, 1 + m) what each atom adds to the objective and to each constraint.

        They are integrals of a function of p at a point, so these sum to `evaluate`.
        """

    def log_base(self) -> Array | None:
        """(N,) log masses below which p may not fall, or None."""
        return None

    def with_thresholds(self, thresholds: Array) -> Problem:
        """The same problem with other thresholds, sharing all tables."""
        other = copy(self)
        other.thresholds = thresholds
        return other

    def on(self, retain: Any, compared: Sequence[Any], **changes: Any) -> Problem:
        """The same problem on other models, in the place of `retain` and of `compared`."""
        options = {name: getattr(self, name) for name in self.options} | changes
        return type(self)(retain, compared, self.thresholds, **options)

    def deeper(self) -> Problem | None:
        """The problem over a larger set, where the answer depends on its edge (FU's floor)."""
        return None

    def admits(self, model: Any) -> bool:
        """Whether the model lies in the set that the problem ranges over."""
        return True

    def _refuse_points(self) -> None:
        for i, model in enumerate(self.forget):
            if not (self.forgets_points or getattr(model, "has_density", True)):
                raise SupportError(
                    f"forget[{i}] is {model!r}, which has no density: "
                    f"{type(self).__name__} cannot measure a distance to it; use ForwardKL"
                )

    def _refuse_equal(self) -> None:
        for i in range(self.m):
            if self.thresholds[i] > 0 and _equal(self.atoms.ratios[:, i]):
                raise ValueError(
                    f"forget[{i}] equals retain: staying close to q and away from q contradict "
                    f"each other; set thresholds[{i}] to 0 or forget something else"
                )


def require_problem(problem: Any) -> None:
    """Raise a TypeError unless `problem` is one."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a ReverseKL, ForwardKL or Likelihood; got {type(problem).__name__}"
        )


def _equal(log_ratios: Array) -> bool:
    """Whether q_i = q to rounding; a few cells settle most cases."""
    return all(
        np.abs(r).max() < 1e-12 for r in (log_ratios[:: len(log_ratios) // 64 + 1], log_ratios)
    )
