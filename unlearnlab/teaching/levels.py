"""Lesson 14's open task: guidance whose strength depends on the noise, and what is said of one.

In a notebook `name??` shows the code of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from .exercise import Verdict

HORSES, COWBOYS, PAID = 0.30, 0.90, 5.0  # 14.3: shares of pictures, and nats along paths
DRAWN = {"steps": 20, "seed": 1}


@cache
def _kind() -> Any:
    """The class of such models, made where torch is needed."""
    import torch

    from ..diffusion import ComposedModel
    from ..diffusion.quadrature import together

    class LedAway(ComposedModel):
        """ε̂_q + u(γ)(ε̂_q − ε̂_{q₁}), γ the log-SNR of each x_t."""

        strength: Callable[[float], float]

        def noise_prediction(self, x_t: Any, t: Any) -> Any:
            own, other = together([self.retain, *self.forget], x_t, t)
            gammas = self.schedule.log_snr.to(t.device)[t].tolist()
            u = torch.tensor([float(self.strength(gamma)) for gamma in gammas]).to(own)
            return own + u.reshape(-1, *[1] * (own.ndim - 1)) * (own - other)

    return LedAway


def led_away(q: Any, q1: Any, strength: Callable[[float], float]) -> Any:
    """Composed unlearning whose guidance depends on the noise: ε̂_q + u(γ)(ε̂_q − ε̂_{q₁}).

    Args:
        q, q1: diffusion models, such as prompts of one pipeline.
        strength: u of the log-SNR γ, a number; γ runs from about −5 (noise) to 7 (clean).

    Returns:
        A model with `sample` and `kl(..., kind="path")`.
    """
    model = _kind()(q, [q1], [1.0])
    model.strength = strength
    return model


def where_it_counts(strength: Any) -> Verdict:
    """14.3: u(γ) with which horses beside a cowboy are rare, cowboys stay, and paths cost little.

    Right where of 80 pictures at most 30 in 100 show a horse and at least 90 a cowboy, for at most
    five nats along paths of 20 steps.
    """
    from ..stable_diffusion import TextToImage
    from ..stable_diffusion.classifier import load_classifier, rates_of

    if not callable(strength):
        return False, "which is no function of the log-SNR"
    values = [strength(gamma) for gamma in (-5.0, 0.0, 7.0)]
    if not all(isinstance(u, int | float) and abs(u) < 100 for u in values):
        return False, "which does not return one number for a log-SNR of -5, 0 and 7"
    pipeline = TextToImage.from_pretrained("tiny")
    q, q1 = (pipeline.prompt(text) for text in ("a cowboy", "a cowboy with a horse"))
    model = led_away(q, q1, strength)
    rates = rates_of(pipeline.decode(model.sample(80, **DRAWN)), load_classifier())
    paid = model.kl(q, kind="path", samples=64, steps=20)
    seen = (
        f"horses are in {rates['horse']:.2f} and cowboys in {rates['cowboy']:.2f} of the pictures, "
        f"for {float(paid):.1f} ± {paid.stderr:.1f} nats along paths"
    )
    if rates["horse"] > HORSES or rates["cowboy"] < COWBOYS or float(paid) > PAID:
        return False, f"with which {seen} (asked: {HORSES:g}, {COWBOYS:g} and {PAID:g} nats)"
    return True, (
        f"{seen}. u = 2 at every level has 0.26 for 6.1 nats: whether there is a horse is settled "
        "while the picture is mostly noise, and guidance after that is paid for nothing"
    )
