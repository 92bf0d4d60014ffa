"""f-divergence unlearning: on what is forgotten, the student's reverse steps become an anchor's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from .. import identity
from ..diffusion import sampling
from ..diffusion.checks import require_comparable
from ..diffusion.model import DiffusionModel
from ..diffusion.quadrature import predict
from ..diffusion.schedule import whole
from ..problems import Problem
from ..training.draws import Draws
from ..training.finetune import finetune
from ..training.objective import Lagrangian
from .divergences import Divergence, named


class Critic(nn.Module):
    """v(x_s, x_t, t), what the min–max believes log p_student(x_s|x_t)/p_anchor(x_s|x_t) to be.

    v = ⟨w(x_t, t), e⟩ + c(x_t, t), where e is x_s measured from the anchor's mean in standard
    deviations. The log-ratio of Gaussians with one variance is of this form, so w and c, an MLP,
    can be exact. It starts at v = 0, where it pushes nothing.

    Args:
        dim: of one sample.
        width: of the MLP.
        seed: of the first weights.
    """

    def __init__(self, dim: int, *, width: int = 64, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.read_in = nn.Linear(dim + 1, width)
            self.inner = nn.Linear(width, width)
            self.read_out = nn.Linear(width, dim + 1)
        nn.init.zeros_(self.read_out.weight)
        nn.init.zeros_(self.read_out.bias)

    def forward(self, e: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """(B,) from e (B, d), x_t (B, d) and γ_t (B,)."""
        h = self.read_in(torch.cat([x_t, log_snr[:, None] / 10], 1))
        out = self.read_out(F.silu(self.inner(F.silu(h))))
        values: Tensor = (out[:, :-1] * e).sum(1) + out[:, -1]
        return values


class Transitions(NamedTuple):
    """Reverse steps from noised forget samples x_t (B, *shape), one for each."""

    x_t: Tensor
    t: Tensor  # (B,)
    rate: Tensor  # (B,) turn/spread: standard deviations of x_s by which a unit of ε̂ moves its mean


@dataclass(frozen=True, eq=False, kw_only=True)
class Anchored(identity.Options):
    """Which divergence, to what, and how it is learned.

    Attributes:
        divergence: "kl", "hellinger", "chi2", "js", "tv", "alpha", or a `Divergence`.
        alpha: order of "alpha".
        anchor: the model to become where there was the forgotten: the null class, a superclass, the
            nearest concept. It is never trained.
        data: (n, *shape) forget samples; by default what stands for the forget models.
        variational: learn D_f by a critic even where it is known; by default where it is not.
        sampling_steps: of the chain; its last step is deterministic and left out.
        critic_steps: steps of the critic alone before each that trains both; they count as steps.
        damping: ρ of −½ρE_anchor[v²] added to what the critic maximises. At the anchor v = 0 is
            best with it as without; on the way the learned divergence is a little too small.
            Without it total variation, whose f* has no curvature, turns about the anchor for ever.
    """

    divergence: str | Divergence = "kl"
    alpha: float | None = None
    anchor: DiffusionModel
    data: Any = None
    variational: bool | None = None
    sampling_steps: int = 20
    critic_steps: int = 4
    damping: float = 0.25

    def __post_init__(self) -> None:
        whole("sampling_steps", self.sampling_steps, 2)  # the last one is left out
        whole("critic_steps", self.critic_steps, 0)
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"damping must be finite and not negative; got {self.damping!r}")


class FDivergence(Lagrangian):
    """E D_f(p_θ(x_s|x_t)‖p_anchor(x_s|x_t)) over one random DDPM step of each noised forget sample.

    Both transitions are Gaussians of one variance spread², whose means differ by
    d = |turn|·‖ε̂_θ − ε̂_anchor‖, so D_f depends on δ = d²/spread² alone; see `divergences`. With KL
    it is the squared error δ/2, and its sum over steps the KL of the paths; no other divergence
    adds over steps, and their mean is a surrogate. Jensen–Shannon and total variation are learned:
    min over θ, max over a critic of E_θ[T] − E_anchor[f*(T)], both samples with common noise and
    x_s of the student differentiated. Most steps train the critic alone, and then one trains both:
    a student that moves as often as its critic outruns it, and is driven away from the anchor.

    A round records, once, the KL of the paths, steps·δ/2, as the objective, and as constraints
    ½∫‖ε̂_θ − ε̂_{q_i}‖²dγ. Both are in nats and on noised forget samples, where KL(p‖q_i) would be
    over the student's own.
    Multipliers and thresholds have no part in it.

    Args:
        problems: one problem; its retained model says what a sample is, its forgotten ones where
            the points come from.
        batch: points a step.
        options: see `Anchored`.

    Raises:
        TypeError: an anchor that is no diffusion model.
        ValueError: several problems; an unknown divergence; closed form asked of one that is
            learned; data of another shape or not finite; an anchor on another space.

    Source: [N] arXiv 2509.21167.
    """

    Options = Anchored

    def __init__(self, problems: Sequence[Problem], batch: int, options: Any = None, **given: Any):
        if len(problems) != 1:
            raise ValueError(
                f"problems must hold one problem; got {len(problems)}: without thresholds there is "
                "nothing for students side by side to differ in"
            )
        super().__init__(problems, batch, options, **given)
        asked, device = self.options, self.retain.device
        require_comparable(["anchor", "retain"], [asked.anchor, self.retain])
        self.anchor, self.divergence = asked.anchor, named(asked.divergence, asked.alpha)
        closed = self.divergence.closed is not None
        self.variational = not closed if asked.variational is None else asked.variational
        if not self.variational and not closed:
            raise ValueError(
                f"variational must not be False for divergence={self.divergence.name!r}: it has no "
                "closed form; leave it out"
            )
        self.damping, self.critic_steps = asked.damping, asked.critic_steps
        steps = sampling.chain(
            self.retain.schedule, "ddpm", asked.sampling_steps, spacing="log_snr"
        )
        self.steps_taken = [step for step in steps if step.spread > 0]
        self.visited = torch.tensor([step.t for step in self.steps_taken], device=device)
        self.rates = torch.tensor([step.turn / step.spread for step in self.steps_taken]).to(
            device, self.retain.dtype
        )
        self.log_snr = self.retain.schedule.log_snr.to(device, self.retain.dtype)
        self.data = asked.data
        if self.data is None:
            self.data = torch.cat([q.stand_in(seed=102 + i) for i, q in enumerate(self.forget)])
        self.retain.require_samples("data", self.data, drawn=asked.data is None)
        if self.variational:
            self.extras = Critic(self.retain.dim).to(device, self.retain.dtype)

    def measure(self, student: Any, multipliers: Tensor, draws: Draws) -> None:
        """The path KL to the anchor, and the distances to what is forgotten."""
        points = self.points(draws)
        own = predict(student, points.x_t, points.t)
        path = len(self.steps_taken) * self.delta(own, self.aim(points), points) / 2
        gaps = [self.gap(own, predict(other, points.x_t, points.t)) for other in self.forget]
        self.tally.add(torch.stack([path, *gaps], -1))

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        """D_f at one random transition for each sample."""
        points = self.points(draws)
        aim = self.aim(points)
        if self.variational:
            # By the step's own number, so that a resumed run keeps the turns.
            alone = (draws.key[0] + 1) % (self.critic_steps + 1) != 0
            with torch.set_grad_enabled(not alone):
                own = student(points.x_t, points.t)
            yield self.split(self.game(own, aim, points, draws)).mean(1)
        else:
            assert self.divergence.closed is not None
            own = student(points.x_t, points.t)
            yield self.divergence.closed(self.delta(own, aim, points)).mean(1)

    def points(self, draws: Draws) -> Transitions:
        """Noised forget samples, each before a random step of the chain."""
        x = self.data[draws.pick(len(self.data), self.batch)].to(draws.like)
        index = draws.pick(len(self.visited), self.batch).to(x.device)
        t = self.visited[index]
        x_t = self.retain.schedule.noised(x, t, self.noise(draws))
        return Transitions(x_t, t, self.rates[index])

    def aim(self, points: Transitions) -> Tensor:
        """ε̂ of the anchor."""
        return predict(self.anchor, points.x_t, points.t)

    def delta(self, own: Tensor, aim: Tensor, points: Transitions) -> Tensor:
        """(K, B) δ = (turn/spread)²‖ε̂_θ − ε̂_anchor‖²."""
        return self.split(points.rate**2 * (own - aim).flatten(1).square().sum(1))

    def game(self, own: Tensor, aim: Tensor, points: Transitions, draws: Draws) -> Tensor:
        """(K·B,) T(v) at the student's x_s − f*(T(v)) at the anchor's, for the critic upside down.

        x_s = keep·x_t + turn·ε̂ + spread·z, so in standard deviations from the anchor's mean it is z
        for the anchor and z + (turn/spread)(ε̂_θ − ε̂_anchor) for the student.
        """
        assert self.extras is not None
        z = self.noise(draws).flatten(1)
        moved = z + points.rate[:, None] * (own - aim).flatten(1)
        # 2p − p is p, with a gradient of −1: the student descends and the critic ascends.
        reversed_ = {name: 2 * p.detach() - p for name, p in self.extras.named_parameters()}
        known = (points.x_t.flatten(1), self.log_snr[points.t])
        v_student, v_anchor = (
            functional_call(self.extras, reversed_, (e, *known)) for e in (moved, z)
        )
        won, paid = self.divergence.critic(v_student)[0], self.divergence.critic(v_anchor)[1]
        return won - paid - 0.5 * self.damping * v_anchor.square()

    def __repr__(self) -> str:
        how = f"critic_steps={self.critic_steps}, damping={self.damping}"
        learned = f", learned by a critic, {how}" if self.variational else ""
        return (
            f"FDivergence({self.divergence.name}{learned}, {len(self.visited)} random steps, "
            f"anchor={self.anchor!r})"
        )


def fdivergence(problem: Problem, student: Any, **options: Any) -> Any:
    """Train a student towards an anchor on what is to be forgotten, by an f-divergence.

    minimise over θ: E D_f(N(μ_θ, s²)‖N(μ_anchor, s²)) over reverse steps from noised forget
    samples. Nothing holds the student to the retained model elsewhere, and no threshold is
    enforced: `run.evaluation` says what became of both.

    Args:
        problem: on diffusion models; says what is retained and forgotten, and how to evaluate.
        student: a model with parameters. It is copied.
        options: of `finetune` and of `FDivergence`: divergence=, anchor=, data=, ...

    Returns:
        A `Run`; its history's objective is the KL of the paths, in nats, on forget samples. Its
        status is "diverged" also where that KL ended higher than it began.

    Raises:
        TypeError, ValueError: as `FDivergence` and `finetune` do.

    Source: [N] arXiv 2509.21167.
    """
    run = finetune(problem, student, method=FDivergence, **options)
    path = run.history["objective"]
    last = float(path[-max(1, len(path) // 6) :].mean()) if len(path) else 0.0
    if run.status != "diverged" and len(path) and last > path[0]:
        reason = (
            f"the path KL to the anchor rose from {path[0]:.3g} to {last:.3g} nats: drop this "
            "student; lower lr, or raise critic_steps where the divergence is learned"
        )
        return replace(run, status="diverged", reason=reason)
    return run
