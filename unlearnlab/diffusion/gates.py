"""Gated models: any target p ∝ q·w(x_0) from the predictions of q and the q_i, without training.

The noised target's score is s_q + ∇log h with h(x_t) = E_q[w(x_0)|x_t]. With w written in the
ratios R_i = q_{i,t}/q_t at x_t, that is h exactly for forward KL (w is linear in R, and R is a
martingale), a bound of it for likelihood (Jensen), and right at the clean end for all. Since
∇log R_i = s_i − s_q, the target's prediction is ε̂_q + ΣG_i(ε̂_i − ε̂_q) with G_i = ∂log w/∂log R_i.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import Array, numbers
from ..estimate import Estimate
from ..model import gated
from ..problems import Problem
from ..ratios import LogRatios
from . import path_ratios, sampling
from .model import DiffusionModel
from .particles import RESAMPLE, Cloud, Drawn, say_contact
from .pool import Samples
from .precision import widest
from .quadrature import predict, predict_all, require_finite, square
from .schedule import whole

SLOPE = 1e-4  # of a log-ratio: half the width of the difference that a gate is the slope of
STEEPEST = 50.0  # a gate; steps have a size, and a steeper one overshoots


class Passed(NamedTuple):
    """A transition of the gated chain, from x_t to x_s.

    Attributes:
        step: the sampler's.
        x_t, x_s: (n, *shape).
        predictions: ε̂_q, ε̂_1, ... at x_t; prediction: the gated one.
        log_ratios: (n, m) log R at x_t.
        cloud: the particles' weights at x_t.
    """

    step: sampling.Step
    x_t: Tensor
    x_s: Tensor
    predictions: list[Tensor]
    prediction: Tensor
    log_ratios: Tensor
    cloud: Cloud


class GatedModel(DiffusionModel):
    """ε̂_q + ΣG_i(ε̂_i − ε̂_q): the target of a problem at given multipliers, gated along paths.

    The ratios R_i are known along a path alone: the chain's own in `sample`, one noised from x_t on
    in `noise_prediction`. Particles mend what a gate leaves: weights
    q(x_s|x_t)ψ_s/(p̃(x_s|x_t)ψ_t), ψ = w(R), end at the true w, and are drawn anew on the way.

    Args:
        problem: its retained model, what that is compared with, and how a target tilts it. A
            user's function is read at the denoised sample on the way: it has no gate, and needs
            particles.
        multipliers: (m,).
        steps: of the paths in `noise_prediction`.

    Raises:
        ValueError: a statistic that reads densities: use statistic="ratio", or draw by rejection
            (`rejection`), which is exact.

    Source: for forward KL with a λ that is guessed, dynamic negative guidance (arXiv 2410.14398).

    Example:
        >>> import unlearnlab as ul
        >>> q, q1 = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
        >>> problem = ul.Likelihood(q, [q1], [0.5], statistic="ratio")
        >>> problem.gated([1.0]).sample(1000, steps=100).shape
        torch.Size([1000, 1])
    """

    denoiser = False
    sampler, sampling_steps = "ddpm", 200

    def __init__(self, problem: Problem, multipliers: Array, *, steps: int = 200):
        retain = problem.retain
        super().__init__(retain.shape, retain.schedule, retain.dtype, retain.device)
        self.problem, self.retain, self.others = problem, retain, problem.compared
        self.multipliers, self.steps = multipliers, whole("steps", steps, 4)
        self.rows = max(1, retain.rows // (1 + len(self.others)))
        if any(one.needs_density for one in problem.statistics):
            raise ValueError(
                "a gate reads ratios q_i/q along a path, and this problem measures densities: use "
                "Likelihood(..., statistic='ratio'), or draw from its target by `rejection`"
            )
        self.gate(torch.zeros(1, len(self.others)))  # multipliers without a target are refused here

    def gate(self, log_ratios: Tensor, x_0: Tensor | None = None) -> tuple[Array, Tensor]:
        """log w (n,) at noised ratios (n, m) and denoised samples, and its slopes G (n, m)."""
        table = self._table(numbers(log_ratios), x_0)
        log_weights = self.problem.log_weights(self.multipliers, table)
        slopes = np.zeros_like(table.ratios)
        for i in range(slopes.shape[1]):
            up, down = (
                self.problem.log_weights(self.multipliers, self._moved(table, i, move))
                for move in (SLOPE, -SLOPE)
            )
            slopes[:, i] = (up - down) / (2 * SLOPE)
        return log_weights, torch.from_numpy(slopes.clip(-STEEPEST, STEEPEST)).to(log_ratios)

    def _table(self, log_ratios: Array, x_0: Tensor | None) -> LogRatios:
        n = len(log_ratios)
        empty = torch.zeros(n, *self.shape, dtype=self.dtype, device=self.device)
        points = Samples(empty if x_0 is None else x_0, self.retain, tuple(self.others))
        return LogRatios(np.full(n, -math.log(n)), -log_ratios, points=points)

    @staticmethod
    def _moved(table: LogRatios, i: int, move: float) -> LogRatios:
        ratios = table.ratios.copy()
        ratios[:, i] -= move  # the table holds log q/q_i
        return replace(table, ratios=ratios)

    def predictions(
        self, x_t: Tensor, t: Tensor, log_ratios: Tensor
    ) -> tuple[Array, list[Tensor], Tensor]:
        """log w (n,), [ε̂_q, ε̂_1, ...] and the gated ε̂ where the log-ratios are known."""
        own, *others = predict_all([self.retain, *self.others], x_t, t)
        alpha, sigma = self.schedule.at(t, x_t)
        log_weights, slopes = self.gate(log_ratios, (x_t - sigma * own) / alpha)
        total = own.to(widest(self.device))
        shape = (-1,) + (1,) * len(self.shape)
        for slope, other in zip(slopes.T, others, strict=True):
            total = total + slope.reshape(shape) * (other - own)
        return log_weights, [own, *others], total.to(self.dtype)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The gated ε̂ where the ratios are those along one path, noised from x_t on."""
        found = torch.empty_like(x_t)
        for time in t.unique().tolist():
            rows = t == time
            some = x_t[rows]
            ratios = self._ratios_above(some, time)
            found[rows] = self.predictions(some, t[rows], ratios)[2]
        return found

    def _ratios_above(self, x_s: Tensor, s: int) -> Tensor:
        """(n, m) log R at timestep s, along a path from x_s up to noise."""
        bars = self.schedule.alphas_cumprod
        generator = torch.Generator().manual_seed(s)
        total = torch.zeros(len(x_s), len(self.others), dtype=widest(self.device))
        total = total.to(self.device)
        for t in [int(t) for t in self.schedule.nodes(self.steps + 1)[0] if t > s]:
            step = sampling.transition(t, float(bars[t]), float(bars[s]))
            stay = float(bars[t] / bars[s])
            noise = torch.randn(x_s.shape, generator=generator).to(x_s)
            x_t = stay**0.5 * x_s + (1 - stay) ** 0.5 * noise
            times = torch.full((len(x_s),), t, device=self.device)
            own, *others = predict_all([self.retain, *self.others], x_t, times)
            if others:
                total += path_ratios.gains(step, x_t, x_s, own, others)
            x_s, s = x_t, t
        return total

    def walk(
        self,
        n: int,
        *,
        steps: int = 200,
        particles: bool,
        seed: int,
        by: DiffusionModel | None = None,
    ) -> Iterator[Passed]:
        """The gated chain as it unfolds, by DDPM in equal steps of log-SNR; then its clean end.

        Particles are drawn anew where their effective share falls below one half. Along the chain
        of another model `by`, the gates say what this one would have done there.
        """
        whole("n", n, 1)
        generator = torch.Generator().manual_seed(seed)

        def draw() -> Tensor:
            return torch.randn((n, *self.shape), generator=generator).to(self.device, self.dtype)

        x = draw()
        ratios = torch.zeros(n, len(self.others), dtype=widest(self.device), device=self.device)
        cloud = Cloud(ratios.new_zeros(n))
        for step in sampling.chain(self.schedule, "ddpm", steps, spacing="log_snr"):
            t = torch.full((n,), step.t, device=self.device)
            log_w, (own, *others), prediction = self.predictions(x, t, ratios)
            cloud.seen(torch.from_numpy(log_w).to(ratios), weigh=particles)
            if cloud.effective < RESAMPLE:
                index = cloud.resampled(generator)
                x, ratios, own, prediction = (one[index] for one in (x, ratios, own, prediction))
                others = [one[index] for one in others]
            moved = prediction if by is None else predict(by, x, t)
            x_s = step.mean(x, moved)
            if step.spread:
                x_s = x_s + step.spread * draw()
            yield Passed(step, x, x_s, [own, *others], prediction, ratios, cloud)
            if step.spread and others:
                ratios = ratios + path_ratios.gains(step, x, x_s, own, others)
            if step.spread and particles:
                cloud.weigh(-path_ratios.gains(step, x, x_s, own, [moved])[:, 0])
            x = x_s

    def draw(self, n: int, *, steps: int = 200, particles: bool = True, seed: int = 0) -> Drawn:
        """n draws with what they cost; see `sample`."""
        for passed in self.walk(n, steps=steps, particles=particles, seed=seed):
            x, cloud = passed.x_s, passed.cloud
        require_finite("samples", x, self.retain, *self.others)
        say_contact(self.problem, cloud.lowest)
        if particles:
            generator = torch.Generator().manual_seed(seed + 1)
            x = x[cloud.resampled(generator)]
        return Drawn(x, cloud.least, 1 / cloud.least)

    def sample(
        self,
        n: int,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        quasi: bool = False,
        particles: bool = True,
    ) -> Tensor:
        """n draws (n, *shape) by DDPM in equal steps of log-SNR.

        Args:
            sampler: "ddpm" or None: ratios need random transitions.
            particles: whether weights mend what the gate leaves; else the gated chain alone.
        """
        if sampler not in (None, "ddpm"):
            raise ValueError(
                f"sampler of a gated model must be 'ddpm': its ratios are those of random "
                f"transitions; got {sampler!r}"
            )
        visited = self.sampling_steps if steps is None else steps
        return self.draw(n, steps=visited, particles=particles, seed=seed).x

    def separation(self, other: Any, *, seed: int = 0, samples: int | None = None) -> Estimate:
        """Of paths, as `kl`: the bound from below asks for ε̂ often, and each costs a path here."""
        return self.kl(other, kind="path", seed=seed, samples=samples)

    def kl(
        self,
        other: Any,
        *,
        kind: str = "path",
        seed: int = 0,
        samples: int | None = None,
        steps: int | None = None,
    ) -> Estimate:
        """KL of the gated chain, without particles, from that of q or of a q_i; along paths alone.

        What the target itself pays is known on a pool: see `solve`.
        """
        places = [i for i, one in enumerate([self.retain, *self.others]) if one is other]
        if not places or kind != "path":
            raise ValueError(
                "a gated model knows kind='path' from the models that it is made of; got "
                f"kind={kind!r} from {other!r}"
            )
        n = 1024 if samples is None else samples
        steps = self.sampling_steps if steps is None else steps
        total = torch.zeros(n, dtype=widest(self.device), device=self.device)
        for passed in self.walk(n, steps=steps, particles=False, seed=seed):
            if passed.step.spread:
                unit = passed.step.turn**2 / (2 * passed.step.spread**2)
                total += unit * square(passed.prediction - passed.predictions[places[0]])
        return Estimate(float(total.mean()), float(total.std()) / n**0.5)

    @property
    def kind(self) -> str:
        """The density of its samples is not known."""
        return "path"

    def __repr__(self) -> str:
        return f"GatedModel({self.problem!r}, multipliers={self.multipliers.round(4).tolist()})"


@gated.register
def _(retain: DiffusionModel, problem: Any, multipliers: Array) -> GatedModel:
    return GatedModel(problem, multipliers)
