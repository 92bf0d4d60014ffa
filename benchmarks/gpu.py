"""Seconds and memory at the size of Stable Diffusion: `python -m benchmarks.gpu`, with CUDA.

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
from benchmarks.backpropagation import METHODS, STEPS, held, one_round, rounds
from tools.provenance import ROOT, code_key, write_json
from unlearnlab.provenance import provenance
from unlearnlab.stable_diffusion import tiny

RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
SOURCES = (
    "unlearnlab/diffusion/*.py",
    "unlearnlab/training/*.py",
    "unlearnlab/stable_diffusion/*.py",
    "benchmarks/backpropagation.py",
    "benchmarks/gpu.py",
)
NO_CUDA = "benchmarks.gpu needs a CUDA device, and torch sees none; nothing was measured"
TOKENS = 77  # of a prompt, as in Stable Diffusion
ENOUGH = 15.0  # seconds of one method after its warm-up; another repeat is not begun
COMMON = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
UNETS: dict[str, dict[str, Any]] = {
    "Stable Diffusion v1.4": COMMON
    | {
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    },
    "bk-sdm-tiny": COMMON
    | {
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "mid_block_type": None,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    },
}
CUT_OFF = "cut off: what is missing was not measured"
Row = tuple[str, str, str, bool | None]
Found = dict[str, dict[str, dict[str, float] | str]]


def unet(name: str) -> Any:
    """A UNet of `UNETS` with random weights."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet2DConditionModel(**UNETS[name])


def around(network: Any, device: str, dtype: torch.dtype) -> ul.TextToImage:
    """A pipeline with this UNet, a text encoder of its width and prompts of 77 tokens.

    The text encoder is shallow and the autoencoder the tiny one's: training calls neither.
    """
    tokens = tiny.tokenizer()
    tokens.model_max_length = TOKENS
    width = network.config.cross_attention_dim
    encoder = tiny.text_encoder(tokens, 0, width=width, longest=TOKENS)
    stock = tiny.assembled(tiny.autoencoder(0), tokens, encoder, network)
    return ul.TextToImage(stock.to(device, dtype), "random weights")


def measure(
    network: Any,
    device: str,
    dtype: torch.dtype,
    *,
    steps: int = STEPS,
    repeats: int = 3,
    keep: Callable[[Found], None] = lambda found: None,
) -> Found:
    """Every method on one UNet: seconds of a primal and a dual step, and GiB at its height.

    `keep` is called with all that has been found after every method.
    """
    pipeline = around(network, device, dtype)
    found: Found = {variant: {} for variant in METHODS}
    for variant, methods in METHODS.items():
        for name, method in methods.items():
            found[variant][name] = timed(pipeline, method, steps, repeats)
            keep(found)
    return found


def timed(
    pipeline: ul.TextToImage, method: Any, steps: int, repeats: int
) -> dict[str, float] | str:
    """One method, from a fresh student; why there is no time, where there is none."""
    # What does not fit is freed when its frames are, after the exception has been handled.
    gc.collect()
    if pipeline.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        loop = rounds(pipeline, method, steps=steps)
        one_round(loop)  # a warm-up
        peak = peak_gib(loop)
        taken: list[float] = []
        while len(taken) < repeats and sum(taken) < ENOUGH:
            taken.append(clocked(lambda: one_round(loop), pipeline.device))
    except MemoryError:
        return "does not fit"
    except RuntimeError as error:  # the other methods are measured all the same
        return f"failed: {str(error).splitlines()[0]:.80}"
    return {"seconds": statistics.median(taken), "GiB": peak}


def clocked(call: Callable[[], None], device: torch.device) -> float:
    """Seconds until the device has done it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def peak_gib(loop: Any) -> float:
    """Most memory in one round: allocated with the weights on CUDA, held by autograd elsewhere."""
    if loop.student.device.type != "cuda":
        return held(loop) / 2**30
    torch.cuda.reset_peak_memory_stats()
    one_round(loop)
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
    return f"{found['seconds']:.2f} s, {found['GiB']:.1f} GiB"


def main() -> None:
    """Measure both UNets on the CUDA device."""
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
    for name in UNETS:

        def keep(found: Found, name: str = name) -> None:
            stored["result"][name] = found
            write_json(RESULT, stored)
            print(f"{name}: {found}", flush=True)

        measure(unet(name), "cuda", torch.bfloat16, keep=keep)
    stored["note"] = ""
    write_json(RESULT, stored)


if __name__ == "__main__":
    main()
