"""Seconds and memory at the size of Stable Diffusion: `python -m benchmarks.gpu`, with CUDA.

The networks are built from their published configurations with random weights; nothing is
downloaded. It is made to take less than eight minutes, and writes `results/gpu.json`; then
`python -m benchmarks.run table` puts it into the README.
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
from tools.provenance import ROOT, code_key, provenance, write_json
from unlearnlab.stable_diffusion import tiny

RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
SOURCES = (
    "unlearnlab/diffusion/*.py",
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
Row = tuple[str, str, str, bool | None]


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
    network: Any, device: str, dtype: torch.dtype, *, steps: int = STEPS, repeats: int = 3
) -> dict[str, dict[str, dict[str, float] | str]]:
    """Every method on one UNet: seconds of a primal and a dual step, and GiB at its height."""
    pipeline = around(network, device, dtype)
    return {
        variant: {name: timed(pipeline, method, steps, repeats) for name, method in methods.items()}
        for variant, methods in METHODS.items()
    }


def timed(
    pipeline: ul.TextToImage, method: Any, steps: int, repeats: int
) -> dict[str, float] | str:
    """One method, from a fresh student; "does not fit" where memory runs out."""
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
    return [
        (f"{network}, {variant}: {name}", "", shown(found), None)
        for network, variants in stored["result"].items()
        for variant, methods in variants.items()
        for name, found in methods.items()
    ]


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
        "note": "",
        "result": {},
    }
    for name in UNETS:
        stored["result"][name] = measure(unet(name), "cuda", torch.bfloat16)
        print(f"{name}: {stored['result'][name]}", flush=True)
        write_json(RESULT, stored)


if __name__ == "__main__":
    main()
