"""Composed models: a tilted q as a sum of scores, without training."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import finite_vector
from ..model import Tilt, realise
from ..ratios import LogRatios
from .checks import require_family
from .model import DiffusionModel
from .pool import Pool
from .quadrature import together
from .schedule import whole


class ComposedModel(DiffusionModel):
    """ε̂ = ε̂_q + Σu_i(ε̂_q − ε̂_{q_i}): the score of p ∝ q·Π(q/q_i)^{u_i} at the clean end.

    Training-free reverse-KL unlearning, and negative guidance of scale u_i. At t > 0 the sum of
    noised scores is not the score of the noised target (the composition gap), so ε̂ is no denoiser:
    Lemma 3 does not give its KL, and Langevin corrector steps shrink the sampler's error only.

    Args:
        retain: q; forget: q_1..q_m; guidance: (m,) u ≥ 0.
        corrector_steps: Langevin steps at each timestep after the sampler's own; 0 for none.

    Source: [K] Appendix E.3; Du et al. 2023 for the corrector.
    """

    denoiser = False

    def __init__(
        self,
        retain: DiffusionModel,
        forget: Sequence[DiffusionModel],
        guidance: ArrayLike,
        *,
        corrector_steps: int = 0,
    ):
        require_family(retain, forget)
        super().__init__(retain.shape, retain.schedule, retain.dtype, retain.device)
        self.retain, self.forget = retain, tuple(forget)
        self.guidance = finite_vector("guidance", guidance, len(forget), per="forget distribution")
        if (self.guidance < 0).any():
            raise ValueError(f"guidance must not be negative; got {self.guidance.tolist()}")
        self.corrector_steps = whole("corrector_steps", corrector_steps, 0)
        self.rows = max(1, retain.rows // (1 + len(forget)))  # models may share a call

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(1 + Σu)ε̂_q − Σu_iε̂_{q_i}."""
        used = [i for i, scale in enumerate(self.guidance) if scale]
        own, *others = together([self.retain, *(self.forget[i] for i in used)], x_t, t)
        total = own
        for i, other in zip(used, others, strict=True):
            total = total + float(self.guidance[i]) * (own - other)
        return total

    def __repr__(self) -> str:
        return f"ComposedModel({self.retain!r}, guidance={self.guidance.round(4).tolist()})"


@realise.register
def _(retain: DiffusionModel, tilt: Tilt, atoms: LogRatios) -> DiffusionModel | Pool:
    """The composed model of a tilt p ∝ q·Π(q/q_i)^{u_i}, else a weighted pool."""
    if tilt.guidance is not None:
        return ComposedModel(retain, atoms.points.forget, tilt.guidance)
    return Pool(atoms.log_weights + tilt.log_ratio, atoms)
