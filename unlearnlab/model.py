"""What every kind of model provides, and the verbs that reach all of them: `kl`, `realise`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

from .errors import Array
from .ratios import LogRatios


@dataclass(frozen=True, eq=False)
class Tilt:
    """How a problem reweights q: p = q·e^t.

    Attributes:
        log_ratio: (N,) t = log p/q at the atoms, nats.
        guidance: (m,) u of p ∝ q·Π(q/q_i)^{u_i}, which a score model composes as
            s_q + Σu_i(s_q − s_{q_i}); None when the tilt is not of that form.
    """

    log_ratio: Array
    guidance: Array | None = None


class Model(Protocol):
    """A distribution that can be retained or forgotten.

    Attributes:
        sampled: whether it is known through samples and noise predictions alone, so that its table
            is drawn when a problem is solved, and every number has a standard error.
        kind: of the divergence from this model that can be measured; see `kl`.
    """

    @property
    def sampled(self) -> bool:
        """Whether it is known through samples alone."""

    @property
    def kind(self) -> str:
        """Of the divergence from this model that can be measured."""

    @property
    def space(self) -> Hashable:
        """What must be equal for two models to be compared: the grid, the number of atoms."""

    def sample(self, n: int, *, seed: int = 0) -> Any:
        """`n` draws."""

    def log_ratios(
        self, others: Sequence[Any], *, atoms: Any = None, seed: int = 0, densities: bool = True
    ) -> LogRatios:
        """The atom table of this model against `others`; without `densities`, ratios are enough."""

    def tabulated(self, others: Sequence[Any], *, pool: int, seed: int) -> tuple[Any, list[Any]]:
        """This model and `others` on finitely many atoms: themselves, or weights on a pool."""

    def kl(self, other: Any, *, kind: str = "point", seed: int = 0, samples: Any = None) -> Any:
        """KL(self‖other) in nats, a float or an `Estimate`."""

    def separation(self, other: Any, *, seed: int = 0, samples: int | None = None) -> Any:
        """KL(self‖other) as a constraint reads it that asks for so much at least."""

    def expectations(self, problem: Any, *, seed: int = 0, samples: int | None = None) -> Any:
        """E_self of what each constraint of `problem` measures at a point."""


@singledispatch
def realise(retain: Any, tilt: Tilt, atoms: LogRatios) -> Any:
    """`retain` reweighted by `tilt`, as a model; every rung registers how."""
    raise TypeError(f"no rung says how to reweight a {type(retain).__name__}; register it")


@singledispatch
def gated(retain: Any, problem: Any, multipliers: Array) -> Any:
    """The target of `problem` at these multipliers; on exact models the density itself."""
    return problem.target(multipliers)


def require_model(name: str, value: Any) -> None:
    """Raise a TypeError that names `name` unless `value` is a model."""
    verbs = ("space", "sample", "log_ratios", "kl", "expectations")
    if isinstance(value, type) or not all(hasattr(value, verb) for verb in verbs):
        raise TypeError(
            f"{name} must be a model (a density from grid.density or mixture.on(grid), a Discrete, "
            f"or a diffusion model); got {type(value).__name__} {value!r:.60}"
        )


def kl(p: Model, q: Model, *, kind: str = "point", seed: int = 0, **options: Any) -> Any:
    """Kullback–Leibler divergence KL(p‖q) = E_p[log p/q], in nats.

    A float on exact models (grids, `Discrete`), where `kind` and `seed` change nothing; +inf when
    p has mass where q has none. An `Estimate` on diffusion models:

    * kind="point", of the samples: Lemma 3, ½∫E‖ε̂_p − ε̂_q‖²dγ, eq. (29), where p is a denoiser;
      else (composed models, fine-tuned students) E[log p(x) − log q(x)] with the exact density of
      p's DDIM samples, in up to 16 dimensions.
    * kind="path", of two DDPM chains: Σ_t E‖μ_p − μ_q‖²/(2σ_t²) along p's, at least as large. A
      step Δγ of log-SNR counts ½(e^{Δγ} − 1) times ‖ε̂_p − ε̂_q‖², not ½Δγ: few steps, large KL.

    Args:
        p, q: models on the same space.
        kind: "point" or "path"; never compare one with the other.
        options: for diffusion models samples= (16384; 4096 where densities of DDIM samples are
            needed) and steps= of the samplers: the model's own where it draws by the same one, else
            50. The law of a sampler depends on its steps.

    Raises:
        TypeError: p or q is not a model.
        ValueError: p and q live on different grids, or differ in shape, schedule, dtype or device.

    Example:
        >>> import unlearnlab as ul
        >>> p, q = ul.Discrete([0.5, 0.5]), ul.Discrete([0.25, 0.75])
        >>> round(ul.kl(p, q), 6)
        0.143841
    """
    require_model("p", p)
    require_model("q", q)
    return p.kl(q, kind=kind, seed=seed, **options)
