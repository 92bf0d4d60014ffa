"""The one training loop: rounds of primal steps, each closed by a dual step and at times saved.

Everything random depends on (seed, step) alone, so a checkpoint holds the student, its average,
both optimisers, the multipliers and the history, and a resumed run ends bit for bit like one never
stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from . import checkpoint
from .draws import Draws
from .objective import Measured, Objective, Tally
from .settings import Settings, enough_memory, make_accelerator

EXPLODED = 100.0  # times the largest loss of the first rounds
FIRST_ROUNDS = 10


@dataclass
class Trained:
    """What the loop leaves: student, multipliers (K, m), history, and whether it diverged."""

    student: Any
    multipliers: Tensor
    history: dict[str, Tensor]
    diverged: str | None = None


def unconstrained(
    student: Any, objective: Objective, settings: Settings, **options: Any
) -> Trained:
    """Train on an objective without multipliers; `options` are those of `Loop`.

    Raises:
        ValueError: it diverged.
    """
    none = torch.zeros(len(settings.seeds), 0, device=student.device)
    accelerator = make_accelerator(student.device)
    student.requires_grad_(True)
    loop = Loop(
        student, objective, settings, nn.Parameter(none), none, torch.neg, accelerator, **options
    )
    trained = loop.run()
    student.requires_grad_(False)
    if trained.diverged:
        raise ValueError(f"training diverged ({trained.diverged}): lower lr (now {settings.lr})")
    return trained


@dataclass
class Loop:
    """A training run: its state between rounds.

    Attributes:
        student: what is trained; parameters may be stacked, (K, ...).
        objective: what a step minimises and a round measures.
        dual: optimiser of the scaled multipliers, with maximize=True; None keeps them fixed.
        multipliers: (K, m) λ·scale, a parameter of `dual`.
        violation: (K, m) constraint values → scaled violations, positive where violated.
        scale: (K, m) what multipliers are multiplied by for the dual optimiser.
        watch: called with this loop after every round, such as to log its history.
    """

    student: Any
    objective: Objective
    settings: Settings
    multipliers: nn.Parameter
    scale: Tensor
    violation: Callable[[Tensor], Tensor]
    accelerator: Any
    dual: torch.optim.Optimizer | None = None
    folder: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    progress: bool | None = None
    watch: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        trained: list[Any] = [self.student, self.objective.extras or nn.Module()]
        self.parameters = [p for one in trained for p in one.parameters() if p.requires_grad]
        self.trains = bool(self.parameters)
        self.members = len(self.settings.seeds)
        if self.trains:
            primal = torch.optim.AdamW(self.parameters, lr=self.settings.lr, weight_decay=1e-4)
            self.primal = self.accelerator.prepare(primal)
        self.objective.attach(self.student)
        self.average = [p.detach().clone() for p in self.parameters]
        self.history: dict[str, list[Tensor]] = {
            key: [] for key in ("loss", "objective", "constraints", "stderr", "multipliers")
        }
        self.dual_lr = 0.0 if self.dual is None else self.dual.param_groups[0]["lr"]
        self.round = 0
        self.good: Any = None

    @property
    def each(self) -> int:
        """Primal steps a round."""
        return self.settings.primal_steps or self.objective.primal_steps

    @property
    def rounds(self) -> int:
        """Rounds of the whole run."""
        return max(1, math.ceil(self.settings.steps / self.each))

    def run(self) -> Trained:
        """Train to the end, from the checkpoint if there is one."""
        stored = None if self.folder is None else checkpoint.read(self.folder, self.identity)
        if stored is not None:
            self.restore(stored)
        self.good = self.state()
        bar = tqdm(
            total=self.rounds,
            initial=self.round,
            desc="finetune",
            disable=None if self.progress is None else not self.progress,
        )
        with bar:
            while self.round < self.rounds:
                reason = self.attempted()
                if reason:
                    return self.stopped(reason)
                bar.update()
                if self.watch is not None:
                    self.watch(self)
                if self.round % self.settings.save_every == 0 or self.round == self.rounds:
                    self.save()
        return self.trained(None)

    def attempted(self) -> str | None:
        """A round; where memory runs out, advice in place of the allocator's message."""
        kept = "" if self.folder is None else f"; the checkpoint in {self.folder} is kept"
        with enough_memory(f"round {self.round}", kept):
            return self.one_round()

    def one_round(self) -> str | None:
        """Primal steps, then a dual step; why to stop, if at all."""
        first = self.round * self.each
        process = self.accelerator.process_index
        draws = Draws(self.settings.seeds, first, process, part=1, like=self.like)
        self.objective.begin(self.student, self.lagrange(), draws)
        loss = torch.zeros(self.members, dtype=torch.float64)
        for step in range(first, min(first + self.each, self.settings.steps)):
            loss += self.primal_step(step).cpu().double() / self.each
        # What decides whether to stop must be equal on all processes, or one waits for ever.
        loss = self.accelerator.reduce(loss.to(self.multipliers), reduction="mean").cpu()
        total = self.accelerator.reduce(self.objective.tally.total(), reduction="sum")
        measured = Tally.measured(total)
        reason = self.trouble(loss, measured)
        if reason:
            return reason
        self.dual_step(measured)
        self.round += 1
        now = (loss, *measured, self.lagrange().detach().cpu().double())
        for key, value in zip(self.history, now, strict=True):
            self.history[key].append(value.clone())
        return None

    def primal_step(self, step: int) -> Tensor:
        """One step of AdamW on the Lagrangian; its (K,) value."""
        value = torch.zeros(self.members, device=self.multipliers.device)
        count = self.settings.accumulation
        first = 2 + self.accelerator.process_index * count
        for part in range(first, first + count):  # batches in one order, whoever computes them
            draws = Draws(self.settings.seeds, step, part=part, like=self.like)
            losses = self.objective.losses(self.student, self.lagrange(), draws)
            while True:
                with self.accelerator.autocast():  # the forward pass alone
                    loss = next(losses, None)
                if loss is None:
                    break
                value += loss.detach() / count
                self.accelerator.backward(loss.sum() / count)
        if not self.trains:
            return value
        self.share_gradients()
        for group in self.primal.param_groups:
            group["lr"] = self.settings.lr * self.rate(step)
        self.primal.step()
        self.primal.zero_grad()
        decay = min(self.settings.average, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return value

    def share_gradients(self) -> None:
        """Average gradients over processes, and clip them for each member.

        Done here, not by DistributedDataParallel: a step may have many backward passes.
        """
        if self.accelerator.num_processes > 1:
            for p in self.parameters:
                if p.grad is not None:
                    p.grad = self.accelerator.reduce(p.grad, reduction="mean")
        if self.settings.clip is None:
            return
        self.accelerator.unscale_gradients()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        rows = [g.reshape(self.members, -1) for g in grads]
        norms = torch.stack([r.square().sum(1) for r in rows]).sum(0).sqrt()
        shrink = (self.settings.clip / (norms + 1e-6)).clamp(max=1)
        for r in rows:
            r *= shrink[:, None]

    def rate(self, step: int) -> float:
        """Linear warm-up to 1, then cosine to a twentieth."""
        total = self.settings.steps
        warm = max(1, int(self.settings.warmup * total))
        share = max(0.0, (step - warm) / max(1, total - warm))
        return (step + 1) / warm if step < warm else 0.05 + 0.475 * (1 + math.cos(math.pi * share))

    def dual_step(self, measured: Measured) -> None:
        """λ ← [λ + step of the dual optimiser]₊, eqs. (30), (34) and (37)."""
        if self.dual is None:
            return
        for group in self.dual.param_groups:  # as the student's: what moves last settles last
            group["lr"] = self.dual_lr * self.rate(self.round * self.each)
        self.multipliers.grad = self.violation(measured.constraints).to(self.multipliers)
        self.dual.step()
        with torch.no_grad():
            lagrange = self.lagrange().detach().clone()
            self.objective.project(lagrange)
            self.multipliers.copy_(lagrange * self.scale)

    def lagrange(self) -> Tensor:
        """(K, m) multipliers in the problem's units."""
        return self.multipliers.detach() / self.scale

    @property
    def like(self) -> Tensor:
        """An empty tensor of the samples' dtype and device."""
        model = self.objective.like
        return torch.empty(0, dtype=model.dtype, device=model.device)

    def trouble(self, loss: Tensor, measured: Measured) -> str | None:
        """Why the run must stop: numbers that are not finite, or a loss out of all proportion."""
        seen = torch.cat([loss, measured.objective, measured.constraints.flatten()])
        if not torch.isfinite(seen).all():
            return f"round {self.round}: the loss or a constraint is not finite"
        if self.trains and not checkpoint.finite([p.detach() for p in self.parameters]):
            return f"round {self.round}: a parameter is not finite"
        early = self.history["loss"][:FIRST_ROUNDS]
        if len(early) == FIRST_ROUNDS:
            limit = EXPLODED * (1 + float(torch.stack(early).abs().max()))
            if float(loss.abs().max()) > limit:
                return f"round {self.round}: the loss exploded to {float(loss.abs().max()):.3g}"
        return None

    def state(self) -> dict[str, Any]:
        """All that the next round depends on, copied to the CPU."""
        return checkpoint.to_cpu(
            {
                "round": self.round,
                "student": [p.detach() for p in self.parameters],
                "average": self.average,
                # What an optimiser was made with comes back with the optimiser itself.
                "primal": self.primal.state_dict()["state"] if self.trains else {},
                "dual": {} if self.dual is None else self.dual.state_dict()["state"],
                "multipliers": self.multipliers.detach(),
                "history": self.stacked(),
            }
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.round = state["round"]
        with torch.no_grad():
            for p, stored in zip(self.parameters, state["student"], strict=True):
                p.copy_(stored)
            for p, stored in zip(self.average, state["average"], strict=True):
                p.copy_(stored)
            self.multipliers.copy_(state["multipliers"])
        if self.trains:
            self.primal.load_state_dict(self.primal.state_dict() | {"state": state["primal"]})
        if self.dual is not None:
            self.dual.load_state_dict(self.dual.state_dict() | {"state": state["dual"]})
        self.history = {key: list(values) for key, values in state["history"].items()}

    def save(self) -> None:
        """Remember this state as good, and write it to the folder if there is one."""
        self.good = self.state()
        if self.folder is not None and self.accelerator.is_main_process:
            checkpoint.write(self.folder, self.good, self.identity)

    def stopped(self, reason: str) -> Trained:
        """Go back to the last good state."""
        self.restore(self.good)
        self.save()
        return self.trained(reason)

    def trained(self, diverged: str | None) -> Trained:
        """The student with its averaged weights, and the objective's extras with theirs."""
        if self.settings.average:
            with torch.no_grad():
                for p, averaged in zip(self.parameters, self.average, strict=True):
                    p.copy_(averaged)
        return Trained(self.student, self.lagrange().cpu().double(), self.stacked(), diverged)

    def stacked(self) -> dict[str, Tensor]:
        """The history, a row per round."""
        return {
            key: torch.stack(values) if values else torch.zeros(0, self.members)
            for key, values in self.history.items()
        }
