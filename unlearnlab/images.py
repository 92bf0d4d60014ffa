"""Images on disk as samples: checked when a folder is opened, read when they are needed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from .files import write_whole
from .identity import content, contents
from .pictures import Shown, background_colour, shown, without_warnings
from .training.retained import digests

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
SUFFIXES |= {".apng", ".dib", ".j2k", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".qoi", ".tga"}
# Refused where Pillow has no decoder; else they would be left out, and nothing said.
SUFFIXES |= {".avif", ".heic", ".heif", ".jxl", ".exr", ".svg", ".psd", ".dng", ".cr2", ".nef"}
MODES = {1: "L", 3: "RGB"}
READERS = 8  # threads
NAMED = 3  # files that a warning names


class ImageFolder:
    """The images below a folder, as samples (n, C, H, W) in [−1, 1] that are read when indexed.

    They are read as a viewer shows them: see `read_image`. Hidden files and folders, whose names
    begin with a dot, are none of them: other programs keep copies and previews there.

    Args:
        folder: searched with its subfolders, linked ones too, each once; files are taken in the
            order of their names.
        shape: (C, H, W) of the model; C is 1 (grey) or 3 (RGB).
        fit: resize and convert images that differ, by Lanczos resampling of the largest central
            square; else they are refused.
        skip_unreadable: leave out files that cannot be read, and say so; else they are refused.
        background: colour behind transparent parts, where `fit` makes them opaque.
        without: folders inside that are not searched, such as a run's own output.
        progress: a bar while the files are checked; None shows it on a terminal alone.

    Attributes:
        paths: of the images.
        skipped: of files left out.
        several: of files with further frames or pages, of which the first is taken.
        digests: of the images as they are read, to find those that are equal.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        OSError: a subfolder that cannot be searched, by name.
        ValueError: an image that cannot be read, or of another size or mode, by name; a background
            that is no colour.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        shape: Sequence[int],
        *,
        fit: bool = False,
        skip_unreadable: bool = False,
        background: Any = "white",
        without: Sequence[str | os.PathLike[str]] = (),
        progress: bool | None = None,
    ):
        root = Path(folder)
        if not root.is_dir():
            raise FileNotFoundError(f"folder {str(folder)!r} does not exist")
        self.sample_shape = _known_shape(shape)
        self.fit = fit
        self.background = background_colour(background)
        found = _pictures(root, {os.path.realpath(one) for one in without})
        if not found:
            raise FileNotFoundError(
                f"folder {str(folder)!r} holds no image ({', '.join(sorted(SUFFIXES))})"
            )
        self.paths: list[Path] = []
        self.skipped: list[Path] = []
        self.several: list[Path] = []
        self.digests: list[bytes] = []
        hidden = None if progress is None else not progress
        with without_warnings(), ThreadPoolExecutor(READERS) as pool:
            checks = pool.map(self._check, found)
            bar = tqdm(checks, "images", len(found), disable=hidden)
            for path, (reason, several, digest) in zip(found, bar, strict=True):
                if reason is None:
                    self.paths.append(path)
                    self.digests.append(digest)
                elif skip_unreadable:
                    self.skipped.append(path)
                else:
                    pool.shutdown(cancel_futures=True)
                    raise ValueError(f"{reason}; skip_unreadable=True leaves such files out")
                if several:
                    self.several.append(path)
        if not self.paths:
            raise ValueError(f"none of the {len(found)} images in {str(folder)!r} can be read")
        if self.several:
            _say_first_frame(self.several)

    def _check(self, path: Path) -> tuple[str | None, bool, bytes]:
        """Why a file cannot be read, None if it can; whether it holds further frames; its digest.

        Sizes and modes are always refused.
        """
        try:
            picture = shown(path, self.background)
        except OSError as error:
            return str(error), False, b""
        image = _numbers(path, picture, self.sample_shape, self.fit)
        return None, picture.several, digests(image[None])[0]

    def _read(self, path: Path) -> Tensor:
        picture = shown(path, self.background)
        return _numbers(path, picture, self.sample_shape, self.fit)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, C, H, W)."""
        return (len(self.paths), *self.sample_shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        """(k, C, H, W) the images at an index (k,)."""
        chosen = [self.paths[int(i)] for i in index]
        with without_warnings(), ThreadPoolExecutor(READERS) as pool:
            return torch.stack(list(pool.map(self._read, chosen)))

    def __repr__(self) -> str:
        size = "×".join(map(str, self.sample_shape))
        return f"ImageFolder({len(self)} images of {size})"


@contents.register
def _(value: ImageFolder) -> list[Any]:
    """The images as they are read, wherever they lie."""
    return [list(value.shape), content(b"".join(value.digests))]


def read_image(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    *,
    fit: bool = False,
    background: Any = "white",
) -> Tensor:
    """One image (C, H, W) in [−1, 1], float32, as a viewer shows it.

    Upright, as its EXIF data say; 16 bits a channel scaled to 8; of an animation the first
    frame, with a warning. With `fit`, transparent parts on the background, palettes and colour
    spaces as RGB or grey, and the largest central square resized. Colour profiles are not applied.

    Raises:
        OSError: it cannot be read; the message names it.
        ValueError: another size or mode, and fit=False.
    """
    with without_warnings():
        picture = shown(path, background_colour(background))
    image = _numbers(path, picture, _known_shape(shape), fit)
    if picture.several:
        _say_first_frame([Path(path)])
    return image


def _numbers(
    path: str | os.PathLike[str], picture: Shown, shape: tuple[int, int, int], fit: bool
) -> Tensor:
    """(C, H, W) in [−1, 1] of a picture that fits the model, or is made to."""
    channels, height, width = shape
    mode, image = MODES[channels], picture.image
    if not fit and (picture.kind != mode or image.size != (width, height)):
        raise ValueError(
            f"image {str(path)!r} is {picture.kind} of {image.width}×{image.height} pixels, the "
            f"model takes {mode} of {width}×{height}; fit=True resizes and converts"
        )
    image = image if image.mode == mode else image.convert(mode)
    if image.size != (width, height):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.float32).reshape(height, width, channels)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)


def _pictures(root: Path, without: set[str]) -> list[Path]:
    """Files with a picture's suffix below a folder, by name; each real folder is visited once."""

    def refuse(error: OSError) -> None:
        raise OSError(f"folder {error.filename!r} cannot be searched ({error.strerror})") from None

    found, visited = [], set(without)
    for folder, inner, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            inner.clear()
            continue
        visited.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [Path(folder, name) for name in names if _is_picture(name)]
    return sorted(found)


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _say_first_frame(paths: Sequence[Path]) -> None:
    names = ", ".join(map(str, paths[:NAMED])) + (", ..." if len(paths) > NAMED else "")
    warnings.warn(
        f"{len(paths)} file(s) hold several frames or pages; the first is taken ({names})",
        stacklevel=3,
    )


def write_image(path: str | os.PathLike[str], image: Tensor) -> None:
    """Write one image (C, H, W) in [−1, 1], as PNG, whole or not at all; C is 1 or 3.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if image.ndim != 3 or image.shape[0] not in MODES or not image.isfinite().all():
        raise ValueError(
            "image must be finite and of shape (1 or 3, height, width); got shape "
            f"{tuple(image.shape)}{'' if image.isfinite().all() else ' with NaN or infinity'}"
        )
    pixels = ((image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, "PNG")
    write_whole(path, file.getvalue())


def contact_sheet(rows: Sequence[Tensor], *, scale: int = 1) -> Tensor:
    """Rows of images (n, C, H, W) as one image, a pixel apart, enlarged `scale` times."""
    padded = [
        torch.nn.functional.pad(row, (1, 1, 1, 1), value=1.0).permute(1, 2, 0, 3).flatten(2)
        for row in rows
    ]
    sheet = torch.cat(padded, 1)
    return sheet.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def _known_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] not in MODES:
        raise ValueError(f"shape must be (1 or 3, height, width); got {tuple(shape)}")
    channels, height, width = shape
    return channels, height, width
