"""Lessons 08 and 09: what they start from, figures of students, what is said of open tasks.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import sqrt
from typing import Any

from .exercise import Verdict, as_numbers

DEAREST = 1.5  # 09.3: times the optimum's nats
CASES = ((2.0, 1.0), (0.5, -0.6), (0.1, 1.0))  # thresholds and means of q₁; the last one is slack


@cache
def mixtures() -> tuple[Any, Any, Any, Any]:
    """The grid of lessons 08 and 09, and on a line three equal modes, one of them, a wide one.

    Returns:
        (grid, three, right, wide): a `Grid` and three `GaussianMixture`s.
    """
    from ..density import GaussianMixture, Grid

    grid = Grid(low=-8.0, high=8.0, cells=2001)
    three = GaussianMixture([1 / 3] * 3, means=[-3, 0, 3], stds=[0.6] * 3)
    right = GaussianMixture([1.0], means=[3], stds=[0.6])
    return grid, three, right, GaussianMixture([1.0], means=[2], stds=[1.5])


def mode_masses(values: Any, weights: Any = None) -> Any:
    """(3,) shares of points (n,) on the line at x < −1.5, in the middle, and at x > 1.5.

    Args:
        values: the points.
        weights: (n,) their masses; by default equal ones.
    """
    import numpy as np

    ranges = (values < -1.5, abs(values) <= 1.5, values > 1.5)
    return np.array([np.average(inside, weights=weights) for inside in ranges])


def students_beside_optima(
    exact: dict[str, Any],
    samples: dict[str, list[Any]],
    alt: str,
    drawn: str = "a student's samples",
) -> None:
    """Show what students draw beside the exact optima, and what each mode holds too much.

    Args:
        exact: solutions on the grid, by name.
        samples: (n,) draws of one student or more, by the same names; the first ones are drawn as
            a histogram. Bars below are one standard error of the n draws.
        alt: what the picture shows, for those who do not see it.
        drawn: what the legend calls the histogram.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from .. import plot

    grid, three, *_ = mixtures()
    x, edges = grid.axes[0], np.linspace(-6.5, 6.5, 53)
    share: dict[str, Any] = {"height_ratios": (1.15, 1), "sharey": "row", "squeeze": False}
    _, axes = plt.subplots(2, len(exact), figsize=(3.7 * len(exact), 5.2), **share)
    for (upper, lower), (name, solution) in zip(axes.T, exact.items(), strict=True):
        height = np.exp(three.on(grid).log_density)
        upper.fill_between(x, height, color="C0", alpha=0.25, lw=0, label="retain q")
        upper.plot(x, np.exp(solution.model.log_density), color="C1", label="exact optimum")
        heights = np.histogram(samples[name][0], edges, density=True)[0]
        upper.stairs(heights, edges, color="black", lw=1, label=drawn)
        upper.set(title=name, xlabel="x", xlim=(-6.5, 6.5), ylim=(0, 0.5))
        best = mode_masses(x, solution.model.probabilities)
        for i, values in enumerate(samples[name]):
            held = mode_masses(values)
            error = np.sqrt(held * (1 - held) / len(values))
            place = np.arange(3) + 0.15 * (i - (len(samples[name]) - 1) / 2)
            lower.errorbar(place, held - best, error, fmt="o", ms=4, capsize=2, color="black")
        lower.axhline(0, color="C1", lw=1)
        lower.set_xticks(range(3), ["left mode", "middle", "right"])
        lower.set(xlim=(-0.5, 2.5), ylim=(-0.1, 0.1))
    axes[0, 0].set_ylabel("density (1/unit of x)")
    axes[1, 0].set_ylabel("mass, drawn − optimum")
    axes[0, 0].legend(loc="upper right", fontsize="x-small")
    plot.show(axes[0, 0], alt=alt)


def shares_of_modes(rows: dict[str, Any], alt: str, draws: int = 8000) -> None:
    """Show the mass of each mode, by name.

    Args:
        rows: (3,) shares; the first ones are exact, the others of so many draws and have bars of
            two standard errors.
        alt: what the picture shows, for those who do not see it.
        draws: how many.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from .. import plot

    _, ax = plt.subplots(figsize=(6.4, 3.4))
    markers = ("D", "o", "s", "^", "v")
    for k, (name, row) in enumerate(rows.items()):
        error = 2 * np.sqrt(row * (1 - row) / draws) * (k > 0)
        place = np.arange(3) + 0.12 * (k - (len(rows) - 1) / 2)
        ax.errorbar(place, row, error, fmt=markers[k], ms=6, capsize=4, label=name)
    ax.axhline(1 / 3, color="0.5", ls=":", lw=1)
    ax.text(2.45, 1 / 3 + 0.005, "each in q", ha="right", fontsize="small", color="0.35")
    ax.set_xticks(range(3), ["x < −1.5", "−1.5 to 1.5", "x > 1.5"])
    ax.set(xlabel="where (units of x)", ylabel="share of the samples")
    ax.set(ylim=(0.2, 0.52), xlim=(-0.5, 2.5))
    ax.legend()
    plot.show(ax, alt=alt)


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
    """09.1: a guidance at which samples of the composed model are as far from q₁ as was asked.

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


def promised(run: Any, left: float) -> Verdict:
    """09.3: a run whose student holds a likelihood, scored by the optimum's nats for its value.

    Right where E_p[q₁/q] of fresh samples is at most `left` of its value at q, within 5 % or two
    standard errors, for at most 1.5 times what the optimum on the grid pays for the threshold.
    """
    import numpy as np

    from ..dual import solve
    from ..problems import Likelihood

    student = getattr(run, "student", run)
    if not hasattr(student, "noise_prediction"):
        return False, "which is no run and no student: hand in what ul.finetune returns"
    grid, three, right, _ = mixtures()
    ratio: dict[str, Any] = {"statistic": "ratio", "relative": left}
    exact = Likelihood(three.on(grid), [right.on(grid)], **ratio)
    b = float(exact.thresholds[0])
    asked = Likelihood(
        three.diffused(), [right.diffused()], thresholds=exact.thresholds, statistic="ratio"
    )
    found = asked.evaluate(student, seed=1)
    value, (error,) = float(found.constraints[0]), np.ravel(found.constraints_stderr)
    seen = f"E_p[q₁/q] is {value:.3f} ± {error:.3f} on fresh samples, and {b:.3f} is asked"
    if not value - b <= max(0.05 * b, 2 * error):
        return False, f"whose samples miss the threshold: {seen}"
    least = solve(exact).objective  # of what is asked: who forgets more pays for more
    paid = f"it pays {found.objective:.3f} nats, {found.objective / least:.2f} times the optimum's"
    if not found.objective <= DEAREST * least:
        return False, f"which is dear: {seen}; {paid} (asked: {DEAREST})"
    return True, f"{seen}; {paid}"
