"""What lesson 12 compares losses with: gradients on the same draws, and pulls.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..baselines.divergences import DIVERGENCES, quadrature
from ..training.draws import Draws

FAR = 8.0  # standard deviations: the largest distance of two reverse steps that is looked at


class Gradients:
    """Gradients of losses in all parameters of one student, each as one long vector.

    Args:
        student: a model with parameters; it is not changed.
    """

    def __init__(self, student: Any):
        self.student = student
        self.parameters = list(student.parameters())

    def __call__(self, loss: Any, multipliers: Any = None, draw: int = 0) -> Tensor:
        """(parameters,) the gradient of an objective, on the random draws of this number.

        Args:
            loss: an objective of one problem.
            multipliers: one for each thing to forget; 0 by default.
            draw: which draws: two losses see the same ones at the same number.
        """
        table = torch.tensor([multipliers or [0.0] * len(loss.forget)])
        loss.attach(self.student)
        with torch.no_grad():
            loss.begin(self.student, table, Draws([0], draw, part=1, like=table))
        (value,) = loss.losses(self.student, table, Draws([0], draw, part=2, like=table))
        parts = torch.autograd.grad(
            value.sum(), self.parameters, allow_unused=True, materialize_grads=True
        )
        return torch.cat([part.flatten() for part in parts])

    def change_of(self, images: Tensor, length: float = 0.3) -> Callable[[Tensor], float]:
        """A function of a direction: the mean squared change of the noise prediction along it.

        Args:
            images: (n, *shape), noised at levels from 20 to 900.
            length: of the step in parameters.
        """
        generator = torch.Generator().manual_seed(0)
        t = torch.linspace(20, 900, len(images)).long()
        noise = torch.randn(images.shape, generator=generator)
        x_t = self.student.schedule.noised(images, t, noise)

        def change(direction: Tensor) -> float:
            moved = self.student.for_training()
            step = -length * direction / direction.norm()
            with torch.no_grad():
                before = self.student(x_t, t)
                sizes = [p.numel() for p in moved.parameters()]
                for p, part in zip(moved.parameters(), step.split(sizes), strict=True):
                    p += part.reshape(p.shape)
                return float((moved(x_t, t) - before).square().mean())

        return change

    def steps_apart(self, problem: Any, anchor: Any, n: int = 256) -> Any:
        """(n,) distances in standard deviations of random reverse steps of student and anchor."""
        from ..baselines import FDivergence

        loss = FDivergence([problem], n, anchor=anchor)
        points = loss.points(Draws([0], 0, like=torch.zeros(1)))
        with torch.no_grad():
            own = self.student(points.x_t, points.t)
            return loss.delta(own, loss.aim(points), points)[0].sqrt().numpy()


def apart(one: Tensor, other: Tensor) -> float:
    """The length of the difference of two vectors, over the length of the first."""
    return float((one - other).norm() / one.norm())


def pull(name: str, at: Any) -> Any:
    """Slope of an f-divergence of two Gaussian steps in their distance d, over f''(1).

    By central differences.

    Args:
        name: of `DIVERGENCES`.
        at: d, in standard deviations.
    """
    one, h = DIVERGENCES[name], 1e-4 * at
    values = [quadrature(one, (at + sign * h) ** 2) for sign in (1, -1)]
    return (values[0] - values[1]) / (2 * h) / one.curvature


def pulls_and_distances(looks: Mapping[str, str], distances: Mapping[str, Any], alt: str) -> None:
    """Show the pull of each divergence over the distance, above boxes of real distances.

    Args:
        looks: name of a divergence to what it is called.
        distances: of each anchor's steps. Boxes hold the middle half; whiskers end at 5 and 95 %.
        alt: what the picture shows, for those who do not see it.
    """
    import matplotlib.pyplot as plt

    from .. import plot

    d = np.linspace(0.01, FAR, 800)
    _, axes = plt.subplots(2, 1, figsize=(6.6, 5), sharex=True, height_ratios=(2, 1))
    for (name, label), line in zip(looks.items(), ("-", "--", "-.", ":"), strict=True):
        axes[0].semilogy(d, pull(name, d), line, label=label)
    axes[0].set(ylabel="pull |dD/dd| / f''(1)", ylim=(1e-3, 1e3), xlim=(0, FAR))
    axes[0].legend()
    boxes: dict[str, Any] = {"orientation": "horizontal", "whis": (5, 95), "widths": 0.5}
    axes[1].boxplot(list(distances.values()), showfliers=False, **boxes)
    axes[1].set_yticks(range(1, 1 + len(distances)), list(distances))
    axes[1].set_xlabel("distance d of the means of two reverse steps (standard deviations)")
    axes[1].set_ylabel("anchor")
    plot.show(axes[0], alt=alt)
