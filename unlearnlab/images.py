"""Images on disk as samples: checked when a folder is opened, read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MODES = {1: "L", 3: "RGB"}
READERS = 8  # threads


class ImageFolder:
    """The images below a folder, as samples (n, C, H, W) in [−1, 1] that are read when indexed.

    Args:
        folder: searched with its subfolders; files are taken in the order of their names.
        shape: (C, H, W) of the model; C is 1 (grey) or 3 (RGB).
        fit: resize and convert images that differ, by Lanczos resampling of the largest central
            square; else they are refused.
        skip_unreadable: leave out files that cannot be read, and say so; else they are refused.
        progress: a bar while the files are checked; None shows it on a terminal alone.

    Attributes:
        paths: of the images.
        skipped: of files left out.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: an image that cannot be read, or of another size or mode, by name.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        shape: Sequence[int],
        *,
        fit: bool = False,
        skip_unreadable: bool = False,
        progress: bool | None = None,
    ):
        root = Path(folder)
        if not root.is_dir():
            raise FileNotFoundError(f"folder {str(folder)!r} does not exist")
        self.sample_shape = _known_shape(shape)
        self.fit = fit
        found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(
                f"folder {str(folder)!r} holds no image ({', '.join(SUFFIXES)})"
            )
        self.paths: list[Path] = []
        self.skipped: list[Path] = []
        hidden = None if progress is None else not progress
        with ThreadPoolExecutor(READERS) as pool:
            checks = pool.map(self._readable, found)
            for path, reason in zip(
                found, tqdm(checks, "images", len(found), disable=hidden), strict=True
            ):
                if reason is None:
                    self.paths.append(path)
                elif skip_unreadable:
                    self.skipped.append(path)
                else:
                    raise ValueError(f"{reason}; skip_unreadable=True leaves such files out")
        if not self.paths:
            raise ValueError(f"none of the {len(found)} images in {str(folder)!r} can be read")

    def _readable(self, path: Path) -> str | None:
        """Why a file cannot be read; None if it can. Sizes and modes are always refused."""
        try:
            read_image(path, self.sample_shape, fit=self.fit)
        except OSError as error:
            return str(error)
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, C, H, W)."""
        return (len(self.paths), *self.sample_shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        """(k, C, H, W) the images at an index (k,)."""
        chosen = [self.paths[int(i)] for i in index]
        with ThreadPoolExecutor(READERS) as pool:
            images = pool.map(lambda p: read_image(p, self.sample_shape, fit=self.fit), chosen)
            return torch.stack(list(images))

    def __repr__(self) -> str:
        size = "×".join(map(str, self.sample_shape))
        return f"ImageFolder({len(self)} images of {size})"


def read_image(path: str | os.PathLike[str], shape: Sequence[int], *, fit: bool = False) -> Tensor:
    """One image (C, H, W) in [−1, 1], float32.

    Raises:
        OSError: it cannot be read; the message names it.
        ValueError: another size or mode, and fit=False.
    """
    channels, height, width = _known_shape(shape)
    try:
        with Image.open(path) as opened:
            opened.load()
            image = opened.copy()
    except (OSError, SyntaxError) as error:
        raise OSError(f"image {str(path)!r} cannot be read ({error})") from None
    mode = MODES[channels]
    if fit:
        image = image.convert(mode)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        image = (
            square
            if square.size == (width, height)
            else square.resize((width, height), Image.Resampling.LANCZOS)
        )
    if image.mode != mode or image.size != (width, height):
        raise ValueError(
            f"image {str(path)!r} is {image.mode} of {image.width}×{image.height} pixels, the "
            f"model takes {mode} of {width}×{height}; fit=True resizes and converts"
        )
    pixels = np.asarray(image, dtype=np.float32).reshape(height, width, channels)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)


def write_image(path: str | os.PathLike[str], image: Tensor) -> None:
    """Write one image (C, H, W) in [−1, 1], as PNG."""
    pixels = ((image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path)


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
