"""What the choice of an f-divergence changes, on two Gaussians: claims of [N] arXiv 2509.21167.

A student N(θ, 1) is to become an anchor N(0, 1), θ in standard deviations: one reverse step of
f-divergence unlearning, with nothing else in the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearnlab.baselines.divergences import DIVERGENCES, Divergence, quadrature

Array = np.ndarray[Any, np.dtype[Any]]
NAMES = ("kl", "hellinger", "chi2", "js", "tv")
CLOSE = 0.01  # standard deviations from the anchor that count as arrived
STEPS = 3000
RATE = 0.125  # of the equal conditions, one of RATES
RATES = 2.0 ** np.arange(-9, 9)  # among which each divergence may choose
STARTS = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0)
SEEDS = 5
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
Z, W = torch.from_numpy(NODES), torch.from_numpy(WEIGHTS / WEIGHTS.sum())


def divergences() -> dict[str, Any]:
    """Gradients against distance, and steps to the anchor by exact and by noisy gradients."""
    d = np.linspace(0.02, 10, 250)
    return {
        "distance": d.tolist(),
        "gradient": {name: slopes(DIVERGENCES[name], d).tolist() for name in NAMES},
        "steps": {kind: race(kind, noisy=False) for kind in ("gd", "adam")},
        "noisy steps": {kind: race(kind, noisy=True) for kind in ("gd", "adam")},
        "starts": list(STARTS),
        "rates": RATES.tolist(),
    }


def slopes(divergence: Divergence, d: Array) -> Array:
    """dD_f/dd by central differences of the quadrature."""
    h = 1e-4 * d
    return (quadrature(divergence, (d + h) ** 2) - quadrature(divergence, (d - h) ** 2)) / (2 * h)


def race(kind: str, *, noisy: bool) -> dict[str, Any]:
    """Steps to stay within 0.01σ of the anchor, from each start; None: not in 3000.

    Noisy: each step sees 32 transitions whose distances are s·θ, log s normal of width ½ (reverse
    steps and samples differ so in how far they are from the anchor); the worst of 5 seeds.
    Tuned: the rate that is best for that start alone. One rate: that which is best for the sum over
    all starts, a start not reached counting as 3000.
    """
    table = {}
    for name in NAMES:
        slope = table_of(DIVERGENCES[name])
        theta = np.broadcast_to(
            np.array(STARTS)[:, None, None], (len(STARTS), len(RATES), SEEDS if noisy else 1)
        )
        random = np.random.default_rng(0)

        def gradient(x: Array, slope: Any = slope, random: Any = random) -> Array:
            if not noisy:
                return slope(x[..., 0])[..., None]
            s = np.exp(0.5 * random.standard_normal((SEEDS, 32)))  # the same for every rate
            return (s * slope(s * x)).mean(-1, keepdims=True)

        path = descend(gradient, theta[..., None], RATES[:, None, None], kind)[..., 0]
        counts = arrivals(path).max(-1)  # start, rate
        equal = counts[:, RATES.tolist().index(RATE)]
        one = int(np.minimum(counts, STEPS).sum(0).argmin())
        table[name] = {
            "equal rate": finite(equal),
            "tuned": finite(counts.min(1)),
            "one rate": finite(counts[:, one]),
            "its rate": float(RATES[one]),
        }
    return table


def table_of(divergence: Divergence) -> Callable[[Array], Array]:
    """sign(x)·dD_f/dd at |x|, by interpolation; the ends go on as constants."""
    d = np.concatenate([[1e-6], np.linspace(0.01, 16, 1600)])
    if divergence.name == "chi2":  # e^{d²}: by its formula, up to what float64 holds
        return lambda x: 2 * x * np.exp(np.minimum(x**2, 600))
    values = slopes(divergence, d)
    return lambda x: np.sign(x) * np.interp(np.abs(x), d, values)


def descend(gradient: Callable[[Array], Array], x: Array, rate: Any, kind: str) -> Array:
    """(STEPS + 1, ...) the path of gradient descent, or of Adam, from x (..., parameters)."""
    path, m, v = [x], np.zeros(x.shape), np.zeros(x.shape)
    for t in range(1, STEPS + 1):
        g = np.clip(gradient(x), -1e100, 1e100)  # χ² far away; its square is still a number
        if kind == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            g = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x = np.clip(x - rate * g, -1e6, 1e6)  # who gets there does not come back
        path.append(x)
    return np.array(path)


def arrivals(path: Array) -> Array:
    """The first step from which θ stays close; inf where there is none."""
    outside = ~(np.abs(path) < CLOSE)
    last = len(path) - np.argmax(outside[::-1], axis=0)
    last = np.where(last > 0.95 * STEPS, np.inf, last)  # within by chance at the end: no arrival
    return np.where(outside.any(0), last, 0)


def finite(values: Array) -> list[int | None]:
    """For JSON, which has no infinity."""
    return [int(value) if np.isfinite(value) else None for value in values]


# The min–max: V(θ, a, c) = E_z[T(z + θ)] − E_z[f*(T(z))], a critic linear in x.

Critic = Callable[[Tensor], tuple[Tensor, Tensor]]
DIRECT: dict[str, Critic] = {  # T = ax + c itself; f* written for tensors
    "kl": lambda t: (t, torch.expm1(t)),
    "hellinger": lambda t: (t, t / (1 - t)),
    "chi2": lambda t: (t, t + t**2 / 4),
    "js": lambda t: (t, -0.5 * torch.log(2 - torch.exp(2 * t))),
}


def twice(critic: Critic) -> Critic:
    """The critic of 2D: T is twice as large and (2f)*(T) = 2f*(T/2)."""
    return lambda t: (t, 2 * critic(t / 2)[1])


def minmax() -> dict[str, Any]:
    """Local convergence of the min–max against f''(1): predicted, measured, and in steps."""
    games = [
        (name, "log-ratio", DIVERGENCES[name].critic, DIVERGENCES[name].curvature, 0.0)
        for name in NAMES
    ]
    games += [
        (name, "direct", critic, DIVERGENCES[name].curvature, 0.0)
        for name, critic in DIRECT.items()
    ]
    games.append(("2 js", "direct", twice(DIRECT["js"]), 0.5, 0.0))
    games.append(("2 hellinger", "direct", twice(DIRECT["hellinger"]), 1.0, 0.0))
    games.append(("tv", "log-ratio, damped", DIVERGENCES["tv"].critic, None, 0.25))
    rows = [
        {"divergence": name, "critic": kind, "curvature": curvature, "damping": damping}
        | local(critic, damping)
        for name, kind, critic, curvature, damping in games
    ]
    return {"games": rows, "race": {kind: game_race(kind) for kind in ("gd", "adam")}}


def value(critic: Critic, state: Tensor, damping: float) -> Tensor:
    """V at (θ, a, c), less ½·damping·E_anchor[v²], by Gauss–Hermite quadrature."""
    theta, a, c = state
    v = a * Z + c
    return (W * (critic(v + a * theta)[0] - critic(v)[1] - 0.5 * damping * v**2)).sum()


SIGNS = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)  # θ descends, a and c ascend


def local(critic: Critic, damping: float) -> dict[str, Any]:
    """Eigenvalues of the flow at (0, 0, 0), what they predict of steps, and what steps do."""
    zero = torch.zeros(3, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda x: value(critic, x, damping), zero)
    jacobian = (SIGNS[:, None] * hessian).numpy()
    eigenvalues = np.linalg.eigvals(jacobian)  # c's is real: never the slowest, at times the first
    sizes = np.maximum(np.abs(eigenvalues) ** 2, 1e-30)  # to overshoot
    limit = float(min(-2 * eigenvalues.real / sizes))
    limit = limit if limit > 1e-9 else 0.0
    small = 0.1
    found: dict[str, Any] = {
        "eigenvalues": [[float(one.real), float(one.imag)] for one in eigenvalues],
        "rate": round(float(-eigenvalues.real.max()), 12) + 0.0,
        "largest step": limit,
        "predicted per step": float(np.log(radius(jacobian, small, alternating=False))),
        "measured per step": iterate(critic, damping, small, alternating=False),
        "alternating, predicted": float(np.log(radius(jacobian, small, alternating=True))),
        "alternating, measured": iterate(critic, damping, small, alternating=True),
        "best per step": best(jacobian),
    }
    if limit:
        found["measured at 0.97 and 1.03 of the largest"] = [
            iterate(critic, damping, share * limit, alternating=False) for share in (0.97, 1.03)
        ]
    return found


def radius(jacobian: Array, step: float, *, alternating: bool) -> float:
    """Largest factor by which a step shrinks or grows (θ, a, c)."""
    whole = np.eye(3) + step * jacobian
    if alternating:  # a and c move from where θ has come to
        rest = np.eye(3)
        whole = np.vstack([rest[:1], whole[1:]]) @ np.vstack([whole[:1], rest[1:]])
    return float(np.abs(np.linalg.eigvals(whole)).max())


def best(jacobian: Array) -> float:
    """The least log factor of a step over all steps: what tuning one rate can give."""
    return float(np.log(max(1e-6, min(radius(jacobian, s, alternating=False) for s in GRID))))


GRID = np.concatenate([[0.0], np.geomspace(1e-3, 20, 4000), np.arange(0.05, 10, 0.05)])


def iterate(critic: Critic, damping: float, step: float, *, alternating: bool) -> float:
    """Measured log factor per step, over the last two thirds of 300 steps from θ = 10⁻⁶."""
    x, sizes = torch.tensor([1e-6, 0.0, 0.0], dtype=torch.float64), []
    masks = [torch.tensor(m) for m in ([1.0, 0, 0], [0, 1.0, 1.0])]
    for _ in range(300):
        for mask in masks if alternating else [torch.ones(3)]:
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(value(critic, x, damping), x)
            x = (x + step * mask * SIGNS * gradient).detach()
        sizes.append(float(x.norm()))
        if not 1e-15 < sizes[-1] < 1e-2:  # to rounding, or out of the neighbourhood
            break
    # The size turns with the phase: a line through its logarithm averages that out.
    logs = np.log(sizes[len(sizes) // 3 :])
    return float(np.polyfit(np.arange(len(logs)), logs, 1)[0])


def pull(name: str, v: Array) -> tuple[Array, Array]:
    """T'(v) and (f*∘T)'(v) = e^v T'(v), with exponents cut at ±30."""
    v = np.clip(v, -30, 30)
    slope = {
        "kl": lambda: np.ones_like(v),
        "hellinger": lambda: 0.5 * np.exp(-v / 2),
        "chi2": lambda: 2 * np.exp(v),
        "js": lambda: 0.5 / (1 + np.exp(v)),
        "tv": lambda: 0.25 / np.cosh(v / 2) ** 2,
    }[name]()
    return slope, slope if name == "tv" else np.exp(v) * slope


def game_race(kind: str) -> dict[str, Any]:
    """Steps of the learned min–max, 64 common draws a step, log-ratio critic; worst of 5 seeds."""
    starts, table = np.array([1.0, 3.0]), {}
    for name in NAMES:
        random = np.random.default_rng(1)

        def gradient(x: Array, name: str = name, random: Any = random) -> Array:
            z = random.standard_normal((SEEDS, 64))
            theta, a, c = (x[..., i, None] for i in range(3))
            won = pull(name, a * (z + theta) + c)[0]
            v = a * z + c
            paid = pull(name, v)[1] + (0.25 * v if name == "tv" else 0)
            parts = (won * a, paid * z - won * (z + theta), paid - won)
            return np.stack([part.mean(-1) for part in parts], -1)

        x = np.zeros((len(starts), len(RATES), SEEDS, 3))
        x[..., 0] = starts[:, None, None]
        path = descend(gradient, x, RATES[:, None, None], kind)[..., 0]
        counts = arrivals(path).max(-1)
        equal = RATES.tolist().index(RATE)
        table[name] = {
            "equal rate": finite(counts[:, equal]),
            "tuned": finite(counts.min(1)),
            "tuned rate": [float(RATES[i]) for i in counts.argmin(1)],
        }
    return {"starts": starts.tolist(), "steps": table}
