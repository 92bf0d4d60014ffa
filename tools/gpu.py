"""All that needs a GPU, in one run that may be cut off: `python -m tools.gpu`, or `make gpu`.

Each part is a process with a limit of its own. What it printed last, how it ended and on which
card is stored after each; a part that is cut off says so, and the next one begins. The whole takes
less than ten minutes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import gpu
from tools.provenance import ROOT, write_json
from unlearnlab.provenance import provenance

RESULT = ROOT / "benchmarks" / "results" / "device.json"
LAST = 3  # lines of what a part printed that are kept
TENFOLD = """
import time, unlearnlab as ul
sd = ul.TextToImage.from_pretrained("tiny", device="cuda")
q, rider, anything = map(sd.prompt, ("a cowboy", "a cowboy with a horse", ""))
problem = ul.Likelihood(q, [rider], relative=0.65, statistic="ratio", reference=anything)
start = time.perf_counter()
how = {"chains": 960, "chain_steps": 30, "primal_steps": 60, "steps": 900, "batch": 640}
run = ul.finetune(problem, sd.lora(rank=8), method="gate", lr=2e-3, progress=False, **how)
print(f"{run.status}, multipliers {run.multipliers}, {time.perf_counter() - start:.0f} s")
"""
# Seconds, and what is run; the device tests first, for all else rests on them.
PARTS: dict[str, tuple[int, list[str]]] = {
    "device tests": (
        150,
        ["-m", "pytest", "-q", "-o", "addopts=", "-m", "device", "--device", "cuda", "tests"],
    ),
    "benchmark": (300, ["-m", "benchmarks.gpu"]),
    "two processes on one card": (
        60,
        [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "unlearnlab.stable_diffusion",
            "--config",
            "tiny-cowboy",
            "--out",
            "{out}",
        ],
    ),
    "the horse at ten times the size": (80, ["-c", TENFOLD]),
}


def run(name: str, out: Path) -> dict[str, Any]:
    """One part: its last lines, how it ended, and its seconds."""
    limit, arguments = PARTS[name]
    command = [sys.executable, *(one.replace("{out}", str(out)) for one in arguments)]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, timeout=limit, text=True, capture_output=True, check=False
        )
        printed, ended = done.stdout + done.stderr, f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        held = error.stdout or b""
        printed = held.decode(errors="replace") if isinstance(held, bytes) else held
        ended = f"cut off after {limit} s"
    lines = [line for line in printed.splitlines() if line.strip()]
    seconds = round(time.perf_counter() - start, 1)
    return {"ended": ended, "seconds": seconds, "printed": lines[-LAST:]}


def main() -> None:
    """Every part, in turn."""
    import tempfile

    import torch

    if not torch.cuda.is_available():
        sys.exit(gpu.NO_CUDA)
    packages = provenance("diffusers", "peft", "transformers", "accelerate")
    stored: dict[str, Any] = {
        "provenance": packages | {"device": torch.cuda.get_device_name()},
        "parts": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            stored["parts"][name] = run(name, Path(folder) / "run")
            write_json(RESULT, stored)
            print(f"{name}: {stored['parts'][name]}", flush=True)


if __name__ == "__main__":
    main()
