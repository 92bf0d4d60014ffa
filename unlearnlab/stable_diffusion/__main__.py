"""Unlearn prompts from a text-to-image pipeline: `--config NAME_OR_FILE`, see `Config`.

`accelerate launch -m unlearnlab.stable_diffusion --config NAME_OR_FILE` runs it on several
processes or GPUs, in mixed precision.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..diffusion.samples import DataSet
from ..files import held, require_writable
from ..images import ImageFolder, contact_sheet, write_image
from ..training.finetune import finetune
from ..training.loop import Loop
from ..training.settings import warn_if_alone
from ..training.stopping import as_command
from . import preflight, report
from .checks import BASELINES, DTYPES
from .config import Config, shipped
from .judges import judge_of, shows
from .pipeline import TextToImage


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


def asked(config: Config, sd: TextToImage) -> tuple[Any, dict[str, Any]]:
    """The problem that a configuration states, and the models among its method's options."""

    def prompt(text: str) -> Any:
        return sd.prompt(text, guidance=config.guidance)

    forget = [prompt(text) for text in config.forget]
    if config.forget_images is not None:
        images = ImageFolder(config.forget_images, (3, *sd.family.pixels), fit=True)
        latents = sd.encode(images[torch.arange(len(images))])
        forget.append(DataSet(latents, sd.schedule))
    kept = []
    if config.judge is not None:
        judge = judge_of(config.judge, sd.device)
        kept = [(shows(sd, judge, name), least) for name, least in config.keep.items()]
    reference = None if config.reference is None else prompt(config.reference)
    more = {} if config.anchor is None else {"anchor": prompt(config.anchor)}
    return config.made(prompt(config.retain), forget, reference, kept), more


def unlearn(config: Config, sd: TextToImage, accelerator: Any, *, resume: bool) -> Any:
    """The run that a configuration asks for."""
    problem, more = asked(config, sd)
    student = None
    if config.method != "dual-only":
        if config.init is None:
            how = {"layers": config.layers, "text_encoders": config.text_encoders}
            student = sd.lora(config.rank, seed=config.seed, **how)
        else:
            student = sd.load_lora(config.init)
        accelerator.print(preflight.try_step(student, problem.retain, config.rows))
    return finetune(
        problem,
        student,
        method=BASELINES.get(config.method, config.method),
        seed=config.seed,
        folder=config.out,
        resume=resume,
        accelerator=accelerator,
        watch=Watch(config, sd, accelerator),
        **{"progress": True} | more | config.options,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from accelerate import Accelerator

    parser = argparse.ArgumentParser(
        prog="python -m unlearnlab.stable_diffusion",
        description="Unlearn prompts from a Stable Diffusion (1.x, 2.x, XL, 3) or FLUX pipeline.",
        epilog="Reads a YAML file, prompts as CSV (UTF-8 or UTF-16; commas, semicolons or tabs), "
        "pipelines as diffusers folders or hub ids. Writes the student as diffusers' LoRA (lora/), "
        "report.json, before_and_after.png, grids and a checkpoint; `student.save` writes kohya's "
        "format and whole pipelines.",
    )
    known = ", ".join(shipped())
    parser.add_argument("--config", required=True, help=f"a YAML file (see Config), or {known}")
    parser.add_argument("--out", help="folder in the place of the configuration's `out`")
    parser.add_argument("--model", help="in the place of the configuration's `model`")
    parser.add_argument("--init", help="in the place of its `init`: a LoRA or run to start from")
    parser.add_argument("--resume", action="store_true", help="continue the run found in `out`")
    given = parser.parse_args(arguments)
    config = Config.load(given.config, out=given.out, model=given.model, init=given.init)
    out = Path(config.out)
    preflight.require_tracker(config.tracker)
    warn_if_alone()
    accelerator = Accelerator(log_with=config.tracker, project_dir=out)
    if accelerator.is_main_process:
        require_writable("out", out)
    speaks = accelerator.is_main_process
    with as_command(speaks=speaks), held(out if speaks else None):
        _unlearn(config, accelerator, resume=given.resume)


def _unlearn(config: Config, accelerator: Any, *, resume: bool) -> None:
    """The whole run, in a folder that nobody else writes to."""
    if config.tracker:
        accelerator.init_trackers("unlearnlab")
    sd = TextToImage.from_pretrained(
        config.model,
        dtype=DTYPES[config.dtype],
        device=accelerator.device,
        safety=config.safety,
        variant=config.variant,
        size=config.size,
        offload=config.offload,
    )
    preflight.settle(config, sd)
    run = unlearn(config, sd, accelerator, resume=resume)
    accelerator.end_training()
    if accelerator.is_main_process:
        finish(config, sd, run)


def finish(config: Config, sd: TextToImage, run: Any) -> None:
    """Save the student, then draw, write and show the report.

    Raises:
        RuntimeError: the report failed; the student is saved, and the message says where.
    """
    out = Path(config.out)
    saved = "there is no student to save"
    if hasattr(run.student, "save"):
        for form in config.formats:
            place = out / (form if form == "merged" else report.STUDENT)
            if form == "merged":  # of this run before it was resumed
                shutil.rmtree(place, ignore_errors=True)
            run.student.save(place, format=form)
        saved = f"the student is saved in {str(out / report.STUDENT)!r}"
    try:
        pictures = report.drawn(config, sd, run.student)
        numbers = report.numbers_of(config, run, pictures)
        report.write(out, numbers, report.sheet_of(pictures))
    except Exception as error:  # whatever it is, the run is done and must not look lost
        raise RuntimeError(
            f"the report failed ({type(error).__name__}: {error}); {saved}, and --resume makes "
            "the report again"
        ) from error
    print(report.table(config, run, numbers))


if __name__ == "__main__":
    main()
