"""Other gates for method="gate", tried against the default: two bounds, particles, learning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearnlab.diffusion.gates import GatedModel, Passed
from unlearnlab.training.gate import Gate

PAIRS, FITTED = 8192, 600  # noised draws of q that h_φ is fitted on, and steps
FEW = 0.999  # of draws of q_i, whose ratios count as the largest


class Weighed(GatedModel):
    """Particles on its own chain, which then ends at the target itself; none on a student's."""

    def walk(self, n: int, *, particles: bool, by: Any = None, **how: Any) -> Iterator[Passed]:
        """As a gated model's."""
        return super().walk(n, particles=by is None, by=by, **how)


class WithParticles(Gate):
    """The chains of the first round are weighed and drawn anew."""

    def target(self, multipliers: Any, seed: int) -> GatedModel:
        """With particles."""
        return Weighed(self.problem, multipliers)


class Linear(GatedModel):
    """The other bound of likelihood's gate: h ≥ 1 − (1 − e^{−λR})·r/R is its chord, for r ≤ R.

    The default, exp(−λr), is below h by Jensen's inequality; this one is above it, since e^{−λr} is
    convex in r and r(x_0) has the mean r(x_t). Chords of several ratios multiply.
    """

    def gate(self, log_ratios: Tensor, x_0: Tensor | None = None) -> tuple[Any, Tensor]:
        """log h (n,) and its slopes in the log-ratios (n, m)."""
        ratios = log_ratios.double().exp()
        if not hasattr(self, "largest"):
            self.largest = self._largest()
        multipliers = torch.as_tensor(self.multipliers)
        chord = (1 - torch.exp(-multipliers * self.largest)) / self.largest
        left = (1 - chord * ratios).clamp(min=0.02)
        slopes = (-chord * ratios / left).clamp(min=-50.0)
        return left.log().sum(1).numpy(), slopes.to(log_ratios)

    def _largest(self) -> Tensor:
        """(m,) R: the ratio that one in a thousand draws of q_i exceeds."""
        found = []
        for one in self.others:
            x = one.sample(4096, seed=5)
            ratio = one.log_density(x) - self.retain_density(x)
            found.append(torch.quantile(ratio.double().exp(), FEW))
        return torch.stack(found)

    def retain_density(self, x: Tensor) -> Tensor:
        """log q (n,)."""
        return torch.as_tensor(self.retain.log_density(x))


class Chord(Gate):
    """The gate by the other bound."""

    def target(self, multipliers: Any, seed: int) -> GatedModel:
        """With chords in the place of exponentials."""
        return Linear(self.problem, multipliers)


class LearnedGate(GatedModel):
    """ε̂_q − σ∇log h_φ, with h_φ(x_t, γ) regressed on w(x_0) at noised draws of q."""

    def __init__(self, problem: Any, multipliers: Any, seed: int):
        super().__init__(problem, multipliers)
        dim = self.shape[0]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.h = nn.Sequential(
                *(nn.Linear(dim + 1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU()),
                nn.Linear(64, 1),
            )
            self._fit(seed)

    def _fit(self, seed: int) -> None:
        x = self.retain.sample(PAIRS, seed=seed)
        table = self.retain.log_ratios(self.others, atoms=x)
        weights = torch.from_numpy(np.exp(self.problem.log_weights(self.multipliers, table)))
        self.top = float(weights.max())
        goal = (weights / self.top).to(x)
        nodes = self.schedule.nodes(len(self.schedule))[0]
        optimizer = torch.optim.AdamW(self.h.parameters(), 3e-3)
        for _ in range(FITTED):
            rows = torch.randint(len(x), (512,))
            t = nodes[torch.randint(len(nodes), (512,))]
            x_t = self.schedule.noised(x[rows], t, torch.randn(512, *self.shape))
            # Bernoulli's log-likelihood: its minimiser is the mean, too, and stays above 0.
            loss = nn.functional.binary_cross_entropy_with_logits(self.logits(x_t, t), goal[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(n,) of h_φ over its largest value."""
        gamma = self.schedule.log_snr.to(x_t)[t] / 10
        return self.h(torch.cat([x_t, gamma[:, None]], 1))[:, 0]

    def predictions(
        self, x_t: Tensor, t: Tensor, log_ratios: Tensor
    ) -> tuple[Any, list[Tensor], Tensor]:
        """As a gated model's, with the gradient of log h_φ."""
        with torch.no_grad():
            log_weights, known, _ = super().predictions(x_t, t, log_ratios)
        with torch.enable_grad():
            point = x_t.detach().requires_grad_()
            log_h = nn.functional.logsigmoid(self.logits(point, t))
            (slope,) = torch.autograd.grad(log_h.sum(), point)
        sigma = self.schedule.at(t, x_t)[1]
        return log_weights, known, known[0] - sigma * slope


class Learned(Gate):
    """The gate from a learned h_φ, fitted anew for each round's multipliers."""

    def target(self, multipliers: Any, seed: int) -> GatedModel:
        """With h_φ in the place of a bound."""
        return LearnedGate(self.problem, multipliers, seed)
