"""The open tasks of lesson 08: a primal–dual loop of one's own, and what a composed model draws."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from .exercise import Verdict, as_numbers

CASES = ((2.0, 1.0), (0.5, -0.6), (0.1, 1.0))  # thresholds and means of q₁; the last one is slack


def gaussians(theta: Any, mean: float) -> tuple[Any, Any]:
    """KL(p‖q) and KL(p‖q₁) of p = N(m, e^{2a}), q = N(0, 1) and q₁ = N(mean, 1); θ = (m, a)."""
    m, a = theta
    spread = ((2 * a).exp() - 1 - 2 * a) / 2
    return spread + m**2 / 2, spread + (m - mean) ** 2 / 2


def looped(primal_dual: Callable[..., Any]) -> Verdict:
    """08.2: (m, λ) that a loop ends with, for three thresholds and means, beside the exact ones.

    p* = N(−mean·u, 1) with u = √(2b)/|mean| − 1 and λ* = u/(1 + u), or q at λ* = 0 where it already
    is b away. Right within 0.02 of each.
    """
    seen = []
    for b, mean in CASES:
        u = max(0.0, sqrt(2 * b) / abs(mean) - 1)
        best = (-mean * u, u / (1 + u))
        given = as_numbers(primal_dual(b, mean))
        if isinstance(given, str) or given.shape != (2,):
            return False, "which does not return two numbers, the mean of p and λ"
        off = max(abs(one - other) for one, other in zip(given, best, strict=True))
        case = (
            f"for b = {b:g} and a q₁ at {mean:g} it ends at m = {given[0]:.3f}, λ = {given[1]:.3f}"
        )
        if not off <= 0.02:
            return False, f"and {case}, which is no saddle point"
        seen.append(off)
    return True, (
        "the model goes down on the Lagrangian, the multiplier up by the violation and never below "
        f"0: it ends within {max(seen):.1g} of the exact m and λ in all three cases"
    )


def reaches(u: float) -> Verdict:
    """08.3: a guidance at which samples of the composed model are as far from q₁ as was asked.

    Right within 4 % of the threshold, by the density of 4096 samples.
    """
    from ..density import GaussianMixture, Grid
    from ..diffusion import ComposedModel
    from ..dual import solve
    from ..problems import ReverseKL

    given = as_numbers(u)
    if isinstance(given, str) or given.shape != () or not 0 <= given < 20:
        return False, "which is no guidance u of at least 0"
    grid = Grid(low=-8.0, high=8.0, cells=2001)
    three = GaussianMixture([1 / 3] * 3, means=[-3, 0, 3], stds=[0.6] * 3)
    wide = GaussianMixture([1.0], means=[2], stds=[1.5])
    exact = ReverseKL(three.on(grid), [wide.on(grid)], relative=1.5)
    b = exact.thresholds[0]
    problem = ReverseKL(three.diffused(), [wide.diffused()], thresholds=[b])
    found = problem.evaluate(ComposedModel(problem.retain, list(problem.forget), [float(given)]))
    value = float(found.constraints[0])
    if abs(value - b) > 0.04 * b:
        return False, f"at which its samples are {value:.2f} nats from q₁, and {b:.2f} are asked"
    return True, (
        f"its samples are {value:.2f} nats from q₁, as asked. They pay {found.objective:.3f} nats "
        f"for it, and the optimum {solve(exact).objective:.3f}: a composed score leads elsewhere"
    )
