"""Unlearning methods on tasks whose optimum is known, with attacks: `benchmark.run(method)`.

A method is a function from a `Task` to a student. A task has what a method may read:

* `task.problem`, with `task.retain` (q), `task.forget` (the q_i) and `task.thresholds`;
* `task.student()`, the pretrained model with parameters to train;
* `task.data(n)`, `task.to_go(n)`, `task.apart(n)`: training samples, and those of them that show
  what is to go or nothing of it;
* `task.settings` and `task.seed`.

`python -m unlearnlab.benchmark --help` is the command.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    **dict.fromkeys(("Effort", "QUICK", "Task"), "definition"),
    **dict.fromkeys(("Results", "run"), "runner"),
    **dict.fromkeys(("names", "register", "task"), "families"),
    "Point": "points",
    "Score": "judged",
}
__all__ = [
    "QUICK",
    "Effort",
    "Point",
    "Results",
    "Score",
    "Task",
    "names",
    "register",
    "run",
    "task",
]

if TYPE_CHECKING:
    from .definition import QUICK, Effort, Task
    from .families import names, register, task
    from .judged import Score
    from .points import Point
    from .runner import Results, run


def __getattr__(name: str) -> Any:
    # Imported when first used: a name costs no torch.
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
