"""What would fail after hours, or run out of memory, found before the first step."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion.sampling import chain
from ..training.settings import enough_memory
from .config import Config
from .fields import one_of
from .pipeline import TextToImage

COPIES = 5  # of each trained number: itself, its gradient, two means of Adam, its average


def require_tracker(name: str | None) -> None:
    """Refuse a tracker that is not known or not installed: accelerate would log to none, silently.

    Raises:
        ValueError: it names those that are there.
    """
    if name is None:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    one_of("tracker", name, LOGGER_TYPE_TO_CLASS)
    there = [str(getattr(one, "value", one)) for one in get_available_trackers()]
    if name not in there:
        raise ValueError(
            f"tracker {name!r} is not installed: pip install {name}, or leave it out; installed "
            f"are {', '.join(there) or 'none'}"
        )


def settle(config: Config, sd: TextToImage) -> None:
    """Check what the pipeline must agree with, and make it as lean as the configuration asks.

    Raises:
        ValueError: a prompt that is cut or has unknown words, or is another one to the text
            encoder, as in other letters; more steps than the schedule has.
    """
    named = {"retain": config.retain}
    for role in ("forget", "unrelated"):
        named |= {f"{role}[{i}]": text for i, text in enumerate(getattr(config, role))}
    states = {name: sd.states(text) for name, text in named.items()}
    for one, other in combinations(named, 2):
        if all(torch.equal(states[one][key], states[other][key]) for key in states[one]):
            raise ValueError(
                f"{other} {named[other]!r} is to the text encoder what {one} {named[one]!r} is: "
                "give one of them alone"
            )
    for text in (config.reference, config.anchor):
        sd.states(text or "")
    steps = {"sample_steps": config.sample_steps}
    if "sampling_steps" in config.options:
        steps["options: sampling_steps"] = config.options["sampling_steps"]
    for name, count in steps.items():
        try:
            chain(sd.schedule, "ddim", count)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if config.checkpointing:
        sd.family.net.enable_gradient_checkpointing()
    if config.attention_slicing:
        sd.pipeline.enable_attention_slicing()


def try_step(student: Any, retain: Any, rows: int) -> str:
    """Rows through the student and back, before anything is estimated: most of a step's memory.

    Returns:
        What a step takes, as a line to show: by what one row keeps for its gradient.

    Raises:
        MemoryError: it does not fit.
    """
    pupil = student.for_training()
    pupil.condition(retain)
    with enough_memory("a trial step"):
        kept, trained = kept_by(pupil, 1), held(pupil, trained=True)
        size = rows * kept + COPIES * trained
        line = (
            f"a step of {rows} rows takes about {_size(size)} beside the {_size(held(pupil))} of "
            f"the network's weights: {_size(kept)} for each row, {_size(COPIES * trained)} to train"
        )
        kept_by(pupil, rows)
    return line


def held(module: nn.Module, *, trained: bool = False) -> int:
    """Bytes of a module's parameters, or of those that are trained."""
    return sum(p.nbytes for p in module.parameters() if p.requires_grad or not trained)


def kept_by(pupil: Any, rows: int) -> int:
    """Bytes that a pass of so many rows through a student keeps until its gradient is taken."""
    known = {p.untyped_storage()._cdata for p in pupil.parameters()}  # as "meta" has no pointers
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    x = torch.zeros((rows, *pupil.shape), dtype=pupil.dtype, device=pupil.device)
    t = torch.zeros(rows, dtype=torch.long, device=x.device)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        out = pupil(x, t).sum()
    out.backward()
    return sum(sizes.values())


def _size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
