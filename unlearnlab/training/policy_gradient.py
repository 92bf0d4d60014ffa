"""Moment problems in training: Algorithm D.3, a policy gradient over DDPM chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..diffusion import path_ratios, sampling
from ..diffusion.quadrature import Gaussian, predict
from ..problems import Moments, Problem
from .draws import Draws
from .objective import PRIMAL_DUAL, Lagrangian
from .reverse_kl import Sampling


class Passed(NamedTuple):
    """A transition from x_t to x_s, the retained ε̂ at x_t, its (K, B) KL and log p_θ/q of x_s."""

    step: sampling.Step
    x_t: Tensor
    retained: Tensor
    x_s: Tensor
    divergence: Tensor
    log_ratio: Tensor


class PolicyGradient(Lagrangian):
    """Algorithm D.3: policy gradient of KL(p‖q) + λᵀE_p[a] over DDPM chains, eqs. (35)–(37).

    a = ±f is what the constraints measure, the likelihoods or a user's functions, with the sign of
    `at_most`. ∇E[c(x_0)] = E[c(x_0)Σ_s∇log p_θ(x_{s'}|x_s)], eq. (36). The cost c of a transition
    is what comes after it, λᵀa(x_0) and the later terms of the path KL, less the mean of the other
    chains; the KL of the transition itself is differentiated. The chain is run first, to know the
    costs, and then differentiated transition by transition at the same points: of every one only
    tensors of the size of the samples are kept. The last one is deterministic and has neither term.

    A loss counts c·log p_θ through its gradient alone, as c(log p_θ − its own value): so the losses
    of a step add up to the Lagrangian, and a run can be judged by them.
    """

    Options = Sampling
    adapts = enforces = True
    reads_forget = False
    primal_steps = 1
    steps = 300
    dual_lr = 0.01

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        signs = -self.problem.senses
        self.signs = torch.tensor(signs)
        self.limits = torch.tensor(np.stack([signs * one.thresholds for one in problems]))
        self.anchor = None  # of log q_i: once for the run, where Lemma 2 has to measure it
        if any(one.needs_density for one in self.problem.statistics):
            x = torch.zeros(1, *self.retain.shape).to(self.retain.device, self.retain.dtype)
            if any(one.log_density(x) is None for one in (self.retain, *self.forget)):
                self.anchor = Gaussian(self.retain, seed=0)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """One loss for each random transition."""
        taken = list(self.chain(student, draws))
        total = torch.stack([one.divergence for one in taken]).sum(0)
        final = self.values(taken[-1].x_s)
        self.tally.add(torch.cat([total[..., None], final], -1))
        excess = self.signs.to(final) * final - self.limits.to(final)[:, None]
        price = (multipliers[:, None] * excess).sum(-1)
        ahead = total + price
        n = self.batch
        for step, x_t, retained, x_s, passed, _ in taken[:-1]:
            own = student(x_t, self.times(step))
            divergence = self.divergence(step, own, retained)
            ahead = ahead - passed
            advantage = (ahead - ahead.mean(1, keepdim=True)) * n / (n - 1)
            log_probability = self.split(sampling.log_transition(step, x_t, own, x_s))
            moved = log_probability - log_probability.detach()
            yield (advantage * moved + divergence + price / (len(taken) - 1)).mean(1)

    def chain(self, student: Any, draws: Draws) -> Iterator[Passed]:
        """The students' chain as it unfolds, without gradients."""
        x = self.noise(draws)
        steps = self.options.sampling_steps
        for step in sampling.chain(self.retain.schedule, "ddpm", steps, spacing="log_snr"):
            times = self.times(step)
            with torch.no_grad():
                own = student(x, times)
            x_s = step.mean(x, own)
            if step.spread == 0:
                none = torch.zeros(self.members, self.batch).to(x)
                yield Passed(step, x, own, x_s, none, none)
                continue
            retained = predict(self.retain, x, times)
            x_s = x_s + step.spread * self.noise(draws)
            gain = self.split(path_ratios.gains(step, x, x_s, retained, [own])[:, 0]).to(x)
            yield Passed(step, x, retained, x_s, self.divergence(step, own, retained), gain)
            x = x_s

    def divergence(self, step: sampling.Step, own: Tensor, retained: Tensor) -> Tensor:
        """(K, B) KL of a transition, ‖μ_θ − μ_q‖²/(2 spread²)."""
        gap = (own - retained).flatten(1).square().sum(1)
        return self.split(step.turn**2 / (2 * step.spread**2) * gap)

    def times(self, step: sampling.Step) -> Tensor:
        """(K·B,) the timestep of a transition."""
        return torch.full((self.members * self.batch,), step.t, device=self.like.device)

    def values(self, x: Tensor) -> Tensor:
        """(K, B, m) what the constraints measure at x_0, read as `solve` and `evaluate` read it."""
        how = {"quality": self.retain.effort.training, "anchor": self.anchor}
        return self.split(torch.from_numpy(self.problem.values_at(x, **how)).to(x))


PRIMAL_DUAL[Moments] = PolicyGradient
