"""What a training step could not do without: the same passes of the network alone.

The calls that a step makes of its network are recorded, and made again with nothing around them:
those with a gradient forward and back, the others forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

import unlearnlab as ul
from benchmarks.backpropagation import FORGOTTEN, RETAINED, one_round
from unlearnlab.baselines import ESD
from unlearnlab.training.draws import Draws
from unlearnlab.training.gate import Gate
from unlearnlab.training.loop import Loop
from unlearnlab.training.multipliers import Multipliers
from unlearnlab.training.policy_gradient import PolicyGradient
from unlearnlab.training.settings import Settings, make_accelerator


class Call(NamedTuple):
    """One call of a network, and whether a gradient went back through it."""

    forward: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    graded: bool


class Calls:
    """The calls of some networks while this is open: the student's, and that of q and q_i."""

    def __init__(self, *networks: Any):
        self.networks, self.made = networks, list[Call]()

    def __enter__(self) -> Calls:
        for one in self.networks:
            one.forward = self._recording(one.forward)
        return self

    def _recording(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def record(*arguments: Any, **named: Any) -> Any:
            plain = tree_map_only(Tensor, Tensor.detach, (arguments, named))
            self.made.append(Call(forward, *plain, torch.is_grad_enabled()))
            return forward(*arguments, **named)

        return record

    def __exit__(self, *error: Any) -> None:
        for one in self.networks:
            del one.forward  # of the instance: that of its class is seen again

    def again(self) -> None:
        """The same calls alone."""
        for call in self.made:
            with torch.set_grad_enabled(call.graded):
                out = call.forward(*call.arguments, **call.named).sample
            if call.graded:
                out.sum().backward()


def primal_step(loop: Loop) -> None:
    """One step on what the round has stored."""
    if not hasattr(loop.objective, "stored"):
        draws = Draws(loop.settings.seeds, 0, part=1, like=loop.like)
        loop.objective.begin(loop.student, loop.dual.values(), draws)
    loop.primal_step(0, 1.0)


# What is trained, what a step of it is, and what it is told beside the batch and the steps.
STEPS_OF: dict[str, tuple[Any, Callable[[Loop], None]]] = {
    "D.3, a primal and a dual step": (PolicyGradient, one_round),
    "ESD, a step with its samples": (ESD, one_round),
    "gate, a step on stored chains": (Gate, primal_step),
}


def made(pipeline: ul.TextToImage, kind: Any, *, batch: int, steps: int) -> Loop:
    """The package's loop for one of `STEPS_OF`, slow enough to stay where it begins."""
    q, q1 = pipeline.prompt(RETAINED), pipeline.prompt(FORGOTTEN)
    problem: Any = ul.Likelihood(q, [q1], [0.5], statistic="ratio", temperature="dim")
    how: dict[str, Any] = {"sampling_steps": steps}
    if kind is ESD:
        problem = ul.ReverseKL(q, [q1], [1.0])
    if kind is Gate:
        how = {"chains": batch, "chain_steps": max(4, steps)}
    student = pipeline.lora().for_training()
    student.condition(q)
    return Loop(
        student,
        kind([problem], batch, **how),
        Settings(1000, 1e-6, [0]),
        Multipliers([problem], np.full((1, 1), 0.5), pipeline.device, dual_lr=0.01),
        make_accelerator(pipeline.device),
    )


def pair(loop: Loop, step: Callable[[Loop], None]) -> tuple[Callable[[], None], Calls]:
    """A step, and the calls that it makes, both to be timed; the first step warms up."""
    step(loop)
    with Calls(loop.student.net, loop.student.source.family.net) as calls:
        step(loop)
    return lambda: step(loop), calls
