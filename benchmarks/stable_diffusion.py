"""Rung 3 on an untrained pipeline of the tiny one's shape: a step of D.3, and several prompts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import unlearnlab as ul
from benchmarks import floor
from benchmarks.backpropagation import BATCH, METHODS, STEPS, held, one_round, rounds
from benchmarks.timing import in_turn
from unlearnlab.diffusion.quadrature import predict, predict_all
from unlearnlab.stable_diffusion import tiny

TEXTS = ("a cowboy", "a horse", "a tree", "a ball")
LATENTS = 16
Row = tuple[str, str, str, bool | None]


def untrained() -> ul.TextToImage:
    """The tiny pipeline's shape with random weights: what is measured depends on no weight."""
    return ul.TextToImage(tiny.untrained(), "untrained")


def step(variant: str, repeats: int) -> dict[str, Any]:
    """A primal and a dual step of every method: seconds, and MiB that autograd holds."""
    torch.set_num_threads(1)
    pipeline = untrained()
    loops = {name: rounds(pipeline, method) for name, method in METHODS[variant].items()}
    calls = [lambda loop=loop: one_round(loop) for loop in loops.values()]
    times = in_turn(*calls, repeats=repeats)
    return {
        name: {"seconds": taken, "MiB": held(loop) / 2**20}
        for (name, loop), taken in zip(loops.items(), times, strict=True)
    }


def prompts() -> dict[str, float]:
    """Seconds of four prompts at the same latents in one call, and of as many rows of one."""
    torch.set_num_threads(1)
    pipeline = untrained()
    several = [pipeline.prompt(text) for text in TEXTS]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(LATENTS * len(TEXTS), *pipeline.shape, generator=generator)
    t = torch.full((len(x),), 300)
    together, rows_of_one, apart = in_turn(
        lambda: predict_all(several, x[:LATENTS], t[:LATENTS]),
        lambda: predict(several[0], x, t),
        lambda: [predict(one, x[:LATENTS], t[:LATENTS]) for one in several],
        repeats=41,
    )
    return {"together": together, "rows of one": rows_of_one, "one after the other": apart}


def over_floor(name: str) -> dict[str, float]:
    """Seconds of a step, and of the passes that it makes of the network alone."""
    torch.set_num_threads(1)
    kind, step = floor.STEPS_OF[name]
    # A regression on what is stored makes one pass: of more rows, for it to be worth timing.
    loop = floor.made(untrained(), kind, batch=BATCH if step is one_round else 16, steps=STEPS)
    call, calls = floor.pair(loop, step)
    own, passes = in_turn(call, calls.again, repeats=9)
    return {"step": own, "passes": passes}


MEASURES: dict[str, Callable[[], Any]] = {
    "with likelihood": lambda: step("with likelihood", 7),
    "without likelihood": lambda: step("without likelihood", 15),
    "prompts": prompts,
} | {name: partial(over_floor, name) for name in floor.STEPS_OF}


def compared(got: dict[str, Any], label: str, theirs: str) -> list[Row]:
    """Two rows: time and memory of our step over those of another."""
    time = got["ours"]["seconds"] / got[theirs]["seconds"]
    memory = got["ours"]["MiB"] / got[theirs]["MiB"]
    return [
        (f"{label}: time", "≤ 1.3 ×", f"{time:.2f} ×", time <= 1.3),
        ("… memory held by autograd", "≤ 1/5", f"1/{1 / memory:.1f}", memory <= 1 / 5),
    ]


def rows(got: dict[str, Any]) -> list[Row]:
    """Rows of the table."""
    what = f"D.3 step, {STEPS} sampling steps, batch {BATCH}, against backpropagation"
    one, cheap, several = got["with likelihood"], got["without likelihood"], got["prompts"]
    ratio = several["together"] / several["rows of one"]
    return [
        *compared(one, what, "backpropagation"),
        *compared(cheap, "… without the likelihood on both sides", "backpropagation"),
        *compared(cheap, "… and theirs without its gradient through ε̂_q (biased)", "shortcut"),
        (
            f"{len(TEXTS)} prompts at {LATENTS} latents against {LATENTS * len(TEXTS)} of one",
            "≤ 1.1 ×",
            f"{ratio:.2f} ×",
            ratio <= 1.1,
        ),
        *(above(name, got[name]) for name in floor.STEPS_OF),
    ]


def above(name: str, times: dict[str, float]) -> Row:
    """A row: a step over its passes of the network alone."""
    over = times["step"] / times["passes"]
    return (f"{name}, over its passes of the network", "≤ 1.15 ×", f"{over:.2f} ×", over <= 1.15)
