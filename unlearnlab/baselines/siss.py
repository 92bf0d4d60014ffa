"""SISS: denoising on all data less the data to forget, by one importance-sampled pass or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.quadrature import square
from ..diffusion.samples import DataSet
from ..problems import Problem
from ..training.denoising import Data, DataObjective
from ..training.draws import Draws
from ..training.finetune import finetune


@dataclass(frozen=True, eq=False)
class Mixing(Data):
    """How the two expectations are drawn and weighed.

    Attributes:
        importance: one pass with weights, or two.
        mixing: ω.
        superfactor: s.
        share: k/n; by default of `data` and of the samples of the forgotten `DataSet`s.
        forget_norm: norm that the gradient of the second term is scaled to, of all batches of a
            step together; None leaves it as it is.
        scaling_norm: instead, as the authors' code counts it: their loss is ours divided by
            keep·scale, keep = n/(n−k) and scale the factor from a mean over levels to nats.
    """

    importance: bool = True
    mixing: float = 0.5
    superfactor: float = 0.0
    share: float | None = None
    forget_norm: float | None = None
    scaling_norm: float | None = None


class SISS(DataObjective):
    """n/(n−k)·E_X[w_x‖ε_x − ε̂_θ‖²] − (1+s)·k/(n−k)·E_A[w_a‖ε_a − ε̂_θ‖²], in nats over log-SNR.

    X are all n training samples, A the k of them to forget. With m = α_t·(x or a) + σ_tε drawn from
    (1−ω)N(αx, σ²) + ωN(αa, σ²), the weights w_x = 1/((1−ω) + ω e^r) and w_a = 1/(ω + (1−ω)e^{−r}),
    r = log N(m; αa, σ²)/N(m; αx, σ²), make one pass through the network serve both expectations.
    Without importance sampling there are two passes and w = 1: `ForwardKL`'s Lagrangian at
    λ = k/n, divided by 1 − k/n.

    In one pass a round records the two weighted errors, not divergences.

    Source: Alberti et al. (2025), Data unlearning in diffusion models, arXiv 2503.01034.
    """

    Options = Mixing

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        super().__init__(problems, batch, options, **given)
        share = self.options.share
        if share is None:
            if not all(isinstance(one, DataSet) for one in self.forget):
                raise ValueError(
                    "share=None needs forgotten DataSets, whose samples can be counted; give "
                    f"share=k/n for {self.forget!r}"
                )
            share = sum(len(one) for one in self.forget) / len(self.data[0])
        for name, value in (("mixing", self.options.mixing), ("share", share)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1; got {value!r}")
        superfactor, self.mixing = self.options.superfactor, self.options.mixing
        self.keep, self.drop = 1 / (1 - share), (1 + superfactor) * share / (1 - share)
        self.forget_norm = self.norm_asked()
        self.terms = 1 if self.forget_norm is None else 2
        self.forgotten_data = torch.cat(self.data[1:])
        self.portions = torch.tensor([len(x) for x in self.data[1:]]).to(self.like.device)

    def norm_asked(self) -> float | None:
        """Of the second term's gradient, in nats."""
        own, authors = self.options.forget_norm, self.options.scaling_norm
        if own is None and authors is None:
            return None
        if own is not None and authors is not None:
            raise ValueError(f"give forget_norm or scaling_norm, not both; got {own} and {authors}")
        if self.members > 1:
            raise ValueError(f"forget_norm needs one student; got a stack of {self.members}")
        return own if authors is None else authors * self.keep * self.levels.scale

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """The two terms, the second rescaled where asked."""
        if self.options.importance:
            kept, dropped = self.weighted(student, draws)
        else:
            errors = self.errors(student, draws)
            portions = self.portions / self.portions.sum()
            kept, dropped = errors[:, 0].mean(1), (self.forgotten(errors) * portions).sum(1)
        kept, dropped = self.keep * kept, self.drop * dropped
        yield kept - dropped if self.terms == 1 else torch.stack([kept, -dropped])

    def combine(self, gradients: list[list[Tensor]]) -> list[Tensor]:
        """The second term's gradient, of the whole step, at the norm that is asked for."""
        kept, dropped = gradients
        assert self.forget_norm is not None  # else there is one term
        norm = torch.stack([g.square().sum() for g in dropped]).sum().sqrt()
        scale = self.forget_norm / (norm + 1e-12)
        return [g + scale * h for g, h in zip(kept, dropped, strict=True)]

    def weighted(self, student: Any, draws: Draws) -> tuple[Tensor, Tensor]:
        """(K,) the two expectations by one pass over points of the mixture."""
        n, schedule = self.batch, self.like.schedule
        x, a = self.pick(self.data[0], draws), self.pick(self.forgotten_data, draws)
        t = self.levels.draw(draws, n)
        from_a = (draws.uniform(n).flatten() < self.mixing).to(self.like.device)
        shape = (-1, *(1 for _ in self.like.shape))
        m = schedule.noised(torch.where(from_a.reshape(shape), a, x), t, self.noise(draws))
        alpha, sigma = schedule.at(t, m)
        noise_x, noise_a = (m - alpha * x) / sigma, (m - alpha * a) / sigma
        ratio = (square(noise_x) - square(noise_a)) / 2
        weight_x = 1 / (1 - self.mixing + self.mixing * ratio.exp())
        weight_a = 1 / (self.mixing + (1 - self.mixing) * (-ratio).exp())
        own = student(m, t)
        kept = self.split(weight_x) * self.gap(noise_x, own)
        dropped = self.split(weight_a) * self.gap(noise_a, own).clamp(max=self.limit)
        measured = [kept, *[dropped] * len(self.forget)]
        self.tally.add(torch.stack(measured, -1))
        return kept.to(own).mean(1), dropped.to(own).mean(1)

    def measure(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """In one pass the weighted errors are what is recorded, on the way."""
        if not self.options.importance:
            super().measure(student, multipliers, draws)


def siss(problem: Any, student: Any, **options: Any) -> Any:
    """SISS; options as of `finetune`, with data=, importance= and the others of `SISS`."""
    return finetune(problem, student, method=SISS, **options)
