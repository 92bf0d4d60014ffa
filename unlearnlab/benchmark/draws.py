"""Models that only draw: what is known of them is a law, not a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..diffusion import DiffusionModel
from ..estimate import Estimate


class Draws(DiffusionModel):
    """Draws without predictions, such as those of an optimum by rejection.

    Args:
        retain: q, whose space the draws live in.
        draw: from n and a seed to (n, *shape).
        log_ratio: log p/q (n,) at draws; None where it is not known.
    """

    draws_only = True

    def __init__(
        self,
        retain: DiffusionModel,
        draw: Callable[[int, int], Tensor],
        log_ratio: Callable[[Tensor], Any] | None = None,
    ):
        super().__init__(retain.shape, retain.schedule, retain.dtype, retain.device)
        self.retain, self.draw, self.log_ratio = retain, draw, log_ratio

    def exact_draws(self, n: int, *, seed: int, quasi: bool) -> Tensor:
        """n of them."""
        return self.draw(n, seed).to(self.device, self.dtype)

    def kl(self, other: Any, *, seed: int = 0, samples: int | None = None, **how: Any) -> Estimate:
        """E_p[log p/q] over own draws; of no other model than q.

        Raises:
            ValueError: another model, or a ratio that is not known.
        """
        if other is not self.retain or self.log_ratio is None:
            raise ValueError(f"other must be a model whose ratio to the draws is known: {other!r}")
        logs = self.log_ratio(self.sample(samples or self.effort.draws, seed=seed))
        return Estimate(float(logs.mean()), float(logs.std()) / len(logs) ** 0.5)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """There is none.

        Raises:
            TypeError: always.
        """
        raise TypeError("what only draws has no noise prediction: ask for draws alone")
