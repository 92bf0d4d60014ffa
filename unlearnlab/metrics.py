"""Measures of image models: kernel distance, similarity to an image, shares of classes.

Every one takes any descriptor, a module from images (n, C, H, W) to feature vectors (n, F).
`ul.digits.load_classifier().descriptor()` serves the digits; a user's own, such as SSCD as
TorchScript, is loaded by `load_descriptor`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from .diffusion.precision import widest
from .diffusion.sampling import reconstruct as reconstruct
from .diffusion.schedule import whole
from .estimate import Estimate

AT_ONCE = 1024  # images in one call of a descriptor
FEWEST = 3  # images of a kernel distance: its error is of what is left without one
BLOCKS, LARGEST = 10, 2048  # of a jackknife, and images that it takes, at most
SLACK, FARTHEST = 1.5, 100.0  # how far draws may go without and with negative values


def load_descriptor(path: str | os.PathLike[str], *, device: str = "cpu") -> nn.Module:
    """A user's own TorchScript descriptor, such as SSCD's.

    TorchScript runs what it contains: load no file that you do not trust.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TorchScript.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path {str(path)!r} is no file: give a TorchScript file")
    try:
        with warnings.catch_warnings():  # torch means to replace TorchScript; SSCD comes as it
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(f"path {str(path)!r} is not TorchScript ({line})") from None


def features(images: Tensor, descriptor: nn.Module) -> Tensor:
    """(n, F) feature vectors, without gradients.

    Images have values in [−1, 1]; what models draw may go beyond a little.

    Raises:
        ValueError: another shape; values that are not finite, or of another range.
    """
    if images.ndim != 4 or not len(images) or not torch.isfinite(images).all():
        raise ValueError(
            f"images must be finite and of shape (n, C, H, W); got {tuple(images.shape)}"
        )
    low, high = float(images.min()), float(images.max())
    # Bytes are never negative; draws that exceed 1 have negative values, too.
    if not images.is_floating_point() or (low >= 0 and high > SLACK) or max(-low, high) > FARTHEST:
        raise ValueError(
            f"images must hold floating-point values in [−1, 1]; got {images.dtype} from "
            f"{low:.4g} to {high:.4g}: divide 0 to 255 by 127.5 and subtract 1"
        )
    own = next(descriptor.parameters(), images).device
    with torch.no_grad():
        return torch.cat([descriptor(part) for part in images.to(own).split(AT_ONCE)])


def kernel_distance(
    images: Tensor,
    reference: Tensor,
    descriptor: nn.Module,
    *,
    subset: int = 200,
    subsets: int = 50,
    seed: int = 0,
) -> Estimate:
    """Kernel inception distance: unbiased MMD² of features under (fᵀg/F + 1)³.

    torchmetrics' `KernelInceptionDistance`, the mean over random subsets, with our descriptor; not
    in nats. The subsets overlap, so their spread says little of the error: that is a jackknife's,
    of ten blocks of the images.

    Raises:
        ValueError: fewer images than a subset.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    whole("subset", subset, FEWEST)
    if min(len(images), len(reference)) < subset:
        raise ValueError(
            f"subset={subset} needs as many images; got {len(images)} and {len(reference)}"
        )
    with warnings.catch_warnings():  # that it keeps features: they are few
        warnings.simplefilter("ignore", UserWarning)
        distance = KernelInceptionDistance(
            feature=_Features(), subsets=subsets, subset_size=subset, normalize=False
        )
    own, others = (features(x, descriptor) for x in (images, reference))
    distance.update(others, real=True)
    distance.update(own, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, _ = distance.compute()
    return Estimate(float(mean), _jackknife(own, others, seed))


def _jackknife(own: Tensor, others: Tensor, seed: int) -> float:
    """Standard error of MMD², from what it is without each block: of many images, from a part."""
    from torchmetrics.image.kid import poly_mmd

    n = min(len(own), len(others))
    few = min(n, LARGEST)
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.randperm(len(x), generator=generator)[:few] for x in (own, others))
    f, g = (x[index.to(x.device)] for x, index in zip((own, others), chosen, strict=True))
    block = torch.arange(few, device=f.device) % min(BLOCKS, few)
    without = torch.stack([poly_mmd(f[block != k], g[block != k]) for k in block.unique()])
    variance = (len(without) - 1) * without.double().var(correction=0)
    return float((variance * few / n).sqrt())


class _Features(nn.Module):
    """Hands features through: they are computed beforehand, in parts."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows


def similarity(images: Tensor, reference: Tensor, descriptor: nn.Module) -> Tensor:
    """(n, r) cosine similarity of the features of each image to those of each reference."""
    found = [features(x, descriptor) for x in (images, reference)]
    own, others = (nn.functional.normalize(f.to(widest(f.device)), dim=1) for f in found)
    return own @ others.T


def class_shares(images: Tensor, classifier: nn.Module) -> Tensor:
    """(classes,) share of the images that the classifier puts in each class."""
    logits = features(images, classifier)
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(logits)
