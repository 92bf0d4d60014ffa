"""What a run on single images did: numbers for a file, a sheet to look at, a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import metrics
from .images import contact_sheet
from .problems import Evaluation
from .run_table import aligned, constraints_of
from .training.retained import apart_from
from .training.run import HELD_OUT

COPIES, SHOWN, OTHERS = 8, 4, 8  # noised copies of an image; of which shown; kept images looked at
SUBSET = 200  # images at most, of the subsets that a kernel distance is a mean over


def require_samples(samples: int, kept: int, descriptor: Any) -> None:
    """Refuse before training what a kernel distance could not be computed of after it.

    Args:
        samples: how many images it is to be of; 0 for none.
        kept: how many images there are besides those to forget.

    Raises:
        ValueError: too few of them, or no descriptor.
        ModuleNotFoundError: torchmetrics is not installed.
    """
    if samples == 0:
        return
    if not metrics.FEWEST <= samples <= kept:
        raise ValueError(
            f"--samples must be 0, or lie between {metrics.FEWEST} and {kept}, the images besides "
            f"those to forget; got {samples}"
        )
    if descriptor is None:
        raise ValueError(
            f"--samples {samples} needs --descriptor: the kernel distance is one of features"
        )
    try:
        import torchmetrics  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "--samples needs torchmetrics: install unlearnlab[metrics], or leave it out"
        ) from None


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
    """Numbers before and after, and a sheet: each image, what came back before, and after.

    Args:
        run: of `unlearn_images`.
        images: the training data; what is compared with is drawn from them at random, without those
            to forget.
        forget: images (C, H, W).
        descriptor: of similarities and of the kernel distance; None for neither.
        t: timestep that images are noised to.
        samples: images in the kernel distance; 0 for none.
        seed: of all that is drawn.
    """
    models = {"before": run.problem.retain, "after": run.student}
    rows, found = [], []
    for x in forget:
        row, entry = [x[None].cpu()], {}
        for name, model in models.items():
            back = metrics.reconstruct(model, x, t, n=COPIES, seed=seed)
            row.append(back[:SHOWN].cpu())
            entry[f"rms {name}"] = _rms(back - x.to(back))
            if descriptor is not None:
                alike = metrics.similarity(back, x[None].to(back), descriptor)
                entry[f"similarity {name}"] = float(alike.mean())
        rows.append(torch.cat(row))
        found.append(entry)
    judged = run.evaluation
    if judged is None:
        judged = Evaluation.of(0.0, run.problem.measured(run.student, seed=HELD_OUT))
    kept = apart_from(images, [x[None] for x in forget])
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))
    numbers: dict[str, Any] = {
        "status": run.status,
        "reason": run.reason,
        "multipliers": run.multipliers.tolist(),
        "thresholds": run.problem.thresholds.tolist(),
        **constraints_of(run.problem, judged),
        "forgotten": found,
        "moved on kept images": moved(models, kept[order[:OTHERS]], t, seed=seed),
    }
    if descriptor is not None and samples:
        real = kept[order[:samples]]
        for name, model in models.items():
            drawn = model.sample(len(real), seed=seed)
            distance = metrics.kernel_distance(
                drawn, real.to(drawn), descriptor, subset=min(SUBSET, len(real))
            )
            numbers[f"kernel distance {name}"] = float(distance)
    return numbers, contact_sheet(rows, scale=max(1, 64 // forget[0].shape[-1]))


def moved(models: dict[str, Any], images: Tensor, t: int, *, seed: int) -> float:
    """Root mean square between what comes back of the same noised images before and after."""
    gaps = []
    for x in images:
        before, after = (
            metrics.reconstruct(model, x.to(model.device), t, n=1, seed=seed)
            for model in models.values()
        )
        gaps.append(before - after)
    return _rms(torch.stack(gaps))


def table(numbers: dict[str, Any], names: Sequence[str]) -> str:
    """What was asked, whether it is met, before and after, and what else moved.

    Args:
        numbers: of `report`.
        names: of the forgotten images.
    """
    rows: list[tuple[Any, ...]] = [("", "", "before", "after", "met")]
    for i, name in enumerate(names):
        ends = (numbers[f"constraints {when}"][i] for when in ("before", "after"))
        rows.append((name, numbers["asked"][i], *ends, "yes" if numbers["met"][i] else "no"))
    for name, entry in zip(names, numbers["forgotten"], strict=True):
        ends = (entry[f"rms {when}"] for when in ("before", "after"))
        rows.append((name, "distance of what comes back", *ends, ""))
    moved_by = numbers["moved on kept images"]
    rows.append(("kept images", "what comes back moved by", 0.0, moved_by, ""))
    if "kernel distance after" in numbers:
        ends = (numbers[f"kernel distance {when}"] for when in ("before", "after"))
        rows.append(("all that is drawn", "kernel distance to kept images", *ends, ""))
    return "\n".join([*aligned(rows), f"{numbers['status']}: {numbers['reason']}"])


def _rms(gaps: Tensor) -> float:
    return float(gaps.square().mean().sqrt())
