"""What all unlearning problems share: models, thresholds, and what `solve` asks of them.

A problem sees its distributions only through the atom table of `ratios.py`. With t = log p/q,
r_i = log q/q_i and E the expectation under q, KL(p‖q) = E[e^t t], KL(p‖q_i) = E[e^t (t + r_i)],
KL(q‖p) = −E[t] and KL(q_i‖p) = k_i − E[ρ_i t], where ρ_i = q_i/q and k_i = KL(q_i‖q).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..errors import SMALLEST, Array, SupportError, finite_vector, multiplier_vector, same_space
from ..identity import Options, content
from ..model import Model, Tilt, gated, realise, require_model
from ..newton import Dual
from ..ratios import LogRatios
from ..statistics import Constraint, LogRatio, Statistic
from .evaluation import Evaluation

REGISTRY: dict[str, type[Problem]] = {}  # every formulation by its name; see `registered`


class Problem(ABC):
    """minimise deviation(p, q) subject to sense_i·(constraint_i(p) − b_i) ≥ 0, i = 1..m.

    Args:
        retain: q, the pretrained distribution.
        forget: q_1..q_m, on the same space.
        thresholds: (m,) b, or one number for all.
        relative: instead of thresholds, multiples of the constraint values at q.
        options: what the class takes besides; an instance of its `Options`.
        besides: models that q is compared with although they are not to be forgotten.

    Attributes:
        compared: all models that q is compared with: those to forget, then those besides.
        sense: +1 where the constraints on what is to be forgotten must reach their threshold, −1
            where they must stay below it.
        smooth_dual: else Newton may stall, and `edge` takes over.
        forgets_points: whether a q_i may be a single point, without a density.
        of_p: whether the objective is KL(p‖q), minus the entropy of p and something linear; else
            KL(q‖p).
        composes: whether targets are q·Π(q/q_i)^{u_i}, which scores compose.
        log_most: of `log_weights` at any point, inf without a bound, −inf where draws must tell;
            log_contact: below it a point is all but empty.
    """

    sense: int = +1
    smooth_dual: bool = True
    forgets_points: bool = False
    of_p: bool = True
    composes: bool = False
    log_most: float = np.inf
    log_contact: float = -np.inf
    Options: type[Options] = Options
    objective_name: str
    constraint_name: str

    def __init_subclass__(cls, **more: Any):
        super().__init_subclass__(**more)
        REGISTRY[cls.__name__] = cls

    def __init__(
        self,
        retain: Model,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        options: Any = None,
        besides: Sequence[Any] = (),
    ):
        require_model("retain", retain)
        if isinstance(forget, str) or not isinstance(forget, Sequence):
            raise TypeError(f"forget must be a list of models; got {type(forget).__name__}")
        for i, model in enumerate(forget):
            require_model(f"forget[{i}]", model)
        same_space(["retain", *(f"forget[{i}]" for i in range(len(forget)))], [retain, *forget])
        self.retain: Any = retain
        self.compared = (*forget, *besides)
        self.forgotten = len(forget)
        self.options = self.Options() if options is None else options
        self._refuse_points()
        if not retain.sampled:  # else the table is drawn, and checked, when the problem is solved
            self.check_support()
        self.thresholds: Array = self._given(thresholds, relative)
        self.check_thresholds()
        self.check_distinct()

    def _given(self, thresholds: ArrayLike | None, relative: ArrayLike | None) -> Array:
        """Thresholds on what is to be forgotten, in the units of the constraints."""
        if not self.forgotten:
            raise ValueError("forget is empty: name at least one distribution to forget")
        if (thresholds is None) == (relative is None):
            raise ValueError("give either thresholds= or relative=, not both or neither")
        name, value = ("thresholds", thresholds) if relative is None else ("relative", relative)
        per = "forget distribution"
        given = finite_vector(name, value, self.forgotten, per=per)
        if (given < 0).any():
            raise ValueError(f"{name} must not be negative; got {given.tolist()}")
        if relative is None:
            return given
        values = given * self._baseline[: self.forgotten]
        return finite_vector("relative × value at q", values, self.forgotten, per=per)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(retain={self.retain!r}, forget {self.forgotten}, "
            f"thresholds={self.thresholds.tolist()})"
        )

    @property
    def forget(self) -> tuple[Any, ...]:
        """q_1..q_m."""
        return self.compared[: self.forgotten]

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """What each constraint measures at a point."""
        return tuple(LogRatio(i) for i in range(self.forgotten))

    @property
    def m(self) -> int:
        """Number of constraints."""
        return len(self.statistics)

    @property
    def senses(self) -> Array:
        """(m,) +1 where a constraint must reach its threshold, −1 where it must stay below."""
        return np.full(self.m, float(self.sense))

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """A statistic, a sense and a threshold each."""
        rows = zip(self.statistics, self.senses, self.thresholds, strict=True)
        return tuple(Constraint(one, int(sense), float(b)) for one, sense, b in rows)

    @property
    def names(self) -> list[str]:
        """What each constraint is called in messages."""
        return [self.constraint_name] * self.m

    @property
    def scales(self) -> Array:
        """(m,) sizes of the thresholds, in which violations are measured."""
        return np.where(self.thresholds > 0, np.maximum(self.thresholds, SMALLEST), 1.0)

    @property
    def multiplier_scale(self) -> Array:
        """(m,) s such that λ·s is in nats, in which a dual optimiser moves λ."""
        return np.ones(self.m)

    @property
    def floor(self) -> float | None:
        """T where log p/q ≥ −T is asked for, nats; else None."""
        return None

    def values(self, atoms: LogRatios) -> Array:
        """(N, m) what the constraints measure at each atom."""
        columns = [one.values(atoms) for one in self.statistics]
        return columns[0][:, None] if len(columns) == 1 else np.stack(columns, axis=1)

    def values_at(self, points: Any, *, seed: int = 0, **how: Any) -> Array:
        """(n, m) what the constraints measure at points of any rung; `how` is the rung's."""
        densities = any(one.needs_density for one in self.statistics)
        return self.values(
            self.retain.log_ratios(
                self.compared, atoms=points, seed=seed, densities=densities, **how
            )
        )

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
        return self._baseline.copy()

    @property
    def known_baseline(self) -> Array | None:
        """`baseline` where it has been measured already, else None: it costs samples of q."""
        return self.__dict__.get("_baseline")

    @cached_property
    def _baseline(self) -> Array:
        return Evaluation.of(0.0, self.measured(self.retain)).constraints

    def ceilings(self) -> Array:
        """(m,) what each constraint, on its own, can reach on these atoms.

        The largest value where it must reach its threshold, else the smallest. A threshold beyond
        it is infeasible. Reaching several at once may be infeasible earlier; `solve` finds out.
        """
        values = self.vertex_values()
        return np.where(self.senses > 0, values.max(axis=0), values.min(axis=0))

    def target(self, multipliers: ArrayLike) -> Any:
        """The minimiser p_λ of the Lagrangian at any multipliers in the domain, in closed form."""
        return realise(self.retain, self.tilt(multipliers), self.atoms)

    def dual_value(self, multipliers: ArrayLike) -> float:
        """g(λ) = min_p Lagrangian(p, λ): a lower bound on the problem's value, in nats."""
        return self._dual_value(multiplier_vector(multipliers, self.m))

    @abstractmethod
    def measured(self, model: Any, *, seed: int = 0, samples: int | None = None) -> list[Any]:
        """(m,) what the constraints measure of `model`, from its own density or samples alone."""

    def evaluate(self, model: Any, *, seed: int = 0, samples: int | None = None) -> Evaluation:
        """KL(p‖q), and what is `measured`."""
        deviation = model.kl(self.retain, kind=model.kind, seed=seed, samples=samples)
        found = self.measured(model, seed=seed, samples=samples)
        return Evaluation.of(deviation, found, kind=model.kind)

    @abstractmethod
    def tabulate(self, atoms: LogRatios) -> Any:
        """What `dual` reads, for any atoms of the retained model."""

    @abstractmethod
    def dual(self, strength: Array, table: Any) -> Dual:
        """Dual function, derivatives and violation at one strength; see `multipliers`."""

    @abstractmethod
    def tilt(self, multipliers: ArrayLike) -> Tilt:
        """How the target at these multipliers reweights q."""

    def log_weights(self, multipliers: ArrayLike, atoms: LogRatios) -> Array:
        """(N,) log p/q up to a constant, of the target at these multipliers, at any atoms."""
        raise TypeError(f"{type(self).__name__} does not say how its target tilts other atoms")

    def gated(self, multipliers: ArrayLike) -> Any:
        """The target at these multipliers as a model that can be drawn from without end."""
        return gated(self.retain, self, multiplier_vector(multipliers, self.m))

    @abstractmethod
    def vertex_values(self) -> Array:
        """(N, m) constraint values of the extreme distributions, one per atom.

        Every constraint is convex in p where it must reach its threshold, else linear, so no p
        exceeds what these reach: they decide ceilings and infeasibility.
        """

    def _dual_value(self, multipliers: Array) -> float:
        return self.dual(multipliers, self.table).value

    def check_support(self) -> None:  # noqa: B027 - a hook
        """Refuse densities on which the problem makes no sense."""

    def check_thresholds(self) -> None:  # noqa: B027 - a hook
        """Refuse thresholds on which the problem makes no sense."""

    def check_distinct(self) -> None:  # noqa: B027 - a hook
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

    def at_edge(self, multipliers: Array) -> bool:
        """Whether training cannot raise these multipliers further."""
        return False

    def regime(self, model: Any, multipliers: Array, ok: bool) -> str:
        """Which kind of solution `model` is, read off the model and its multipliers."""
        return "regular" if multipliers.any() else "inactive"

    def shortfalls(self, constraints: Any) -> Any:
        """(..., m) how far constraint values miss their thresholds, in their units; ≤ 0: met."""
        return self.senses * (self.thresholds - constraints)

    def violations(self, constraints: Array) -> Array:
        """(m,) the same relative to the thresholds."""
        return self.shortfalls(constraints) / self.scales

    def with_thresholds(self, thresholds: Array) -> Self:
        """The same problem with other thresholds, sharing all tables."""
        other = copy(self)
        other.thresholds = thresholds
        return other

    def on(self, retain: Any, compared: Sequence[Any], **changes: Any) -> Self:
        """The same problem on other models, with `changes` to its options."""
        other = copy(self)
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, cached_property):
                    other.__dict__.pop(name, None)  # they are of the old models
        other.retain, other.compared = retain, tuple(compared)
        other.options = replace(self.options, **changes)
        if not retain.sampled:
            other.check_support()
            other.check_distinct()
        return other

    def take_functions(self, functions: Sequence[Any], senses: Sequence[float]) -> None:
        """A user's functions and the senses of all constraints, from a file."""
        if functions:
            raise ValueError(f"{type(self).__name__} has no functions; the file holds some")

    def deeper(self) -> Problem | None:
        """The problem over a larger set, where the answer depends on its edge (FU's floor)."""
        return None

    def admits(self, model: Any) -> bool:
        """Whether the model lies in the set that the problem ranges over."""
        return True

    def identity(self) -> dict[str, Any]:
        """What tells this problem from others on the same models, ready for JSON."""
        functions = [one for one in self.statistics if one.function is not None]
        return {
            "problem": type(self).__name__,
            "options": self.options.identity(),
            "functions": [content(one) for one in functions],
            "senses": self.senses.tolist(),
            "thresholds": self.thresholds.tolist(),
        }

    def _refuse_points(self) -> None:
        for i, model in enumerate(self.forget):
            if not (self.forgets_points or getattr(model, "has_density", True)):
                raise SupportError(
                    f"forget[{i}] is {model!r}, which has no density: "
                    f"{type(self).__name__} cannot measure a distance to it; use ForwardKL"
                )

    def _refuse_equal(self) -> None:
        q = self.retain
        for i, other in enumerate(self.forget):
            if self.thresholds[i] > 0 and (
                q.same_as(other) if q.sampled else _equal(self.atoms.ratios[:, i])
            ):
                raise ValueError(
                    f"forget[{i}] equals retain: staying close to q and away from q contradict "
                    f"each other; set thresholds[{i}] to 0 or forget something else"
                )


def _equal(log_ratios: Array) -> bool:
    """Whether q_i = q to rounding; a few cells settle most cases."""
    parts = log_ratios[:: len(log_ratios) // 64 + 1], log_ratios
    return all(np.abs(r).max() < 1e-12 for r in parts)
