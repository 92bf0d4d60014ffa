"""Finitely many samples as a distribution: data to forget, or one image."""

from __future__ import annotations

import torch
from torch import Tensor

from .model import DiffusionModel
from .precision import widest
from .schedule import Schedule


class DataSet(DiffusionModel):
    """Equal masses on finitely many samples x_1..x_n, such as the images of a class.

    Its noised law is a mixture of Gaussians, so its noise prediction is known exactly:
    ε̂ = (x_t − α_t x̄)/σ_t with x̄ = Σ_j w_j x_j and w_j ∝ exp(−‖x_t − α_t x_j‖²/(2σ_t²)).

    It has no density, so `solve` refuses it; `finetune` takes it as a constraint of `ForwardKL`.
    KL(q_i‖p) is infinite and grows like (d/2)γ with the largest log-SNR: what is computed is its
    part on the schedule's range, so set thresholds relative to the pretrained model's value.

    Args:
        samples: (n, *shape), finite.
        schedule: by default DDPM's.

    Raises:
        ValueError: no samples, or some that are not finite.
    """

    has_density = False

    def __init__(
        self,
        samples: Tensor,
        schedule: Schedule | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ):
        stack = torch.as_tensor(samples, dtype=dtype, device=device)
        if stack.ndim < 2 or not len(stack) or not torch.isfinite(stack).all():
            raise ValueError(
                "samples must be one or more finite samples, stacked along the first axis; got "
                f"shape {tuple(stack.shape)}"
                f"{'' if torch.isfinite(stack).all() else ' with NaN or infinity'}"
            )
        super().__init__(stack.shape[1:], schedule or Schedule(), dtype, device)
        self.samples = stack
        self.rows = max(1, (1 << 22) // len(stack))

    def __len__(self) -> int:
        return len(self.samples)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(x_t − α_t x̄)/σ_t."""
        alpha, sigma = self.schedule.at(t, x_t)
        if len(self) == 1:
            return (x_t - alpha * self.samples) / sigma
        wide = widest(self.device)
        points = self.samples.flatten(1).to(wide)
        signal, noise = alpha.flatten(1).to(wide), sigma.flatten(1).to(wide)
        # ‖x_t − αx_j‖² up to what is the same for all j.
        scores = signal * (x_t.flatten(1).to(wide) @ points.T)
        scores = scores - signal**2 / 2 * points.square().sum(1)
        mean = torch.softmax(scores / noise**2, 1) @ points
        return (x_t - alpha * mean.to(x_t).reshape(x_t.shape)) / sigma

    def stand_in(self, *, seed: int) -> Tensor:
        """The samples themselves."""
        return self.samples

    def exact_draws(self, n: int, *, seed: int, quasi: bool) -> Tensor:
        """n of the samples, each as often as the others to within one."""
        generator = torch.Generator().manual_seed(seed)
        rounds = -(-n // len(self))
        order = [torch.randperm(len(self), generator=generator) for _ in range(rounds)]
        return self.samples[torch.cat(order)[:n].to(self.device)]

    def __repr__(self) -> str:
        return f"DataSet({len(self)} samples of shape {self.shape})"


class PointMass(DataSet):
    """All mass on one point x, such as an image to forget: ε̂ = (x_t − α_tx)/σ_t.

    Args:
        x: the point, of the shape of one sample.
        schedule: by default DDPM's.
    """

    def __init__(
        self,
        x: Tensor,
        schedule: Schedule | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ):
        point = torch.as_tensor(x, dtype=dtype, device=device)
        if point.ndim == 0 or not torch.isfinite(point).all():
            raise ValueError(f"x must be one finite sample, with at least one axis; got {x!r:.60}")
        super().__init__(point[None], schedule, dtype=dtype, device=device)
        self.x = point

    def __repr__(self) -> str:
        return f"PointMass(shape={self.shape})"
