"""What a student is judged by: each axis is a function, and adds numbers with their ideals.

An ideal method scores what the certified optimum does. What becomes of it by further training is
not known: there the retrained model is the one to compare with. Of a student that only draws, axes
that need its predictions or its parameters are left out, and the result says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from .. import baselines
from ..diffusion import DataSet
from ..estimate import Estimate
from ..problems import ForwardKL
from . import attacks
from .judged import LEAST, Judged, Score, Scores

RELEARNED = {"images": 5, "steps": 30, "batch": 16}
ELSEWHERE = {"samples": 512, "steps": 100}
SEEN = 0.01  # a rate that a ratio is taken of
BESIDE = 64  # samples that a problem is stated with
LIKELIHOOD = ", likelihood"  # after the name of a thing to go: E_p[q_i/q]
NEEDS = ("draws", "predictions", "parameters", "prompts")


class Axis(NamedTuple):
    """How a student is judged, and what it must offer for it, one of `NEEDS`."""

    judge: Callable[[Judged], Scores]
    needs: str = "draws"


def offers(student: Any) -> set[str]:
    """Which of `NEEDS` a student has."""
    found = {
        "draws": True,
        "predictions": not getattr(student, "draws_only", False),
        "parameters": isinstance(student, nn.Module) and hasattr(student, "for_training"),
        "prompts": hasattr(student, "source"),
    }
    return {name for name in NEEDS if found[name]}


def forgotten(judged: Judged) -> Scores:
    """How often what is to go is drawn, and how likely it is beside what is asked."""
    found = judged.named(judged.draws)
    values = zip(judged.task.named, judged.left, judged.task.asked, strict=True)
    likely = {f"{name}{LIKELIHOOD}": Score.of(left, asked) for name, left, asked in values}
    return found | likely


def deviation(judged: Judged) -> Scores:
    """KL(p‖q) in nats, and over the least that any model pays which forgets as much."""
    found = judged.task.deviation(judged.student)
    if found is None:
        return {}
    scores = {"nats": Score.of(found, judged.ideal.nats.value)}
    best = judged.best
    if best.value > max(LEAST, 2 * best.stderr):
        ratio = found.value / best.value
        parts = (found.stderr / best.value, ratio * best.stderr / best.value)
        error = sum(part**2 for part in parts) ** 0.5
        scores["over the optimum's"] = Score.of(Estimate(ratio, error), 1.0)
    return scores


def kept(judged: Judged) -> Scores:
    """How often everything else is drawn."""
    return judged.rates(judged.draws, judged.others)


def interference(judged: Judged) -> Scores:
    """By how much more often everything else is drawn than by the best model that forgets as much.

    0.5 is half as often again. What that model draws in fewer than one of a hundred is left out: a
    few draws would decide it.
    """
    rates, best = judged.rates(judged.draws, judged.others), judged.matched.rates
    return {
        name: Score(
            one.value / best[name] - 1, one.low / best[name] - 1, one.high / best[name] - 1, 0.0
        )
        for name, one in rates.items()
        if best[name] >= SEEN
    }


def rest(judged: Judged) -> Scores:
    """How far draws without what is to go lie from the retained model's without it."""
    own, before = (x[~judged.task.hit(x)] for x in (judged.draws, judged.before))
    found = judged.task.distance(own, before)
    return {} if found is None else {"distance": Score.of(found, 0.0)}


def another_sampler(judged: Judged) -> Scores:
    """How often it comes by DDPM, where DDIM was deployed."""
    return judged.named(judged.task.drawn(judged.student, sampler="ddpm"))


def inverted_latents(judged: Judged) -> Scores:
    """How often it comes from noise that the retained model had inverted from it."""
    # What the optimum draws from them is not known: it carries no one's noise to its draws.
    return judged.named(attacks.from_inverted(judged.task, judged.student), known=False)


def relearning(judged: Judged) -> Scores:
    """How often it comes after 30 steps on five samples of it."""
    x = judged.task.forgotten(RELEARNED["images"])
    how = {"steps": RELEARNED["steps"], "batch": RELEARNED["batch"]}
    again = trained_on(judged, x, judged.task.apart(BESIDE), **how)
    return judged.named(judged.task.drawn(again), known=False)


def something_else(judged: Judged) -> Scores:
    """How often it comes after 100 steps on samples that show nothing of it."""
    x = judged.task.apart(ELSEWHERE["samples"])
    how = {"steps": ELSEWHERE["steps"], "batch": judged.task.settings["batch"]}
    again = trained_on(judged, x, judged.task.forgotten(BESIDE), **how)
    return judged.named(judged.task.drawn(again), known=False)


def trained_on(judged: Judged, x: Tensor, others: Tensor, **how: Any) -> Any:
    """The student after denoising on x alone; the others state a problem, and play no part."""
    task = judged.task
    problem = ForwardKL(task.retain, [DataSet(others, task.retain.schedule)], 0.0)
    how |= {"lr": task.settings["lr"], "seed": task.seed, "evaluate": False, "progress": False}
    return baselines.naive(problem, judged.student, data=x, **how).student


AXES: dict[str, Axis] = {
    "forgotten": Axis(forgotten),
    "deviation": Axis(deviation),
    "kept": Axis(kept),
    "interference": Axis(interference),
    "rest": Axis(rest),
    "another sampler": Axis(another_sampler, "predictions"),
    "inverted latents": Axis(inverted_latents, "predictions"),
    "relearning": Axis(relearning, "parameters"),
    "fine-tuning on something else": Axis(something_else, "parameters"),
}
