"""Damages of every saved format: noticed in a sentence, harmless, silent, or a raw error."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import unlearnlab as ul
from unlearnlab.training import checkpoint

DAMAGES = 500  # of each format


class Format:
    """A saved format: how it is written to a folder, and what is read back, to be compared."""

    def __init__(self, write: Callable[[Path], Any], read: Callable[[Path], Any]):
        self.write, self.read = write, read


def formats() -> dict[str, Format]:
    """All that the package writes and reads again."""
    q, q1 = ul.Discrete([0.5, 0.3, 0.2]), ul.Discrete([0.1, 0.1, 0.8])
    solution = ul.solve(ul.ForwardKL(q, [q1], 0.9))
    model = ul.digits.load_model("unconditional")
    sd = ul.TextToImage.from_pretrained("tiny")
    student = sd.lora(rank=1)
    state = {"weights": torch.linspace(0, 1, 50), "round": 3, "other": [torch.arange(4), None]}

    def solved(folder: Path) -> Any:
        found = ul.load(folder / "solution.npz")
        return [found.to_dict(), found.model.log_masses]

    def drawn(folder: Path) -> Any:
        found = ul.DDPM.from_pretrained(folder)
        return [found.state_dict(), found.schedule.betas, repr(found.reading)]

    def adapted(folder: Path) -> Any:
        return [p.detach() for p in sd.load_lora(folder).parameters() if p.requires_grad]

    return {
        "checkpoint": Format(
            lambda folder: checkpoint.write(folder, state, {"seed": 1}),
            lambda folder: checkpoint.read(folder, {"seed": 1}),
        ),
        "solution": Format(lambda folder: solution.save(folder / "solution.npz"), solved),
        "DDPM": Format(model.save, drawn),
        "LoRA": Format(student.save, adapted),
        "kohya": Format(lambda folder: student.save(folder, format="kohya"), adapted),
    }


def damages(each: int = DAMAGES) -> dict[str, dict[str, int]]:
    """Of each format, how many damages are noticed in a sentence, harmless, silent or raw."""
    return {name: damaged(form, each) for name, form in formats().items()}


def damaged(form: Format, count: int) -> dict[str, int]:
    rng, found = random.Random(0), Counter({"noticed": 0, "harmless": 0, "silent": 0, "raw": 0})
    with TemporaryDirectory() as root:
        folder = Path(root)
        form.write(folder)
        first = form.read(folder)
        for _ in range(count):
            path = rng.choice(sorted(one for one in folder.rglob("*") if one.is_file()))
            content = path.read_bytes()
            path.write_bytes(spoiled(content, rng))
            try:
                found["harmless" if same(form.read(folder), first) else "silent"] += 1
            except (ValueError, FileNotFoundError) as error:
                found["noticed" if path.name in str(error) else "raw"] += 1
            except Exception:
                found["raw"] += 1
            path.write_bytes(content)
    return dict(found)


def spoiled(content: bytes, rng: random.Random) -> bytes:
    """A file with a bit flipped, cut off, or with bytes of it zeroed, taken out or made up."""
    while True:
        at, long = rng.randrange(len(content)), rng.randrange(1, 65)
        made = {
            "flipped": content[:at]
            + bytes([content[at] ^ 1 << rng.randrange(8)])
            + content[at + 1 :],
            "cut off": content[:at],
            "zeroed": content[:at] + bytes(long) + content[at + long :],
            "taken out": content[:at] + content[at + long :],
            "made up": content[:at] + rng.randbytes(long) + content[at + long :],
        }[rng.choice(["flipped", "cut off", "zeroed", "taken out", "made up"])]
        if made != content:
            return made


def same(one: Any, other: Any) -> bool:
    """Whether two nested things are equal, in every number."""
    if isinstance(one, torch.Tensor | np.ndarray):
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
