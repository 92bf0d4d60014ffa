"""Unlearn images from a DDPM, at any scale: `python -m unlearnlab.data_unlearning --help`.

Loads a diffusers folder or hub id, forgets images until at most a share of them comes back, or by
the forward-KL problem (Algorithm D.2) or a baseline, and reports what does.
`accelerate launch -m unlearnlab.data_unlearning` runs it on several processes or GPUs, in mixed
precision.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import baselines, metrics
from .diffusion import DDPM, PointMass
from .diffusion.ddpm_folder import STUDENT
from .digits import load_classifier
from .files import expanded, held, require_writable, write_whole
from .images import ImageFolder, read_image, write_image
from .picture_report import report, require_samples, table
from .problems import ForwardKL
from .training import finetune
from .training.denoising import ForwardKLObjective
from .training.retained import apart_from, digests
from .training.returns import LeaveOut, Return, Returns
from .training.settings import warn_if_alone
from .training.stopping import as_command

METHODS: dict[str, Any] = {
    "leave-out": LeaveOut,
    "primal-dual": ForwardKLObjective,
    "naive": baselines.Naive,
    "neggrad": baselines.NegGrad,
    "siss": baselines.SISS,
    "erasediff": baselines.EraseDiff,
    "vdu": baselines.VDU,
}
PATHS = ("model", "init", "images", "out", "descriptor")  # arguments that are
DIGIT = (1, 8, 8)
REPORT, SHEET = "report.json", "reconstructions.png"  # below --out
SHARE = 0.004  # that a multiplier moves by in a dual step, where a constraint is missed entirely


def unlearn_images(
    model: DDPM,
    images: Any,
    forget: Sequence[Tensor],
    *,
    method: str | None = None,
    at_most: Any = None,
    thresholds: Any = None,
    relative: Any = None,
    returns: Return | None = None,
    init: DDPM | None = None,
    **options: Any,
) -> Any:
    """A `Run` that forgets single images.

    Args:
        model: the pretrained model; it is copied.
        images: training data, (n, C, H, W) in [−1, 1] or an `ImageFolder`.
        forget: images (C, H, W).
        method: "leave-out" where `at_most` is given, else "primal-dual" or the name of a baseline
            that takes data.
        at_most: shares of noised copies that may come back; see `Returns`. The student is trained
            until they hold.
        thresholds, relative: instead, of `ForwardKL`: nats, or multiples of the pretrained
            KL(δ_x‖q). What is computed of them depends on the schedule's last log-SNR.
        returns: with `at_most`, how a reading is taken: noise_to, within, draws and steps.
        init: the student to start from, such as an earlier run's; by default the model.
        options: of `finetune` and the method. Dual updates come by default after every step, with
            η = 0.004 divided by the thresholds.

    Raises:
        ValueError: nothing to forget, or a picture twice; nothing besides; an unknown method; a
            method that does not go with what is asked for.
    """
    name = method or ("primal-dual" if at_most is None else "leave-out")
    if name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    shares, nats = at_most is not None, not (thresholds is None and relative is None)
    if shares != (name == "leave-out") or shares == nats:
        raise ValueError(
            "at_most= is of method 'leave-out', and thresholds= or relative= of the others; got "
            f"method={name!r} with at_most={at_most!r}, thresholds={thresholds!r} and "
            f"relative={relative!r}"
        )
    if not forget:
        raise ValueError("forget is empty: name at least one image to forget")
    for i, x in enumerate(forget):
        model.require_samples(f"forget[{i}]", x[None])
    known = digests(torch.stack([x.cpu() for x in forget]))
    for i, one in enumerate(known):
        if known.index(one) < i:
            raise ValueError(f"forget[{i}] is the same picture as forget[{known.index(one)}]")
    apart_from(images, [x[None] for x in forget])  # refused where nothing is left
    make, start = METHODS[name], model if init is None else init
    if shares:
        asked = Returns(model, forget, at_most, **vars(returns or Return()))
        return finetune(asked, start, method=make, **{"data": images} | options)
    points = [PointMass(x, model.schedule, device=model.device) for x in forget]
    problem = ForwardKL(model, points, thresholds, relative=relative)
    if make.uses_retained:
        options = {"data": images} | options
    if make.adapts:
        # A multiplier is of the order of its image's share of the data, and an image costs hundreds
        # of nats: a step by the relative violation.
        step = SHARE / max(1.0, float(problem.thresholds.mean()))
        options = {"dual_lr": step, "primal_steps": 1} | options
    return finetune(problem, start, method=make, evaluate=False, **options)


def strangers(images: ImageFolder, forget: Sequence[Tensor], paths: Sequence[str]) -> list[str]:
    """The paths of those pictures to forget that are not among the images."""
    known, own = set(images.digests), digests(torch.stack(list(forget)))
    return [path for path, one in zip(paths, own, strict=True) if one not in known]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m unlearnlab.data_unlearning",
        description="Unlearn images from a DDPM in diffusers' format.",
        epilog="Reads folders of diffusers with a UNet2DModel that predicts noise, v or the image; "
        "pictures as PNG, JPEG, JPEG 2000, WebP, BMP, GIF, TIFF, PPM, TGA or QOI; TorchScript. "
        "Writes the student as such a folder (student/), report.json, reconstructions.png and a "
        "checkpoint.",
    )
    add = parser.add_argument
    add("--model", required=True, help="diffusers folder or hub id, e.g. google/ddpm-celebahq-256")
    add("--init", help="DDPM to start from in the place of --model: a folder, or an earlier run's")
    add("--variant", help="of its weights, such as fp16; the only one there is needs no name")
    add("--label", type=int, help="the class that the images are of, where the model knows classes")
    add(
        "--null-class",
        action=argparse.BooleanOptionalAction,
        help="whether the last class means 'no label'; what this package saved says so itself",
    )
    add("--images", required=True, help="folder of training images")
    add("--forget", required=True, nargs="+", help="image files to forget")
    add("--out", required=True, help="folder for the checkpoint, student and report")
    add("--method", choices=sorted(METHODS), help="leave-out with --at-most, else primal-dual")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--at-most", type=float, help="share of noised copies that may come back")
    asked.add_argument("--threshold", type=float, help="nats that an image must cost, KL(δ_x‖p)")
    asked.add_argument("--relative", type=float, help="the same as a multiple of the pretrained KL")
    add("--steps", type=int, help="primal steps: 200; with --at-most 1500, or until it holds")
    add("--batch", type=int, default=16, help="images of each kind in a step of a process")
    add("--accumulation", type=int, default=1, help="batches to a step")
    add("--lr", type=float, default=1e-4)
    add("--dual-lr", type=float, help="by default 0.004 divided by the thresholds")
    add("--seed", type=int, default=0)
    add("--noise-to", type=int, help="timestep from which images may come back: two fifths of all")
    add("--within", type=float, default=0.25, help="root mean square up to which one came back")
    add("--samples", type=int, default=0, help="images for the kernel distance; 0 for none")
    add("--descriptor", help="TorchScript descriptor, such as SSCD's, from images in [−1, 1]")
    add("--background", default="white", help="colour behind transparent parts, with --fit")
    add("--fit", action="store_true", help="resize and convert images that differ")
    add("--skip-unreadable", action="store_true", help="leave out images that cannot be read")
    add("--resume", action="store_true", help="continue the run found in --out")
    given = parser.parse_args(arguments)
    for name in PATHS:
        if getattr(given, name) is not None:
            setattr(given, name, expanded(f"--{name}", getattr(given, name)))
    given.forget = [expanded("--forget", one) for one in given.forget]
    given.out = Path(given.out)
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: what cannot work is said before training, and the student saved first."""
    from accelerate import Accelerator

    given = _arguments(arguments)
    warn_if_alone()
    accelerator = Accelerator()
    if accelerator.is_main_process:
        _require_apart(given.out, given.images)
    speaks = accelerator.is_main_process
    with as_command(speaks=speaks), held(given.out if speaks else None):
        _unlearn(given, accelerator)


def _unlearn(given: argparse.Namespace, accelerator: Any) -> None:
    """The whole run, in a folder that nobody else writes to."""
    returns = Return(noise_to=given.noise_to, within=given.within)
    reads = {"label": given.label, "null_class": given.null_class, "device": accelerator.device}
    model = DDPM.from_pretrained(given.model, variant=given.variant, **reads)
    init = None if given.init is None else DDPM.from_pretrained(given.init, **reads)
    level = _level(returns, model)
    images = ImageFolder(
        given.images,
        model.shape,
        fit=given.fit,
        skip_unreadable=given.skip_unreadable,
        background=given.background,
        without=[given.out],
    )
    for path in images.skipped:
        accelerator.print(f"left out, unreadable: {path}")
    read = partial(read_image, shape=model.shape, fit=given.fit, background=given.background)
    forget = [read(path) for path in given.forget]
    for one in strangers(images, forget, given.forget):
        accelerator.print(
            f"{one} is none of the pictures in --images, pixel by pixel: where it lies there "
            "encoded otherwise, that copy is retained"
        )
    descriptor = _descriptor(given.descriptor, model)
    if descriptor is not None:
        metrics.features(torch.stack(forget), descriptor)  # fails now, if it does
    kept = apart_from(images, [x[None] for x in forget])
    require_samples(given.samples, len(kept), descriptor)
    run = _trained(given, model, init, images, forget, accelerator, returns)
    if not accelerator.is_main_process:
        return
    run.student.save(given.out / STUDENT)
    try:
        numbers, sheet = report(
            run, images, forget, descriptor, t=level, samples=given.samples, seed=given.seed
        )
        content = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
        write_image(given.out / SHEET, sheet)
        write_whole(given.out / REPORT, content.encode())
    except Exception as error:
        raise RuntimeError(
            f"no report ({type(error).__name__}: {error}); the student is whole, in "
            f"{given.out / STUDENT}"
        ) from error
    print(table(numbers, [Path(path).name for path in given.forget]))
    print(f"student in {given.out / STUDENT}, numbers in {REPORT}, pictures in {SHEET} beside it")


def _trained(
    given: argparse.Namespace,
    model: DDPM,
    init: DDPM | None,
    images: ImageFolder,
    forget: Sequence[Tensor],
    accelerator: Any,
    returns: Return,
) -> Any:
    """The run that the arguments ask for."""
    options: dict[str, Any] = {} if given.dual_lr is None else {"dual_lr": given.dual_lr}
    return unlearn_images(
        model,
        images,
        forget,
        method=given.method,
        at_most=given.at_most,
        thresholds=given.threshold,
        relative=given.relative,
        returns=None if given.at_most is None else returns,
        init=init,
        steps=200 if given.steps is None and given.at_most is None else given.steps,
        batch=given.batch,
        accumulation=given.accumulation,
        lr=given.lr,
        seed=given.seed,
        folder=given.out,
        resume=given.resume,
        accelerator=accelerator,
        progress=True,
        **options,
    )


def _require_apart(out: Path, images: str) -> None:
    """Refuse an output folder that cannot be written, or that the training images lie in."""
    there, inner = out.resolve(), Path(images).resolve()
    if there == inner or there in inner.parents:
        raise ValueError(
            f"--out {str(out)!r} holds --images {images!r}: the run's own pictures would lie among "
            "those to train on; choose another folder"
        )
    require_writable("--out", out)


def _level(returns: Return, model: DDPM) -> int:
    """The timestep of the report and of what is asked, by the name that the command gives it."""
    try:
        return returns.level(model.schedule)
    except ValueError as error:
        raise ValueError(f"--{error}".replace("noise_to", "noise-to")) from None


def _descriptor(path: str | None, model: DDPM) -> nn.Module | None:
    """A user's descriptor; the digits' own for images of their shape; else none."""
    if path is not None:
        return metrics.load_descriptor(path, device=str(model.device))
    return load_classifier(device=model.device).descriptor() if model.shape == DIGIT else None


if __name__ == "__main__":
    main()
