"""Moment problems in training: Algorithm D.3, a policy gradient over DDPM chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
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

SMALL = 16  # dimensions up to which a network is small: a call costs more than its numbers
TOGETHER = 1 << 13  # rows that a small network sees at once


class Passed(NamedTuple):
    """A transition from x_t to x_s, the retained ε̂ at x_t, its (K, B) KL and log p_θ/q of x_s."""

    step: sampling.Step
    x_t: Tensor
    x_s: Tensor
    retained: Tensor
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
        """Losses of the random transitions, that add up to the Lagrangian."""
        *random, last = self.chain(student, draws)
        total = torch.stack([one.divergence for one in random]).sum(0)
        final = self.values(last.x_s)
        self.tally.add(torch.cat([total[..., None], final], -1))
        excess = self.signs.to(final) * final - self.limits.to(final)[:, None]
        price = (multipliers[:, None] * excess).sum(-1)
        ahead = total + price
        n = self.batch
        for some, owns in self.predictions(student, random):
            parts = []
            for one, own in zip(some, owns, strict=True):
                ahead = ahead - one.divergence
                advantage = (ahead - ahead.mean(1, keepdim=True)) * n / (n - 1)
                divergence = self.divergence(one.step, own, one.retained)
                gain = advantage * self.log_probability(one, own)
                parts.append((gain + divergence + price / len(random)).mean(1))
            yield torch.stack(parts).sum(0)

    def predictions(
        self, model: Any, random: Sequence[Any]
    ) -> Iterator[tuple[Sequence[Any], Sequence[Tensor]]]:
        """Transitions (step, x_t, ...) and what a model says at them: of images one by one.

        A small network is asked at several in one call. What is kept for the gradients is bounded
        either way, however many steps a chain has.
        """
        rows = self.members * self.batch
        size = max(1, TOGETHER // rows) if self.retain.dim <= SMALL else 1
        for start in range(0, len(random), size):
            some = random[start : start + size]
            x_t = torch.stack([self.split(x) for _, x, *_ in some], 1).flatten(0, 2)
            t = torch.stack([self.split(self.times(step)) for step, *_ in some], 1).flatten()
            own = self.split(model(x_t, t)).unflatten(1, (len(some), self.batch))
            yield some, [part.flatten(0, 1) for part in own.unbind(1)]

    def log_probability(self, one: Passed, own: Tensor) -> Tensor:
        """(K, B) log p_θ(x_s|x_t) less its own value: 0, with the gradient of log p_θ."""
        found = self.split(sampling.log_transition(one.step, one.x_t, own, one.x_s))
        return found - found.detach()

    def chain(self, student: Any, draws: Draws) -> list[Passed]:
        """The students' chains, without gradients; the last transition is deterministic."""
        x, walked = self.noise(draws), []
        steps = self.options.sampling_steps
        for step in sampling.chain(self.retain.schedule, "ddpm", steps, spacing="log_snr"):
            with torch.no_grad():
                own = student(x, self.times(step))
            x_s = step.mean(x, own)
            if step.spread:
                x_s = x_s + step.spread * self.noise(draws)
            walked.append((step, x, own, x_s))
            x = x_s
        *random, (step, x_t, own, x_0) = walked
        none = torch.zeros(self.members, self.batch).to(x)
        return [*self.beside_retained(random), Passed(step, x_t, x_0, own, none, none)]

    def beside_retained(self, walked: Sequence[Any]) -> Iterator[Passed]:
        """Transitions beside what the retained model says of them."""
        for some, knowns in self.predictions(partial(predict, self.retain), walked):
            for (step, x_t, own, x_s), known in zip(some, knowns, strict=True):
                gain = self.split(path_ratios.gains(step, x_t, x_s, known, [own])[:, 0]).to(x_t)
                yield Passed(step, x_t, x_s, known, self.divergence(step, own, known), gain)

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
