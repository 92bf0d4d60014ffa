"""The comb explorer: Lemma 1 to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plot
from ..errors import finite_vector
from ..lyapunov import VIOLATION, Comb, average, lyapunov_split
from ..model import kl
from ..problems import Stated
from ..problems.base import Evaluation
from .explorer import Explorer, blank, require_line, slider, wipe

SHARES = np.linspace(0, 1, 33)  # θ of the averages that are drawn


class CombExplorer(Explorer):
    """Drag θ: the comb of p and p′ lands on the chord between them, their average does not.

    Args:
        p, p_prime: densities on the problem's 1-D grid that meet its threshold.
        problem: `ReverseKL`, `ForwardKL` or `Likelihood` with one forget distribution.
        theta: θ to begin with, between 0.02 and 0.98.

    Attributes:
        slider: of θ.
        comb: what is shown.

    Raises:
        ImportError: without ipywidgets.
        TypeError, ValueError: as `lyapunov_split`; several forget distributions; not a 1-D grid.
    """

    label = "CombExplorer: run this cell to drag θ."
    size = (9.0, 4.0)

    def __init__(self, p: Any, p_prime: Any, problem: Stated, *, theta: float = 0.5):
        at = float(finite_vector("theta", theta, 1, per="comb")[0])
        if not 0.02 <= at <= 0.98:
            raise ValueError(f"theta must lie between 0.02 and 0.98; got {theta!r}")
        self.comb: Comb = lyapunov_split(p, p_prime, at, problem)
        require_line("p", p)
        if problem.m != 1:
            raise ValueError(f"problem must have one forget distribution; it has {problem.m}")
        self._pair, self._problem = (p, p_prime), problem
        self._averages = [problem.evaluate(average(p, p_prime, at)) for at in SHARES]
        margins = {"left": 0.065, "right": 0.985, "bottom": 0.13, "top": 0.92, "wspace": 0.25}
        with plot.style():
            self._canvas = blank(self.size, **margins)
            self._canvas.subplots(1, 2, width_ratios=[5, 4])
        self.slider = slider(
            "FloatSlider", "θ, share of p", value=at, min=0.02, max=0.98, step=0.02
        )
        super().__init__([self.slider])
        self.slider.observe(self._update, names="value")

    def _solve(self) -> Comb:
        self.comb = lyapunov_split(*self._pair, self.slider.value, self._problem)
        return self.comb

    def _draw(self, comb: Comb) -> tuple[Figure, str]:
        left, right = self._canvas.axes
        for ax in (left, right):
            wipe(ax)
        plot.comb(comb, *self._pair, ax=left)
        left.set_ylim(0, 1.35 * max(float(np.exp(one.log_density.max())) for one in self._pair))
        left.legend(loc="upper left", ncols=2)
        problem, share = self._problem, self.slider.value
        landed, fallen = (problem.evaluate(one) for one in (comb.density, comb.average))
        self._plane(comb, landed, fallen, right)
        drop = comb.wanted[:2] - [fallen.objective, fallen.constraints[0]]
        drop = np.where(np.abs(drop) < 1e-12, 0.0, drop)  # rounding
        missed = np.abs(comb.wanted[:2] - [landed.objective, landed.constraints[0]])
        worst = problem.violations(fallen.constraints)
        said = (
            f"θ = {share:.2f}. The comb has {problem.objective_name} = {landed.objective:.4g} nats "
            f"and {problem.constraint_name} = {landed.constraints[0]:.4g}: off the chord by "
            f"{missed.max():.0e}, because a cell has a size. The average lies below it by "
            f"{drop[0]:.3g} nats and {drop[1]:.3g}, and "
            f"{'breaks' if worst[0] > VIOLATION else 'meets'} the threshold "
            f"{problem.thresholds[0]:.4g}."
        )
        if problem.of_p:  # KL(p‖·) is −entropy + something linear
            terms = [float(kl(one, comb.average)) for one in self._pair]
            lost = share * terms[0] + (1 - share) * terms[1]
            said += f" The Jensen–Shannon term of p and p′ is {lost:.3g} nats."
        return self._canvas, said

    def _plane(self, comb: Comb, landed: Evaluation, fallen: Evaluation, ax: Axes) -> None:
        """Constraint against objective: the chord, what lands on it and what falls off."""
        problem, path = self._problem, self._averages
        x, y = ([f(one) for one in path] for f in (_constraint, _objective))
        ends = [0, -1]
        ax.plot([x[i] for i in ends], [y[i] for i in ends], "o-", color="k", lw=1, label="chord")
        for i, name in zip(ends, ("p′", "p"), strict=True):
            ax.annotate(name, (x[i], y[i]), (7, 0), textcoords="offset points", va="center")
        ax.plot(x, y, ":", color=plot.FORGOTTEN, lw=1.2)
        wanted, below = comb.wanted[:2], (_constraint(fallen), _objective(fallen))
        ax.plot(*wanted[::-1], "o", ms=13, mfc="none", mec="k", label="θ on the chord")
        ax.plot(_constraint(landed), _objective(landed), "D", color=plot.UNLEARNED, label="comb")
        ax.plot(*below, "X", ms=9, color=plot.FORGOTTEN, label="average")
        bound = float(problem.thresholds[0])
        points = [*x, bound]
        room = 0.25 * max(max(points) - min(points), 0.01 * abs(bound))
        low, high = min(points) - room, max(points) + room
        beyond = (low, bound) if problem.sense > 0 else (bound, high)
        ax.axvspan(*beyond, color=plot.FORGOTTEN, alpha=0.15, lw=0, label="breaks the threshold")
        density = getattr(problem, "statistic", None) == "density"
        unit = "nats" if problem.sense > 0 else "1/unit of x" if density else "no unit"
        ax.set(xlim=(low, high), xlabel=f"{problem.constraint_name} ({unit})")
        ax.set(ylabel=f"{problem.objective_name} (nats)", title="the comb lands on the chord")
        ax.legend(loc="best")


def _constraint(one: Evaluation) -> float:
    return float(one.constraints[0])


def _objective(one: Evaluation) -> float:
    return one.objective
