"""Unlearning methods on tasks whose optimum is known, with attacks: `benchmark.run(method)`.

A method is a function from a `Task` to a student. A task has what a method may read:

* `task.problem`, with `task.retain` (q), `task.forget` (the q_i) and `task.thresholds`;
* `task.student()`, a copy of the pretrained network to train;
* `task.data(n)`, `task.to_go(n)`, `task.apart(n)`: training samples, and those of them that show
  what is to go or nothing of it;
* `task.settings` and `task.seed`.

`python -m unlearnlab.benchmark --help` is the command.
"""

from .definition import QUICK, Effort, Task
from .families import names, register, task
from .judged import Score
from .points import Point
from .runner import Results, run

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
