"""What is left of data when the samples to forget are taken out of them, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

AT_ONCE = 256  # samples read together


def digests(samples: Tensor) -> list[bytes]:
    """One for each sample (n, *shape); equal where their numbers are, in float32."""
    rows = samples.detach().cpu().float() + 0.0  # −0 is 0
    return [sha256(row.contiguous().numpy().tobytes()).digest() for row in rows]


class Part:
    """Samples at some places of data, read when they are indexed.

    Args:
        data: (n, *shape), indexed by a tensor of places.
        places: (k,) of the samples that belong to it.
    """

    def __init__(self, data: Any, places: Tensor):
        self.data, self.places = data, places

    @property
    def shape(self) -> tuple[int, ...]:
        """(k, *shape)."""
        return (len(self.places), *self.data.shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Tensor) -> Any:
        """The samples at an index (b,)."""
        return self.data[self.places[index.to(self.places.device)]]


def apart_from(data: Any, forgotten: Iterable[Tensor]) -> Any:
    """Data without the samples that equal one to forget: a tensor stays a tensor.

    Args:
        data: (n, *shape), or what is indexed like it; where it has `digests`, one for each sample,
            they are not read.
        forgotten: samples (k, *shape) each.

    Raises:
        ValueError: nothing is left.
    """
    gone = {one for samples in forgotten for one in digests(samples)}
    kept = torch.tensor([i for i, one in enumerate(_digests(data)) if one not in gone])
    if not len(kept):
        raise ValueError(
            f"data ({len(data)} samples) holds nothing but what is to be forgotten: nothing is "
            "left to retain"
        )
    if len(kept) == len(data):
        return data
    if isinstance(data, Tensor):
        return data[kept.to(data.device)]
    return Part(data, kept)


def _digests(data: Any) -> Iterable[bytes]:
    known = getattr(data, "digests", None)
    if known is not None:
        yield from known
        return
    for places in torch.arange(len(data)).split(AT_ONCE):
        yield from digests(torch.as_tensor(data[places]))
