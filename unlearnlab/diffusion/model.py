"""What every diffusion model provides, whatever predicts its noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..estimate import Estimate
from ..identity import attributes
from . import quadrature, sampling
from .checks import require_comparable
from .pool import AtomTables
from .schedule import Schedule, require_seed, whole

FEW = 4  # noisy points at which two models are told apart


class Effort(NamedTuple):
    """How much the estimates on a model spend by default.

    Attributes:
        samples: of a KL by Lemma 3 or along paths.
        flow_samples: of a KL by the density of DDIM samples, which costs Jacobians.
        draws: of an expected likelihood E_p[ℓ].
        stored: samples that stand for a distribution in training (Algorithm D.2).
        pool: (levels, noises) of Lemma 2 at each atom of a pool.
        training: the same at each sample of a training step.
        reading: the same at each draw of an expected likelihood, whose error is mostly that of its
            draws; None for the pool's.
    """

    samples: int = 1 << 14
    flow_samples: int = 1 << 12
    draws: int = 1 << 12
    stored: int = 1 << 14
    # 768 evaluations of each model leave a standard error below 0.1 nats in 2-D.
    pool: tuple[int, int] = (24, 32)
    training: tuple[int, int] = (32, 4)
    reading: tuple[int, int] | None = None


class Space(NamedTuple):
    """What two diffusion models must share to be compared."""

    shape: tuple[int, ...]
    schedule: Schedule
    dtype: torch.dtype
    device: torch.device

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"samples of shape {self.shape}, {self.schedule}, {kind} on {self.device}"


class DiffusionModel(AtomTables, ABC):
    """A distribution given by its noise prediction ε̂(x_t, t); its score is −ε̂/σ_t.

    Attributes:
        shape: of one sample.
        schedule: the noising x_t = α_tx + σ_tε.
        dtype, device: of samples and predictions.
        denoiser: whether ε̂ is E[ε|x_t] of the model's own samples. Networks trained by denoising
            are; composed scores and fine-tuned students are not, and Lemma 3 does not hold
            for them.
        has_density: whether it has one at all; points and data have none.
        sampler, sampling_steps: that draw from it where a call names none.
        corrector_steps: random Langevin steps after each step of a sampler.
        limit: what `sample` and `reconstruct` do to the clean samples x̂ (n, *shape) predicted on
            the way, such as clipping; None for nothing.
        rows: most samples in one call of the network.
        effort: what estimates spend on it.
    """

    effort = Effort()
    sampled = True
    has_density = True
    denoiser = True
    sampler = "ddim"
    sampling_steps = sampling.DDIM_STEPS
    corrector_steps = 0
    limit: Any = None
    rows = 1 << 16

    def __init__(
        self,
        shape: Sequence[int],
        schedule: Schedule,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ):
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule; got {type(schedule).__name__}")
        self.shape = tuple(whole("every number in shape", n, 1) for n in shape)
        if not self.shape:
            raise ValueError("shape must have at least one axis; got ()")
        self.schedule = schedule
        self.dtype = dtype
        self.device = torch.empty(0, device=device).device

    @abstractmethod
    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂ (B, *shape) of x_t (B, *shape) at timesteps t (B,) in 0, ..., T − 1."""

    @property
    def network(self) -> Any:
        """What predicts its noise: models that share it are evaluated in one call."""
        return self

    def told(self) -> dict[str, Any]:
        """What it is made of, by name: what tells it from others when a run is continued.

        Not where it lies, nor how much it computes at once, nor a network that others may share.
        """
        own = attributes(self)
        return {
            name: value
            for name, value in own.items()
            if name not in ("device", "rows") and value is not self.network
        }

    def noise_predictions(
        self, models: Sequence[DiffusionModel], x_t: Tensor, t: Tensor
    ) -> list[Tensor]:
        """ε̂ (B, *shape) of several models with this network, at the same points."""
        return [one.noise_prediction(x_t, t) for one in models]

    def condition(self, retain: Any) -> None:
        """Called on a student before training, so that it can draw what q is asked for."""

    @property
    def space(self) -> Space:
        """Shape, schedule, dtype and device."""
        return Space(self.shape, self.schedule, self.dtype, self.device)

    @property
    def dim(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A description, ready for JSON; a diffusion model has no table of numbers to save."""
        return {"model": repr(self), "shape": list(self.shape)}, {}

    def log_density(self, x: Tensor) -> Tensor | None:
        """(n,) log p(x) in float64 where it is known in closed form; None elsewhere."""
        return None

    def exact_draws(self, n: int, *, seed: int, quasi: bool) -> Tensor | None:
        """n draws where they can be had without a sampler; None elsewhere."""
        return None

    def sample(
        self,
        n: int,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        quasi: bool = False,
    ) -> Tensor:
        """n draws (n, *shape).

        Args:
            sampler: "ddim" (deterministic), "ddpm" (ancestral). By default exact draws where the
                model has them, else the model's own (DDIM; of a student, what it was trained for).
            steps: how many timesteps a sampler visits; the model's own by default.
            quasi: start from quasi-random noise. Means over all n draws are then more accurate than
                over independent ones, and their usual standard errors too wide.
        """
        whole("n", n, 1)
        require_seed(seed)
        if sampler is None:
            exact = self.exact_draws(n, seed=seed, quasi=quasi)
            if exact is not None:
                return exact
            sampler = self.sampler
        visited = self.sampling_steps if steps is None else steps
        return sampling.run(self, n, sampler=sampler, steps=visited, seed=seed, quasi=quasi)[0]

    def require_samples(self, name: str, x: Any, *, drawn: bool = False) -> None:
        """Refuse samples that this model could not have made; `drawn`: that a model has made."""
        if not len(x) or tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"{name} must be samples of shape {self.shape}, stacked; got {tuple(x.shape)}"
            )
        if isinstance(x, Tensor) and not x.isfinite().all():
            raise ValueError(f"{name} must be finite; got NaN or infinity")

    def same_as(self, other: Any) -> bool:
        """Whether another model on this space predicts the same noise, at a few noisy points."""
        if other is self or not (self.has_density and other.has_density):
            return other is self
        generator = torch.Generator().manual_seed(0)
        x = torch.randn((FEW, *self.shape), generator=generator).to(self.device, self.dtype)
        t = torch.linspace(0.2, 0.8, FEW, device=self.device) * len(self.schedule)
        own, others = (quadrature.predict(one, x, t.long()) for one in (self, other))
        return torch.equal(own, others)

    def stand_in(self, *, seed: int) -> Tensor:
        """Samples to stand for this model in training."""
        return self.sample(self.effort.stored, seed=seed)

    def kl(
        self,
        other: Any,
        *,
        kind: str = "point",
        seed: int = 0,
        samples: int | None = None,
        steps: int | None = None,
    ) -> Estimate:
        """KL(self‖other) in nats; see `unlearnlab.kl`."""
        require_comparable(["p", "q"], [self, other])
        if samples is None:
            flow = kind == "point" and not self.denoiser
            samples = min(
                one.effort.flow_samples if flow else one.effort.samples for one in (self, other)
            )
        if kind not in ("point", "path"):
            raise ValueError(f"kind must be 'point' or 'path'; got {kind!r}")
        if other is self:
            return Estimate(0.0)
        own = {"point": "ddim", "path": "ddpm"}[kind]  # the sampler that a divergence is of
        if steps is None:
            steps = self.sampling_steps if self.sampler == own else DiffusionModel.sampling_steps
        if kind == "path":
            return sampling.path_kls(self, [other], samples=samples, steps=steps, seed=seed)[0]
        if self.denoiser:
            return quadrature.kl(self, other, samples=samples, seed=seed)
        return sampling.flow_kl(self, other, samples=samples, steps=steps, seed=seed)

    def separation(self, other: Any, *, seed: int = 0, samples: int | None = None) -> Estimate:
        """KL(self‖other) for a constraint that asks for so much at least, in nats.

        Where that of the draws cannot be computed and `other` is a denoiser, a bound from below, by
        the sampler that draws from this model. Where `other` is none, as under guidance, a
        divergence of paths, which bounds it from above.
        """
        below = self.kind == "path" and other.denoiser and other is not self
        if not below:
            return self.kl(other, kind=self.kind, seed=seed, samples=samples)
        require_comparable(["p", "q"], [self, other])
        if samples is None:
            samples = min(one.effort.samples for one in (self, other))
        return quadrature.least_kl(self, other, samples=samples, seed=seed)

    @property
    def kind(self) -> str:
        """The divergence that `kl` can measure: "point", else "path" where densities cannot."""
        small = self.dim <= sampling.LARGEST_FLOW and not self.corrector_steps
        small = small and self.sampler == "ddim"
        return "point" if self.denoiser or small else "path"
