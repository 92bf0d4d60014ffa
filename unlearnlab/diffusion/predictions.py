"""What networks predict, and the noise that it amounts to: the one place where they are converted.

A schedule preserves variance, x_t = αx + σε. A flow goes straight, x_s = (1 − s)x + sε. They are
the same points but for their size: at s = σ/(α + σ) both have one log-SNR, and x_s = x_t/(α + σ).
"""

from __future__ import annotations

from torch import Tensor

from .schedule import Schedule

KINDS = ("noise", "v", "velocity", "sample")
OF_DIFFUSERS = {"epsilon": "noise", "v_prediction": "v", "sample": "sample"}  # prediction_type
CLOCK = 1000  # times s is the timestep of diffusers' networks of flows


def require_kind(kind: str, schedule: Schedule) -> str:
    """Refuse a prediction that no noise can be read off, or no clean sample at a schedule's end."""
    if kind not in KINDS:
        raise ValueError(f"prediction must be one of {', '.join(KINDS)}; got {kind!r}")
    if kind == "noise" and schedule.ends_without_signal:
        raise ValueError(
            "the schedule has zero signal at its end (rescale_betas_zero_snr), where predicted "
            "noise says nothing of the sample: the network must predict v or the sample; got "
            "prediction 'noise'"
        )
    return kind


def shown(kind: str, x_t: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """What a network is called with: x_t and t (B,); or, for a velocity, x_s and s (B,)."""
    if kind != "velocity":
        return x_t, t
    alpha, sigma = schedule.at(t, x_t)
    return x_t / (alpha + sigma), (sigma / (alpha + sigma)).flatten()


def noise(kind: str, told: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """ε̂ (B, *shape) from what a network told of x_t (B, *shape) at t (B,).

    αv + σx_t of v = αε − σx; (x_t + αu)/(α + σ) of a velocity u = ε − x; (x_t − αx̂)/σ of x̂.
    """
    if kind == "noise":
        return told
    alpha, sigma = schedule.at(t, x_t)
    if kind == "v":
        return alpha * told + sigma * x_t
    if kind == "velocity":
        return (x_t + alpha * told) / (alpha + sigma)
    return (x_t - alpha * told) / sigma
