"""scikit-learn's handwritten digits as images of the size and range that the models take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

HELD_OUT = 5  # every fifth image of a class is held out
CLASSES = 10


@dataclass(frozen=True, eq=False)
class Digits:
    """Images (n, 1, 8, 8) in [−1, 1], float32, and their labels (n,), int64.

    Raises:
        ValueError: images of another shape or range, or labels that are missing or unknown.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        x, y = self.images, self.labels
        if x.shape[1:] != (1, 8, 8) or not x.isfinite().all():
            raise ValueError(f"images must be finite, (n, 1, 8, 8); got {tuple(x.shape)}")
        if len(x) and float(x.abs().max()) > 1:
            raise ValueError(
                f"images must lie in [−1, 1]; got {float(x.min()):.4g} to {float(x.max()):.4g}"
            )
        if y.shape != (len(x),) or y.is_floating_point():
            raise ValueError(
                f"labels must be {len(x)} whole numbers, one for each image; got {y.dtype} of "
                f"shape {tuple(y.shape)}"
            )
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < CLASSES:
            raise ValueError(
                f"labels must lie between 0 and 9; got {int(y.min())} to {int(y.max())}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, *classes: int) -> Digits:
        """Those of some classes."""
        return self.take(torch.isin(self.labels, torch.tensor(classes, device=self.labels.device)))

    def without(self, *classes: int) -> Digits:
        """Those of all other classes."""
        return self.take(~torch.isin(self.labels, torch.tensor(classes, device=self.labels.device)))

    def take(self, index: Tensor) -> Digits:
        """Those at an index or a mask."""
        return Digits(self.images[index], self.labels[index])


def data(*, held_out: bool = False) -> Digits:
    """1797 real digits of 8×8 pixels: 1442 to train on, or the 355 held out.

    Every fifth image of each class, in scikit-learn's order, is held out.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test
    part, as shipped with scikit-learn.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels.reshape(-1, 1, 8, 8) / 8 - 1).float()
    place = np.empty(len(labels), dtype=int)  # of an image among those of its class
    for c in range(CLASSES):
        place[labels == c] = np.arange((labels == c).sum())
    chosen = torch.from_numpy((place % HELD_OUT == HELD_OUT - 1) == held_out)
    return Digits(images, torch.from_numpy(labels).long()).take(chosen)
