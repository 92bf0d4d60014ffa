"""What Algorithm D.3 is compared with: the same Lagrangian, differentiated through the sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import unlearnlab as ul
from unlearnlab.benchmark.cost import Held, place
from unlearnlab.diffusion import quadrature, sampling
from unlearnlab.training.draws import Draws
from unlearnlab.training.loop import Loop
from unlearnlab.training.multipliers import Multipliers
from unlearnlab.training.policy_gradient import PolicyGradient
from unlearnlab.training.settings import Settings, make_accelerator

RETAINED, FORGOTTEN = "a cowboy", "a horse"
BATCH, STEPS = 4, 10  # of samples, and of the sampler


class Backpropagation(PolicyGradient):
    """One loss, with the graph of the whole chain and of the likelihood at its end.

    It draws what Algorithm D.3 draws, so its chains are the same.
    """

    def losses(self, student: Any, multipliers: Tensor, draws: Draws) -> Iterator[Tensor]:
        x = self.noise(draws)
        total = torch.zeros(self.members, self.batch).to(x)
        for step in sampling.chain(
            self.retain.schedule, "ddpm", self.options.sampling_steps, spacing="log_snr"
        ):
            times = self.times(step)
            own = student(x, times)
            after = step.mean(x, own)
            if step.spread:
                total = total + self.divergence(step, own, self.reference(x, times))
                after = after + step.spread * self.noise(draws)
            x = after
        final = self.values(x)
        self.tally.add(torch.cat([total[..., None], final], -1))
        yield (total + (multipliers[:, None] * final).sum(-1)).mean(1)

    def reference(self, x: Tensor, times: Tensor) -> Tensor:
        """ε̂_q, which moves with x: the gradient of the Lagrangian goes through it."""
        return self.retain.noise_prediction(x, times)

    def values(self, x: Tensor) -> Tensor:
        # The package's own Lemma 2, at the same points; only the predictions keep their graphs.
        levels, noises = self.retain.effort.training
        with mock.patch.object(quadrature, "predict_all", _with_graphs):
            found = quadrature.log_ratios(
                x, self.retain, self.forget, levels=levels, noises=noises, replicates=2
            )
        return self.split((-found.value / self.problem.temperature).exp().to(x))


def _with_graphs(models: Any, x_t: Tensor, t: Tensor) -> list[Tensor]:
    """`quadrature.predict_all` in one call, with gradients."""
    return quadrature.together(models, x_t, t)


class _Cheap:
    """‖x_0‖² per number in the place of the likelihood."""

    def values(self, x: Tensor) -> Tensor:
        return self.split(x.flatten(1).square().mean(1, keepdim=True))  # type: ignore[attr-defined]


class OursCheap(_Cheap, PolicyGradient):
    """Algorithm D.3 without the likelihood's cost."""


class BackpropagationCheap(_Cheap, Backpropagation):
    """Backpropagation without the likelihood's cost."""


class Shortcut(BackpropagationCheap):
    """The same with ε̂_q held constant: cheaper, and not the gradient of the Lagrangian."""

    def reference(self, x: Tensor, times: Tensor) -> Tensor:
        return quadrature.predict(self.retain, x, times)


METHODS: dict[str, dict[str, type[PolicyGradient]]] = {
    "with likelihood": {"ours": PolicyGradient, "backpropagation": Backpropagation},
    "without likelihood": {
        "ours": OursCheap,
        "backpropagation": BackpropagationCheap,
        "shortcut": Shortcut,
    },
}


def rounds(
    pipeline: ul.TextToImage,
    method: type[PolicyGradient],
    *,
    batch: int = BATCH,
    steps: int = STEPS,
) -> Loop:
    """The package's loop on one retained and one forgotten prompt: a round is a primal and a dual
    step."""
    retain = pipeline.prompt(RETAINED)
    problem = ul.Likelihood(
        retain,
        [pipeline.prompt(FORGOTTEN)],
        thresholds=[0.5],
        statistic="ratio",
        temperature="dim",
    )
    student = pipeline.lora().for_training()
    student.condition(retain)
    return Loop(
        student,
        method([problem], batch, sampling_steps=steps),
        Settings(1000, 1e-6, [0]),  # slow: what is timed stays where it began
        Multipliers([problem], np.ones((1, 1)), pipeline.device, dual_lr=0.01),
        make_accelerator(pipeline.device),
    )


def one_round(loop: Loop) -> None:
    """A primal and a dual step.

    Raises:
        RuntimeError: the loop would have stopped: what was timed is no step.
        MemoryError: it did not fit.
    """
    trouble = loop.attempted()
    if trouble:
        raise RuntimeError(trouble)


def held(loop: Loop, step: Callable[[], None] | None = None) -> int:
    """Bytes that a step keeps for its gradients, and the record of its chain besides.

    Args:
        step: by default one round of the loop.
    """
    network, goal = loop.student.net, loop.objective
    with Held([*network.parameters(), *network.buffers()]) as counted:
        (step or (lambda: one_round(loop)))()
    if isinstance(goal, Backpropagation) or not isinstance(goal, PolicyGradient):
        return counted.peak
    draws = Draws(loop.settings.seeds, 0, part=2, like=loop.like)
    record = [one for passed in goal.chain(loop.student, draws) for one in passed[1:]]
    return counted.peak + sum(
        {place(one): one.untyped_storage().nbytes() for one in record}.values()
    )
