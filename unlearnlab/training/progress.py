"""What a run shows while it trains: a bar on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from ..problems import Problem

EVERY = 60.0  # seconds between lines


class Progress:
    """The bar, or the lines, of a `Loop`; of the main process alone.

    Args:
        loop: whose `progress` is None for a bar on a terminal alone, True for one there and a line
            a minute elsewhere, False for neither.
    """

    def __init__(self, loop: Any):
        terminal = sys.stderr.isatty()
        asked = terminal if loop.progress is None else loop.progress
        self.loop, self.shows = loop, bool(asked and loop.accelerator.is_main_process)
        self.lines = self.shows and not terminal
        self.first, self.start = loop.round, time.monotonic()
        self.last = self.start
        hidden = self.lines or not self.shows
        self.bar = tqdm(
            total=loop.rounds, initial=loop.round, desc="finetune", disable=hidden, leave=True
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def say(self, line: str) -> None:
        """A line of its own, where anything is shown."""
        if self.shows and line:
            tqdm.write(line, file=sys.stderr)

    def after_round(self) -> None:
        """Show the round that is over."""
        if not self.bar.disable:
            self.bar.set_postfix_str(seen(self.loop), refresh=False)
        self.bar.update()
        now = time.monotonic()
        if self.lines and now >= self.last + EVERY:
            self.last = now
            done, rounds = self.loop.round, self.loop.rounds
            left = (now - self.start) / max(1, done - self.first) * (rounds - done)
            left_told = tqdm.format_interval(left)
            print(
                f"round {done} of {rounds}, at most {left_told} left: {seen(self.loop)}",
                file=sys.stderr,
                flush=True,
            )


def met_already(problem: Problem) -> str:
    """Of which constraints training has nothing to do, a line each; nothing where q meets none.

    Said where q's values are known, as with relative thresholds, and of divergences that must be
    at least 0. What is to be kept holds at q, as it should: it counts only where everything holds.
    """
    values = problem.known_baseline
    if values is None:
        met = (problem.thresholds == 0) & (problem.sense > 0)
        why = ["as everything does"] * problem.m
    else:
        met = problem.shortfalls(values) <= 0
        met[problem.forgotten :] &= met.all()
        why = [f"by its {value:.4g}" for value in values]
    return "\n".join(
        f"{problem.names[i]} {_asked(problem, i)}, constraint {i}: q meets it already, {why[i]}: "
        "nothing to do"
        for i in np.flatnonzero(met).tolist()
    )


def _asked(problem: Problem, i: int) -> str:
    """What is asked of a constraint, without its name."""
    return f"{'≥' if problem.senses[i] > 0 else '≤'} {problem.thresholds[i]:.4g}"


def seen(loop: Any) -> str:
    """The loss of the last round; of one student each constraint, its threshold and λ."""
    last = {key: values[-1] for key, values in loop.history.items()}
    parts = [f"loss {float(last['loss'].mean()):.4g}"]
    if len(loop.dual.problems) == 1:
        (problem,) = loop.dual.problems
        values, multipliers = last["constraints"][0], last["multipliers"][0]
        for i, name in enumerate(problem.names):
            value = f" {float(values[i]):.4g}" if len(values) == problem.m else ""
            parts.append(f"{name}{value} {_asked(problem, i)}, λ {float(multipliers[i]):.4g}")
    return "; ".join(parts)
