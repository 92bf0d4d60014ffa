"""A small score network for toy distributions: several may be trained side by side."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ..diffusion import sampling
from ..diffusion.model import DiffusionModel
from ..diffusion.schedule import Schedule

FREQUENCIES = 16  # of the log-SNR, in the time embedding
SMOOTHNESS = 0.3  # width, relative to the data's, below which densities count as smooth


class Linear(nn.Module):
    """K affine maps side by side: (K, B, inputs) → (K, B, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int, *, zero: bool = False):
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(inputs)
        one = torch.empty(inputs, outputs).uniform_(-bound, bound)
        self.weight = nn.Parameter(one.repeat(members, 1, 1))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x W + b for each member."""
        return torch.baddbmm(self.bias, x, self.weight)


class ScoreNetwork(DiffusionModel, nn.Module):
    """ε̂ of a residual MLP with a learned embedding of the log-SNR, for 1 to 16 dimensions.

    With v = α²s² + σ² for data of mean μ and spread s, ε̂ = σ(x_t − αμ)/v, exact for a Gaussian,
    plus c·F((x_t − αμ)/√v, γ): the network F corrects it. c = αs/√v·σ/√(σ² + κ²α²s²) falls with σ,
    because ε̂ = −σ·score does where the density is smooth.

    Args:
        dim: dimension of the samples, 1 to 16.
        schedule: by default DDPM's.
        width, blocks: of the MLP.
        members: networks trained side by side, on rows (K·B, dim); see `stack`.
        seed: of the first weights.

    Example:
        >>> import unlearnlab as ul
        >>> net = ul.ScoreNetwork(dim=2)
        >>> net.sample(5, steps=10).shape
        torch.Size([5, 2])
    """

    rows = 1 << 13  # what stays in a processor's cache

    def __init__(
        self,
        dim: int,
        schedule: Schedule | None = None,
        *,
        width: int = 64,
        blocks: int = 2,
        members: int = 1,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        if not isinstance(dim, int) or not 1 <= dim <= sampling.LARGEST_FLOW:
            raise ValueError(
                f"dim must be a whole number between 1 and {sampling.LARGEST_FLOW}; got {dim!r} "
                "(wrap a larger network)"
            )
        nn.Module.__init__(self)
        DiffusionModel.__init__(self, (dim,), schedule or Schedule(), torch.float32, device)
        self.members, self.width, self.blocks = members, width, blocks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.time = Linear(members, 2 * FREQUENCIES, width)
            self.read_in = Linear(members, dim, width)
            self.shift = Linear(members, width, blocks * width)
            self.inner = nn.ModuleList(Linear(members, width, width) for _ in range(blocks))
            self.outer = nn.ModuleList(Linear(members, width, width) for _ in range(blocks))
            self.read_out = Linear(members, width, dim, zero=True)
        self.mean: Tensor
        self.spread: Tensor
        self.features: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(()))
        gamma = self.schedule.log_snr[:, None] / 10  # about −1 to 1
        angles = gamma * torch.pi * 2.0 ** torch.linspace(-1, 4, FREQUENCIES)
        features = torch.cat([angles.sin(), angles.cos()], 1).float()
        self.register_buffer("features", features, persistent=False)
        self.to(self.device)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂ (K·B, dim); row r belongs to member r // B."""
        return self(x_t, t)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The same, as torch modules are called."""
        alpha, sigma = self.schedule.at(t, x_t)
        signal = alpha * self.spread
        variance = signal**2 + sigma**2
        centred = x_t - alpha * self.mean
        smooth = sigma / (sigma**2 + (SMOOTHNESS * signal) ** 2).sqrt()
        shifts = self.shifts(t.reshape(self.members, -1)).chunk(self.blocks, dim=-1)
        rows = (centred / variance.sqrt()).reshape(self.members, -1, self.dim)
        h = self.read_in(rows)
        for inner, outer, shift in zip(self.inner, self.outer, shifts, strict=True):
            h = h + outer(F.silu(inner(F.silu(h)) + shift))
        correction = self.read_out(F.silu(h)).reshape(x_t.shape)
        return sigma / variance * centred + signal / variance.sqrt() * smooth * correction

    def shifts(self, t: Tensor) -> Tensor:
        """(K, B, blocks·width) what the timesteps t (K, B) add in each block."""
        if t.shape[1] <= len(self.features):
            features = self.features[t]
            return self.shift(F.silu(self.time(features)))
        every = self.features.expand(self.members, *self.features.shape)
        table = self.shift(F.silu(self.time(every)))
        return torch.stack([rows[index] for rows, index in zip(table, t, strict=True)])

    def fit(
        self,
        samples: Any,
        *,
        steps: int = 1500,
        batch: int = 512,
        lr: float = 3e-3,
        seed: int = 0,
        progress: bool | None = None,
        **settings: Any,
    ) -> ScoreNetwork:
        """Train on samples by denoising score matching, ½∫E‖ε − ε̂‖²dγ; returns this network.

        AdamW with warm-up and cosine decay, and an exponential moving average of the weights. One
        that is interrupted, or diverges, leaves the network as it was.

        Args:
            samples: (n, dim) array or tensor, on any device; a tenth is held out.
            steps, batch, lr, seed: as in `finetune`, whose training loop this is.
            progress: show a bar; None shows it on a terminal alone.
            settings: of `settings.Settings`, such as average= or clip=.

        Raises:
            ValueError: samples of another dimension, too few, or not finite; a loss that diverges.
        """
        from .loop import unconstrained
        from .objective import Denoising  # which needs models
        from .settings import Settings, split_options

        given = samples.detach() if isinstance(samples, Tensor) else np.asarray(samples)
        x = torch.as_tensor(given, dtype=self.dtype).to(self.device)
        if x.ndim != 2 or x.shape[1] != self.dim or len(x) < 20 or not torch.isfinite(x).all():
            raise ValueError(
                f"samples must be 20 or more finite rows of {self.dim} numbers; got shape "
                f"{tuple(x.shape)}"
            )
        known, _ = split_options(settings)
        options = Settings(steps, lr, [seed] * self.members, **known)
        before = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        self.mean.copy_(x.mean(0))
        self.spread.copy_((x - x.mean(0)).square().mean().sqrt())
        try:
            unconstrained(self, Denoising(self, self.members, batch, x), options, progress=progress)
        except BaseException:
            self.load_state_dict(before)
            self.requires_grad_(False)
            raise
        return self

    def for_training(self) -> ScoreNetwork:
        """A copy to train: this network stays as it is."""
        pupil = copy.deepcopy(self)
        pupil.requires_grad_(True)
        return pupil

    def stack(self, members: int) -> ScoreNetwork:
        """`members` copies of this network, to be trained side by side."""
        stacked = copy.deepcopy(self)
        stacked.members = self.members * members
        stacked.rows = 1 << 40  # rows are laid out by member: never split
        for module in stacked.modules():
            if isinstance(module, Linear):
                module.weight = nn.Parameter(module.weight.detach().repeat(members, 1, 1))
                module.bias = nn.Parameter(module.bias.detach().repeat(members, 1, 1))
        return stacked

    def unstack(self) -> list[ScoreNetwork]:
        """The members, each a network of its own."""
        singles = []
        for k in range(self.members):
            single = copy.deepcopy(self)
            single.members, single.rows = 1, ScoreNetwork.rows
            for module in single.modules():
                if isinstance(module, Linear):
                    module.weight = nn.Parameter(module.weight.detach()[k : k + 1].clone())
                    module.bias = nn.Parameter(module.bias.detach()[k : k + 1].clone())
            singles.append(single)
        return singles

    def __repr__(self) -> str:
        several = f", {self.members} members" if self.members > 1 else ""
        return f"ScoreNetwork(dim={self.dim}, width={self.width}, blocks={self.blocks}{several})"
