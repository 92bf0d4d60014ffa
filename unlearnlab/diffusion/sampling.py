"""DDIM and DDPM chains, what they say of log-densities, and path KL divergences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from ..estimate import Estimate
from . import quadrature
from .quadrature import predict, require_finite, square
from .schedule import Schedule, whole

if TYPE_CHECKING:
    from .model import DiffusionModel

CHURN = {"ddim": 0.0, "ddpm": 1.0}  # η of Song et al. 2021: DDPM's posterior is η = 1
LARGEST_FLOW = 16  # dimensions up to which Jacobians of the flow are affordable


class Step(NamedTuple):
    """x_s ~ N(keep·x_t + turn·ε̂(x_t, t), spread²), one transition of a sampler."""

    t: int
    keep: float
    turn: float
    spread: float

    def mean(self, x_t: Tensor, noise_prediction: Tensor) -> Tensor:
        """Mean of x_s."""
        return self.keep * x_t + self.turn * noise_prediction


def chain(
    schedule: Schedule, sampler: str, steps: int, *, spacing: str | None = None
) -> list[Step]:
    """The transitions of a sampler, from noise to data.

    With ᾱ = α², s the timestep after t (clean after the last) and ε̂ the noise prediction:
    x̂ = (x_t − σ_tε̂)/α_t, spread² = η²(σ_s²/σ_t²)(1 − ᾱ_t/ᾱ_s) and x_s has mean
    α_sx̂ + (σ_s² − spread²)^½ ε̂. The last transition is deterministic.

    Raises:
        ValueError: an unknown sampler, or more steps than the schedule has.
    """
    if sampler not in CHURN:
        raise ValueError(f"sampler must be 'ddim' or 'ddpm'; got {sampler!r}")
    visited = schedule.timesteps(steps, spacing=spacing)
    bars = [float(schedule.alphas_cumprod[t]) for t in visited] + [1.0]
    transitions = []
    for t, bar, after in zip(visited, bars, bars[1:], strict=False):
        variance = CHURN[sampler] ** 2 * (1 - after) / (1 - bar) * (1 - bar / after)
        keep = math.sqrt(after / bar)
        turn = math.sqrt(max(1 - after - variance, 0.0)) - keep * math.sqrt(1 - bar)
        transitions.append(Step(t, keep, turn, math.sqrt(variance)))
    return transitions


def run(
    model: DiffusionModel, n: int, *, sampler: str, steps: int, seed: int, quasi: bool = False
) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) and, for DDPM, log Π p(x_s|x_t) over its random transitions, else 0."""
    whole("n", n, 1)
    log_probability = torch.zeros(n, dtype=torch.float64, device=model.device)
    unfolding = trajectory(model, n, sampler=sampler, steps=steps, seed=seed, quasi=quasi)
    for _, x, logs in unfolding:
        log_probability += logs
        last = x
    require_finite("samples", last, model)
    return last, log_probability


def trajectory(
    model: DiffusionModel, n: int, *, sampler: str, steps: int, seed: int, quasi: bool = False
) -> Iterator[tuple[Step, Tensor, Tensor]]:
    """The chain as it unfolds: (transition taken, x_s, (n,) log p(x_s|x_t), 0 if deterministic)."""
    whole("n", n, 1)
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn((n, *model.shape), generator=generator).to(model.device, model.dtype)

    x = quasi_normal(n, model.dim, seed).reshape(n, *model.shape).to(draw()) if quasi else draw()
    transitions = chain(model.schedule, sampler, steps)
    for k, step in enumerate(transitions):
        times = torch.full((n,), step.t, device=model.device)
        x, logs = transition(step, x, predict(model, x, times), draw if step.spread else None)
        if k + 1 < len(transitions):
            x = model.corrected(x, transitions[k + 1].t, generator)
        yield step, x, logs


def quasi_normal(n: int, dim: int, seed: int) -> Tensor:
    """(n, dim) standard normal float64 draws from a scrambled Sobol sequence."""
    u = SobolEngine(dim, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))


def transition(
    step: Step, x_t: Tensor, noise_prediction: Tensor, draw: object = None
) -> tuple[Tensor, Tensor]:
    """One step: x_s and log p(x_s|x_t) (n,)."""
    mean = step.mean(x_t, noise_prediction)
    if not callable(draw):
        return mean, torch.zeros(len(x_t), dtype=torch.float64, device=x_t.device)
    x_s = mean + step.spread * draw()
    return x_s, log_transition(step, x_t, noise_prediction, x_s)


def log_transition(step: Step, x_t: Tensor, noise_prediction: Tensor, x_s: Tensor) -> Tensor:
    """(n,) log N(x_s; mean, spread²I), in float64 and differentiable; `step.spread` > 0."""
    gap = (x_s - step.mean(x_t, noise_prediction)).double().flatten(1)
    scale = math.log(step.spread) + 0.5 * math.log(2 * math.pi)
    return -0.5 * gap.square().sum(1) / step.spread**2 - gap.shape[1] * scale


def path_kl(
    p: DiffusionModel, q: DiffusionModel, *, samples: int, steps: int, seed: int
) -> Estimate:
    """KL of the two DDPM chains, Σ_t E‖μ_p − μ_q‖²/(2 spread_t²) along p's, in nats.

    The last transition is deterministic and left out. By the data-processing inequality this is at
    least the KL of the end points, up to that transition.
    """
    whole("samples", samples, 2)
    whole("steps", steps, 2)  # the last one is left out
    totals = torch.zeros(samples, dtype=torch.float64, device=p.device)
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, *p.shape)
    x = torch.randn(shape, generator=generator).to(p.device, p.dtype)
    for step in chain(p.schedule, "ddpm", steps):
        if step.spread == 0:
            break
        t = torch.full((samples,), step.t, device=p.device)
        own = predict(p, x, t)
        gap = square(own - predict(q, x, t))
        totals += step.turn**2 / (2 * step.spread**2) * gap
        x = step.mean(x, own) + step.spread * torch.randn(shape, generator=generator).to(x)
    require_finite("the path KL", totals, p, q)
    return Estimate(float(totals.mean()), float(totals.std()) / samples**0.5)


def with_log_density(
    model: DiffusionModel, n: int, *, steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """DDIM samples (n, *shape) with the log-density (n,) of the law that they come from, exactly.

    The sampler maps noise to data step by step, x_s = keep·x_t + turn·ε̂(x_t), so
    log p(x) = log N(x_T; 0, I) − Σ log|det(keep·I + turn·∂ε̂/∂x_t)|. This is what a composed model
    or a fine-tuned student generates, whether or not its ε̂ is a denoiser of anything.

    Raises:
        ValueError: more than 16 dimensions: the Jacobians are not affordable; or samples that are
            not finite.
    """
    whole("n", n, 1)
    if model.dim > LARGEST_FLOW:
        raise ValueError(
            f"the density of DDIM samples needs Jacobians, affordable up to {LARGEST_FLOW} "
            f"dimensions; {model!r} has {model.dim}: use kind='path'"
        )
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((n, *model.shape), generator=generator).to(model.device, model.dtype)
    log_p = -0.5 * square(x) - 0.5 * model.dim * math.log(2 * math.pi)
    for step in chain(model.schedule, "ddim", steps):
        t = torch.full((n,), step.t, device=model.device)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            noise = model.noise_prediction(x, t)
            columns = noise.flatten(1).sum(0)
            rows = [
                torch.autograd.grad(column, x, retain_graph=True)[0].flatten(1)
                for column in columns
            ]
        jacobian = step.turn * torch.stack(rows, 1).double()
        jacobian += step.keep * torch.eye(model.dim, dtype=torch.float64, device=x.device)
        log_p -= torch.linalg.slogdet(jacobian)[1]
        x = step.mean(x, noise).detach()
    require_finite("samples and their densities", log_p + square(x), model)
    return x, log_p


def flow_kl(
    p: DiffusionModel, q: DiffusionModel, *, samples: int, steps: int, seed: int
) -> Estimate:
    """KL(p_s‖q) of the law p_s of p's DDIM samples: E[log p_s(x) − log q(x)]."""
    x, log_p = with_log_density(p, whole("samples", samples, 2), steps=steps, seed=seed)
    log_q = q.log_density(x)
    truncation = 0.0
    variance = torch.zeros(())
    if log_q is None:
        estimate = quadrature.log_density(x, q, seed=seed, levels=64, noises=16, replicates=2)
        log_q, truncation = estimate.value, float(estimate.truncation.mean())
        variance = estimate.stderr.square().mean()
    gaps = log_p - log_q
    error = (gaps.var() + variance).sqrt()
    return Estimate(float(gaps.mean()), float(error) / samples**0.5, truncation)
