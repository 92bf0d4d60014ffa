"""finetune(): train a student on an unlearning problem, by any of its algorithms."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from ..diffusion.checks import require_comparable, require_family
from ..diffusion.model import DiffusionModel
from ..diffusion.sampling import chain
from ..errors import switch
from ..files import expanded, require_writable
from ..identity import content
from ..problems import Problem, require_problem
from . import checkpoint
from .gate import Gate
from .identities import identity_of
from .log_variance import LogVariance
from .loop import Loop
from .multipliers import MakeOptimizer, Multipliers, starting
from .objective import Objective, primal_dual
from .promise import Promise, promised_by
from .reverse_kl import DualOnlyObjective, compose
from .run import runs_of
from .settings import Settings, make_accelerator, require_seeds, split_options
from .tilt import Tilted

METHODS = ("primal-dual", "gate", "log-variance", "tilt", "dual-only")
BATCH = 256
READINGS = 15  # of a student until its thresholds are met, at most
HALF = {torch.float16, torch.bfloat16}


def finetune(
    problem: Problem | Sequence[Problem],
    student: Any = None,
    *,
    method: str | type[Objective] | None = None,
    steps: int | None = None,
    batch: int = BATCH,
    lr: float = 1e-3,
    dual_lr: float | None = None,
    dual_optimizer: MakeOptimizer | None = None,
    make_optimizer: MakeOptimizer | None = None,
    gradient_hook: Callable[[list[nn.Parameter]], None] | None = None,
    multipliers: ArrayLike | None = None,
    until: str | None = None,
    sampler: str | None = None,
    sampling_steps: int | None = None,
    seed: int | Sequence[int] = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    evaluate: bool = True,
    accelerator: Any = None,
    progress: bool | None = None,
    watch: Callable[[Loop], None] | None = None,
    **options: Any,
) -> Any:
    """Train a student on an unlearning problem.

    * "primal-dual": Algorithms D.1 (`ReverseKL`, eqs. 28–30), D.2 (`ForwardKL`, eqs. 31–34) and D.3
      (`Moments` and `Likelihood`, eqs. 35–37): gradient steps on the Lagrangian in the student's
      parameters, and λ_i ← [λ_i + η·violation_i]₊.
    * "gate": regression on the gated prediction of the target (`Problem.gated`) along stored
      chains; until the thresholds are met.
    * "log-variance": policy gradient of KL(p_θ‖target) over the student's own chains, for any
      problem, whose noise vanishes at the target; until the thresholds are met.
    * "tilt": `solve` on a pool, then denoising score matching on the pool weighted by the optimum:
      ε̂_q + E_p[ε|x_t] − E_q[ε|x_t], both means on the pool, under the optimum and under q. The
      multipliers are the pool's.
    * "dual-only": [K] E.3, dual ascent with the composed model; no student, nothing is trained. The
      multipliers are means over the last third of the rounds: single ones swing.
    * a class of objectives, such as those of `unlearnlab.baselines`.

    By default "primal-dual", the paper's; with until="met" "log-variance", which comes nearest to
    the optimum, but where samples are to be forgotten: they have no log-ratios.

    Args:
        problem: on diffusion models; or K problems that differ in their thresholds alone, for a
            student stacked K times.
        student: a model with parameters, such as a copy of the retained network. It is copied.
        steps: primal steps; by default 1500, and 300 where a step samples whole chains (D.3, E.3),
            but fifteen readings where thresholds are to be met.
        batch, lr: samples a step, learning rate of AdamW.
        dual_lr: η, for multipliers in nats: λ for RU and FU (0.02 by default), λ·b for LU (0.01).
            0 keeps them fixed.
        dual_optimizer: instead, any torch optimiser made from the parameters, with maximize=True.
        make_optimizer: of the student, any torch optimiser made from the parameters, in the place
            of AdamW with `lr` and the method's weight decay; its rates follow the same course.
        gradient_hook: called with the parameters before each of its steps, to change gradients.
        multipliers: (m,) or (K, m) to start from; 0 by default.
        until: "met" trains in stages, each closed by a reading of the student on draws of its own,
            which moves the multipliers, and stops when all constraints hold within 3 % or one
            standard error, or after `steps`. "gate" and "log-variance" always do.
        sampler, sampling_steps: what will draw from the student, and so what readings and its
            evaluation draw by; "ddim" and 50 by default. (Forward KL is of its predictions, not of
            draws.) D.1, D.3 and E.3 also train on chains of `sampling_steps` (20); without
            until="met" they draw by as many only where a sampler is named.
        seed: of all that training draws; one for each member of a stacked student. Samples that
            stand for a distribution are the same for all.
        folder: where to keep a checkpoint. SIGINT (Ctrl-C) and SIGTERM then end the run after the
            round; a second one ends it at once.
        resume: whether a run found there is continued; with more `steps`, too: learning rates then
            go on as those of a run of so many steps, and rise again where they had fallen.
        evaluate: whether to evaluate the student on samples of its own at the end.
        accelerator: an `accelerate.Accelerator`; by default one on the device of the models. Each
            process takes a batch, and walks chains, of its own; they share the draws of readings.
        progress: True shows a bar on a terminal and a line a minute elsewhere, and says what q
            meets already; None shows a bar on a terminal alone.
        watch: called after every round with the `Loop`: its `round`, `history` and `student`.
        options: primal_steps, accumulation, average, warmup, clip, save_every and measure_every of
            `Settings`; and those of the objective: sampling_steps (D.1, D.3, E.3), data and
            forget_clip (D.2), pool (tilt).

    Returns:
        A `Run`, or a list of K.

    Raises:
        TypeError, ValueError: models that do not fit together, named; a folder that holds another
            run; an unknown method or option; a switch that is neither True nor False.
        MemoryError: a step did not fit; the last checkpoint is kept.
        Stopped: a KeyboardInterrupt, of a run that a signal has ended and that is saved.

    Source: [K] Appendices D and E.3.
    """
    shown = progress is not None and progress
    for name, value in {"resume": resume, "evaluate": evaluate, "progress": shown}.items():
        switch(name, value)
    problems = _problems(problem)
    make = objective_of(method or _default_method(problems[0], until), type(problems[0]))
    pupil = _student(student, problems, method)
    first, members = problems[0], len(problems)
    chains = "sampling_steps" in make.Options.__dataclass_fields__
    if chains and sampling_steps is not None:
        options |= {"sampling_steps": sampling_steps}
    settings, own = split_options(options, make.Options)
    start = starting(multipliers, members, first.m)
    goal = make(problems, batch, own)
    start = start if goal.start is None else goal.start
    promised = promised_by(until, goal, dual_lr, dual_optimizer)
    most = max(goal.steps, READINGS * goal.stage) if promised else goal.steps
    how = Settings(most if steps is None else steps, lr, require_seeds(seed, members), **settings)
    device = first.retain.device
    accelerator = accelerator or make_accelerator(device)
    dual = (
        Promise(problems, start, device)
        if promised
        else Multipliers(
            problems,
            start,
            device,
            dual_lr=goal.dual_lr if dual_lr is None else dual_lr,
            make=dual_optimizer,
            adapts=goal.adapts,
        )
    )
    if promised or sampler is not None or (sampling_steps is not None and not chains):
        pupil.sampler = sampler or pupil.sampler
        pupil.sampling_steps = sampling_steps or pupil.sampling_steps
        chain(first.retain.schedule, pupil.sampler, pupil.sampling_steps)  # refused now, not later
    pupil.denoiser = goal.denoises
    told: dict[str, Any] = {}
    if folder is not None:
        all_of_it = (problems, make, pupil, how, batch, own, dual, start)
        told = identity_of(*all_of_it, accelerator.num_processes)
        told["student's optimiser"] = [content(make_optimizer), content(gradient_hook)]
    place = _folder(folder, resume, accelerator)
    steps_of = (pupil, goal, how, dual, accelerator, make_optimizer, gradient_hook)
    trained = Loop(*steps_of, place, told, progress, watch).run()
    enforced = promised or (goal.enforces and (dual.optimizer is not None or not goal.adapts))
    judged = {"promised": promised, "enforced": enforced, "evaluate": evaluate}
    runs = runs_of(problems, trained, accelerator=accelerator, **judged)
    return runs if isinstance(problem, Sequence) else runs[0]


def _default_method(problem: Problem, until: str | None) -> str:
    """The method where none is named."""
    has_ratios = all(getattr(one, "has_density", True) for one in problem.compared)
    return "log-variance" if until == "met" and has_ratios else "primal-dual"


def objective_of(method: Any, kind: type[Problem]) -> Any:
    """What makes the training objective of a kind of problem: from problems, batch and options."""
    if method == "primal-dual":
        return primal_dual(kind)
    if method in METHODS:
        known = {"gate": Gate, "log-variance": LogVariance, "tilt": Tilted}
        return known.get(method, DualOnlyObjective)
    if isinstance(method, type) and issubclass(method, Objective):
        return method
    raise ValueError(
        f"method must be one of {', '.join(METHODS)}, or a class of objectives such as those of "
        f"unlearnlab.baselines; got {method!r}"
    )


def _problems(problem: Problem | Sequence[Problem]) -> list[Problem]:
    problems = list(problem) if isinstance(problem, Sequence) else [problem]
    if not problems:
        raise ValueError("problem is an empty list: give at least one")
    apart = {"thresholds": None}  # what they may differ in
    for one in problems:
        require_problem(one)
        require_family(one.retain, one.compared)
        same = one is problems[0] or (
            type(one) is type(problems[0])
            and one.retain is problems[0].retain
            and one.compared == problems[0].compared
            and one.identity() | apart == problems[0].identity() | apart
        )
        if not same:
            raise ValueError(
                "problems trained side by side must be of one class and share models and options; "
                f"got {one!r} beside {problems[0]!r}"
            )
    return problems


def _student(student: Any, problems: list[Problem], method: Any) -> Any:
    """The student to train, apart from the retained model."""
    retain = problems[0].retain
    if method == "dual-only":
        if student is not None:
            raise ValueError(
                "method='dual-only' takes no student: the composed model is its own minimiser"
            )
        return _Untrained(problems[0])
    trainable = isinstance(student, nn.Module) and hasattr(student, "for_training")
    if not trainable or not isinstance(student, DiffusionModel):
        raise TypeError(
            "student must be a diffusion model with parameters, such as a ScoreNetwork; got "
            f"{type(student).__name__}"
        )
    require_comparable(["student", "retain"], [student, retain])
    members = getattr(student, "members", 1)
    if members != len(problems):
        raise ValueError(
            f"student has {members} members but there are {len(problems)} problems; use "
            f"student.stack({len(problems)})"
        )
    pupil: Any = student
    pupil = pupil.for_training()
    pupil.condition(retain)
    for name, tensor in pupil.state_dict().items():
        if not checkpoint.finite(tensor):
            raise ValueError(f"student's {name} must be finite; it has NaN or infinity")
    half = {p.dtype for p in pupil.parameters() if p.requires_grad} & HALF
    if half:
        raise ValueError(
            f"student has parameters of {half.pop()}, too coarse for steps of an optimiser: load "
            "it in float32, and give accelerator=Accelerator(mixed_precision='bf16') to compute in "
            "half precision"
        )
    return pupil


class _Untrained(nn.Module):
    """In the place of a student where nothing is trained: the model that multipliers compose."""

    sampler, sampling_steps = "ddim", 50

    def __init__(self, problem: Problem):
        super().__init__()
        self.problem = problem

    def at(self, multipliers: Any) -> Any:
        """The model at these multipliers."""
        made = compose(self.problem, multipliers)
        made.sampler, made.sampling_steps = self.sampler, self.sampling_steps
        return made


def _folder(folder: str | os.PathLike[str] | None, resume: bool, accelerator: Any) -> Path | None:
    if folder is None:
        if resume:
            raise ValueError("resume=True needs folder=, where the run's checkpoint lies")
        return None
    path = Path(expanded("folder", folder)).absolute()  # whatever the working directory becomes
    if accelerator.is_main_process:  # who tries a folder makes it and takes it away again
        require_writable("folder", path)
    there = checkpoint.found(path)
    if there and not resume:
        raise ValueError(
            f"folder {path} already holds a run; resume=True continues it, another folder starts "
            "anew; nothing was overwritten"
        )
    if resume and not there and accelerator.is_main_process:
        print(f"folder {path} holds no run to continue: this one starts anew", file=sys.stderr)
    return path
