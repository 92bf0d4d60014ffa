"""The gradient of a step: summed over batches and processes, of several terms each, and clipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .objective import Objective


class Gradients:
    """Gradients of K students in the parameters of all, (K, ...) each.

    Some methods weigh the terms of a loss by the norms or products of their gradients. These are of
    the whole step: the terms' gradients are summed apart, over its batches and processes, before
    `Objective.combine` sees them.

    Args:
        parameters: what is trained.
        objective: whose losses they are.
        accelerator: an `accelerate.Accelerator`.
        clip: largest norm of each student's; None for none.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        objective: Objective,
        accelerator: Any,
        clip: float | None,
    ):
        self.parameters, self.objective = parameters, objective
        self.accelerator, self.clip = accelerator, clip
        self.terms: list[list[Tensor]] = []

    def add(self, loss: Tensor) -> None:
        """Differentiate a loss (K,), or its terms (terms, K), each apart."""
        count = self.objective.terms
        if count == 1:
            self.accelerator.backward(loss.sum())
            return
        self.terms = self.terms or [[torch.zeros_like(p) for p in self.parameters]] * count
        for i, one in enumerate(loss):
            self.accelerator.backward(one.sum(), retain_graph=i + 1 < count)
            pairs = zip(self.terms[i], self.parameters, strict=True)
            self.terms[i] = [total if p.grad is None else total + p.grad for total, p in pairs]
            for p in self.parameters:
                p.grad = None

    def finish(self) -> None:
        """Leave the step's gradient in the parameters.

        Processes are averaged here, not by DistributedDataParallel: a step may have many backward
        passes.
        """
        if self.terms:
            self.combine()
        elif self.accelerator.num_processes > 1:
            for p in self.parameters:
                if p.grad is not None:
                    p.grad = self.accelerator.reduce(p.grad, reduction="mean")
        if self.clip is None:
            return
        self.accelerator.unscale_gradients()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        rows = [g.reshape(self.objective.members, -1) for g in grads]
        norms = torch.stack([r.square().sum(1) for r in rows]).sum(0).sqrt()
        shrink = (self.clip / (norms + 1e-6)).clamp(max=1)
        for r in rows:
            r *= shrink[:, None]

    def combine(self) -> None:
        """One gradient from those of the terms."""
        scaler = self.accelerator.scaler  # of half precision
        unit = 1.0 if scaler is None else float(scaler.get_scale())
        shared = [[self.accelerator.reduce(g, "mean") / unit for g in term] for term in self.terms]
        for p, gradient in zip(self.parameters, self.objective.combine(shared), strict=True):
            p.grad = gradient * unit
        self.terms = []
