"""Variance-preserving noise schedules, one object for every sampler and every quadrature."""

from __future__ import annotations

from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import real

LARGEST_SEED = 2**63 - 1
FLOW = "FlowMatchEulerDiscreteScheduler"
SPACINGS = ("leading", "trailing", "linspace", "log_snr")


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as a whole number of at least `least`, and of at most `most` where there is one."""
    number = isinstance(value, Integral) and not isinstance(value, bool)
    if not number or value < least or (most is not None and value > most):
        asked = f"of at least {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be a whole number {asked}; got {value!r}")
    return int(value)


def require_seed(value: Any) -> int:
    """A seed that all generators take."""
    return whole("seed", value, 0, LARGEST_SEED)


def _known(spacing: str) -> str:
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}; got {spacing!r}")
    return spacing


class Schedule:
    """x_t = α_t x + σ_t ε with α_t² = Π_{s≤t}(1 − β_s), σ_t² = 1 − α_t², t = 0, ..., T − 1.

    The log-SNR γ_t = log α_t²/σ_t² falls from clean to noise; every integral of the package runs
    over it. Schedules with equal numbers are equal.

    Args:
        betas: (T,) β in (0, 1); by default DDPM's, linear from 1e-4 to 0.02 in 1000 steps. A last
            β of 1 leaves nothing of x (diffusers' rescale_betas_zero_snr): there is no log-SNR
            there, so that step is left out, and a sampler that asks for it gets the one before.
        spacing: which timesteps a shorter sampler visits: "leading", "trailing" or "linspace", as
            in diffusers' schedulers, or "log_snr".
        steps_offset: added to "leading" timesteps (1 for Stable Diffusion).
        ends_clean: whether the last transition of a sampler goes to the clean sample; else to
            timestep 0, as Stable Diffusion's schedulers do (set_alpha_to_one=False).

    Raises:
        ValueError: betas outside (0, 1), an unknown spacing, or an offset beyond the schedule.

    Example:
        >>> import unlearnlab as ul
        >>> schedule = ul.Schedule()
        >>> len(schedule), [round(float(g), 3) for g in schedule.log_snr[[0, 500, 999]]]
        (1000, [9.21, -2.473, -10.118])
    """

    def __init__(
        self,
        betas: ArrayLike | None = None,
        *,
        spacing: str = "leading",
        steps_offset: int = 0,
        ends_clean: bool = True,
    ):
        values = np.linspace(1e-4, 0.02, 1000) if betas is None else betas
        given = np.asarray(values, dtype=np.float64)
        silent = given.ndim == 1 and given.size > 0 and given[-1] == 1
        beta = given[:-1] if silent else given
        if beta.ndim != 1 or len(beta) < 2 or not ((beta > 0) & (beta < 1)).all():
            raise ValueError(
                "betas must be a vector of two or more numbers strictly between 0 and 1, of which "
                f"the last alone may be 1; got shape {given.shape}, "
                f"{np.array2string(given, threshold=6)}"
            )
        self.spacing = _known(spacing)
        self.steps_offset = whole("steps_offset", steps_offset, 0, len(beta) - 1)
        self.betas = torch.from_numpy(given)
        log_signal = np.cumsum(np.log1p(-beta))  # log α_t²
        self.alphas_cumprod = torch.from_numpy(np.exp(log_signal))
        self._log_snr = torch.from_numpy(log_signal - np.log(-np.expm1(log_signal)))
        self.ends_at = 1.0 if ends_clean else float(self.alphas_cumprod[0])  # α² there
        self._key = (given.tobytes(), spacing, steps_offset, ends_clean)
        self._tables: dict[Any, tuple[Tensor, Tensor]] = {}

    @classmethod
    def from_log_snr(cls, values: ArrayLike, **options: Any) -> Schedule:
        """The schedule of any (α, σ), by its log-SNR γ = log α²/σ²: only their ratio counts.

        Args:
            values: (T,) γ, falling.
            options: as in the constructor.

        Raises:
            ValueError: they do not fall, or are not finite.
        """
        gamma = np.asarray(values, dtype=np.float64)
        falls = gamma.ndim == 1 and len(gamma) > 1 and (np.diff(gamma) < 0).all()
        if not falls or not np.isfinite(gamma).all():
            raise ValueError(
                "values must be two or more finite log-SNRs that fall from clean to noise; got "
                f"{np.array2string(gamma, threshold=6)}"
            )
        log_signal = -np.logaddexp(0.0, -gamma)  # log α² of γ
        betas = -np.expm1(np.diff(log_signal, prepend=0.0))
        return cls(betas, **options)

    @classmethod
    def flow(cls, steps: int = 1000, *, shift: float = 1.0, **options: Any) -> Schedule:
        """That of a rectified flow, x_s = (1 − s)x + sε, at s = 1/steps, ..., (steps − 1)/steps.

        At s = 1 nothing of x is left, and there is no log-SNR: it is left out.

        Args:
            steps: of the flow's own clock.
            shift: c, as Stable Diffusion 3 and FLUX use it: s becomes cs/(1 + (c − 1)s).
            options: as in the constructor.

        Raises:
            ValueError: fewer than three steps, or a shift that is not positive.

        Source: Esser et al. (2024), arXiv 2403.03206, for the shift.
        """
        if not 0 < real("shift", shift) < float("inf"):
            raise ValueError(f"shift must be positive and finite; got {shift!r}")
        s = np.arange(1, whole("steps", steps, 3)) / steps
        s = shift * s / (1 + (shift - 1) * s)
        return cls.from_log_snr(2 * (np.log1p(-s) - np.log(s)), **options)

    @classmethod
    def from_scheduler(
        cls, scheduler: Any, *, spacing: str | None = None, shift: float | None = None
    ) -> Schedule:
        """The schedule of any diffusers scheduler, or of its config.

        Args:
            spacing: instead of the scheduler's own.
            shift: of a flow (FlowMatchEulerDiscreteScheduler), instead of the scheduler's own.

        Raises:
            TypeError: no betas can be read off it, and it is no flow.
            ValueError: the shift of a flow that depends on the size of the pictures is not given.
        """
        config = getattr(scheduler, "config", scheduler)
        if FLOW in (type(scheduler).__name__, hasattr(config, "get") and config.get("_class_name")):
            if config.get("use_dynamic_shifting") and shift is None:
                raise ValueError(
                    "the scheduler has use_dynamic_shifting: its shift depends on the size of the "
                    "pictures; give shift="
                )
            if config.get("invert_sigmas"):
                raise ValueError(
                    "the scheduler has invert_sigmas: its time runs from noise to data the other "
                    "way, which is not supported"
                )
            own = config.get("shift", 1.0) if shift is None else shift
            steps = config.get("num_train_timesteps", 1000)
            return cls.flow(steps, shift=own, spacing=spacing or "linspace")
        if getattr(scheduler, "betas", None) is None:
            if not hasattr(config, "get") or "beta_schedule" not in config:
                raise TypeError(
                    "scheduler must be a diffusers scheduler with betas, or its config; got "
                    f"{type(scheduler).__name__}"
                )
            from diffusers import DDPMScheduler

            scheduler = DDPMScheduler.from_config(dict(config))
        # In full precision, which the scheduler's are not; but it may have rescaled them.
        given = None if config.get("rescale_betas_zero_snr") else config.get("trained_betas")
        betas = scheduler.betas.cpu().double().numpy() if given is None else given
        return cls(
            betas,
            spacing=spacing or config.get("timestep_spacing", "leading"),
            steps_offset=config.get("steps_offset", 0),
            ends_clean=config.get("set_alpha_to_one", True),
        )

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        low, high = float(self._log_snr[-1]), float(self._log_snr[0])
        spacing = "" if self.spacing == "leading" else f", {self.spacing}"
        offset = f", steps_offset={self.steps_offset}" if self.steps_offset else ""
        return f"Schedule({len(self)} steps, log-SNR {high:.2f} to {low:.2f}{spacing}{offset})"

    @property
    def log_snr(self) -> Tensor:
        """(T,) γ_t in float64, falling."""
        return self._log_snr

    @property
    def ends_without_signal(self) -> bool:
        """Whether the last of its steps had to be left out, since nothing of x is left there."""
        return len(self.betas) > len(self)

    @cached_property
    def signal(self) -> Tensor:
        """(T,) α_t in float64."""
        return torch.sqrt(self.alphas_cumprod)

    @cached_property
    def noise(self) -> Tensor:
        """(T,) σ_t in float64."""
        return torch.sigmoid(-self._log_snr).sqrt()

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t for timesteps t (B,), shaped to multiply `like` (B, ...)."""
        key = (like.device, like.dtype)
        if key not in self._tables:  # looked up at every step: kept where it is used
            self._tables[key] = (self.signal.to(like), self.noise.to(like))
        shape = (-1,) + (1,) * (like.ndim - 1)
        alpha, sigma = self._tables[key]
        return alpha[t].reshape(shape), sigma[t].reshape(shape)

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = α_t x + σ_t ε for timesteps t (B,)."""
        alpha, sigma = self.at(t, x)
        return alpha * x + sigma * noise

    def up_to(self, steps: int) -> int:
        """So many steps of a sampler, or fewer where the schedule has fewer to visit."""
        return min(steps, len(self) - self.steps_offset)

    def timesteps(self, steps: int, *, spacing: str | None = None) -> list[int]:
        """The timesteps that a sampler of `steps` steps visits, from noise to data.

        "log_snr" makes equal steps of log-SNR, as far as the schedule's own allow. They are fewer
        where two of them fall on one.

        Raises:
            ValueError: more of them than the schedule has, or so many that its offset moves some
                beyond its end.
        """
        total = len(self.betas)  # with a last step that is left out: spacings count it
        if whole("steps", steps, 1) > len(self):
            raise ValueError(f"steps must lie between 1 and {len(self)}; got {steps!r}")
        spacing = _known(spacing or self.spacing)
        if spacing == "log_snr":
            return self.nodes(steps)[0].flip(0)[:steps].tolist()
        if spacing == "leading":
            visited: Any = np.arange(steps) * (total // steps) + self.steps_offset
            if visited[-1] >= total:
                raise ValueError(
                    f"steps must be fewer than {steps} with spacing 'leading' and steps_offset="
                    f"{self.steps_offset}, which move timesteps up to {visited[-1]}, beyond the "
                    f"last of {total}; or give spacing 'trailing'"
                )
        elif spacing == "trailing":
            # np.arange(total, 0, -total / steps) has one number too many where rounding adds it.
            visited = np.round(total - np.arange(steps)[::-1] * total / steps) - 1
        else:
            visited = np.linspace(0, total - 1, steps).round()
        seen = np.unique(np.minimum(visited, len(self) - 1))  # a step left out: the one before it
        return [int(t) for t in seen[::-1]]

    def nodes(self, count: int) -> tuple[Tensor, Tensor]:
        """Timesteps about equally far apart in log-SNR, with trapezoid weights ½Δγ.

        Returns:
            timesteps (K,) rising, K ≤ count, both ends included, and weights (K,) in float64 such
            that ½∫f dγ over the schedule's range is Σ_k weights[k]·f(γ[k]).
        """
        high, low = float(self.log_snr[0]), float(self.log_snr[-1])
        even = torch.linspace(high, low, count, dtype=torch.float64)  # float32 would miss the ends
        nearest = torch.searchsorted(-self.log_snr, -even).clamp(max=len(self) - 1)
        t = torch.unique(torch.cat([torch.tensor([0]), nearest, torch.tensor([len(self) - 1])]))
        gaps = -torch.diff(self.log_snr[t])
        weights = torch.zeros(len(t), dtype=torch.float64)
        weights[1:] += gaps / 4
        weights[:-1] += gaps / 4
        return t, weights
