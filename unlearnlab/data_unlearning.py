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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import baselines, metrics
from .diffusion import DDPM, PointMass
from .digits import load_classifier
from .images import ImageFolder, contact_sheet, read_image, write_image
from .problems import ForwardKL
from .training import finetune
from .training.denoising import ForwardKLObjective
from .training.returns import LeaveOut, Return, Returns

METHODS: dict[str, Any] = {
    "leave-out": LeaveOut,
    "primal-dual": ForwardKLObjective,
    "naive": baselines.Naive,
    "neggrad": baselines.NegGrad,
    "siss": baselines.SISS,
    "erasediff": baselines.EraseDiff,
    "vdu": baselines.VDU,
}
DIGIT = (1, 8, 8)
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
        options: of `finetune` and the method. Dual updates come by default after every step, with
            η = 0.004 divided by the thresholds.

    Raises:
        ValueError: nothing to forget; nothing besides; an unknown method; a method that does not
            go with what is asked for.
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
    if len(images) <= len(forget):
        raise ValueError(
            f"images holds {len(images)} and forget {len(forget)}: nothing is left to retain"
        )
    make = METHODS[name]
    if shares:
        asked = Returns(model, forget, at_most, **vars(returns or Return()))
        return finetune(asked, model, method=make, **{"data": images} | options)
    points = [PointMass(x, model.schedule, device=model.device) for x in forget]
    problem = ForwardKL(model, points, thresholds, relative=relative)
    if make.uses_retained:
        options = {"data": images} | options
    if make.adapts:
        # A multiplier is of the order of its image's share of the data, and an image costs hundreds
        # of nats: a step by the relative violation.
        step = SHARE / max(1.0, float(problem.thresholds.mean()))
        options = {"dual_lr": step, "primal_steps": 1} | options
    return finetune(problem, model, method=make, evaluate=False, **options)


def report(
    run: Any,
    images: Any,
    forget: Sequence[Tensor],
    descriptor: nn.Module | None,
    *,
    t: int,
    samples: int,
    seed: int = 0,
) -> tuple[dict[str, Any], Tensor]:
    """Numbers before and after, and a sheet: each image, what came back before, and after."""
    rows, found = [], []
    for x in forget:
        row, entry = [x[None].cpu()], {}
        for name, model in (("before", run.problem.retain), ("after", run.student)):
            back = metrics.reconstruct(model, x, t, n=8, seed=seed)
            row.append(back[:4].cpu())
            entry[f"rms {name}"] = float((back - x.to(back)).square().mean().sqrt())
            if descriptor is not None:
                alike = metrics.similarity(back, x[None].to(back), descriptor)
                entry[f"similarity {name}"] = float(alike.mean())
        rows.append(torch.cat(row))
        found.append(entry)
    numbers: dict[str, Any] = {
        "status": run.status,
        "reason": run.reason,
        "multipliers": run.multipliers.tolist(),
        "thresholds": run.problem.thresholds.tolist(),
        "forgotten": found,
    }
    if descriptor is not None and samples:
        index = torch.arange(min(samples, len(images)))
        real = images[index].to(forget[0])
        for name, model in (("before", run.problem.retain), ("after", run.student)):
            drawn = model.sample(len(index), seed=seed)
            subset = min(200, len(index))
            distance = metrics.kernel_distance(drawn, real.to(drawn), descriptor, subset=subset)
            numbers[f"kernel distance {name}"] = float(distance)
    return numbers, contact_sheet(rows, scale=max(1, 64 // forget[0].shape[-1]))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m unlearnlab.data_unlearning",
        description="Unlearn images from a DDPM in diffusers' format.",
    )
    add = parser.add_argument
    add("--model", required=True, help="diffusers folder or hub id, e.g. google/ddpm-celebahq-256")
    add("--images", required=True, help="folder of training images")
    add("--forget", required=True, nargs="+", help="image files to forget")
    add("--out", required=True, type=Path, help="folder for the checkpoint, student and report")
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
    add("--noise-to", type=int, default=400, help="timestep from which images may come back")
    add("--within", type=float, default=0.25, help="root mean square up to which one came back")
    add("--samples", type=int, default=0, help="images for the kernel distance; 0 for none")
    add("--descriptor", help="TorchScript descriptor, such as SSCD's, from images in [−1, 1]")
    add("--fit", action="store_true", help="resize and convert images that differ")
    add("--skip-unreadable", action="store_true", help="leave out images that cannot be read")
    add("--resume", action="store_true", help="continue the run found in --out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from accelerate import Accelerator

    given = _arguments(arguments)
    accelerator = Accelerator()
    model = DDPM.from_pretrained(given.model, device=accelerator.device)
    if not 0 < given.noise_to < len(model.schedule):  # said hours before it is used
        raise ValueError(
            f"--noise-to must lie between 1 and {len(model.schedule) - 1}, the model's timesteps; "
            f"got {given.noise_to}"
        )
    images = ImageFolder(
        given.images, model.shape, fit=given.fit, skip_unreadable=given.skip_unreadable
    )
    for path in images.skipped:
        accelerator.print(f"left out, unreadable: {path}")
    forget = [read_image(path, model.shape, fit=given.fit) for path in given.forget]
    descriptor = _descriptor(given.descriptor, model)
    options: dict[str, Any] = {}
    if given.dual_lr is not None:
        options["dual_lr"] = given.dual_lr
    if given.at_most is not None:
        options["returns"] = Return(noise_to=given.noise_to, within=given.within)
    run = unlearn_images(
        model,
        images,
        forget,
        method=given.method,
        at_most=given.at_most,
        thresholds=given.threshold,
        relative=given.relative,
        steps=200 if given.steps is None and given.at_most is None else given.steps,
        batch=given.batch,
        accumulation=given.accumulation,
        lr=given.lr,
        seed=given.seed,
        folder=given.out,
        resume=given.resume,
        accelerator=accelerator,
        **options,
    )
    if not accelerator.is_main_process:
        return
    numbers, sheet = report(
        run, images, forget, descriptor, t=given.noise_to, samples=given.samples, seed=given.seed
    )
    run.student.save(given.out / "student")
    write_image(given.out / "reconstructions.png", sheet)
    (given.out / "report.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers, indent=1))


def _descriptor(path: str | None, model: DDPM) -> nn.Module | None:
    """A user's descriptor; the digits' own for images of their shape; else none."""
    if path is not None:
        return metrics.load_descriptor(path, device=str(model.device))
    return load_classifier(device=model.device).descriptor() if model.shape == DIGIT else None


if __name__ == "__main__":
    main()
