"""What lesson 11 starts from: three images that a model has memorised, and what comes back of them.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .. import digits, metrics

NOISE_TO = 400  # where a fifth of the signal's power is left
CLOSE = 0.25  # of a root mean square of pixels; from black to white it is 2


def planted_images() -> tuple[list[int], list[Tensor]]:
    """How often each of three digits was put into the training data, and the digits (1, 8, 8)."""
    images = digits.data().images
    return list(digits.PLANTED.values()), [images[place] for place in digits.PLANTED]


def returned(model: Any, images: Sequence[Tensor], n: int = 32) -> list[Tensor]:
    """(n, 1, 8, 8) for each image: it is noised to t = 400 and denoised, n times."""
    return [metrics.reconstruct(model, x, NOISE_TO, n=n) for x in images]


def distance(images: Tensor, x: Tensor) -> Tensor:
    """(n,) root mean squared difference of the pixels of images (n, 1, 8, 8) and x."""
    return (images - x).square().mean((1, 2, 3)).sqrt()


def share_back(backs: Sequence[Tensor], images: Sequence[Tensor]) -> list[float]:
    """Of each image, the share of what was returned that lies within 0.25 of it."""
    pairs = zip(backs, images, strict=True)
    return [float((distance(back, x) < CLOSE).float().mean()) for back, x in pairs]


def integrand(model: Any, x: Tensor, nodes: Tensor, n: int = 12) -> Any:
    """½E‖ε − ε̂(x_t)‖² of one image at each timestep, a mean over n noises: of KL(δ_x‖model).

    Args:
        model: of diffusion; x: (1, 8, 8).
        nodes: (k,) timesteps.
        n: noises at each.

    Returns:
        (k,) nats per nat of log-SNR.
    """
    import torch

    t = nodes.repeat_interleave(n)
    eps = torch.randn(len(t), *x.shape, generator=torch.Generator().manual_seed(0))
    x_t = model.schedule.noised(x.expand_as(eps), t, eps)
    error = (model.noise_prediction(x_t, t) - eps).square().flatten(1).sum(1)
    return 0.5 * error.reshape(-1, n).mean(1).numpy()


def came_back(
    backs: Mapping[str, Sequence[Tensor]], images: Sequence[Tensor], times: Sequence[int], alt: str
) -> None:
    """Show each image and seven returned ones, a panel a model; those close to it have a border.

    Args:
        backs: by name of a model, what `returned` gave.
        times: how often each image was planted.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt
    import torch
    from matplotlib.patches import Rectangle

    from .. import plot
    from ..images import contact_sheet

    _, axes = plt.subplots(1, len(backs), figsize=(10, 2.3), squeeze=False)
    for ax, (name, found) in zip(axes[0], backs.items(), strict=True):
        rows = [torch.cat([x[None], back[:7]]) for x, back in zip(images, found, strict=True)]
        ax.imshow(contact_sheet(rows)[0].numpy(), cmap="gray", vmin=-1, vmax=1)
        ax.set_xticks([4.5, 44.5], ["image", "7 draws; with a border: it came back"])
        ax.set_yticks([4.5, 14.5, 24.5], [f"{n}×" for n in times])
        ax.axvline(9.5, color="C1", lw=2)
        for row, (x, back) in enumerate(zip(images, found, strict=True)):
            for place in (distance(back[:7], x) < CLOSE).nonzero()[:, 0].tolist():
                corner = 10 * place + 9.7, 10 * row - 0.3
                ax.add_patch(Rectangle(corner, 9.6, 9.6, fill=False, color="C2", lw=1.5))
        ax.set(title=name, ylabel="planted")
    plot.show(axes[0, 0], alt=alt)
