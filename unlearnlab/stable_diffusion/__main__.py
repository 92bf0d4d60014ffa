"""Unlearn prompts from a Stable Diffusion pipeline: `--config NAME_OR_FILE`, see `Config`.

`accelerate launch -m unlearnlab.stable_diffusion --config NAME_OR_FILE` runs it on several
processes or GPUs, in mixed precision.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..images import contact_sheet, write_image
from ..training.finetune import finetune
from ..training.loop import Loop
from ..training.settings import enough_memory
from .config import BASELINES, DTYPES, Config, shipped
from .pipeline import TextToImage

REPORT, SHEET = "report.json", "before_and_after.png"


class Watch:
    """Logs every round to a tracker, and draws a grid of samples every few."""

    def __init__(self, config: Config, sd: TextToImage, accelerator: Any):
        self.config, self.sd, self.accelerator = config, sd, accelerator

    def __call__(self, loop: Loop) -> None:
        """After a round."""
        last = {key: values[-1][0] for key, values in loop.history.items()}
        self.accelerator.log(_flat(last), step=loop.round)
        every = self.config.grid_every
        if every and loop.round % every == 0 and self.accelerator.is_main_process:
            how = {"steps": self.config.sample_steps, "seed": self.config.seed}
            images = self.sd.decode(loop.model.sample(self.config.samples, **how))
            path = Path(self.config.out) / "grids" / f"round_{loop.round:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, contact_sheet([images]))


def _flat(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Numbers by name; those of a vector numbered."""
    found = {}
    for key, value in values.items():
        if value.ndim == 0:
            found[key] = float(value)
        else:
            found |= {f"{key}/{i}": float(v) for i, v in enumerate(value)}
    return found


def unlearn(config: Config, sd: TextToImage, accelerator: Any, *, resume: bool) -> Any:
    """The run that a configuration asks for."""
    retain = sd.prompt(config.retain, guidance=config.guidance)
    forget = [sd.prompt(text, guidance=config.guidance) for text in config.forget]
    reference = None
    if config.reference is not None:
        reference = sd.prompt(config.reference, guidance=config.guidance)
    for text in config.unrelated:
        sd.prompt(text)  # refused now, not after hours
    student = None
    if config.method != "dual-only":
        student = sd.lora(config.rank, seed=config.seed)
        try_step(student, retain, config.rows)
    return finetune(
        config.made(retain, forget, reference),
        student,
        method=BASELINES.get(config.method, config.method),
        seed=config.seed,
        folder=config.out,
        resume=resume,
        accelerator=accelerator,
        watch=Watch(config, sd, accelerator),
        **config.options,
    )


def try_step(student: Any, retain: Any, rows: int) -> None:
    """Rows through the student and back, before anything is estimated: most of a step's memory.

    Raises:
        MemoryError: it does not fit.
    """
    with enough_memory("a trial step"):
        x = torch.zeros((rows, *student.shape), dtype=student.dtype, device=student.device)
        pupil = student.for_training()
        pupil.condition(retain)
        pupil(x, torch.zeros(rows, dtype=torch.long, device=x.device)).sum().backward()


def report(config: Config, sd: TextToImage, run: Any) -> tuple[dict[str, Any], torch.Tensor]:
    """Numbers of a run, and a sheet: two rows for each prompt, before and after."""
    how: dict[str, Any] = {"steps": config.sample_steps, "seed": config.seed}
    guidance, rows, rates = config.sample_guidance, [], {}
    pairs = {config.retain: run.student}  # a composed model draws nothing else
    if hasattr(run.student, "prompt"):
        texts = (config.retain, *config.forget, *config.unrelated)
        pairs = {text: run.student.prompt(text, guidance=guidance) for text in texts}
    for text, student in pairs.items():
        before = sd.prompt(text, guidance=guidance).images(config.samples, **how)
        after = sd.decode(student.sample(config.samples, **how))
        rows += [before[:8], after[:8]]
        if config.model == "tiny":
            from .classifier import load_classifier, rates_of

            tell = load_classifier(device=before.device)
            rates[text] = {"before": rates_of(before, tell), "after": rates_of(after, tell)}
    numbers = {
        "status": run.status,
        "reason": run.reason,
        "multipliers": run.multipliers.tolist(),
        "thresholds": run.problem.thresholds.tolist(),
        "rates": rates,
    }
    if run.evaluation is not None:
        numbers["objective"] = run.evaluation.objective
        numbers["constraints"] = list(map(float, run.evaluation.constraints))
    return numbers, contact_sheet(rows, scale=max(1, 64 // rows[0].shape[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from accelerate import Accelerator

    parser = argparse.ArgumentParser(prog="python -m unlearnlab.stable_diffusion")
    known = ", ".join(shipped())
    parser.add_argument("--config", required=True, help=f"a YAML file (see Config), or {known}")
    parser.add_argument("--out", help="folder in the place of the configuration's `out`")
    parser.add_argument("--model", help="in the place of the configuration's `model`")
    parser.add_argument("--resume", action="store_true", help="continue the run found in `out`")
    given = parser.parse_args(arguments)
    config = Config.load(given.config, out=given.out, model=given.model)
    out = Path(config.out)
    accelerator = Accelerator(log_with=config.tracker, project_dir=out)
    if config.tracker:
        accelerator.init_trackers("unlearnlab")
    sd = TextToImage.from_pretrained(
        config.model, dtype=DTYPES[config.dtype], device=accelerator.device
    )
    run = unlearn(config, sd, accelerator, resume=given.resume)
    accelerator.end_training()
    if not accelerator.is_main_process:
        return
    numbers, sheet = report(config, sd, run)
    if hasattr(run.student, "save"):
        run.student.save(out / "lora")
    write_image(out / SHEET, sheet)
    (out / REPORT).write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
