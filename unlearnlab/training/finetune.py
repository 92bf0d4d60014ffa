"""finetune(): train a student on an unlearning problem, by any of its algorithms."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ..diffusion.composed import ComposedModel
from ..diffusion.model import DiffusionModel, require_comparable, require_family
from ..diffusion.precision import widest
from ..errors import Array, finite_vector
from ..problems import Likelihood, Problem, ReverseKL, require_problem
from . import checkpoint
from .lagrangians import PRIMAL_DUAL, DualOnlyObjective
from .loop import Loop
from .objective import Objective
from .run import runs_of
from .settings import Settings, make_accelerator, require_seeds, split_options
from .tilt import Tilted

METHODS = ("primal-dual", "tilt", "dual-only")
BATCH = 256


def finetune(
    problem: Problem | Sequence[Problem],
    student: Any = None,
    *,
    method: str | type[Objective] = "primal-dual",
    steps: int | None = None,
    batch: int = BATCH,
    lr: float = 1e-3,
    dual_lr: float | None = None,
    dual_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    multipliers: ArrayLike | None = None,
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
      (`Likelihood`, eqs. 35–37): gradient steps on the Lagrangian in the student's parameters,
      and λ_i ← [λ_i + η·violation_i]₊.
    * "tilt": `solve` on a pool, then denoising score matching on the pool weighted by the optimum:
      ε̂_q + E_p[ε|x_t] − E_q[ε|x_t], both means on the pool, under the optimum and under q. The
      multipliers are the pool's.
    * "dual-only": [K] E.3, dual ascent with the composed model; no student, nothing is trained.
    * a class of objectives, such as those of `unlearnlab.baselines`.

    Args:
        problem: on diffusion models; or K problems that differ in their thresholds alone, for a
            student stacked K times.
        student: a model with parameters, such as a copy of the retained network. It is copied.
        steps: primal steps; by default 1500, and 300 where a step samples whole chains (D.3, E.3).
        batch, lr: samples a step, learning rate of AdamW.
        dual_lr: η, for multipliers in nats: λ for RU and FU (0.02 by default), λ·b for LU (0.01).
            0 keeps them fixed.
        dual_optimizer: instead, any torch optimiser made from the parameters, with maximize=True.
        multipliers: (m,) or (K, m) to start from; 0 by default.
        seed: of all that training draws; one for each member of a stacked student. Samples that
            stand for a distribution are the same for all.
        folder: where to keep a checkpoint. With `resume`, a run found there is continued.
        evaluate: whether to evaluate the student on samples of its own at the end.
        accelerator: an `accelerate.Accelerator`; by default one on the device of the models.
        progress: a bar; None shows it on a terminal alone.
        watch: called after every round with the `Loop`: its `round`, `history` and `student`.
        options: primal_steps, accumulation, average, warmup, clip, save_every of `Settings`; and
            those of the objective: sampling_steps (D.1, D.3, E.3), data and forget_clip (D.2), pool
            (tilt).

    Returns:
        A `Run`, or a list of K.

    Raises:
        TypeError, ValueError: models that do not fit together, named; a folder that holds another
            run; an unknown method or option.
        MemoryError: a step did not fit; the last checkpoint is kept.

    Source: [K] Appendices D and E.3.
    """
    problems = _problems(problem)
    make = _method(method, problems[0])
    pupil = _student(student, problems, method)
    first, members = problems[0], len(problems)
    settings, rest = split_options(options, make)
    start = _start(multipliers, members, first.m)
    goal = make(problems, batch, **rest)
    start = start if goal.start is None else goal.start
    count = goal.steps if steps is None else steps
    how = Settings(count, lr, require_seeds(seed, members), **settings)
    thresholds = torch.tensor(np.stack([each.thresholds for each in problems]))
    # LU's multipliers have units of nats/b: the dual optimiser sees λ·b and relative violations.
    scale = thresholds if isinstance(first, Likelihood) else torch.ones_like(thresholds)
    device = first.retain.device
    weights = nn.Parameter((torch.tensor(start) * scale).to(device, widest(device)))
    eta = goal.dual_lr if dual_lr is None else dual_lr
    dual = _dual(weights, eta, dual_optimizer) if goal.adapts else None

    def violation(constraints: torch.Tensor) -> torch.Tensor:
        return first.sense * (thresholds - constraints) / scale

    loop = Loop(
        pupil,
        goal,
        how,
        weights,
        scale.to(weights),
        violation,
        accelerator or make_accelerator(device),
        dual,
        _folder(folder, resume),
        _identity(problems, make, pupil, how, batch, rest, dual, start),
        progress,
        watch,
    )
    trained = loop.run()
    return runs_of(problem, problems, trained, goal, dual is None, evaluate)


def _method(method: Any, problem: Problem) -> Callable[..., Any]:
    """What makes the training objective, from the problems and the batch."""
    if method == "primal-dual":
        return next(goal for kind, goal in PRIMAL_DUAL.items() if isinstance(problem, kind))
    if method in METHODS:
        return Tilted if method == "tilt" else DualOnlyObjective
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
    for one in problems:
        require_problem(one)
        require_family(one.retain, one.compared)
        same = (
            type(one) is type(problems[0])
            and one.retain is problems[0].retain
            and one.compared == problems[0].compared
        )
        if not same:
            raise ValueError(
                "problems trained side by side must be of one class and share their models; "
                f"got {one!r} beside {problems[0]!r}"
            )
    return problems


def _student(student: Any, problems: list[Problem], method: Any) -> Any:
    """The student to train, apart from the retained model."""
    retain, forget = problems[0].retain, problems[0].forget
    if method == "dual-only":
        if student is not None or len(problems) > 1 or not isinstance(problems[0], ReverseKL):
            raise ValueError(
                "method='dual-only' takes one ReverseKL problem and no student: the composed model "
                "is its own minimiser"
            )
        return _Composed(retain, forget)
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
    return pupil


class _Composed(ComposedModel, nn.Module):
    """A composed model in the place of a student: it has no parameters to train."""

    def __init__(self, retain: DiffusionModel, forget: Sequence[DiffusionModel]):
        nn.Module.__init__(self)
        ComposedModel.__init__(self, retain, forget, np.zeros(len(forget)))


def _start(multipliers: ArrayLike | None, members: int, m: int) -> Array:
    """(K, m) multipliers to begin with."""
    given = np.asarray(0.0 if multipliers is None else checkpoint.to_cpu(multipliers), np.float64)
    if given.ndim == 2 and given.shape != (members, m):
        raise ValueError(f"multipliers must have shape {(members, m)}; got {given.shape}")
    rows = given if given.ndim == 2 else [given] * members
    table = np.stack([finite_vector("multipliers", r, m, per="forget distribution") for r in rows])
    if (table < 0).any():
        raise ValueError(f"multipliers must not be negative; got {table.tolist()}")
    return table


def _dual(
    weights: nn.Parameter,
    dual_lr: float,
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None,
) -> torch.optim.Optimizer | None:
    if make is None:
        if not dual_lr >= 0:
            raise ValueError(f"dual_lr must not be negative; got {dual_lr!r}")
        return torch.optim.SGD([weights], lr=dual_lr, maximize=True) if dual_lr else None
    optimizer = make([weights])
    if not all(group.get("maximize") for group in optimizer.param_groups):
        raise ValueError(
            f"dual_optimizer must maximise: make {type(optimizer).__name__} with maximize=True"
        )
    return optimizer


def _folder(folder: str | os.PathLike[str] | None, resume: bool) -> Path | None:
    if folder is None:
        if resume:
            raise ValueError("resume=True needs folder=, where the run's checkpoint lies")
        return None
    path = Path(folder)
    if not resume and (path / checkpoint.NAME).exists():
        raise ValueError(
            f"folder {path} already holds a run; resume=True continues it, another folder starts "
            "anew; nothing was overwritten"
        )
    return path


def _identity(
    problems: list[Problem],
    method: Callable[..., Any],
    student: nn.Module,
    settings: Settings,
    batch: int,
    options: dict[str, Any],
    dual: torch.optim.Optimizer | None,
    start: Array,
) -> dict[str, Any]:
    """What a run must share with a checkpoint to continue it."""
    first = problems[0]
    shown = {} if dual is None else {k: repr(v) for k, v in sorted(dual.defaults.items())}
    return {
        "problem": type(first).__name__,
        "options": {name: getattr(first, name) for name in first.options},
        "models": [repr(first.retain), *map(repr, first.compared)],
        "forgotten samples": [_shown(getattr(one, "samples", None)) for one in first.forget],
        "thresholds": [one.thresholds.tolist() for one in problems],
        "method": method.__name__,
        "objective": {name: _shown(value) for name, value in options.items()},
        "student": [[name, list(p.shape)] for name, p in student.named_parameters()],
        "settings": asdict(settings) | {"save_every": None},
        "batch": batch,
        "dual optimiser": [type(dual).__name__, shown],
        "first multipliers": start.tolist(),
    }


def _shown(value: Any) -> Any:
    """An option in a form that JSON can compare."""
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().numpy().tobytes()
        return [list(value.shape), sha256(content).hexdigest()]
    if (paths := getattr(value, "paths", None)) is not None:  # of an ImageFolder
        return [repr(value), sha256("\n".join(map(str, paths)).encode()).hexdigest()]
    return repr(value)
