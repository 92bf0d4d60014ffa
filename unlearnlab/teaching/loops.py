"""Lesson 08: what it starts from, its figure of students, and what is said of its open tasks.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import sqrt
from typing import Any

from .exercise import Verdict, as_numbers

CASES = ((2.0, 1.0), (0.5, -0.6), (0.1, 1.0))  # thresholds and means of q₁; the last one is slack


@cache
def mixtures() -> tuple[Any, Any, Any, Any]:
    """The grid of lesson 08, and on a line: three equal modes, the right one of them, a wide one.

    Returns:
        (grid, three, right, wide): a `Grid` and three `GaussianMixture`s.
    """
    from ..density import GaussianMixture, Grid

    grid = Grid(low=-8.0, high=8.0, cells=2001)
    three = GaussianMixture([1 / 3] * 3, means=[-3, 0, 3], stds=[0.6] * 3)
    right = GaussianMixture([1.0], means=[3], stds=[0.6])
    return grid, three, right, GaussianMixture([1.0], means=[2], stds=[1.5])


def mode_masses(values: Any) -> Any:
    """(3,) shares of points (n,) on the line at x < −1.5, in the middle, and at x > 1.5."""
    import numpy as np

    return np.array([np.mean(values < -1.5), np.mean(abs(values) <= 1.5), np.mean(values > 1.5)])


def students_beside_optima(exact: dict[str, Any], samples: dict[str, list[Any]], alt: str) -> None:
    """Show what students draw beside the exact optima, and what each mode holds too much.

    Args:
        exact: solutions on the grid, by name.
        samples: (n,) draws of one student or more, by the same names; the first ones are drawn as
            a histogram. Bars below are one standard error of the n draws.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from .. import plot

    grid, three, *_ = mixtures()
    x, edges = grid.axes[0], np.linspace(-6.5, 6.5, 53)
    share: dict[str, Any] = {"height_ratios": (1.15, 1), "sharey": "row"}
    _, axes = plt.subplots(2, len(exact), figsize=(3.7 * len(exact), 5.2), **share)
    for (upper, lower), (name, solution) in zip(axes.T, exact.items(), strict=True):
        height = np.exp(three.on(grid).log_density)
        upper.fill_between(x, height, color="C0", alpha=0.25, lw=0, label="retain q")
        upper.plot(x, np.exp(solution.model.log_density), color="C1", label="exact optimum")
        drawn = np.histogram(samples[name][0], edges, density=True)[0]
        upper.stairs(drawn, edges, color="black", lw=1, label="a student's samples")
        upper.set(title=name, xlabel="x", xlim=(-6.5, 6.5), ylim=(0, 0.5))
        best = [solution.model.probabilities[k].sum() for k in (x < -1.5, abs(x) <= 1.5, x > 1.5)]
        for i, values in enumerate(samples[name]):
            held = mode_masses(values)
            error = np.sqrt(held * (1 - held) / len(values))
            place = np.arange(3) + 0.15 * (i - (len(samples[name]) - 1) / 2)
            lower.errorbar(place, held - best, error, fmt="o", ms=4, capsize=2, color="black")
        lower.axhline(0, color="C1", lw=1)
        lower.set_xticks(range(3), ["left mode", "middle", "right"])
        lower.set(xlim=(-0.5, 2.5), ylim=(-0.08, 0.08))
    axes[0, 0].set_ylabel("density (1/unit of x)")
    axes[1, 0].set_ylabel("mass, student − optimum")
    axes[0, 0].legend(loc="upper right", fontsize="x-small")
    plot.show(axes[0, 0], alt=alt)


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
    from ..diffusion import ComposedModel
    from ..dual import solve
    from ..problems import ReverseKL

    given = as_numbers(u)
    if isinstance(given, str) or given.shape != () or not 0 <= given < 20:
        return False, "which is no guidance u of at least 0"
    grid, three, _, wide = mixtures()
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
