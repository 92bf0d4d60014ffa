"""DDIM and DDPM chains, what they say of log-densities, and path KL divergences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from ..estimate import Estimate
from . import quadrature
from .precision import widest
from .quadrature import predict, predict_all, require_finite, square
from .reading import limited
from .schedule import Schedule, whole

if TYPE_CHECKING:
    from .model import DiffusionModel

LANGEVIN = 0.05  # step of the corrector relative to σ_t²
CHURN = {"ddim": 0.0, "ddpm": 1.0}  # η of Song et al. 2021: DDPM's posterior is η = 1
DDIM_STEPS = 50
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
    schedule: Schedule,
    sampler: str,
    steps: int,
    *,
    spacing: str | None = None,
    start: int | None = None,
) -> list[Step]:
    """The transitions of a sampler, from noise to data.

    With ᾱ = α², s the timestep after t (clean after the last) and ε̂ the noise prediction:
    x̂ = (x_t − σ_tε̂)/α_t, spread² = η²(σ_s²/σ_t²)(1 − ᾱ_t/ᾱ_s) and x_s has mean
    α_sx̂ + (σ_s² − spread²)^½ ε̂. The last transition is deterministic, to where the schedule ends.
    Each step lands on the timestep that is visited next. So do diffusers' samplers, but for DDIM
    with "linspace", and with "trailing" where `steps` do not divide T: theirs goes to t − T//steps,
    and the next step takes x_s for a sample of another noise level.

    With `start`, the chain begins at this timestep and takes those of the `steps` below it.

    Raises:
        ValueError: an unknown sampler, or more steps than the schedule has.
    """
    if sampler not in CHURN:
        raise ValueError(f"sampler must be 'ddim' or 'ddpm'; got {sampler!r}")
    visited = schedule.timesteps(steps, spacing=spacing)
    if start is not None:
        visited = [start, *(t for t in visited if t < start)]
    bars = [float(schedule.alphas_cumprod[t]) for t in visited] + [schedule.ends_at]
    churns = [CHURN[sampler]] * (len(visited) - 1) + [0.0]  # the last also where ᾱ_s < 1
    return [transition(*one) for one in zip(visited, bars, bars[1:], churns, strict=False)]


def transition(t: int, bar: float, after: float, churn: float = 1.0) -> Step:
    """From timestep t, where ᾱ is `bar`, to where it is `after`; `churn` is η of `chain`."""
    variance = churn**2 * (1 - after) / (1 - bar) * (1 - bar / after)
    keep = math.sqrt(after / bar)
    turn = math.sqrt(max(1 - after - variance, 0.0)) - keep * math.sqrt(1 - bar)
    return Step(t, keep, turn, math.sqrt(variance))


class Transition(NamedTuple):
    """A step as it was taken: from x_t, with noise prediction ε̂, to x_s."""

    step: Step
    x_t: Tensor
    noise_prediction: Tensor
    x_s: Tensor

    @property
    def log_probability(self) -> Tensor:
        """(n,) log p(x_s|x_t) in float64; 0 where the step is deterministic."""
        if self.step.spread:
            return log_transition(*self)
        device = self.x_t.device
        return torch.zeros(len(self.x_t), dtype=widest(device), device=device)


def unfold(
    model: DiffusionModel,
    x: Tensor,
    steps: Sequence[Step],
    generator: torch.Generator,
    limit: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Transition]:
    """The chain from x (n, *shape) on, without gradients; its x̂ limited where asked."""

    def draw() -> Tensor:
        return torch.randn(x.shape, generator=generator).to(x)

    for k, step in enumerate(steps):
        times = torch.full((len(x),), step.t, device=x.device)
        noise = predict(model, x, times)
        moved = 0.0
        if limit is not None:
            noise, moved = limited(model.schedule, step, x, noise, limit)
        after = step.mean(x, noise) + moved
        if step.spread:
            after = after + step.spread * draw()
        yield Transition(step, x, noise, after)
        x = after
        if k + 1 < len(steps):
            for _ in range(model.corrector_steps):
                x = langevin(model, x, steps[k + 1].t, draw())


def langevin(model: DiffusionModel, x_t: Tensor, t: int, z: Tensor) -> Tensor:
    """x − (h/σ)ε̂ + √(2h)z with h = σ_t²/20: a step towards the law whose score is −ε̂/σ."""
    sigma = float(model.schedule.noise[t])
    h = LANGEVIN * sigma**2
    drift = predict(model, x_t, torch.full((len(x_t),), t, device=x_t.device)) / sigma
    return x_t - h * drift + (2 * h) ** 0.5 * z


def run(
    model: DiffusionModel, n: int, *, sampler: str, steps: int, seed: int, quasi: bool = False
) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) and, for DDPM, log Π p(x_s|x_t) over its random transitions, else 0."""
    log_probability = torch.zeros(n, dtype=widest(model.device), device=model.device)
    drawn = trajectory(
        model, n, sampler=sampler, steps=steps, seed=seed, quasi=quasi, limit=model.limit
    )
    for taken in drawn:
        log_probability += taken.log_probability
    require_finite("samples", taken.x_s, model)
    return taken.x_s, log_probability


def trajectory(
    model: DiffusionModel,
    n: int,
    *,
    sampler: str,
    steps: int,
    seed: int,
    quasi: bool = False,
    limit: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Transition]:
    """The chain of a sampler as it unfolds, from standard normal noise; see `unfold`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (whole("n", n, 1), *model.shape)
    if quasi:
        x = quasi_normal(n, model.dim, seed).reshape(shape)
    else:
        x = torch.randn(shape, generator=generator)
    transitions = chain(model.schedule, sampler, steps)
    yield from unfold(model, x.to(model.device, model.dtype), transitions, generator, limit)


def reconstruct(
    model: DiffusionModel,
    x: Tensor,
    t: int,
    *,
    n: int = 16,
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """(n, *shape) what comes back of one image x when it is noised to timestep t and denoised.

    A model that has memorised x gives it back from noise that hides it from others.

    Args:
        x: (*shape,) the image.
        t: noise it to here: 0 is clean, T − 1 all noise.
        steps: of DDIM over the whole schedule; those below t are taken. By default 50,
            or all of a shorter schedule.

    Raises:
        ValueError: t outside the schedule, or x of another shape.
    """
    total = len(model.schedule)
    if not 0 <= t < total:
        raise ValueError(f"t must lie between 0 and {total - 1}; got {t!r}")
    if x.shape != model.shape:
        raise ValueError(f"x must have shape {model.shape}; got {tuple(x.shape)}")
    model.require_samples("x", x[None])
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((n, *model.shape), generator=generator).to(model.device, model.dtype)
    x = x.to(noise).expand(n, *model.shape)
    x_t = model.schedule.noised(x, torch.full((n,), t, device=noise.device), noise)
    visited = model.schedule.up_to(DDIM_STEPS) if steps is None else steps
    later = chain(model.schedule, "ddim", visited, start=t)
    for taken in unfold(model, x_t, later, generator, model.limit):
        x_t = taken.x_s
    return x_t


def quasi_normal(n: int, dim: int, seed: int) -> Tensor:
    """(n, dim) standard normal float64 draws from a scrambled Sobol sequence."""
    u = SobolEngine(dim, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))


def log_transition(step: Step, x_t: Tensor, noise_prediction: Tensor, x_s: Tensor) -> Tensor:
    """(n,) log N(x_s; mean, spread²I), in float64 and differentiable; `step.spread` > 0."""
    gap = (x_s - step.mean(x_t, noise_prediction)).to(widest(x_s.device)).flatten(1)
    scale = math.log(step.spread) + 0.5 * math.log(2 * math.pi)
    return -0.5 * gap.square().sum(1) / step.spread**2 - gap.shape[1] * scale


def path_kls(
    p: DiffusionModel, others: Sequence[DiffusionModel], *, samples: int, steps: int, seed: int
) -> list[Estimate]:
    """KL of p's DDPM chain from each other, Σ_t E‖μ_p − μ_q‖²/(2 spread_t²) along p's, in nats.

    The last transition is deterministic and left out. By the data-processing inequality this is at
    least the KL of the end points, up to that transition. The chain is walked once.
    """
    whole("samples", samples, 2)
    whole("steps", steps, 2)  # the last one is left out
    _refuse_corrector(p)
    totals = torch.zeros(len(others), samples, dtype=widest(p.device), device=p.device)
    for step, x_t, own, _ in trajectory(p, samples, sampler="ddpm", steps=steps, seed=seed):
        if step.spread:
            t = torch.full((samples,), step.t, device=p.device)
            gaps = torch.stack([square(own - one) for one in predict_all(others, x_t, t)])
            totals += step.turn**2 / (2 * step.spread**2) * gaps
    require_finite("the path KL", totals.T, p, *others)
    return [Estimate(float(row.mean()), float(row.std()) / samples**0.5) for row in totals]


def with_log_density(
    model: DiffusionModel, n: int, *, steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """DDIM samples (n, *shape) with the log-density (n,) of the law that they come from, exactly.

    The sampler maps noise to data step by step, x_s = keep·x_t + turn·ε̂(x_t), so
    log p(x) = log N(x_T; 0, I) − Σ log|det(keep·I + turn·∂ε̂/∂x_t)|. This is what a composed model
    or a fine-tuned student generates, whether or not its ε̂ is a denoiser of anything.

    Raises:
        ValueError: more than 16 dimensions: the Jacobians are not affordable; or samples that are
            not finite; or a model with corrector steps, whose samples are random given x_T.
    """
    whole("n", n, 1)
    _refuse_corrector(model)
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
        jacobian = step.turn * torch.stack(rows, 1).to(log_p)
        jacobian += step.keep * torch.eye(model.dim).to(jacobian)
        log_p -= torch.linalg.slogdet(jacobian)[1]
        x = step.mean(x, noise).detach()
    require_finite("samples and their densities", log_p + square(x), model)
    return x, log_p


def _refuse_corrector(model: DiffusionModel) -> None:
    if model.corrector_steps:
        raise ValueError(
            f"{model!r} has corrector_steps={model.corrector_steps}: neither the density of its "
            "samples nor its path measure is known; use corrector_steps=0"
        )


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
