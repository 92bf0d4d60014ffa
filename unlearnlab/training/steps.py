"""Primal steps: a student, the optimiser of its parameters, and their running average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .draws import Draws
from .gradients import Gradients
from .multipliers import MakeOptimizer, Multipliers
from .objective import Objective
from .settings import Settings


def adamw(parameters: list[nn.Parameter], lr: float, decay: float) -> torch.optim.Optimizer:
    """The optimiser of a student, where none is given.

    On a CPU it is fused, one pass over each tensor: an eighth of the time on a LoRA's 80.
    """
    fused = all(p.device.type == "cpu" for p in parameters)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=fused or None)


@dataclass
class Steps:
    """What takes a step: the student, its optimiser and its average.

    Attributes:
        student: what is trained; parameters may be stacked, (K, ...).
        objective: what a step minimises and a round measures.
        dual: the multipliers, and the optimiser that moves them.
        accelerator: an `accelerate.Accelerator`.
        make_optimizer: of the student, from its parameters; its learning rate follows the course of
            the run. By default AdamW.
        gradient_hook: called with the parameters before each step of the optimiser, to change their
            gradients.
    """

    student: Any
    objective: Objective
    settings: Settings
    dual: Multipliers
    accelerator: Any
    make_optimizer: MakeOptimizer | None = None
    gradient_hook: Callable[[list[nn.Parameter]], None] | None = None

    def __post_init__(self) -> None:
        trained: list[Any] = [self.student, self.objective.extras or nn.Module()]
        self.parameters = [p for one in trained for p in one.parameters() if p.requires_grad]
        self.trains = bool(self.parameters)
        self.members = len(self.settings.seeds)
        if self.trains:
            make, lr, decay = self.make_optimizer, self.settings.lr, self.objective.weight_decay
            primal = make(self.parameters) if make else adamw(self.parameters, lr, decay)
            self.rates = [group["lr"] for group in primal.param_groups]
            self.primal = self.accelerator.prepare(primal)
        clip = self.settings.clip
        self.gradients = Gradients(self.parameters, self.objective, self.accelerator, clip)
        self.objective.attach(self.student)
        self.average = [p.detach().clone() for p in self.parameters]

    def primal_step(self, step: int, rate: float) -> Tensor:
        """One step of the optimiser on the Lagrangian, at a share of its rates; its (K,) value."""
        value = torch.zeros(self.members, device=self.dual.weights.device)
        count = self.settings.accumulation
        first = 2 + self.accelerator.process_index * count
        for part in range(first, first + count):  # batches in one order, whoever computes them
            draws = Draws(self.settings.seeds, step, part=part, like=self.like)
            for loss in self.forward(draws):
                value += loss.detach().reshape(-1, self.members).sum(0) / count
                self.gradients.add(loss / count)
        if not self.trains:
            return value
        self.gradients.finish()
        self.objective.hook(self.parameters)
        if self.gradient_hook is not None:
            self.gradient_hook(self.parameters)
        for group, most in zip(self.primal.param_groups, self.rates, strict=True):
            group["lr"] = most * rate
        self.primal.step()
        self.primal.zero_grad()
        decay = min(self.settings.average, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return value

    def forward(self, draws: Draws) -> Iterator[Tensor]:
        """The losses of a batch, each computed in the precision that accelerate is asked for."""
        losses = self.objective.losses(self.student, self.dual.values(), draws)
        done = object()
        while True:
            with self.accelerator.autocast():  # the forward pass alone
                loss: Any = next(losses, done)
            if loss is done:
                return
            yield loss

    def draws(self, step: int, *, part: int) -> Draws:
        """Random numbers of this process."""
        process = self.accelerator.process_index
        return Draws(self.settings.seeds, step, process, part=part, like=self.like)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The student with its averaged weights, for a while."""
        kept = [p.detach().clone() for p in self.parameters]
        try:
            self.use_average()
            yield
        finally:
            with torch.no_grad():
                for p, own in zip(self.parameters, kept, strict=True):
                    p.copy_(own)

    def use_average(self) -> None:
        """Put the averaged weights into the student, where there are any."""
        if self.settings.average:
            with torch.no_grad():
                for p, averaged in zip(self.parameters, self.average, strict=True):
                    p.copy_(averaged)

    @property
    def like(self) -> Tensor:
        """An empty tensor of the samples' dtype and device."""
        model = self.objective.like
        return torch.empty(0, dtype=model.dtype, device=model.device)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, besides the multipliers."""
        scaler = self.accelerator.scaler
        return {
            "student": [p.detach() for p in self.parameters],
            "average": self.average,
            # What an optimiser was made with comes back with the optimiser itself.
            "primal": self.primal.state_dict()["state"] if self.trains else {},
            "loss scale": {} if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        with torch.no_grad():
            for p, stored in zip(self.parameters, state["student"], strict=True):
                p.copy_(stored)
            for p, stored in zip(self.average, state["average"], strict=True):
                p.copy_(stored)
        if self.trains:
            self.primal.load_state_dict(self.primal.state_dict() | {"state": state["primal"]})
        if self.accelerator.scaler is not None:  # of half precision
            self.accelerator.scaler.load_state_dict(state["loss scale"])
