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
from torch import Tensor

from ..files import held
from . import checkpoint
from .multipliers import Multipliers
from .objective import Measured, Objective, Tally
from .progress import Progress, met_already
from .readings import draws_of, read
from .restoring import require_fits, restoring
from .settings import Settings, enough_memory, make_accelerator
from .steps import Steps
from .stopping import Stopped, Stopping

EXPLODED = 100.0  # times the largest loss of the first rounds
FIRST_ROUNDS = 10
READING, CHECKED = 20_011, 30_011  # seeds of the first reading of a student, and of a second look
AGAIN = 4  # times the draws, where a reading holds by its errors alone


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
    none = Multipliers.none(len(settings.seeds), student.device)
    student.requires_grad_(True)
    accelerator = make_accelerator(student.device)
    trained = Loop(student, objective, settings, none, accelerator, **options).run()
    student.requires_grad_(False)
    if trained.diverged:
        raise ValueError(f"training diverged ({trained.diverged}): lower lr (now {settings.lr})")
    return trained


@dataclass
class Loop(Steps):
    """A training run: its state between rounds.

    Attributes:
        folder: where checkpoints lie; None for nowhere. identity: what they are of.
        progress: what is shown; see `Progress`.
        watch: called with this loop after every round, such as to log its history.
    """

    folder: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    progress: bool | None = None
    watch: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.history: dict[str, list[Tensor]] = {
            key: [] for key in ("loss", "objective", "constraints", "stderr", "multipliers")
        }
        self.round, self.step = 0, 0  # that are over
        self.good: Any = None

    @property
    def model(self) -> Any:
        """The student; where nothing is trained, the model that the multipliers make."""
        made = getattr(self.student, "at", None)
        return self.student if made is None else made(self.dual.values()[0].cpu().double().numpy())

    @property
    def each(self) -> int:
        """Primal steps a round."""
        own = self.objective.stage if self.dual.reads else self.objective.primal_steps
        return self.settings.primal_steps or own

    @property
    def rounds(self) -> int:
        """Rounds of the whole run."""
        return self.round + math.ceil((self.settings.steps - self.step) / self.each)

    def run(self) -> Trained:
        """Train to the end, from the checkpoint if there is one, in a folder of its own.

        Raises:
            RuntimeError: another run holds the folder, or gradients are switched off.
            Stopped: by SIGINT or SIGTERM, after the round; the checkpoint is of that round.
        """
        if self.trains and not torch.is_grad_enabled():
            raise RuntimeError(
                "training needs gradients: call it outside torch.no_grad() and "
                "torch.inference_mode()"
            )
        with held(self.folder if self.accelerator.is_main_process else None):
            return self.trained(self.rounds_run())

    def rounds_run(self) -> str | None:
        """All rounds that are left; why they had to end early, if they had to."""
        self.good, began = self.state(), 0
        if self.folder is not None and checkpoint.found(self.folder):
            stored = checkpoint.read(self.folder, self.identity)
            with restoring(checkpoint.found(self.folder)):
                require_fits(stored, self.good)
                self.restore(stored)
            self.good, began = self.state(), stored["steps"]
        with Progress(self) as shown, Stopping(self.folder) as stopping:
            if began:
                shown.say(self.continued(began))
            elif self.progress and len(self.dual.problems) == 1:
                shown.say(met_already(*self.dual.problems))
            while not self.done:
                reason = self.attempted()
                if reason:
                    self.restore(self.good)
                    self.save()
                    return reason
                shown.after_round()
                if self.watch is not None:
                    self.watch(self)
                signal = stopping.asked(self.accelerator)
                if signal or self.round % self.settings.save_every == 0 or self.done:
                    self.save()
                if signal and self.folder is not None:
                    where = f"after round {self.round} of {self.rounds}"
                    raise Stopped(signal, where, self.folder)
        return None

    def continued(self, before: int) -> str:
        """What is said of a run that goes on; `before`: the steps that it was asked for."""
        line = f"continues after round {self.round} of {self.rounds}"
        steps = self.settings.steps
        if steps == before or self.dual.reads:
            return line
        return (
            f"{line}, of {steps} steps where it was {before}: its learning rates go on as those of "
            f"{steps} steps, from {self.rate(self.step):.2g} of the largest"
        )

    @property
    def done(self) -> bool:
        """Whether all rounds are over, or the last reading kept what was promised."""
        return self.step >= self.settings.steps or self.dual.kept(self.history)

    def attempted(self) -> str | None:
        """A round; where memory runs out, advice in place of the allocator's message."""
        kept = "" if self.folder is None else f"; the checkpoint in {self.folder} is kept"
        with enough_memory(f"round {self.round}", kept):
            return self.one_round()

    def one_round(self) -> str | None:
        """Primal steps, then a dual step; why to stop, if at all."""
        first, last = self.step, min(self.step + self.each, self.settings.steps)
        draws = self.draws(first, part=1)
        self.objective.begin(self.student, self.dual.values(), draws)
        if self.measures and not self.dual.reads:
            with torch.no_grad():
                self.objective.measure(self.student, self.dual.values(), draws)
        loss = torch.zeros(self.members, dtype=torch.float64)
        for step in range(first, last):
            loss += self.primal_step(step, self.rate(step)).cpu().double() / self.each
        # What decides whether to stop must be equal on all processes, or one waits for ever.
        loss = self.accelerator.reduce(loss.to(self.dual.weights), reduction="mean").cpu().double()
        measured = self.read(loss) if self.dual.reads else self.measured(loss)
        reason = self.trouble(loss, measured)
        if reason:
            return reason
        if (self.measures or self.dual.reads) and self.dual.problems:
            project = self.objective.project
            self.dual.step(measured, self.rate(first), project, self.history)
        self.round, self.step = self.round + 1, last
        now = (loss, *measured, self.dual.values().cpu().double())
        for key, value in zip(self.history, now, strict=True):
            self.history[key].append(value.clone())
        return None

    def read(self, loss: Tensor) -> Measured:
        """Constraints of the students that would be returned now, on draws of their own."""
        with self.averaged():
            students = [self.model] if self.members == 1 else self.student.unstack()
            asked = self.dual.problems, students, self.accelerator
            found = Measured(loss, *read(*asked, seed=READING + self.round))
            if self.dual.lucky(found, self.dual.values().cpu().double()):
                more = AGAIN * draws_of(self.dual.problems[0], students[0])
                found = Measured(loss, *read(*asked, seed=CHECKED + self.round, samples=more))
        return found

    @property
    def measures(self) -> bool:
        """Whether this round measures; one that does not repeats what was last measured."""
        return self.round % self.settings.measure_every == 0

    def measured(self, loss: Tensor) -> Measured:
        """What the round saw, by `measure` and on the way; its loss where that is nothing."""
        if self.objective.tally.sums:
            total = self.accelerator.reduce(self.objective.tally.total(), reduction="sum")
            return Tally.measured(total)
        if not self.round or self.measures:
            none = torch.zeros(self.members, 0, dtype=torch.float64)
            return Measured(loss, none, none)
        return Measured(*(self.history[key][-1] for key in ("objective", "constraints", "stderr")))

    def rate(self, step: int) -> float:
        """Linear warm-up, then cosine to a twentieth; where readings end the run, by crossings."""
        total = self.each if self.dual.reads else self.settings.steps
        warm = max(1, int(self.settings.warmup * total))
        share = max(0.0, (step - warm) / max(1, total - warm))
        if self.dual.reads:
            return min(1.0, (step + 1) / warm) / math.sqrt(1 + self.dual.crossings(self.history))
        return (step + 1) / warm if step < warm else 0.05 + 0.475 * (1 + math.cos(math.pi * share))

    def trouble(self, loss: Tensor, measured: Measured) -> str | None:
        """Why the run must stop: numbers that are not finite, or a loss out of all proportion."""
        seen = torch.cat([loss, measured.objective, measured.constraints.flatten()])
        if not torch.isfinite(seen).all():
            return f"round {self.round}: the loss or a constraint is not finite"
        held = [*(p.detach() for p in self.parameters), *self.average]
        if self.trains and not checkpoint.finite(held):
            return f"round {self.round}: a parameter or its average is not finite"
        early = self.history["loss"][:FIRST_ROUNDS]
        if len(early) == FIRST_ROUNDS:
            limit = EXPLODED * (1 + float(torch.stack(early).abs().max()))
            if float(loss.abs().max()) > limit:
                return f"round {self.round}: the loss exploded to {float(loss.abs().max()):.3g}"
        return None

    def state(self) -> dict[str, Any]:
        """All that the next round depends on, copied to the CPU."""
        dual = self.dual.optimizer
        own = {
            "round": self.round,
            "step": self.step,
            "steps": self.settings.steps,
            "dual": {} if dual is None else dual.state_dict()["state"],
            "multipliers": self.dual.weights.detach(),
            "history": self.stacked(),
        }
        return checkpoint.to_cpu(super().state() | own)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        super().restore(state)
        self.round, self.step = state["round"], state["step"]
        with torch.no_grad():
            self.dual.weights.copy_(state["multipliers"])
        dual = self.dual.optimizer
        if dual is not None:
            dual.load_state_dict(dual.state_dict() | {"state": state["dual"]})
        self.history = {key: list(values) for key, values in state["history"].items()}

    def save(self) -> None:
        """Remember this state as good, and write it to the folder if there is one."""
        self.good = self.state()
        if self.folder is not None and self.accelerator.is_main_process:
            checkpoint.write(self.folder, self.good, self.identity)

    def trained(self, diverged: str | None) -> Trained:
        """The student with its averaged weights, and the objective's extras with theirs."""
        self.use_average()
        if not checkpoint.finite(self.parameters):
            raise ValueError(
                "the student's parameters are not finite at the end, though they were after the "
                "last round: something else has written to them, such as watch"
            )
        multipliers = self.dual.values().cpu().double()
        if not self.trains and not self.dual.reads and self.history["multipliers"]:
            # They are the model, and single ones swing about the saddle point: averages settle.
            last = self.history["multipliers"][-max(1, self.round // 3) :]
            multipliers = torch.stack(last).mean(0)
        return Trained(self.student, multipliers, self.stacked(), diverged)

    def stacked(self) -> dict[str, Tensor]:
        """The history, a row per round."""
        return {
            key: torch.stack(values) if values else torch.zeros(0, self.members)
            for key, values in self.history.items()
        }
