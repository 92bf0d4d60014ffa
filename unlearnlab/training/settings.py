"""How to train: everything a run's identity holds besides its problem."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch

from .. import identity
from ..diffusion.schedule import require_seed, whole
from ..errors import real


@dataclass
class Settings:
    """How to train; everything here is part of a run's identity.

    Attributes:
        steps: primal steps.
        lr: largest learning rate of AdamW; linear warm-up, then cosine to a twentieth. The dual
            optimiser's follows the same course.
        primal_steps: primal steps for each dual step; None for the objective's own.
        accumulation: batches to each primal step.
        average: decay of the exponential moving average that the run returns; 0 for none.
        clip: largest gradient norm of each member; None for none.
        save_every: rounds between checkpoints.
        measure_every: rounds between measurements; each is followed by a dual step.
        seeds: one for each member.
    """

    steps: int
    lr: float
    seeds: list[int]
    primal_steps: int | None = None
    accumulation: int = 1
    average: float = 0.99
    warmup: float = 0.05
    clip: float | None = 1.0
    save_every: int = 20
    measure_every: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "accumulation", "save_every", "measure_every"):
            whole(name, getattr(self, name), 1)
        if self.primal_steps is not None:
            whole("primal_steps", self.primal_steps, 1)
        for name, low, high in (("average", 0.0, 1.0), ("warmup", 0.0, 1.0)):
            if not low <= real(name, getattr(self, name)) < high:
                raise ValueError(f"{name} must lie in [{low}, {high}); got {getattr(self, name)!r}")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if (value is not None or name == "lr") and not 0 < real(name, value) < float("inf"):
                raise ValueError(f"{name} must be positive and finite; got {value!r}")


def split_options(
    given: dict[str, Any], options: type[identity.Options] = identity.Options
) -> tuple[dict[str, Any], Any]:
    """`given` in two: what `Settings` takes, and an objective's `options`."""
    settings = {one.name for one in fields(Settings)} - {"steps", "lr", "seeds"}
    own = {one.name for one in fields(options)}
    for name in given:
        if name not in settings | own:
            known = ", ".join(sorted(settings | own))
            raise TypeError(f"unknown setting {name!r}; settings are {known}")
    first = {name: value for name, value in given.items() if name in settings}
    return first, options(**{name: value for name, value in given.items() if name in own})


def make_accelerator(device: torch.device) -> Any:
    """An `accelerate.Accelerator` on the device of the models."""
    from accelerate import Accelerator
    from accelerate.state import is_initialized

    # accelerate keeps the first device of a process, and refuses to be asked for the CPU later.
    return Accelerator(cpu=device.type == "cpu" and not is_initialized())


def warn_if_alone() -> None:
    """Say where `accelerate launch` was asked for several processes, and has started one.

    It does so without --multi_gpu: it tells the one where the others would meet, and not how many.
    """
    several = "MASTER_ADDR" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ
    if several and "WORLD_SIZE" not in os.environ:
        warnings.warn(
            "accelerate launch was asked for several processes and has started one, which takes "
            "all steps alone: add --multi_gpu, or launch by torchrun --nproc-per-node",
            stacklevel=2,
        )


@contextmanager
def enough_memory(where: str, kept: str = "") -> Iterator[None]:
    """Advice where memory runs out.

    Raises:
        MemoryError: it did.
    """
    from accelerate.utils.memory import should_reduce_batch_size

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
            raise
        raise MemoryError(
            f"out of memory in {where}: lower batch and raise accumulation by as much, use fewer "
            "sampling_steps, load the model in half precision, or call "
            f"enable_gradient_checkpointing() on its UNet{kept}"
        ) from error


def require_seeds(seed: int | Sequence[int], members: int) -> list[int]:
    """One seed for each member.

    Raises:
        ValueError: another number of them, or one that generators do not take.
    """
    several = isinstance(seed, Sequence) and not isinstance(seed, str)
    seeds: Any = seed if several else [seed] * members
    if len(seeds) != members:
        raise ValueError(f"seed must be one number or {members}, one per member; got {seed!r}")
    return [require_seed(one) for one in seeds]
