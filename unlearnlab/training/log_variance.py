"""The variance of log-weights along the student's own chains: policy gradient for any target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .draws import Draws
from .policy_gradient import PolicyGradient


class LogVariance(PolicyGradient):
    """½Var[log p_θ(τ)/q(τ) − log w(x_0)] over DDPM chains τ of the student, for p ∝ q·w.

    At the target the bracket is one number for all chains, −log E_q[w]. Its covariance with
    ∇log p_θ is the gradient of KL(p_θ‖p), as in Algorithm D.3, with the sampled log p_θ/q in the
    place of its expectation: there every chain of a step has the same cost, and the gradient has no
    noise left to fit. It asks of a problem how its target tilts q, and serves all formulations.

    Source: Richter et al. (2020), VarGrad, arXiv 2010.10436, on densities; here on chains.
    """

    promises = True
    steps = 1500
    stage = 100

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Losses of the random transitions, that add up to the mean of log p_θ/q − log w."""
        *random, last = self.chain(student, draws)
        ratio = torch.stack([one.log_ratio for one in random]).sum(0)
        price = ratio - self.log_weights(last.x_s, multipliers)
        advantage = price - price.mean(1, keepdim=True)
        advantage = advantage * self.batch / (self.batch - 1)
        for some, owns in self.predictions(student, random):
            parts = [
                (advantage * self.log_probability(one, own) + price / len(random)).mean(1)
                for one, own in zip(some, owns, strict=True)
            ]
            yield torch.stack(parts).sum(0)

    def log_weights(self, x: Tensor, multipliers: Tensor) -> Tensor:
        """(K, B) log w of each student's target at the ends of its chains."""
        table = self.retain.log_ratios(
            self.problem.compared,
            atoms=x,
            densities=any(one.needs_density for one in self.problem.statistics),
            quality=self.retain.effort.training,
            anchor=self.anchor,
        )
        rows = multipliers.cpu().double().numpy()
        found = [
            self.problem.log_weights(row, table.take(slice(k * self.batch, (k + 1) * self.batch)))
            for k, row in enumerate(rows)
        ]
        return torch.stack([torch.from_numpy(one) for one in found]).to(x)
