"""Picture files as a viewer shows them: upright, on a background, eight bits a channel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageOps

SIXTEEN = "I;16"  # how Pillow calls 16 bits a pixel; byte orders follow
TAG_BITS, TAG_PHOTOMETRIC = 258, 262  # of TIFF
ANIMATED = {"GIF", "PNG", "WEBP", "TIFF", "AVIF"}  # an MPO's second picture is a preview


class Shown(NamedTuple):
    """A picture as it is shown.

    Attributes:
        image: upright and opaque, of mode L or RGB.
        kind: what the file holds, in words: its mode, and whether it is transparent.
        several: whether it holds further frames or pages, which are left out.
    """

    image: Any
    kind: str
    several: bool


def background_colour(background: Any) -> tuple[int, int, int]:
    """A background as red, green and blue.

    Args:
        background: a colour that Pillow knows, such as "white" or "#808080", or three numbers
            between 0 and 255.

    Raises:
        ValueError: no such colour.
    """
    try:
        if isinstance(background, str):
            return ImageColor.getrgb(background)[:3]
        red, green, blue = (int(value) for value in background)
        if min(red, green, blue) < 0 or max(red, green, blue) > 255:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            "background must be a colour such as 'white' or '#808080', or three whole numbers "
            f"between 0 and 255; got {background!r}"
        ) from None
    return red, green, blue


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow's warnings name no file: what they tell of is shown as a viewer does, or refused.

    Entered where threads are started, not in them: filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def shown(path: str | os.PathLike[str], colour: tuple[int, int, int]) -> Shown:
    """The first frame of a picture file: rotated as its EXIF says, transparent parts on a colour.

    16 bits are scaled to 8; palettes, CMYK and other colour spaces become L or RGB. Colour profiles
    are not applied.

    Raises:
        OSError: it cannot be read, or is too large for Pillow; the message names it.
    """
    try:
        if not Path(path).is_file():  # a pipe would wait for ever
            there = os.path.lexists(path)
            raise ValueError("a broken link or no regular file" if there else "no such file")
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
            several = opened.format in ANIMATED and getattr(opened, "is_animated", False)
            depth = _depth(opened) if image.mode.startswith(SIXTEEN) else None
        kind = image.mode + (" with transparency" if image.has_transparency_data else "")
        image = _opaque(image if depth is None else _eight_bits(image, *depth), colour)
        return Shown(image, kind, several)
    except Exception as error:  # decoders meet damaged files with whatever they trip over
        said = str(error) or type(error).__name__
        raise OSError(f"image {str(path)!r} cannot be read ({said})") from None


def _depth(opened: Any) -> tuple[int, bool]:
    """The largest number that a pixel can hold, and whether it means black."""
    tags = getattr(opened, "tag_v2", {})
    return 2 ** tags.get(TAG_BITS, (16,))[0] - 1, tags.get(TAG_PHOTOMETRIC) == 0


def _eight_bits(image: Any, white: int, inverted: bool) -> Any:
    """Grey of up to 16 bits as L, or LA where one of its values is transparent."""
    values = np.asarray(image).astype(np.float64)
    scaled = (white - values if inverted else values) / white * 255
    grey = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
    hidden = image.info.get("transparency")
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def _opaque(image: Any, colour: tuple[int, int, int]) -> Any:
    """Mode L or RGB, transparent parts on a colour."""
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{image.mode}: 32 bits a pixel do not say what is white; save it with 8 or 16"
        )
    straight = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)  # colours multiplied by opacity
    if straight is not None:
        image = image.convert(straight)
    if not image.has_transparency_data:
        if image.mode in ("L", "RGB"):
            return image
        return image.convert("L" if image.mode == "1" else "RGB")
    layer = image.convert("RGBA")
    flat = Image.new("RGBA", layer.size, (*colour, 255))
    flat.alpha_composite(layer)
    return flat.convert("RGB")
