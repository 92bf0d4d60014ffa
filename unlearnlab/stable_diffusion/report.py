"""What a run leaves for a person: numbers in a file, a sheet of pictures, a short table."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import write_whole
from ..images import contact_sheet, write_image
from ..run_table import aligned, constraints_of
from .config import Config
from .lora_file import STUDENT
from .pipeline import TextToImage

REPORT, SHEET = "report.json", "before_and_after.png"
SHOWN = 8  # pictures in a row of the sheet
NARROWEST, LETTERS, GAP = 320, 12, 4  # pixels: of the sheet, of a label's letters and around them
TOLD = 2  # attributes in a line of the table: those that changed most
NOTED = 0.05  # change of a rate that the table mentions


@dataclass
class Pictures:
    """What is drawn for a prompt, from the same noise.

    Attributes:
        role: retain, forget or unrelated.
        before, after: (n, 3, H, W) by the pipeline and by the student.
        flagged: of each, how many the safety checker took out.
    """

    role: str
    prompt: str
    before: Tensor
    after: Tensor
    flagged: tuple[int, int]

    @property
    def moved(self) -> float:
        """Root mean square of the change of a pixel, as a share of its range."""
        return float((self.after - self.before).square().mean().sqrt() / 2)


def drawn(config: Config, sd: TextToImage, student: Any) -> list[Pictures]:
    """Pictures of every prompt; of the one to retain alone where the student draws no other."""
    how: dict[str, Any] = {"sampler": "ddim", "steps": config.sample_steps, "seed": config.seed}
    prompts = [("retain", config.retain)]
    if hasattr(student, "prompt"):  # a composed model draws nothing else
        prompts += [("forget", text) for text in config.forget]
        prompts += [("unrelated", text) for text in config.unrelated]
    found = []
    for role, text in prompts:
        guidance = config.sample_guidance
        own = student.prompt(text, guidance=guidance) if hasattr(student, "prompt") else student
        models = (sd.prompt(text, guidance=guidance), own)
        (before, b), (after, a) = (sd.checked(one.sample(config.samples, **how)) for one in models)
        found.append(Pictures(role, text, before, after, (b, a)))
    return found


def numbers_of(config: Config, run: Any, pictures: list[Pictures]) -> dict[str, Any]:
    """What `report.json` holds."""
    prompts: dict[str, Any] = {}
    for one in pictures:
        prompts[one.prompt] = {
            "role": one.role,
            "moved": one.moved,
            "flagged": dict(zip(("before", "after"), one.flagged, strict=True)),
        }
    numbers = {
        "status": run.status,
        "reason": run.reason,
        "multipliers": run.multipliers.tolist(),
        "thresholds": run.problem.thresholds.tolist(),
        "prompts": prompts,
        "rates": _rates(config, pictures),
    }
    if run.evaluation is not None:
        numbers["objective"] = run.evaluation.objective
        numbers |= constraints_of(run.problem, run.evaluation)
    return numbers


def _rates(config: Config, pictures: list[Pictures]) -> dict[str, Any]:
    """Shares of the pictures with each attribute, before and after, where a classifier tells."""
    if config.model != "tiny":
        return {}
    from .classifier import load_classifier, rates_of

    tell = load_classifier(device=pictures[0].before.device)
    return {
        one.prompt: {"before": rates_of(one.before, tell), "after": rates_of(one.after, tell)}
        for one in pictures
    }


def sheet_of(pictures: list[Pictures]) -> Tensor:
    """Two rows of pictures for each prompt, before and after, each under its label."""
    strips = []
    for one in pictures:
        for when, images in (("before", one.before), ("after", one.after)):
            row = contact_sheet([images[:SHOWN]], scale=max(1, 64 // images.shape[-1])).cpu()
            missing = max(0, NARROWEST - row.shape[-1])
            row = torch.nn.functional.pad(row, (0, missing), value=1.0)
            strips += [label(f"{when}: {one.prompt}", row.shape[-1]), row]
    return torch.cat(strips, 1)


def label(text: str, width: int) -> Tensor:
    """(3, h, width) black words on white, on as many lines as they need."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(LETTERS)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 2 * GAP:
            longer = word
            lines.append("")
        lines[-1] = longer
    image = Image.new("RGB", (width, len(lines) * (LETTERS + GAP) + GAP), "white")
    ImageDraw.Draw(image).multiline_text((GAP, GAP // 2), "\n".join(lines), "black", font)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def write(out: Path, numbers: dict[str, Any], sheet: Tensor) -> None:
    """The numbers and the sheet, each whole or not at all; numbers that are none are null."""
    text = json.dumps(_finite(numbers), indent=1, allow_nan=False) + "\n"
    write_image(out / SHEET, sheet)
    write_whole(out / REPORT, text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(config: Config, run: Any, numbers: dict[str, Any]) -> str:
    """What was asked, whether it is met, what else moved, and where the files are."""
    lines = [f"{config.problem} by {config.method}: {run.status} ({run.reason})", ""]
    rows: list[tuple[str, ...]] = [("forget", "asked", "before", "after", "met")]
    measured = run.evaluation is not None
    signs = ["≥" if sense > 0 else "≤" for sense in run.problem.senses]
    asked_of = [*config.forget, *([config.forget_images] if config.forget_images else [])]
    asked_of += [f"keep: {name}" for name in config.keep]
    for i, (prompt, sign) in enumerate(zip(asked_of, signs, strict=True)):
        asked = f"{run.problem.names[i]} {sign} {run.problem.thresholds[i]:.4g}"
        found = ("", "not measured", "?")
        if measured:
            before, after = (numbers[f"constraints {when}"][i] for when in ("before", "after"))
            found = (f"{before:.4g}", f"{after:.4g}", "yes" if numbers["met"][i] else "NO")
        rows.append((prompt, asked, *found))
    lines += [*aligned(rows), ""]
    rows = [("prompt", "", "pictures moved", "flagged", "attributes")]
    for prompt, one in numbers["prompts"].items():
        flagged = "{before} → {after}".format(**one["flagged"])
        rates = _changed(numbers["rates"].get(prompt))
        rows.append((prompt, one["role"], f"{one['moved']:.3f}", flagged, rates))
    if not any(any(one["flagged"].values()) for one in numbers["prompts"].values()):
        rows = [(*row[:3], row[4]) for row in rows]
    lines += [*aligned(rows), ""]
    out = Path(config.out)
    files = {"student": STUDENT, "numbers": REPORT, "pictures": SHEET}
    if not hasattr(run.student, "save"):
        del files["student"]  # it is its multipliers
    lines += aligned([(what, str(out / name)) for what, name in files.items()])
    return "\n".join(lines)


def _changed(rates: dict[str, Any] | None) -> str:
    """The attributes whose rates changed most."""
    if rates is None:
        return ""
    before, after = rates["before"], rates["after"]
    names = sorted(before, key=lambda name: -abs(after[name] - before[name]))[:TOLD]
    told = [name for name in names if abs(after[name] - before[name]) >= NOTED]
    return ", ".join(f"{name} {before[name]:.2f} → {after[name]:.2f}" for name in told)
