"""The package's own methods: at published settings, and tuned under one budget for all.

The budget: four settings of the one number that matters most to a method, each tried once at a
seed that no result has. Of those that forget enough the one with the least KL is taken; where none
does, the one that forgets most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import baselines
from ..diffusion import DataSet
from ..problems import ForwardKL
from ..training.finetune import finetune
from ..training.returns import LeaveOut
from . import answers
from .definition import Task, unknown
from .judged import Judged

SAMPLES = 4096  # of what a task trains on, where a method reads data
TUNING_SEED = 1000  # is added to a task's
NEARLY = 1.1  # times what is asked: forgotten enough
RATES = (0.3, 1.0, 2.0, 4.0)  # of the learning rate


class Method(NamedTuple):
    """A method of the package.

    Attributes:
        name: by which a task may have settings of its own for it.
        train: from a task and settings to a `Run` or a student.
        published: settings, where a task has no others.
        matters: the setting that is tuned; tries: its four values, "lr" as a factor.
        needs: what it reads: "samples", "ratios" q_i/q, "prompts" or single "images".
    """

    name: str
    train: Callable[..., Any]
    published: Mapping[str, Any] = {}
    matters: str = ""
    tries: tuple[float, ...] = ()
    needs: str = "samples"

    def fits(self, task: Task) -> bool:
        """Whether the task has what it reads."""
        return self.needs in task.offers

    def __call__(self, task: Task) -> Any:
        """At published settings."""
        return self.train(task, **self._settings(task))

    def tuned(self, task: Task) -> Any:
        """At the best of four settings."""
        trial = task.at(task.seed + TUNING_SEED)
        found = []
        for value in self.tries:
            outcome = self.train(trial, **self._settings(trial, value))
            found.append((*_worth(trial, outcome), value))
        return self.train(task, **self._settings(task, min(found)[-1]))

    def _settings(self, task: Task, value: float | None = None) -> dict[str, Any]:
        how = {**task.settings, **self.published, **task.published.get(self.name, {})}
        if value is not None:
            before = how.get(self.matters)
            tried = value * how["lr"] if self.matters == "lr" else value
            how[self.matters] = int(tried) if isinstance(before, int) else tried
        return how | {"seed": task.seed}


def _worth(task: Task, outcome: Any) -> tuple[float, float]:
    """What to minimise: how far what is left exceeds what is asked, if at all, and then KL."""
    if getattr(outcome, "status", "") == "diverged":
        return float("inf"), float("inf")
    judged = Judged(task, getattr(outcome, "student", outcome))
    over = max(float(a) / b for a, b in zip(judged.left, task.asked, strict=True))
    deviation = task.deviation(judged.student)
    return max(over, NEARLY), float("inf") if deviation is None else float(deviation)


def promised(method: str, **more: Any) -> Callable[..., Any]:
    """`finetune` until the thresholds are met."""

    def train(task: Task, **how: Any) -> Any:
        how = {"method": method, "until": "met"} | more | how
        return finetune(task.problem, task.student(), **how)

    return train


def esd(task: Task, **how: Any) -> Any:
    """ESD on the models themselves."""
    return baselines.esd(task.problem, task.student(), **how)


def leave_out(task: Task, **how: Any) -> Any:
    """Single images until at most a share of each comes back."""
    how |= {"method": LeaveOut, "data": task.data(SAMPLES)}
    return finetune(task.problem, task.student(), **how)


def on_samples(objective: Callable[..., Any], data: str = "") -> Callable[..., Any]:
    """A baseline that reads samples: of what is to go, and of everything or the rest."""

    def train(task: Task, **how: Any) -> Any:
        own = DataSet(task.to_go(SAMPLES), task.retain.schedule)
        if data:
            how["data"] = getattr(task, data)(SAMPLES)
        return objective(ForwardKL(task.retain, [own], 0.0), task.student(), **how)

    return train


def towards(objective: Callable[..., Any], data: str = "", **more: Any) -> Callable[..., Any]:
    """A baseline that puts the task's anchor in the place of what is to go."""
    on = on_samples(objective, data)

    def train(task: Task, **how: Any) -> Any:
        return on(task, **more, anchor=task.anchor, **how)

    return train


def uce(task: Task, **how: Any) -> Any:
    """Keys and values edited in closed form; settings of training have no place."""
    known = {name: how[name] for name in ("scale", "ridge", "evaluate") if name in how}
    return baselines.uce(task.problem, task.student(), anchor=task.anchor, **known)


_LR: dict[str, Any] = {"matters": "lr", "tries": RATES, "needs": "ratios"}
_FEW: dict[str, Any] = {"matters": "steps", "tries": (50, 100, 200, 400)}
_OWN = (
    *(Method(name, promised(name), **_LR) for name in ("gate", "log-variance", "primal-dual")),
    Method("tilt", promised("tilt"), **_LR),
    Method("ESD", esd, {"guidance": 1.0}, "guidance", (0.3, 1.0, 3.0, 10.0), "ratios"),
    Method("leave-out", leave_out, {}, **_LR | {"needs": "images"}),
    Method("naive", on_samples(baselines.naive, "apart"), {"steps": 100}, **_FEW),
    Method("NegGrad", on_samples(baselines.neggrad), {"steps": 40}, "steps", (10, 20, 40, 80)),
    *(
        Method(
            name,
            on_samples(baselines.siss, "data"),
            {"steps": 100, "superfactor": 0.0, **more},
            *("superfactor", (0.0, 1.0, 3.0, 10.0)),
        )
        for name, more in (("SISS", {}), ("SISS, two passes", {"importance": False}))
    ),
    Method("ablation", towards(baselines.ablation), {"steps": 100}, **_FEW),
    Method("SalUn", towards(baselines.salun, "apart"), {"steps": 100}, **_FEW),
    Method("UCE", uce, {"scale": 1.0}, "scale", (0.3, 1.0, 10.0, 100.0), "prompts"),
    Method(
        "EraseDiff",
        on_samples(baselines.erasediff, "apart"),
        {"steps": 100, "rate": 0.001},
        *("rate", (0.001, 0.01, 0.1, 1.0)),
    ),
    Method(
        "VDU",
        on_samples(baselines.vdu),
        {"steps": 100, "spread": 0.003},
        *("spread", (0.003, 0.01, 0.03, 0.1)),
    ),
    *(
        Method(
            f"{word} to the rest",
            towards(baselines.fdivergence, divergence=divergence),
            {"steps": 100},
            **_FEW,
        )
        for word, divergence in (("KL", "kl"), ("Hellinger", "hellinger"), ("χ²", "chi2"))
    ),
    Method(
        "JS to the rest",
        towards(baselines.fdivergence, divergence="js"),
        {"steps": 400},
        "steps",
        (100, 200, 400, 800),
    ),
)
METHODS = {method.name: method for method in _OWN}
ANSWERS: dict[str, Callable[[Any], Any]] = {
    one.__name__: one
    for one in (
        *(answers.pretrained, answers.optimum, answers.noise, answers.retrained),
        *(answers.blurred, answers.untouched),
    )
}


def known() -> dict[str, Callable[[Any], Any]]:
    """Every method by name, published and tuned, after the known answers."""
    found: dict[str, Any] = {**ANSWERS, **METHODS}
    return found | {f"{name}, tuned": method.tuned for name, method in METHODS.items()}


def fits(name: str, task: Task) -> bool:
    """Whether a task has what the method of this name reads."""
    method = METHODS.get(name.removesuffix(", tuned"))
    return method is None or method.fits(task)


def named(methods: Sequence[str]) -> dict[str, Callable[[Any], Any]]:
    """Methods of the package by their names.

    Raises:
        ValueError: there is none of a name.
    """
    there = known()
    for name in methods:
        if name not in there:
            raise ValueError(unknown("method", name, list(there)))
    return {name: there[name] for name in methods}
