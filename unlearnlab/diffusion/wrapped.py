"""A user's noise prediction as a model, watched: at random points first, and at every call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import predictions
from .model import DiffusionModel
from .quadrature import require_finite
from .schedule import Schedule

TRIED = 4  # random points
CHANGED = (
    "function must not change x_t or t, which others read; let it work on a copy (x_t.clone())"
)
CLOSE = 1e-3  # of the largest number of a prediction: batches of other sizes round otherwise


class Wrapped(DiffusionModel):
    """A user's prediction as a model; see `wrap`."""

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        schedule: Schedule,
        shape: Sequence[int],
        dtype: torch.dtype,
        device: str | torch.device,
        prediction: str = "noise",
    ):
        super().__init__(shape, schedule, dtype, device)
        self.function = function
        self.prediction = predictions.require_kind(prediction, schedule)

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the user's function says, checked, as noise.

        Raises:
            ValueError: not finite, or not of the shape and dtype of x_t; or x_t or t were changed.
        """
        x, time = predictions.shown(self.prediction, x_t, t, self.schedule)
        before = x._version, time._version
        out: Any = self.function(x, time)
        if (x._version, time._version) != before:
            raise ValueError(CHANGED)
        if not isinstance(out, Tensor) or (out.shape, out.dtype) != (x_t.shape, x_t.dtype):
            kind = type(out).__name__
            got = f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else kind
            raise ValueError(
                f"function must return {self.prediction} of the shape and dtype of x_t, "
                f"{x_t.dtype} {tuple(x_t.shape)}; a call returned {got}"
            )
        require_finite("a call of function", out.detach(), self)
        return predictions.noise(self.prediction, out, x_t, t, self.schedule)

    def try_out(self) -> None:
        """Refuse a function whose answers depend on more than x_t and t.

        Raises:
            ValueError: two calls differ, or a part of a batch from the whole.
        """
        generator = torch.Generator().manual_seed(0)
        x = torch.randn((TRIED, *self.shape), generator=generator).to(self.device, self.dtype)
        t = torch.randint(len(self.schedule), (TRIED,), generator=generator).to(self.device)
        given = x.clone(), t.clone()
        with torch.no_grad():
            first = self.noise_prediction(*given)
            if not (torch.equal(given[0], x) and torch.equal(given[1], t)):
                raise ValueError(CHANGED)  # past torch, which counts changes: NumPy, or x_t.data
            again = self.noise_prediction(x.clone(), t.clone())
            part = self.noise_prediction(x[:2].clone(), t[:2].clone())
        size = float(first.abs().max())
        training = isinstance(self.function, nn.Module) and self.function.training
        advice = "it is in training mode: call its eval()" if training else "such as by dropout"
        for other, own, what in (
            (again, first, "two calls with the same x_t and t"),
            (part, first[:2], "samples of a batch and the same in a larger one"),
        ):
            apart = float((other - own).abs().max())
            if apart > CLOSE * size:
                raise ValueError(
                    f"function must be one of x_t and t alone; {what} differ by {apart:.3g} "
                    f"({advice})"
                )

    def __repr__(self) -> str:
        return f"Wrapped({getattr(self.function, '__name__', type(self.function).__name__)})"


def wrap(
    function: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    shape: int | Sequence[int],
    *,
    prediction: str = "noise",
    denoiser: bool = True,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Wrapped:
    """Any network's prediction as a diffusion model.

    It is tried at random points, twice and in parts, and watched at every call.

    Args:
        function: (x_t (B, *shape), t (B,)) → ε̂ (B, *shape), of x_t and t alone: a network in its
            eval mode.
        schedule: the one it was trained with; see `Schedule.flow` for a velocity's.
        shape: of one sample.
        prediction: "noise", ε̂; "v", that of αε − σx; "sample", of x; "velocity", of ε − x: such
            a function is called with x_s = (1 − s)x + sε and with s (B,) between 0 and 1.
        denoiser: whether it predicts E[ε|x_t] of the model's own samples. Guided and composed
            predictions do not: Lemmas 2 and 3 do not hold for them.

    Raises:
        TypeError: not callable.
        ValueError: a call returns something else than finite noise of the shape and dtype of x_t,
            changes its inputs, or depends on more than them.
    """
    if not callable(function):
        raise TypeError(f"function must be callable as f(x_t, t); got {type(function).__name__}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    model = Wrapped(function, schedule, sizes, dtype, device, prediction)
    model.denoiser = denoiser
    model.try_out()
    return model
