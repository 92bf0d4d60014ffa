"""Networks read from folders as the libraries store them: whole, finite, and of one variant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WEIGHTS = re.compile(
    r"diffusion_pytorch_model(?:\.(?P<variant>[^.-]+))?(?:-\d+-of-\d+)?\.safetensors"
)
OFFLINE = (
    "give a folder that `DDPM.save` or diffusers' save_pretrained wrote; without a network, "
    "download the model where there is one (hf download NAME --local-dir FOLDER) and copy it here"
)
IMPLIED = "position_ids"  # 0, 1, 2, ...: stored by some, computed by all


def whole_network(kind: Any, folder: Path, variant: str | None, **options: Any) -> Any:
    """A network of a library's class: all that its folder stores, nothing made up beside it.

    The libraries give parts that are not stored random numbers, and leave out what has no place.

    Raises:
        ValueError: weights that are not safetensors, damaged, of another network or not finite.
    """
    how = {"use_safetensors": True, "output_loading_info": True} | options
    with reading(f"the network in {folder}"):
        network, told = kind.from_pretrained(folder, variant=variant, **how)
    for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        odd = [name for name in told.get(keys, ()) if not str(name).endswith(IMPLIED)]
        if odd:
            raise ValueError(
                f"the weights in {folder} are not those of its config.json: {len(odd)} "
                f"{keys.replace('_', ' ')}, such as {odd[0]!r}; copy both again"
            )
    for name, values in network.state_dict().items():
        if not values.isfinite().all():
            raise ValueError(f"the weights in {folder} are not finite, {name!r} for one")
    return network


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Errors that name what was read: libraries meet an odd folder with whatever they trip over.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        yield
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{what} cannot be read ({type(error).__name__}: {line}); copy it again from where it "
            "came from"
        ) from None


def variant_of(folder: Path, asked: str | None) -> str | None:
    """The variant of the weights to read; the plain ones where they are there."""
    safe = {
        found["variant"]
        for path in folder.glob("*.safetensors")
        if (found := WEIGHTS.fullmatch(path.name))
    }
    if not safe and (others := sorted(folder.glob("*.bin"))):
        raise ValueError(
            f"{others[0]} is not safetensors, and reading it could run what it contains; convert "
            "it where it can be trusted (save_pretrained(..., safe_serialization=True))"
        )
    if not safe:
        raise FileNotFoundError(f"no DDPM found at {str(folder)!r} (no safetensors); {OFFLINE}")
    if asked is None and None not in safe and len(safe) == 1:
        return safe.pop()
    if asked in safe:
        return asked
    names = ", ".join(sorted(repr(one) for one in safe))
    raise ValueError(f"variant must be one of those in {folder} ({names}); got {asked!r}")
