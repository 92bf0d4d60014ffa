"""The Lagrangians of Appendix D: Algorithms D.1 to D.3, and the dual-only E.3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..diffusion import sampling
from ..diffusion.composed import ComposedModel
from ..diffusion.likelihoods import log_likelihoods
from ..diffusion.quadrature import predict, predict_all
from ..diffusion.schedule import whole
from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from .draws import Draws
from .objective import Objective

LARGEST_SUM = 0.99  # of RU's multipliers: at 1 the Lagrangian has no minimiser


class Lagrangian(Objective):
    """The objective of K problems that differ in their thresholds alone."""

    adapts = True

    def __init__(self, problems: Sequence[Problem], batch: int):
        self.problem = problems[0]
        self.retain, self.forget = self.problem.retain, self.problem.forget
        super().__init__(self.retain, len(problems), batch)


class ReverseKLObjective(Lagrangian):
    """Algorithm D.1: Σ½Δγ[‖ε̂_θ − ε̂_q‖² − Σλ_i‖ε̂_θ − ε̂_{q_i}‖²] + λᵀb, eqs. (28)–(30).

    The points are the student's own samples, noised forward and detached: the gradient goes through
    ε̂_θ alone, whose minimiser is the composed score. A round shares one set of samples.

    Args:
        sampling_steps: of the student's sampler.
    """

    def __init__(self, problems: Sequence[Problem], batch: int, *, sampling_steps: int = 20):
        super().__init__(problems, batch)
        self.sampling_steps = whole("sampling_steps", sampling_steps, 2)

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
        others = predict_all([self.retain, *self.forget], x_t, t)
        deviation, *apart = (self.gap(own, other) for other in others)
        separations = torch.stack(apart, -1)
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
        student.guidance = (multipliers[0] / (1 - multipliers[0].sum())).cpu().double().numpy()
        super().begin(student, multipliers, draws)

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """None: measure only."""
        with torch.no_grad():
            self.gaps(student.noise_prediction, draws)
        yield from ()


class DataObjective(Lagrangian):
    """Objectives made of denoising errors, ½∫‖ε − ε̂_θ‖²dγ, on samples of q and of each q_i.

    Args:
        data: (n, *shape) samples to stand for q, such as training data; by default draws of q. Or
            what is indexed like such a tensor, and read when it is needed.
        forget_clip: a forgotten sample whose squared error exceeds it per dimension is pushed no
            further: objectives that raise an error are unbounded without it.
    """

    denoises = True
    uses_retained = True

    def __init__(
        self,
        problems: Sequence[Problem],
        batch: int,
        *,
        data: Any = None,
        forget_clip: float = 100.0,
    ):
        super().__init__(problems, batch)
        if not forget_clip > 0:
            raise ValueError(f"forget_clip must be positive; got {forget_clip!r}")
        if data is None:
            self.data = [self.retain.stand_in(seed=101)] if self.uses_retained else []
        else:
            self.retain.require_samples("data", data)
            self.data = [data]
        self.data += [q.stand_in(seed=102 + i) for i, q in enumerate(self.forget)]
        for i, samples in enumerate(self.data[-len(self.forget) :]):
            self.retain.require_samples(f"forget[{i}]", samples)
        if isinstance(data, Tensor) and _rows(data) <= set().union(*map(_rows, self.data[1:])):
            raise ValueError(
                f"data ({len(data)} samples) holds nothing but what is to be forgotten: nothing "
                "is left to retain"
            )
        self.models = [self.retain, *self.forget][-len(self.data) :]
        self.limit = self.levels.scale * forget_clip * self.retain.dim

    def errors(self, student: Any, draws: Draws) -> Tensor:
        """(K, 1 + m, B) errors on retained and forgotten samples, at the same levels and noise.

        (K, m, B) on forgotten ones where the objective does not use the others.
        """
        n, t = self.batch, self.levels.draw(draws, self.batch)
        noise = self.noise(draws)
        noisy = [self.retain.schedule.noised(self.pick(x, draws), t, noise) for x in self.data]
        # Rows of one member lie together: (K, 1 + m, B, ...).
        rows = torch.stack([self.split(x_t) for x_t in noisy], 1).flatten(0, 2)
        times = torch.stack([self.split(t)] * len(noisy), 1).flatten()
        own = self.split(student(rows, times)).unflatten(1, (len(noisy), n))
        target = self.split(noise)
        errors = self.levels.scale * (own - target[:, None]).flatten(3).square().sum(3)
        excess = [
            errors[:, i].detach() - self.gap(predict(model, x_t, t), noise)
            for i, (model, x_t) in enumerate(zip(self.models, noisy, strict=True))
        ]
        if not self.uses_retained:  # deviation from q, where the student is trained
            pairs = [(own[:, i].flatten(0, 1), x_t) for i, x_t in enumerate(noisy)]
            gaps = [self.gap(one.detach(), predict(self.retain, x_t, t)) for one, x_t in pairs]
            excess.insert(0, torch.stack(gaps).mean(0))
        self.tally.add(torch.stack(excess, -1))
        return errors

    def pick(self, samples: Any, draws: Draws) -> Tensor:
        """(K·B, *shape) of some samples, on the device of the models."""
        return samples[draws.pick(len(samples), self.batch)].to(draws.like)

    def forgotten(self, errors: Tensor) -> Tensor:
        """(K, m) mean errors on forgotten samples, clipped."""
        return errors[:, -len(self.forget) :].clamp(max=self.limit).mean(2)


def _rows(samples: Tensor) -> set[bytes]:
    """The distinct samples."""
    return {row.tobytes() for row in samples.detach().cpu().numpy()}


class ForwardKLObjective(DataObjective):
    """Algorithm D.2: E_q[loss] − Σλ_iE_{q_i}[loss] + λᵀ(b + C), eqs. (31)–(34).

    C_i is the error of q_i's own prediction at the same noise, 0 for a point. Two passes and no
    importance sampling. The loss is unbounded below where Σλ_iq_{i,t} > q_t: hence the clip.
    """

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """Denoising errors of retained samples, less λ times those of forgotten ones."""
        errors = self.errors(student, draws)
        yield errors[:, 0].mean(1) - (multipliers * self.forgotten(errors)).sum(1)


class Passed(NamedTuple):
    """A transition from x_t to x_s, the retained ε̂ at x_t, and its (K, B) KL."""

    step: sampling.Step
    x_t: Tensor
    retained: Tensor
    x_s: Tensor
    divergence: Tensor


class LikelihoodObjective(Lagrangian):
    """Algorithm D.3: policy gradient of KL(p‖q) + λᵀE_p[ℓ] over DDPM chains, eqs. (35)–(37).

    ∇E[c(x_0)] = E[c(x_0)Σ_s∇log p_θ(x_{s'}|x_s)], eq. (36). The cost c of a transition is what
    comes after it, λᵀℓ(x_0) and the later terms of the path KL, less the mean of the other chains;
    the KL of the transition itself is differentiated. The chain is run first, to know the costs,
    and then differentiated transition by transition at the same points: of every one only tensors
    of the size of the samples are kept. The last one is deterministic and has neither term.

    A loss counts c·log p_θ through its gradient alone, as c(log p_θ − its own value): so the losses
    of a step add up to the Lagrangian, and a run can be judged by them.

    Args:
        sampling_steps: of the chain.
    """

    primal_steps = 1
    steps = 300
    dual_lr = 0.01

    def __init__(self, problems: Sequence[Problem], batch: int, *, sampling_steps: int = 20):
        super().__init__(problems, batch)
        self.sampling_steps = whole("sampling_steps", sampling_steps, 2)
        self.thresholds = torch.tensor(np.stack([one.thresholds for one in problems]))

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """One loss for each random transition."""
        taken = list(self.chain(student, draws))
        total = torch.stack([one.divergence for one in taken]).sum(0)
        final = self.likelihoods(taken[-1].x_s)
        self.tally.add(torch.cat([total[..., None], final], -1))
        price = (multipliers[:, None] * (final - self.thresholds.to(final)[:, None])).sum(-1)
        ahead = total + price
        n = self.batch
        for step, x_t, retained, x_s, passed in taken[:-1]:
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
        chain = sampling.chain(self.retain.schedule, "ddpm", self.sampling_steps, spacing="log_snr")
        for step in chain:
            times = self.times(step)
            with torch.no_grad():
                own = student(x, times)
            x_s = step.mean(x, own)
            if step.spread == 0:
                yield Passed(step, x, own, x_s, torch.zeros(self.members, self.batch).to(x))
                continue
            retained = predict(self.retain, x, times)
            x_s = x_s + step.spread * self.noise(draws)
            yield Passed(step, x, retained, x_s, self.divergence(step, own, retained))
            x = x_s

    def divergence(self, step: sampling.Step, own: Tensor, retained: Tensor) -> Tensor:
        """(K, B) KL of a transition, ‖μ_θ − μ_q‖²/(2 spread²)."""
        gap = (own - retained).flatten(1).square().sum(1)
        return self.split(step.turn**2 / (2 * step.spread**2) * gap)

    def times(self, step: sampling.Step) -> Tensor:
        """(K·B,) the timestep of a transition."""
        return torch.full((self.members * self.batch,), step.t, device=self.like.device)

    def likelihoods(self, x: Tensor) -> Tensor:
        """(K, B, m) ℓ_i(x_0)."""
        assert isinstance(self.problem, Likelihood)
        logs = log_likelihoods(self.problem, x)
        return self.split(logs.exp().to(x))


PRIMAL_DUAL: dict[type[Problem], type[Objective]] = {
    ReverseKL: ReverseKLObjective,
    ForwardKL: ForwardKLObjective,
    Likelihood: LikelihoodObjective,
}  # a fourth problem adds its own
