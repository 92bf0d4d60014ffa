"""Likelihood unlearning (LU)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import identity
from ..errors import SMALLEST, Array, SupportError, finite_vector, same_space
from ..model import Model, require_model
from ..statistics import Density, LikelihoodRatio, Statistic
from .moments import Moments


@dataclass(frozen=True)
class LikelihoodOptions(identity.Options):
    """What a likelihood is, besides its models."""

    statistic: str = "density"
    temperature: float = 1.0
    cap: float | None = None


class Likelihood(Moments):
    """Likelihood unlearning (LU): min KL(p‖q) subject to E_p[ℓ_i] ≤ b_i.

    The best-known `Moments` problem: the optimum is p ∝ q·exp(−λᵀℓ), eq. (7), and
    g = −log E[exp(−λᵀℓ)] − λᵀb, which is concave for a convex problem.

    Args:
        retain, forget, relative: see `Problem`.
        thresholds: one b > 0 for each forget distribution, in the units of the statistic.
        statistic: "density", ℓ_i = q_i, or "ratio", ℓ_i = q_i/q.
        reference: of the ratio in the place of q, ℓ_i = q_i/r: for a prompt, what the model draws
            without one ([K] E.1.2).
        temperature: τ > 0; ℓ_i is raised to the power 1/τ. "dim" is the number of dimensions of a
            diffusion model: log-ratios of images are hundreds of nats, and ℓ then is their
            exponential per dimension.
        cap: c > 0; ℓ_i is min(ℓ_i, c). Where q_i is a part of q, of mass π, q_i/q is nowhere above
            1/π. What an estimate says beyond that is error, and a single sample that neither model
            would draw can decide a batch's mean.
        at_most, at_least: further constraints E_p[f] ≤ b and E_p[g] ≥ c, as in `Moments`: forget
            this, keep that. Multipliers come in the order forget, at_most, at_least.

    Raises:
        ValueError: a threshold of zero, an unknown statistic, a temperature or a cap that is not
            positive, a reference without a ratio or without mass where q has some.

    Example:
        >>> import unlearnlab as ul
        >>> grid = ul.Grid(-8, 8, 2001)
        >>> q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.5, 0.5]).on(grid)
        >>> q1 = ul.GaussianMixture([1], [2], [0.5]).on(grid)
        >>> solution = ul.solve(ul.Likelihood(retain=q, forget=[q1], relative=0.1))
        >>> solution.certificate.ok, round(solution.objective, 4)
        (True, 0.4367)
    """

    Options = LikelihoodOptions
    options: LikelihoodOptions

    def __init__(
        self,
        retain: Model,
        forget: Sequence[Any],
        thresholds: ArrayLike | None = None,
        *,
        relative: ArrayLike | None = None,
        statistic: str = "density",
        temperature: float | str = 1.0,
        cap: float | None = None,
        reference: Any = None,
        at_most: Sequence[Any] = (),
        at_least: Sequence[Any] = (),
    ):
        if statistic not in ("density", "ratio"):
            raise ValueError(f"statistic must be 'density' or 'ratio'; got {statistic!r}")
        if reference is not None:
            if statistic != "ratio":
                raise ValueError("reference is of statistic='ratio'; 'density' has none")
            require_model("reference", reference)
            same_space(["retain", "reference"], [retain, reference])
        if temperature == "dim" and getattr(retain, "sampled", False):
            temperature = getattr(retain, "dim", temperature)
        options = LikelihoodOptions(
            statistic, _positive("temperature", temperature), _positive("cap", cap, none=True)
        )
        super().__init__(
            retain,
            forget,
            thresholds,
            relative=relative,
            at_most=at_most,
            at_least=at_least,
            options=options,
            besides=[] if reference is None else [reference],
        )

    @property
    def statistic(self) -> str:
        """ "density" or "ratio"."""
        return self.options.statistic

    @property
    def temperature(self) -> float:
        """τ."""
        return self.options.temperature

    @property
    def cap(self) -> float | None:
        """c, or None."""
        return self.options.cap

    @property
    def reference(self) -> Any:
        """r of ℓ_i = q_i/r; None where it is q."""
        return self.compared[self.forgotten] if len(self.compared) > self.forgotten else None

    @property
    def constraint_name(self) -> str:  # type: ignore[override]
        """What is bounded."""
        below = {"density": "", "ratio": "/q" if self.reference is None else "/r"}[self.statistic]
        return f"E_p[q_i{below}]"

    def measures(self) -> tuple[Statistic, ...]:
        """ℓ_i of each model to forget."""
        kind = Density if self.statistic == "density" else LikelihoodRatio
        below = None if self.reference is None else self.forgotten
        return tuple(kind(i, self.temperature, self.cap, below) for i in range(self.forgotten))

    def values_at(self, points: Any, *, seed: int = 0, **how: Any) -> Array:
        """(n, m) what the constraints measure at points of any rung."""
        if self.reference is None:
            return super().values_at(points, seed=seed, **how)
        # q cancels in q_i/r: the table of r against the q_i is enough.
        return self.on(self.reference, self.forget).values_at(points, seed=seed, **how)

    def check_thresholds(self) -> None:
        """Refuse thresholds on which the problem makes no sense."""
        given = self.thresholds[: self.forgotten]
        if not (given > 0).all():
            raise ValueError(
                f"thresholds of Likelihood must be positive; got {given.tolist()}: at 0 "
                "every point that q_i can produce would be forbidden; use a small number"
            )
        if not (given >= SMALLEST).all():
            raise ValueError(
                f"thresholds of Likelihood must be at least {SMALLEST:g}, for their multipliers to "
                f"be doubles; got {given.tolist()}"
            )

    def check_support(self) -> None:
        """Refuse densities on which the problem makes no sense."""
        if self.reference is not None and np.isposinf(self.atoms.ratios[:, -1]).any():
            raise SupportError(
                "reference has no mass on some cells where retain has: q_i/r is infinite there"
            )


def _positive(name: str, value: Any, *, none: bool = False) -> Any:
    """A positive number, or None where that is allowed."""
    if none and value is None:
        return None
    number = float(finite_vector(name, value, 1, per="problem")[0])
    if not number > 0:
        also = ", or None for none" if none else ""
        raise ValueError(f"{name} must be positive{also}; got {value!r}")
    return number
