"""Seconds and memory at the published sizes: `python -m benchmarks.gpu`, with CUDA.

The networks are built from their published configurations with random weights; nothing is
downloaded. It is made to take less than eight minutes, and writes `results/gpu.json` after every
row: a run that is cut off leaves what it had. Then `python -m benchmarks.run table` puts it into
the README.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import unlearnlab as ul
from benchmarks import floor
from benchmarks.backpropagation import BATCH, METHODS, STEPS, held, one_round, rounds
from benchmarks.published import NAMES, around, network
from tools.provenance import ROOT, code_key, write_json
from unlearnlab.provenance import provenance

RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
SOURCES = (
    "unlearnlab/diffusion/*.py",
    "unlearnlab/training/*.py",
    "unlearnlab/stable_diffusion/*.py",
    "unlearnlab/stable_diffusion/families/*.py",
    "benchmarks/backpropagation.py",
    "benchmarks/floor.py",
    "benchmarks/published.py",
    "benchmarks/gpu.py",
)
NO_CUDA = "benchmarks.gpu needs a CUDA device, and torch sees none; nothing was measured"
DEVICE = "cuda"
AGAINST = "Stable Diffusion v1.4", "bk-sdm-tiny"  # compared with backpropagation, too
OVER = "over its own passes of the network"
SMALL = {"batch": 2, "steps": 4}  # of the larger networks, so that all fit into the time
ENOUGH = 15.0  # seconds of one method after its warm-up; another repeat is not begun
CUT_OFF = "cut off: what is missing was not measured"
Row = tuple[str, str, str, bool | None]
Found = dict[str, dict[str, dict[str, float] | str]]


def measure(
    net: Any,
    device: str,
    dtype: torch.dtype,
    *,
    batch: int = BATCH,
    steps: int = STEPS,
    repeats: int = 3,
    against: bool = True,
    keep: Callable[[Found], None] = lambda found: None,
) -> Found:
    """Every method on one network: seconds of a step, GiB at its height, how far over its floor.

    `keep` is called with all that has been found after every method.

    Args:
        against: with backpropagation, with and without the likelihood's cost.
    """
    pipeline = around(net, device, dtype)
    found: Found = {OVER: {}} | ({variant: {} for variant in METHODS} if against else {})
    for name in floor.STEPS_OF:
        found[OVER][name] = over_floor(pipeline, name, batch, steps, repeats)
        keep(found)
    for variant, methods in METHODS.items() if against else ():
        for name, method in methods.items():
            found[variant][name] = timed(pipeline, method, steps, repeats)
            keep(found)
    return found


def over_floor(
    pipeline: ul.TextToImage, name: str, batch: int, steps: int, repeats: int
) -> dict[str, float] | str:
    """One of `floor.STEPS_OF` and the passes that it makes, in turn, from a fresh student."""
    kind, step = floor.STEPS_OF[name]

    def found() -> dict[str, float]:
        loop = floor.made(pipeline, kind, batch=batch, steps=steps)
        call, calls = floor.pair(loop, step)
        peak = peak_gib(loop, call)
        times: list[tuple[float, float]] = []
        while len(times) < repeats and sum(map(sum, times)) < ENOUGH:
            one = clocked(call, pipeline.device)
            times.append((one, clocked(calls.again, pipeline.device)))
        own, passes = (statistics.median(column) for column in zip(*times, strict=True))
        return {"seconds": own, "GiB": peak, "over": own / passes}

    return attempted(pipeline, found)


def timed(
    pipeline: ul.TextToImage, method: Any, steps: int, repeats: int
) -> dict[str, float] | str:
    """One of `METHODS`, from a fresh student."""

    def found() -> dict[str, float]:
        loop = rounds(pipeline, method, steps=steps)
        one_round(loop)  # a warm-up
        peak = peak_gib(loop, lambda: one_round(loop))
        taken: list[float] = []
        while len(taken) < repeats and sum(taken) < ENOUGH:
            taken.append(clocked(lambda: one_round(loop), pipeline.device))
        return {"seconds": statistics.median(taken), "GiB": peak}

    return attempted(pipeline, found)


def attempted(
    pipeline: ul.TextToImage, found: Callable[[], dict[str, float]]
) -> dict[str, float] | str:
    """What was found, or why nothing was."""
    # What does not fit is freed when its frames are, after the exception has been handled.
    gc.collect()
    if pipeline.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        return found()
    except (MemoryError, torch.OutOfMemoryError):
        return "does not fit"
    except RuntimeError as error:  # the other methods are measured all the same
        return f"failed: {str(error).splitlines()[0]:.80}"


def clocked(call: Callable[[], None], device: torch.device) -> float:
    """Seconds until the device has done it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def peak_gib(loop: Any, step: Callable[[], None]) -> float:
    """Most memory in a step: allocated with the weights on CUDA, held by autograd elsewhere."""
    if loop.student.device.type != "cuda":
        return held(loop, step) / 2**30
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() / 2**30


def rows(stored: dict[str, Any]) -> list[Row]:
    """Rows of the table."""
    if not stored["result"]:
        return [("all of it", "", stored["note"], None)]
    found = [
        (f"{network}, {variant}: {name}", "", shown(found), None)
        for network, variants in stored["result"].items()
        for variant, methods in variants.items()
        for name, found in methods.items()
    ]
    return [*found, ("the rest", "", stored["note"], None)] if stored["note"] else found


def shown(found: dict[str, float] | str) -> str:
    if isinstance(found, str):
        return found
    over = f", {found['over']:.2f} × its passes alone" if "over" in found else ""
    return f"{found['seconds']:.2f} s, {found['GiB']:.1f} GiB{over}"


def main() -> None:
    """Measure all networks on the CUDA device, the smaller ones first."""
    if not torch.cuda.is_available():
        sys.exit(NO_CUDA)
    packages = provenance("diffusers", "peft", "transformers", "accelerate")
    device = {"device": torch.cuda.get_device_name()}
    stored: dict[str, Any] = {
        "key": code_key(*SOURCES),
        "provenance": packages | device,
        "note": CUT_OFF,
        "result": {},
    }
    for name in NAMES:

        def keep(found: Found, name: str = name) -> None:
            stored["result"][name] = found
            write_json(RESULT, stored)
            print(f"{name}: {found}", flush=True)

        against = name in AGAINST
        how: Any = {} if against else SMALL
        with torch.device(DEVICE):  # drawing twelve billion numbers elsewhere takes minutes
            net = network(name).to(torch.bfloat16)
        measure(net, DEVICE, torch.bfloat16, against=against, keep=keep, **how)
    stored["note"] = ""
    write_json(RESULT, stored)


if __name__ == "__main__":
    main()
