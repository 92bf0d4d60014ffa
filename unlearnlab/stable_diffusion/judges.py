"""Who tells what a picture shows, where a configuration keeps something: `keep` and `judge`.

A judge makes of decoded pictures (n, 3, H, W) in [−1, 1] and a name (n,) numbers, of which the mean
over pictures is held above a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..users import function_of, names_a_function
from .pipeline import TextToImage

Judge = Callable[[Tensor, str], Tensor]
TINY = "tiny"  # the classifier that ships, of the tiny pipeline's drawings
NOTHING = "a picture"  # what CLIP weighs a description against
AT_ONCE = 64  # pictures to CLIP


def shows(sd: TextToImage, judge: Judge, name: str) -> Callable[[Tensor], Tensor]:
    """What a constraint measures: f (n,) of latents (n, *shape)."""

    def function(latents: Tensor) -> Tensor:
        with torch.no_grad():
            found = judge(sd.decode(latents), name)
        if not isinstance(found, Tensor) or found.shape != latents.shape[:1]:
            size = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the judge must make one number of each picture; of {len(latents)} it made {size}"
            )
        return found.double()

    return function


def judge_of(told: str, device: torch.device) -> Judge:
    """A judge by its name: "tiny", file.py:function, module:function, or a CLIP by folder or id.

    Raises:
        FileNotFoundError: no such file, folder or model.
        ValueError: a file or module without this function.
    """
    if told == TINY:
        return _drawings(device)
    if names_a_function(told):
        return function_of("judge", told)
    return _clip(told, device)


def _drawings(device: torch.device) -> Judge:
    """Whether the classifier that ships finds an attribute."""
    from .classifier import load_classifier
    from .fields import one_of
    from .scenes import ATTRIBUTES

    tell = load_classifier(device=device)

    def judge(images: Tensor, name: str) -> Tensor:
        one_of("keep", name, ATTRIBUTES)
        return tell.attributes(images)[:, ATTRIBUTES.index(name)].double()

    return judge


def _clip(name: str, device: torch.device) -> Judge:
    """The probability that CLIP gives a description against "a picture"."""
    from transformers import CLIPModel, CLIPProcessor

    try:
        model: Any = CLIPModel.from_pretrained(name, use_safetensors=True)
        prepare = CLIPProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise FileNotFoundError(
            f"judge {name!r} is no CLIP folder or hub id ({line}), and not tiny or file.py:function"
        ) from None
    model.to(device).eval().requires_grad_(False)

    def judge(images: Tensor, described: str) -> Tensor:
        found = []
        for part in images.split(AT_ONCE):
            given = prepare(
                text=[described, NOTHING],
                images=list((part.float().cpu() + 1) / 2),
                do_rescale=False,  # they are in [0, 1] already
                return_tensors="pt",
                padding=True,
            ).to(device)
            found.append(model(**given).logits_per_image.softmax(1)[:, 0])
        return torch.cat(found)

    return judge
