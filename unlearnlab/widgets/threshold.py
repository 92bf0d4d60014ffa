"""The threshold explorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plot
from ..dual import solve
from ..errors import Array, InfeasibleError, finite_vector
from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from ..solution import Solution
from .explorer import Explorer, blank, ipywidgets_or_advice, require_line, slider, wipe

KINDS: dict[str, type[Problem]] = {"RU": ReverseKL, "FU": ForwardKL, "LU": Likelihood}
NAMES = {"RU": "RU (reverse KL)", "FU": "FU (forward KL)", "LU": "LU (likelihood)"}
# The sliders' ends, multiples of the value at q: from where q does, to much forgotten or too much.
SPANS = {"RU": (0.8, 3.0), "FU": (0.8, 30.0), "LU": (0.01, 1.25)}
STARTS = {"RU": 2.0, "FU": 5.0, "LU": 0.1}
POINTS = 16  # of a trade-off curve: each is a solve, and the first picture waits for them
TICKS = (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 30)
LAYOUT = "DDDDBB\nGGGTTT"  # densities, bars; dual function g, trade-off


@dataclass(frozen=True, eq=False)
class Sweep:
    """The trade-off curve of one kind of problem; it also sets the scales of the picture."""

    problem: Problem
    span: tuple[float, float]

    @cached_property
    def base(self) -> Array:
        """(m,) values at q."""
        return self.problem.baseline()

    def at(self, level: float, near: Solution | None) -> Solution:
        """The solution at a multiple of them."""
        return solve(self.problem.with_thresholds(level * self.base), near=near)

    @cached_property
    def solutions(self) -> list[tuple[float, Solution]]:
        """Levels that can be reached, from lenient to demanding, with their solutions."""
        levels = np.geomspace(*self.span, POINTS)
        found: list[tuple[float, Solution]] = []
        for level in levels[:: self.problem.sense]:
            try:
                found.append((float(level), self.at(level, found[-1][1] if found else None)))
            except InfeasibleError:  # and so is whatever asks for more
                break
        return found

    @cached_property
    def top(self) -> float:
        """The largest deviation, nats."""
        return max((one.objective for _, one in self.solutions), default=0.0) or 1.0

    def largest(self, total: bool) -> float:
        """The largest multiplier, or sum of multipliers."""
        add = np.sum if total else np.max
        return float(max((add(one.multipliers) for _, one in self.solutions), default=0)) or 1.0


class ThresholdExplorer(Explorer):
    """Drag the threshold, switch between RU, FU and LU: target, multipliers, dual and price.

    One slider moves the thresholds of all forget distributions together, as multiples of the
    constraint values at q; each kind of problem remembers its own.

    Args:
        retain: q, on a 1-D grid.
        forget: q_1..q_m, on the same grid.
        kind: the problem to begin with, "RU", "FU" or "LU".
        level: the multiple to begin with.

    Attributes:
        kind: the toggle buttons.
        slider: the slider of the current kind.
        solution: what is shown; None while the thresholds are infeasible.

    Raises:
        ImportError: without ipywidgets.
        TypeError, ValueError: densities that are not on one 1-D grid, or that make no such problem.
        InfeasibleError: the thresholds to begin with cannot be met.
    """

    label = "ThresholdExplorer: run this cell to drag the threshold."
    size = (9.0, 5.6)

    def __init__(
        self, retain: Any, forget: Sequence[Any], *, kind: str = "RU", level: float | None = None
    ):
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
        first = KINDS[kind](retain, forget, relative=1.0)
        for name, model in _named(retain, forget):
            require_line(name, model)
        widgets = ipywidgets_or_advice()
        self._canvases: dict[str, tuple[Figure, dict[str, Axes]]] = {}
        self._sweeps = {kind: Sweep(first, SPANS[kind])}
        self._last: dict[str, Solution] = {}
        self.solution: Solution | None = None
        starts = STARTS if level is None else STARTS | {kind: _level(level, SPANS[kind])}
        self._sliders = {
            name: slider(
                "FloatLogSlider",
                "threshold ÷ value at q",
                value=starts[name],
                min=np.log10(low),
                max=np.log10(high),
                step=0.01,
                readout_format=".3g",
            )
            for name, (low, high) in SPANS.items()
        }
        options = [(text, name) for name, text in NAMES.items()]
        self.kind = widgets.ToggleButtons(options=options, value=kind, description="problem")
        self._place = widgets.VBox([self.slider])
        super().__init__([self.kind, self._place])
        for control in (self.kind, *self._sliders.values()):
            control.observe(self._update, names="value")

    @property
    def slider(self) -> Any:
        """The slider of the current kind."""
        return self._sliders[self.kind.value]

    def _solve(self) -> Solution:
        name = self.kind.value
        self.solution, self._place.children = None, [self.slider]
        if name not in self._sweeps:
            known = next(iter(self._sweeps.values())).problem
            problem = KINDS[name](known.retain, known.forget, relative=1.0)
            self._sweeps[name] = Sweep(problem, SPANS[name])
        sweep = self._sweeps[name]
        solution = sweep.at(self.slider.value, self._last.get(name))
        _ = sweep.solutions  # here, where an error can still be shown
        self.solution = self._last[name] = solution
        return solution

    def _draw(self, solution: Solution) -> tuple[Figure, str]:
        sweep, problem = self._sweeps[self.kind.value], solution.problem
        figure, axes = self._canvas()
        proof = solution.certificate
        answer = f"{problem.objective_name} = {solution.objective:.3g} nats"
        certificate = f"certificate {'ok' if proof.ok else 'NOT OK'}"
        title = f"{self.kind.value}: {answer}, {proof.regime}, {certificate}"
        self._densities(solution, axes["D"], title)
        plot.multipliers(solution, ax=axes["B"])
        axes["B"].set(ylim=(0, 1.15 * sweep.largest(False)), title="price of each threshold")
        axes["B"].set_xlim(-0.8, problem.m - 0.2)
        axes["B"].set_ylabel(axes["B"].get_ylabel().replace(" (", "\n("))
        along = np.linspace(0, 1.2 * sweep.largest(True), 81)
        plot.dual(problem, solution, multipliers=along, ax=axes["G"])
        axes["G"].set_title("the top of the dual function is the deviation")
        axes["G"].set_xlim(0, along[-1])
        axes["G"].legend(loc="upper right")
        self._trade(sweep, solution, axes["T"])
        axes["T"].legend([])  # the title says it
        for name in "GT":  # one scale of nats: the top of g is the deviation
            axes[name].set_ylim(-0.15 * sweep.top, 1.15 * sweep.top)
        unit = " nats" if problem.sense > 0 else ""
        said = (
            f"{title} ({proof.advice}). {problem.constraint_name} "
            f"{'≥' if problem.sense > 0 else '≤'} {_list(problem.thresholds)}{unit}, "
            f"{self.slider.value:.3g} times the value at q. Multipliers "
            f"{_list(solution.multipliers)}."
        )
        return figure, said

    def _canvas(self) -> tuple[Figure, dict[str, Axes]]:
        """Empty axes; each kind has its own, since their scales differ."""
        name = self.kind.value
        if name not in self._canvases:
            figure = blank(self.size, left=0.07, right=0.985, bottom=0.095, top=0.94)
            gaps = {"hspace": 0.45, "wspace": 1.0}
            axes = figure.subplot_mosaic(LAYOUT, gridspec_kw=gaps)
            for ax in axes.values():  # most of the time goes into numbers at ticks
                ax.locator_params(axis="y", nbins=5)
            for ax in (axes["D"], axes["G"]):
                ax.locator_params(axis="x", nbins=5)
            low, high = SPANS[name]
            ticks = [at for at in TICKS if low <= at <= high]
            axes["T"].set(xscale="log", xlim=(low, high))
            axes["T"].set_xticks(ticks, [f"{at:g}" for at in ticks])
            axes["T"].set_xticks([], minor=True)
            self._canvases[name] = figure, axes
        figure, axes = self._canvases[name]
        for ax in axes.values():
            wipe(ax)
        return figure, axes

    def _densities(self, solution: Solution, ax: Axes, title: str) -> None:
        """The target, on a scale that stays while it can."""
        plot.unlearning(solution, ax=ax, title=title)
        models = [model for _, model in _named(solution.problem.retain, solution.problem.forget)]
        still = max(float(np.exp(model.log_density.max())) for model in models)
        ax.set_ylim(0, max(1.3 * still, 1.2 * float(np.exp(solution.model.log_density.max()))))
        ax.legend(loc="upper left", ncols=4)

    def _trade(self, sweep: Sweep, solution: Solution, ax: Axes) -> None:
        levels = [level for level, _ in sweep.solutions]
        deviations = [one.objective for _, one in sweep.solutions]
        xlabel = "threshold (multiples of the value at q)"
        plot.tradeoff({"optimum at each threshold": (levels, deviations)}, xlabel=xlabel, ax=ax)
        ax.axhline(solution.objective, color=plot.UNLEARNED, ls="--", lw=1.2)
        ax.plot([self.slider.value], [solution.objective], "o", color=plot.UNLEARNED)
        ax.set_title("what forgetting costs")


def _named(retain: Any, forget: Sequence[Any]) -> list[tuple[str, Any]]:
    return [("retain", retain), *((f"forget[{i}]", one) for i, one in enumerate(forget))]


def _level(level: float, span: tuple[float, float]) -> float:
    given = float(finite_vector("level", level, 1, per="explorer")[0])
    if not span[0] <= given <= span[1]:
        raise ValueError(f"level must lie between {span[0]:g} and {span[1]:g}; got {level!r}")
    return given


def _list(values: Array) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
