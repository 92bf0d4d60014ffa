"""f-divergences of two Gaussians with one variance, in closed form, by quadrature, by a min–max.

D_f(p‖q) = E_q[f(p/q)] with f convex, f(1) = 0 and, which changes nothing, f'(1) = 0. Everywhere p
is the student and q the anchor. Between Gaussians N(·, σ²I) at distance d it is a function of
δ = d²/σ² alone, because log p/q under q is N(−δ/2, δ).

The variational form is D_f(p‖q) = max_T E_p[T] − E_q[f*(T)], with its maximum at T = f'(p/q). T is
written here as f'(e^v) with v free: the best v is log p/q for every divergence, and then
f*(T) = e^v f'(e^v) − f(e^v) needs no bounds on v.

Source: [N] arXiv 2509.21167.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import softplus

from ..errors import Array

LARGEST = 30.0  # exponent from which losses go on along the tangent: e^30 is finite in float32
NEAR = 1e-3  # |x| below which (e^x − 1)/x is a series
TAIL = 9.0  # standard deviations that a quadrature covers
NODES = 200  # Gauss–Legendre nodes on each side of p = q

Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Divergence:
    """D_f(p‖q) = E_q[f(p/q)] in nats (χ², Hellinger and total variation are pure numbers).

    Attributes:
        name: "kl", "hellinger", "chi2", "js", "tv" or "alpha(a)".
        generator: f on u > 0, with f(1) = f'(1) = 0.
        slope: f'.
        curvature: f''(1), which D_f ≈ f''(1)·δ/2 shows near p = q; None where f has a kink.
        conjugate: f*(T) = sup_u uT − f(u); inf where there is no bound.
        critic: v → (T, f*(T)) at T = f'(e^v), for tensors. Exponentials go on along their tangent
            from 30 nats on, so that a loss stays finite and keeps its direction.
        closed: δ → D_f for tensors, continued likewise; None where no elementary form is used.
        powers: least and largest power of u by which f grows: where a quadrature must look.
        bound: the supremum of D_f.
    """

    name: str
    generator: Function
    slope: Function
    curvature: float | None
    conjugate: Function
    critic: Callable[[Tensor], tuple[Tensor, Tensor]]
    closed: Callable[[Tensor], Tensor] | None = None
    powers: tuple[float, float] = (0.0, 1.0)
    bound: float = math.inf


def expm1_tangent(x: Tensor) -> Tensor:
    """e^x − 1 up to x = 30, then its tangent: convex, finite, and never without a gradient."""
    return torch.expm1(x.clamp(max=LARGEST)) + math.exp(LARGEST) * (x - LARGEST).clamp(min=0)


def alpha(a: float) -> Divergence:
    """The α-divergence, f = (u^a − 1 − a(u − 1))/(a(a − 1)), with f''(1) = 1.

    Between Gaussians (e^{a(a−1)δ/2} − 1)/(a(a − 1)), so a and 1 − a agree. a = 2 is χ²/2, a = ½ is
    twice the squared Hellinger distance; the limits a = 1 and a = 0 are KL(p‖q) and KL(q‖p), δ/2.

    Raises:
        ValueError: a is not a finite number.

    Source: [N] arXiv 2509.21167.
    """
    if not math.isfinite(a):
        raise ValueError(f"alpha must be a finite number; got {a!r}: 0.5 is Hellinger, 1 is KL")
    c = a * (a - 1)

    def generator(u: Array) -> Array:
        log_u = np.log(u)
        if abs(a - 1) < 0.5:
            return (u * _power(a - 1, log_u) - (u - 1)) / a
        return (_power(a, log_u) - (u - 1)) / (a - 1)

    def conjugate(t: Array) -> Array:
        base = 1 + (a - 1) * t  # u^{a−1} at the best u
        if a == 1:
            return np.expm1(t)
        if a < 1:
            u = np.power(base, 1 / (a - 1), out=np.full_like(base, np.inf), where=base > 0)
        else:
            u = np.maximum(base, 0) ** (1 / (a - 1))
        finite = np.isfinite(u)
        value = u * t - generator(np.where(finite & (u > 0), u, 1.0))
        if a > 1:  # f(0) = 1/a
            value = np.where(u > 0, value, -1 / a)
        return np.where(finite, value, np.inf)

    def critic(v: Tensor) -> tuple[Tensor, Tensor]:
        return _grown(a - 1, v), _grown(a, v)

    def closed(delta: Tensor) -> Tensor:
        return _grown(c, delta / 2)

    return Divergence(
        f"alpha({a:g})",
        generator,
        lambda u: _power(a - 1, np.log(u)),
        1.0,
        conjugate,
        critic,
        closed,
        (min(0.0, a), max(1.0, a)),
        math.inf if c >= 0 else -1 / c,
    )


def _power(s: float, x: Array) -> Array:
    """(e^{sx} − 1)/s, and x at s = 0."""
    return np.expm1(s * x) / s if s else x


def _grown(s: float, x: Tensor) -> Tensor:
    """(e^{sx} − 1)/s for tensors, by its series near 0, along the tangent far out."""
    y = s * x
    near = y.abs() < NEAR
    series = 1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5)))
    safe = torch.where(near, torch.ones_like(y), y)  # else 0/0 would spoil the gradient
    return x * torch.where(near, series, expm1_tangent(safe) / safe)


def _hellinger_conjugate(t: Array) -> Array:
    return np.divide(t, 1 - t, out=np.full_like(t, np.inf), where=t < 1)


def _jensen_shannon_conjugate(t: Array) -> Array:
    inside = 2 - np.exp(np.minimum(2 * t, LARGEST))
    return np.where(inside > 0, -0.5 * np.log(np.where(inside > 0, inside, 1.0)), np.inf)


HALF_LOG_2 = 0.5 * math.log(2)

KL = Divergence(
    "kl",
    lambda u: u * np.log(u) - (u - 1),
    np.log,
    1.0,
    np.expm1,
    lambda v: (v, expm1_tangent(v)),
    lambda delta: delta / 2,
)
HELLINGER = Divergence(  # ∫(√p − √q)²
    "hellinger",
    lambda u: (np.sqrt(u) - 1) ** 2,
    lambda u: 1 - u**-0.5,
    0.5,
    _hellinger_conjugate,
    lambda v: (-expm1_tangent(-v / 2), expm1_tangent(v / 2)),
    lambda delta: -2 * torch.expm1(-delta / 8),
    bound=2.0,
)
CHI2 = Divergence(  # ∫(p − q)²/q
    "chi2",
    lambda u: (u - 1) ** 2,
    lambda u: 2 * (u - 1),
    2.0,
    lambda t: np.where(t > -2, t + t**2 / 4, -1.0),
    lambda v: (2 * expm1_tangent(v), expm1_tangent(2 * v)),
    expm1_tangent,
    (0.0, 2.0),
)
JENSEN_SHANNON = Divergence(  # ½KL(p‖m) + ½KL(q‖m), m = (p + q)/2
    "js",
    lambda u: 0.5 * (u * np.log(u) - (1 + u) * np.log((1 + u) / 2)),
    lambda u: 0.5 * np.log(2 * u / (1 + u)),
    0.25,
    _jensen_shannon_conjugate,
    lambda v: (HALF_LOG_2 - softplus(-v) / 2, softplus(v) / 2 - HALF_LOG_2),
    bound=math.log(2),
)
# |T| ≤ ½ are the slopes of f at its kink; ½tanh(v/2) nears the best one, ½sign v, as v grows.
TOTAL_VARIATION = Divergence(  # ½∫|p − q|
    "tv",
    lambda u: 0.5 * np.abs(u - 1),
    lambda u: 0.5 * np.sign(u - 1),
    None,
    lambda t: np.where(t > 0.5, np.inf, np.maximum(t, -0.5)),
    lambda v: (torch.tanh(v / 2) / 2, torch.tanh(v / 2) / 2),
    bound=1.0,
)
DIVERGENCES = {one.name: one for one in (KL, HELLINGER, CHI2, JENSEN_SHANNON, TOTAL_VARIATION)}


def named(divergence: str | Divergence, order: float | None = None) -> Divergence:
    """A divergence by its name; "alpha" needs its order.

    Raises:
        ValueError: an unknown name, an order missing, or one given to another divergence.
    """
    if (divergence == "alpha") != (order is not None):
        raise ValueError(
            f"alpha is the order of divergence='alpha' and of no other; got divergence="
            f"{divergence!r} with alpha={order!r}"
        )
    if order is not None:
        return alpha(order)
    if isinstance(divergence, Divergence):
        return divergence
    if divergence not in DIVERGENCES:
        known = ", ".join([*DIVERGENCES, "alpha"])
        raise ValueError(f"divergence must be one of {known}, or a Divergence; got {divergence!r}")
    return DIVERGENCES[divergence]


def quadrature(divergence: Divergence, delta: ArrayLike) -> Array:
    """D_f between Gaussians, E_z f(e^{√δ z − δ/2}) with z standard normal, in float64.

    Gauss–Legendre on both sides of z = √δ/2, where p = q and f may have a kink, over all that f
    makes large: about 1e-13 of the value.

    Args:
        delta: δ = d²/σ² ≥ 0, of any shape.

    Raises:
        ValueError: δ negative, not finite, or so large that the value overflows.

    Source: [N] arXiv 2509.21167.
    """
    given = np.asarray(delta, dtype=np.float64)
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ValueError(f"delta must be finite and not negative; got {given.tolist()!r:.80}")
    least, most = divergence.powers
    root = np.sqrt(given)[..., None]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    total = np.zeros(given.shape)
    middle = root / 2
    for end in (least * root - TAIL, most * root + TAIL):
        half = np.abs(end - middle) / 2
        z = (end + middle) / 2 + half * nodes
        exponent = root * z - given[..., None] / 2
        if np.abs(exponent).max(initial=0.0) * max(1.0, most, -least) > 700:  # e^709 is the last
            raise ValueError(
                f"delta is too large for a quadrature of {divergence.name}: f overflows; got up to "
                f"{given.max():.4g}"
            )
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        total += (half * weights * density * divergence.generator(np.exp(exponent))).sum(-1)
    return total
