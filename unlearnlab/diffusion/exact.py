"""Models whose noise prediction is known: noised Gaussian mixtures, and single points."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from . import sampling
from .model import DiffusionModel
from .precision import widest
from .schedule import Schedule

if TYPE_CHECKING:
    from ..density.mixture import GaussianMixture


class DiffusedMixture(DiffusionModel):
    """A Gaussian mixture under noising: its noise prediction and its density are exact.

    At time t the mixture is Σ_j π_j N(α_tμ_j, α_t²Σ_j + σ_t²I), so ε̂ = −σ_t ∇log p_t is a
    responsibility-weighted sum. It is computed in float64, where the device has it, and returned in
    `dtype`.

    Args:
        mixture: the distribution of the clean samples.
        schedule: by default DDPM's.

    Example:
        >>> import torch, unlearnlab as ul
        >>> exact = ul.GaussianMixture([1], [0], [1]).diffused(ul.Schedule())
        >>> x, t = torch.tensor([[2.0]]), torch.tensor([500])
        >>> bool(exact.noise_prediction(x, t) == exact.schedule.noise[500].float() * x)
        True
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        schedule: Schedule | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ):
        super().__init__((mixture.dim,), schedule or Schedule(), dtype, device)
        self.mixture = mixture
        variances, axes = np.linalg.eigh(mixture.covariances)

        def held(array: Any) -> Tensor:
            return torch.tensor(array, dtype=widest(self.device), device=self.device)

        self._means, self._axes, self._variances = map(held, (mixture.means, axes, variances))
        self._log_weights = held(mixture.weights).log()
        self._straight = bool((axes == np.eye(mixture.dim)).all())  # nothing to turn

    def told(self) -> dict[str, Any]:
        """The mixture; the rest is made of it."""
        return {"mixture": self.mixture, "schedule": self.schedule, "dtype": self.dtype}

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """−σ_t ∇log p_t(x_t), exactly."""
        x = self._rows("x_t", x_t)
        precisions, logs = self._at_times
        alpha, sigma = self.schedule.at(t, x[:, None])  # (B, 1, 1)
        offsets = self._turned(x[:, None] - alpha * self._means)
        pulls = offsets * precisions[t]
        shares = torch.softmax(logs[t] - 0.5 * (offsets * pulls).sum(-1), dim=1)
        pull = self._summed(shares[:, :, None] * pulls)
        return (sigma[:, 0] * pull).to(self.dtype)

    @cached_property
    def _at_times(self) -> tuple[Tensor, Tensor]:
        """(T, k, d) 1/variances along the axes, and (T, k) log π_j − ½ log |α²Σ_j + σ²I|."""
        alpha, sigma = self.schedule.at(
            torch.arange(len(self.schedule), device=self.device), self._means[None]
        )
        variances = alpha**2 * self._variances + sigma**2
        return 1 / variances, self._log_weights - 0.5 * variances.log().sum(-1)

    def _turned(self, offsets: Tensor) -> Tensor:
        """(B, k, d) along the axes of each component."""
        return offsets if self._straight else torch.einsum("bki,kij->bkj", offsets, self._axes)

    def _summed(self, along: Tensor) -> Tensor:
        """(B, d) over components, turned back from their axes."""
        return along.sum(1) if self._straight else torch.einsum("bkj,kij->bi", along, self._axes)

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) log p(x) in float64, exactly."""
        along = self._turned(self._rows("x", x)[:, None] - self._means)
        logs = (along**2 / self._variances + (2 * torch.pi * self._variances).log()).sum(-1)
        return torch.logsumexp(self._log_weights - 0.5 * logs, dim=1)

    def _rows(self, name: str, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.dim:  # else it would be broadcast
            raise ValueError(f"{name} must have shape (n, {self.dim}); got {tuple(x.shape)}")
        return x.to(self.device, widest(self.device))

    def exact_draws(self, n: int, *, seed: int, quasi: bool) -> Tensor:
        """Draws of the mixture itself."""
        if quasi:
            draws = self._quasi_draws(n, seed)
        else:
            draws = torch.from_numpy(self.mixture.sample(n, seed=seed))
        return draws.to(self.device, self.dtype)

    def _quasi_draws(self, n: int, seed: int) -> Tensor:
        """One quasi-random number picks the component, the others the point in it."""
        z = sampling.quasi_normal(n, self.dim + 1, seed).to(self._means)
        edges = torch.cumsum(self._log_weights.exp(), 0)[:-1]
        j = torch.searchsorted(edges, torch.special.ndtr(z[:, 0].contiguous()))
        along = z[:, 1:] * self._variances[j].sqrt()
        return self._means[j] + torch.einsum("nij,nj->ni", self._axes[j], along)

    def __repr__(self) -> str:
        return f"DiffusedMixture({self.mixture!r})"
