"""Log-ratios along paths: what two chains with the same noise say of the points that one passes.

Along x_T, ..., x_0 let R_t = Π q_i(x_s|x_t)/q(x_s|x_t) over the transitions down to t, Gaussians
about each model's own mean. For exact denoisers and small steps R_t = q_{i,t}(x_t)/q_t(x_t) along
any path, because both chains share the forward kernel, which cancels. For any networks R is a
martingale under q's own chain, E_q[R] = 1: each factor has the mean 1 given x_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .precision import widest
from .quadrature import RatioEstimate, predict_all, require_finite
from .sampling import Step, transition
from .schedule import Schedule, whole

if TYPE_CHECKING:
    from .model import DiffusionModel


def gains(step: Step, x_t: Tensor, x_s: Tensor, own: Tensor, others: Sequence[Tensor]) -> Tensor:
    """(n, m) log p_i(x_s|x_t)/p(x_s|x_t), from the noise predictions of p and of the p_i.

    The difference of two squares, turn/spread²·⟨x_s − (μ + μ_i)/2, ε̂_i − ε̂⟩: their own digits
    cancel where spreads are small.
    """

    def gain(other: Tensor) -> Tensor:
        middle = step.mean(x_t, (own + other) / 2)
        product = (x_s - middle).to(wide) * (other - own).to(wide)
        return step.turn / step.spread**2 * product.flatten(1).sum(1)

    wide = widest(x_t.device)
    return torch.stack([gain(other) for other in others], 1)


def log_ratios(
    x: Tensor,
    p: DiffusionModel,
    others: Sequence[DiffusionModel],
    *,
    steps: int = 200,
    paths: int = 4,
    seed: int = 0,
) -> RatioEstimate:
    """log p(x)/p_i(x) (n, m) along paths of noised data: x_t given x and x_s, from noise to x.

    Returns:
        means over the paths, their standard errors, and as truncation the error of the steps: the
        change from every second step of the same path to all of them.
    """
    x = x.to(p.device)
    whole("paths", paths, 2)
    whole("steps", steps, 4)
    generator = torch.Generator().manual_seed(seed)
    fine, coarse = [], []
    at_once = max(1, p.rows // paths)
    for some in x.split(at_once):
        clean = some.repeat_interleave(paths, 0)
        pair = _noised_paths(clean, p, others, steps, generator)
        fine.append(pair[0].reshape(len(some), paths, -1))
        coarse.append(pair[1].reshape(len(some), paths, -1))
    value, rough = -torch.cat(fine), -torch.cat(coarse)
    require_finite("log-ratios", value, p, *others)
    truncation = (value - rough).mean(1)
    return RatioEstimate(value.mean(1), value.std(1) / paths**0.5, truncation)


def _noised_paths(
    clean: Tensor,
    p: DiffusionModel,
    others: Sequence[DiffusionModel],
    steps: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """(n, m) log R at the clean end of one path for each sample, by all and by half of its steps.

    x_s is drawn given x_t and the clean sample: with the noise ε = (x_t − αx)/σ in place of a
    prediction, the transition of DDPM is that law.
    """

    def draw() -> Tensor:
        return torch.randn(clean.shape, generator=generator).to(clean)

    visited = p.schedule.nodes(steps + 1)[0].flip(0).tolist()
    twice = Twice(p.schedule, visited)
    times = torch.full((len(clean),), visited[0], device=clean.device)
    x_t = p.schedule.noised(clean, times, draw())
    for step in twice.steps:
        times = torch.full_like(times, step.t)
        alpha, sigma = p.schedule.at(times, clean)
        own, *rest = predict_all([p, *others], x_t, times)
        x_s = step.mean(x_t, (x_t - alpha * clean) / sigma) + step.spread * draw()
        twice.passed(x_t, x_s, own, rest)
        x_t = x_s
    return twice.fine, twice.coarse


class Twice:
    """log R along a path, by all of its steps and by every second one.

    Both read the same points and predictions: the coarse one costs nothing, and their difference
    is about the error of the steps.

    Attributes:
        steps: the transitions between the timesteps visited.
        fine, coarse: (n, m) log R so far.
    """

    def __init__(self, schedule: Schedule, visited: Sequence[int]):
        bars = [float(schedule.alphas_cumprod[t]) for t in visited]
        self.steps = [transition(*one) for one in zip(visited, bars, bars[1:], strict=False)]
        self.longer = [transition(*one) for one in zip(visited, bars, bars[2:], strict=False)]
        self.at = 0
        self.fine: Tensor = torch.zeros(())
        self.coarse: Tensor = torch.zeros(())
        self.held: Any = None  # where the last long step begins

    def passed(self, x_t: Tensor, x_s: Tensor, own: Tensor, others: Sequence[Tensor]) -> None:
        """Count the next transition."""
        k, self.at = self.at, self.at + 1
        gain = gains(self.steps[k], x_t, x_s, own, others)
        self.fine = self.fine + gain
        if k % 2:
            start, *predictions = self.held
            gain = gains(self.longer[k - 1], start, x_s, *predictions)
        elif self.at < len(self.steps):
            self.held = x_t, own, others
            return
        self.coarse = self.coarse + gain
