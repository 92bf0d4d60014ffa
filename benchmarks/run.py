"""The benchmark table: `make bench`, or `python -m benchmarks.run rung3` for one file alone.

Every time is the median of several; what a ratio compares is measured in turn, A B A B, because a
shared machine drifts. `python -m benchmarks.run table` measures nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import (
    course,
    gpu,
    large,
    needs,
    networks,
    reliability,
    solvers,
    stable_diffusion,
)
from tools.provenance import EVERYTHING, ROOT, code_key, write_json
from unlearnlab.provenance import provenance

RESULTS = ROOT / "benchmarks" / "results"
TABLE = ROOT / "benchmarks" / "README.md"
SAID = {True: "yes", False: "no", None: ""}


class Rung(NamedTuple):
    """A result file: what fills it, on what code its numbers depend, and its rows."""

    measures: dict[str, Callable[[], Any]]
    rows: tuple[Callable[[dict[str, Any]], list[solvers.Row]], ...]
    sources: tuple[str, ...]
    packages: tuple[str, ...]


RUNGS = {
    "rung1": Rung(
        solvers.MEASURES | course.MEASURES | networks.MEASURES,
        (solvers.rows, course.rows, networks.rows),
        (
            *EVERYTHING,
            "benchmarks/timing.py",
            "benchmarks/solvers.py",
            "benchmarks/course.py",
            "benchmarks/networks.py",
        ),
        ("cvxpy", "clarabel"),
    ),
    "large": Rung(
        large.MEASURES,
        (large.rows,),
        (*EVERYTHING, "benchmarks/timing.py", "benchmarks/large.py"),
        (),
    ),
    "reliability": Rung(
        reliability.MEASURES,
        (reliability.rows,),
        (*EVERYTHING, "benchmarks/reliability.py", "benchmarks/damages.py"),
        ("diffusers", "peft", "safetensors", "filelock"),
    ),
    "rung3": Rung(
        stable_diffusion.MEASURES,
        (stable_diffusion.rows,),
        (
            "unlearnlab/diffusion/*.py",
            "unlearnlab/stable_diffusion/*.py",
            "benchmarks/timing.py",
            "benchmarks/backpropagation.py",
            "benchmarks/floor.py",
            "benchmarks/stable_diffusion.py",
        ),
        ("diffusers", "peft", "transformers"),
    ),
    "needs": Rung(
        needs.MEASURES,
        (),
        (
            "unlearnlab/stable_diffusion/families/*.py",
            "benchmarks/published.py",
            "benchmarks/needs.py",
        ),
        ("diffusers", "peft", "transformers"),
    ),
}


def path(name: str) -> Path:
    """Where a rung's numbers are stored."""
    return RESULTS / f"{name}.json"


def stored(name: str) -> dict[str, Any]:
    """What a file holds; nothing where there is none."""
    return json.loads(path(name).read_text()) if path(name).exists() else {}


def measure(name: str) -> None:
    """Measure what a file lacks, or all of it where the code has changed."""
    rung = RUNGS[name]
    key, found = code_key(*rung.sources), stored(name)
    if found.get("key") != key:
        found = {"key": key, "provenance": provenance(*rung.packages), "result": {}}
    for what, call in rung.measures.items():
        if what in found["result"]:
            print(f"{what}: up to date")
            continue
        found["result"][what] = call()
        write_json(path(name), found)
        print(f"{what}: {found['result'][what]}", flush=True)


def complete(name: str) -> bool:
    """Whether every measure of a rung is stored."""
    return set(stored(name).get("result", ())) >= set(RUNGS[name].measures)


def table() -> str:
    """The table as Markdown, from the files as they are."""
    done = {name: stored(name) for name in RUNGS if complete(name)}
    rows = [
        row
        for name, found in done.items()
        for make in RUNGS[name].rows
        for row in make(found["result"])
    ]
    on_gpu = stored("gpu")
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page from `results/`: rung1, large, reliability, rung3 and",
        "needs. Ratios are of one run; what they compare is measured in turn; every number is a",
        "median. A solve is timed from the two densities to the certified solution.",
        "",
        *markdown(rows),
        "",
        "Small grids cost more per cell: a solve has a fixed cost of about a millisecond. At 10⁴",
        "cells that is most of it, and what keeps the ratio to Clarabel below its aim where it is.",
        "",
        "A step of D.3 is a primal and a dual step on one retained and one forgotten prompt, on an",
        "untrained pipeline of the tiny one's shape and on one thread. Backpropagation takes the",
        "same Lagrangian at the same draws through the whole sampler. Memory is all that autograd",
        "keeps at once, weights apart, and for ours the record of the chain besides.",
        "",
        *(line for name, found in done.items() for line in (made(name, found["provenance"]), "")),
        "## What a step needs",
        "",
        "Counted on the published configurations, without their numbers, in bfloat16: the memory",
        "of a training step is the weights, the student with its gradient, average and Adam's",
        "means, and for every row of a batch what is kept for the gradient; rows of the retained",
        "and the forgotten prompts keep nothing. Text encoders and autoencoder are not in it: with",
        "`offload` they lie elsewhere. `checkpointing` computes each block again for its gradient.",
        "None of it was measured on a GPU.",
        "",
        *needs.table(stored("needs")["result"]),
        "",
        "## At the published sizes",
        "",
        "`python -m benchmarks.gpu` measures on a CUDA device, in less than eight minutes, seconds",
        "and peak memory, weights included, of steps on networks with random weights in bfloat16:",
        "batch 4 and 10 sampling steps; for Stable Diffusion XL, 3 and FLUX.1 batch 2 and 4 steps.",
        "Each is set against the passes that it makes of the network, alone; two are also compared",
        "with backpropagation, whose shortcut is the one without the gradient through ε̂_q.",
        "`python -m benchmarks.run table` then puts them here.",
        "",
        *markdown(gpu.rows(on_gpu)),
        "",
    ]
    if on_gpu["provenance"]:
        lines += [made("gpu", on_gpu["provenance"]), ""]
    for name, part in stored("device").get("parts", {}).items():
        said = part["printed"][-1] if part["printed"] else "nothing was printed"
        lines += [f"`python -m tools.gpu`, {name}, there: {said} ({part['ended']}).", ""]
    return "\n".join(lines)


def markdown(rows: list[solvers.Row]) -> list[str]:
    """Rows below their heading."""
    return [
        "| what | aim | measured | met |",
        "|---|---|---|---|",
        *(f"| {what} | {aim} | {value} | {SAID[met]} |" for what, aim, value, met in rows),
    ]


def made(name: str, about: dict[str, Any]) -> str:
    """Where and when a file's numbers were measured."""
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    machine = ", ".join(about[part] for part in ("device", "machine") if part in about)
    return f"`{name}.json`: {machine}; Python {about['python']}; {versions}; {about['date']}."


def main() -> None:
    """Measure what is missing or out of date, then write the table."""
    parser = argparse.ArgumentParser(description="Measure, then write benchmarks/README.md.")
    parser.add_argument("what", nargs="*", default=list(RUNGS), choices=[*RUNGS, "table"])
    for name in parser.parse_args().what:
        if name in RUNGS:
            measure(name)
    TABLE.write_text(table())


if __name__ == "__main__":
    main()
