"""One quadrature over log-SNR, two lemmas: KL divergences and log-ratios of diffusion models.

Both are ½∫(·)dγ over the schedule's range. On a finite range [γ_0, γ_1] an integral is the
difference of the noised quantities at its ends: what is missing is estimated from the integrand at
the ends, where it falls like e^{−|γ|}, and reported as truncation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from tqdm import trange

from ..errors import NotFiniteError
from ..estimate import Estimate
from .precision import widest
from .schedule import whole

if TYPE_CHECKING:
    from .model import DiffusionModel

LEVELS = 128  # nodes of the trapezoid rule: a seventh of a nat of log-SNR each, for DDPM
LONG = 1 << 20  # evaluations from which a terminal shows progress
LEVELS_EACH = 16  # of which one sample of a KL visits every eighth


class RatioEstimate(NamedTuple):
    """Log-ratios with what they are worth, (n,) or (n, m) tensors in nats."""

    value: Tensor
    stderr: Tensor
    truncation: Tensor


def predict(model: DiffusionModel | Gaussian, x_t: Tensor, t: Tensor) -> Tensor:
    """ε̂ without gradients, in calls of at most `model.rows` samples."""
    with torch.no_grad():
        parts = [
            model.noise_prediction(x, s)
            for x, s in zip(x_t.split(model.rows), t.split(model.rows), strict=True)
        ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def together(models: Sequence[DiffusionModel | Gaussian], x_t: Tensor, t: Tensor) -> list[Tensor]:
    """ε̂ of several models at the same points; those that share a network in one call."""
    found: dict[int, Tensor] = {}
    for places in _groups(models):
        first: Any = models[places[0]]
        if len(places) == 1:
            found[places[0]] = first.noise_prediction(x_t, t)
        else:
            several = first.noise_predictions([models[i] for i in places], x_t, t)
            found.update(zip(places, several, strict=True))
    return [found[i] for i in range(len(models))]


def predict_all(
    models: Sequence[DiffusionModel | Gaussian], x_t: Tensor, t: Tensor
) -> list[Tensor]:
    """The same without gradients, in calls of at most `rows` samples."""
    rows = min(model.rows for model in models) // max(map(len, _groups(models)))
    size = max(1, rows)
    with torch.no_grad():
        parts = [
            together(models, x, s) for x, s in zip(x_t.split(size), t.split(size), strict=True)
        ]
    return [torch.cat(part) for part in zip(*parts, strict=True)] if len(parts) > 1 else parts[0]


def _groups(models: Sequence[DiffusionModel | Gaussian]) -> list[list[int]]:
    """Places of models that share a network."""
    groups: dict[int, list[int]] = {}
    for i, model in enumerate(models):
        groups.setdefault(id(getattr(model, "network", model)), []).append(i)
    return list(groups.values())


def require_finite(name: str, values: Tensor, *models: DiffusionModel | Gaussian) -> None:
    """Refuse numbers that a noise prediction has spoilt.

    Raises:
        NotFiniteError: a ValueError that says how many.
    """
    bad = int((~torch.isfinite(values.reshape(len(values), -1))).any(1).sum())
    if bad:
        raise NotFiniteError(
            f"{name}: not finite for {bad} of {len(values)} samples; a noise prediction of "
            f"{' or '.join(map(repr, models))} is NaN or too large"
        )


def square(x: Tensor) -> Tensor:
    """(B,) squared norms in float64, where the device has it."""
    return x.to(widest(x.device)).flatten(1).square().sum(1)


def kl(p: DiffusionModel, q: DiffusionModel, *, samples: int, seed: int) -> Estimate:
    """Lemma 3, eq. (29): KL(p‖q) = ½∫E‖ε̂_p − ε̂_q‖²dγ, x_t ~ p noised, both exact denoisers."""
    return _over_levels(p, q, _deviation, samples=samples, seed=seed)


def least_kl(p: DiffusionModel, q: DiffusionModel, *, samples: int, seed: int) -> Estimate:
    """A lower bound of KL(p‖q), p the law of a network's draws and q an exact denoiser.

    By Lemma 2 KL(p‖q) = ½∫E[‖ε − ε̂_q‖² − ‖ε − ε*‖²]dγ, x_t ~ p noised, ε* the denoiser of p. No
    network predicts ε better than ε*: with its own ε̂ in the place of ε* the integral is smaller,
    whatever the network, and the same where it is the denoiser of what it draws.
    """
    return _over_levels(p, q, _gain, samples=samples, seed=seed)


def _over_levels(
    p: DiffusionModel, q: DiffusionModel, integrand: Any, *, samples: int, seed: int
) -> Estimate:
    """½∫E[integrand]dγ at samples of p; each visits every eighth node, from a random first one."""
    x = p.sample(whole("samples", samples, 2), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = p.schedule.nodes(LEVELS)
    stride = -(-len(nodes) // LEVELS_EACH)
    first = torch.randint(stride, (samples,), generator=generator)
    totals = torch.zeros(samples, dtype=widest(x.device), device=x.device)
    for level in range(LEVELS_EACH):
        k = first + stride * level
        inside = k < len(nodes)
        index = k.clamp(max=len(nodes) - 1)
        noise = torch.randn(x.shape, generator=generator).to(x)
        weight = (stride * weights[index] * inside).to(totals)
        totals += weight * integrand(p, q, x, nodes[index].to(x.device), noise)
    require_finite("KL", totals, p, q)
    ends = 0.0
    for t in (nodes[0], nodes[-1]):
        some = x[:4096]
        noise = torch.randn(some.shape, generator=generator).to(x)
        at_end = integrand(p, q, some, t.expand(len(some)).to(x.device), noise)
        ends += 0.5 * float(at_end.mean())
    return Estimate(float(totals.mean()), float(totals.std()) / samples**0.5, ends)


def _deviation(p: DiffusionModel, q: DiffusionModel, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """(B,) ‖ε̂_p − ε̂_q‖² at x noised to t."""
    own, other = predict_all([p, q], p.schedule.noised(x, t, noise), t)
    return square(own - other)


def _gain(p: DiffusionModel, q: DiffusionModel, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """(B,) ‖ε − ε̂_q‖² − ‖ε − ε̂_p‖² at x noised to t."""
    own, other = predict_all([p, q], p.schedule.noised(x, t, noise), t)
    return square(noise - other) - square(noise - own)


def log_ratios(
    x: Tensor,
    p: DiffusionModel,
    others: Sequence[DiffusionModel | Gaussian],
    *,
    levels: int = LEVELS,
    noises: int = 512,
    replicates: int = 4,
    seed: int = 0,
) -> RatioEstimate:
    """Lemma 2: log p(x)/p_i(x) = ½∫E_ε[‖ε − ε̂_i(x_t)‖² − ‖ε − ε̂_p(x_t)‖²]dγ, (n, m).

    The noise is a lattice of quasi-random points with its mirror image, shifted at random for each
    x and node, and the same for all models; `replicates` independent shifts give the error.
    """
    x = x.to(p.device)
    nodes, weights = p.schedule.nodes(whole("levels", levels, 2))
    whole("noises", noises, 2 * replicates)
    generator = torch.Generator().manual_seed(seed)
    points = noises // (2 * replicates)
    lattice = torch.quasirandom.SobolEngine(p.dim).draw(points, dtype=torch.float64)
    shape = (len(x), replicates, len(others))
    totals = torch.zeros(shape, dtype=widest(x.device), device=x.device)
    ends = torch.zeros(len(x), len(others)).to(totals)
    at_once = max(1, p.rows // (2 * points * replicates))
    hidden = None if len(x) * len(nodes) * noises > LONG else True
    for k in trange(len(nodes), desc="log-ratios", leave=False, disable=hidden):
        t, weight = int(nodes[k]), float(weights[k])
        for start in range(0, len(x), at_once):
            some = x[start : start + at_once]
            eps = _noise(lattice, len(some) * replicates, generator).reshape(-1, *p.shape).to(x)
            times = torch.full((len(eps),), t, device=x.device)
            x_t = p.schedule.noised(some.repeat_interleave(len(eps) // len(some), 0), times, eps)
            own, *errors = (square(eps - one) for one in predict_all([p, *others], x_t, times))
            gains = torch.stack(errors, 1) - own[:, None]
            means = gains.reshape(len(some), replicates, -1, len(others)).mean(2)
            totals[start : start + at_once] += weight * means
            if k in (0, len(nodes) - 1):
                ends[start : start + at_once] += 0.5 * means.mean(1)
    require_finite("log-ratios", totals, p, *others)
    return RatioEstimate(totals.mean(1), totals.std(1) / replicates**0.5, ends)


def _noise(lattice: Tensor, shifts: int, generator: torch.Generator) -> Tensor:
    """(shifts, 2·points, D) standard normal draws: the lattice, shifted modulo 1, and mirrored."""
    shift = torch.rand(shifts, 1, lattice.shape[1], generator=generator, dtype=torch.float64)
    half = torch.special.ndtri(((lattice + shift) % 1).clamp(1e-12, 1 - 1e-12))
    return torch.cat([half, -half], dim=1)


def log_density(
    x: Tensor, model: DiffusionModel, *, seed: int = 0, **options: Any
) -> RatioEstimate:
    """log p(x) (n,) of a denoiser, by Lemma 2 against the Gaussian with its mean and spread."""
    reference = Gaussian(model, seed=seed)
    ratio = log_ratios(x, model, [reference], seed=seed, **options)
    value = reference.log_density(x) + ratio.value[:, 0]
    return RatioEstimate(value, ratio.stderr[:, 0], ratio.truncation[:, 0])


class Gaussian:
    """N(mean, diag spread²) with the moments of a model: density and noise prediction.

    For samples of any shape: a `DiffusedMixture` would hold covariances of dim × dim numbers.
    """

    def __init__(self, model: DiffusionModel, *, seed: int):
        draws = model.sample(min(2048, model.effort.stored), seed=seed)
        draws = draws.to(widest(draws.device))
        self.mean, self.spread = draws.mean(0), draws.std(0).clamp(min=1e-3)
        self.schedule, self.rows = model.schedule, model.rows

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) in float64, where the device has it."""
        whitened = (x.to(self.mean) - self.mean) / self.spread
        scale = (self.spread * math.sqrt(2 * math.pi)).log().sum()
        return -0.5 * square(whitened) - scale

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """σ(x_t − αμ)/(α²s² + σ²)."""
        alpha, sigma = self.schedule.at(t, x_t.to(self.mean))
        score = (x_t - alpha * self.mean) / (alpha**2 * self.spread**2 + sigma**2)
        return (sigma * score).to(x_t.dtype)
