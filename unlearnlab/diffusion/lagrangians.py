"""The Lagrangians of Appendix D: Algorithms D.1 to D.3, and the dual-only E.3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from . import sampling
from .composed import ComposedModel
from .draws import Draws
from .likelihoods import log_likelihoods
from .objective import Objective
from .quadrature import predict

LARGEST_SUM = 0.99  # of RU's multipliers: at 1 the Lagrangian has no minimiser


class Lagrangian(Objective):
    """The objective of K problems that differ in their thresholds alone."""

    def __init__(self, problems: Sequence[Problem], batch: int):
        self.problem = problems[0]
        self.retain, self.forget = self.problem.retain, self.problem.forget
        super().__init__(self.retain, len(problems), batch)


class ReverseKLObjective(Lagrangian):
    """Algorithm D.1: Σ½Δγ[‖ε̂_θ − ε̂_q‖² − Σλ_i‖ε̂_θ − ε̂_{q_i}‖²] + λᵀb, eqs. (28)–(30).

    The points are the student's own samples, noised forward and detached: the gradient goes through
    ε̂_θ alone, whose minimiser is the composed score. A round shares one set of samples.
    """

    sampling_steps = 20

    def begin(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """Sample the students by DDIM."""
        super().begin(student, multipliers, draws)
        steps = sampling.chain(self.retain.schedule, "ddim", self.sampling_steps, spacing="log_snr")
        for taken in sampling.unfold(student, self.noise(draws), steps, torch.Generator()):
            self.x = taken.x_s

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The Lagrangian at one random level for each sample."""
        deviation, separations = self.gaps(student, draws)
        yield (deviation - (multipliers[:, None] * separations).sum(-1)).mean(1)

    def gaps(self, student: Any, draws: Draws) -> tuple[Tensor, Tensor]:
        """(K, B) samples of KL(p‖q) and (K, B, m) of KL(p‖q_i) by Lemma 3."""
        t = self.levels.draw(draws, self.batch)
        x_t = self.retain.schedule.noised(self.x, t, self.noise(draws))
        own = student(x_t, t)
        deviation = self.gap(own, predict(self.retain, x_t, t))
        others = [self.gap(own, predict(other, x_t, t)) for other in self.forget]
        separations = torch.stack(others, -1)
        self.tally.add(torch.cat([deviation[..., None], separations], -1))
        return deviation, separations

    def project(self, multipliers: Tensor) -> None:
        """λ ≥ 0 and Σλ ≤ 0.99."""
        super().project(multipliers)
        multipliers /= (multipliers.sum(1, keepdim=True) / LARGEST_SUM).clamp(min=1)


class DualOnlyObjective(ReverseKLObjective):
    """[K] E.3: dual ascent with the composed model as the primal minimiser; nothing is trained.

    The divergences are (29) under the composed model, which is no denoiser: they are not the
    divergences of its samples, and the multipliers inherit that.
    """

    primal_steps = 1
    steps = 300

    def begin(self, student: ComposedModel, multipliers: Tensor, draws: Draws) -> None:
        """Compose at u = λ/(1 − Λ), and sample."""
        student.guidance = (multipliers[0] / (1 - multipliers[0].sum())).double().cpu().numpy()
        super().begin(student, multipliers, draws)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """None: measure only."""
        with torch.no_grad():
            self.gaps(student.noise_prediction, draws)
        yield from ()


class ForwardKLObjective(Lagrangian):
    """Algorithm D.2: E_q[loss] − Σλ_iE_{q_i}[loss] + λᵀ(b + C), eqs. (31)–(34).

    loss = ½∫‖ε − ε̂_θ‖²dγ; C_i is the same of q_i's own prediction at the same noise, 0 for a point.
    Two passes and no importance sampling. The loss is unbounded below where Σλ_iq_{i,t} > q_t: a
    forgotten sample whose squared error exceeds `forget_clip` per dimension is pushed no further.
    """

    forget_clip = 100.0
    stored = 1 << 14  # samples of q and of each q_i that stand for them

    def __init__(self, problems: Sequence[Problem], batch: int, *, data: Tensor | None = None):
        super().__init__(problems, batch)
        retained = self.retain.sample(self.stored, seed=101) if data is None else data
        self.data = [retained]
        self.data += [q.sample(self.stored, seed=102 + i) for i, q in enumerate(self.forget)]

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of retained and forgotten samples, at the same levels and noise."""
        models, n = (self.retain, *self.forget), self.batch
        t = self.levels.draw(draws, n)
        noise = self.noise(draws)
        noisy = [
            self.retain.schedule.noised(x[draws.pick(len(x), n).to(x.device)], t, noise)
            for x in self.data
        ]
        # Rows of one member lie together: (K, 1 + m, B, ...).
        rows = torch.stack([self.split(x_t) for x_t in noisy], 1).flatten(0, 2)
        times = torch.stack([self.split(t)] * len(models), 1).flatten()
        own = self.split(student(rows, times)).unflatten(1, (len(models), n))
        target = self.split(noise)
        errors = self.levels.scale * (own - target[:, None]).flatten(3).square().sum(3)
        excess = [
            errors[:, i].detach() - self.gap(predict(model, x_t, t), noise)
            for i, (model, x_t) in enumerate(zip(models, noisy, strict=True))
        ]
        self.tally.add(torch.stack(excess, -1))
        limit = self.levels.scale * self.forget_clip * self.retain.dim
        forgotten = errors[:, 1:].clamp(max=limit).mean(2)
        yield errors[:, 0].mean(1) - (multipliers * forgotten).sum(1)


class LikelihoodObjective(Lagrangian):
    """Algorithm D.3: policy gradient of KL(p‖q) + λᵀE_p[ℓ] over DDPM chains, eqs. (35)–(37).

    ∇E[c(x_0)] = E[c(x_0)Σ_s∇log p_θ(x_{s'}|x_s)], eq. (36). The cost c of a transition is what
    comes after it, λᵀℓ(x_0) and the later terms of the path KL, less the mean of the other chains;
    the KL of the transition itself is differentiated. The chain is run twice with the same noise,
    to know the costs and then to differentiate step by step: memory does not grow with the steps.
    The last transition is deterministic and has neither term.
    """

    primal_steps = 1
    steps = 300
    dual_lr = 0.01
    sampling_steps = 20

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """One loss for each random transition."""
        total = torch.zeros(self.members, self.batch).to(draws.like)
        with torch.no_grad():
            for _, x, divergence, _ in self.chain(student, draws):
                total += divergence
                last = x
        final = self.likelihoods(last)
        self.tally.add(torch.cat([total[..., None], final], -1))
        ahead = total + (multipliers[:, None] * final).sum(-1)
        again = Draws(draws.seeds, *draws.key, like=draws.like)
        n = self.batch
        for _, _, divergence, log_probability in self.chain(student, again):
            ahead = ahead - divergence.detach()
            advantage = (ahead - ahead.mean(1, keepdim=True)) * n / (n - 1)
            if log_probability is not None:
                yield (advantage * log_probability + divergence).mean(1)

    def chain(
        self, student: Any, draws: Draws
    ) -> Iterator[tuple[sampling.Step, Tensor, Tensor, Tensor | None]]:
        """(transition, x_s, (K, B) KL of the transition, (K, B) log p(x_s|x_t)) as it unfolds."""
        schedule = self.retain.schedule
        x = self.noise(draws)
        for step in sampling.chain(schedule, "ddpm", self.sampling_steps, spacing="log_snr"):
            times = torch.full((len(x),), step.t, device=x.device)
            own = student(x, times)
            if step.spread == 0:
                x = step.mean(x, own.detach())
                yield step, x, torch.zeros(self.members, self.batch).to(x), None
                continue
            gap = (own - predict(self.retain, x, times)).flatten(1).square().sum(1)
            divergence = self.split(step.turn**2 / (2 * step.spread**2) * gap)
            noise = self.noise(draws)
            x_s = step.mean(x, own.detach()) + step.spread * noise
            log_probability = self.split(sampling.log_transition(step, x, own, x_s))
            x = x_s
            yield step, x, divergence, log_probability

    def likelihoods(self, x: Tensor) -> Tensor:
        """(K, B, m) ℓ_i(x_0)."""
        assert isinstance(self.problem, Likelihood)
        return self.split(log_likelihoods(self.problem, x).exp().to(x))


@singledispatch
def primal_dual(problem: Problem, problems: Sequence[Problem], batch: int) -> Objective:
    """The primal–dual objective of a problem's class; a fourth problem registers its own."""
    raise TypeError(f"no primal-dual algorithm is known for {type(problem).__name__}")


@primal_dual.register
def _(problem: ReverseKL, problems: Sequence[Problem], batch: int) -> Objective:
    return ReverseKLObjective(problems, batch)


@primal_dual.register
def _(problem: ForwardKL, problems: Sequence[Problem], batch: int) -> Objective:
    return ForwardKLObjective(problems, batch)


@primal_dual.register
def _(problem: Likelihood, problems: Sequence[Problem], batch: int) -> Objective:
    return LikelihoodObjective(problems, batch)
