"""What a training step of each family takes in memory, counted on networks without numbers.

Shapes are all that decides it, so the published networks are built on torch's "meta" device: they
have every tensor's size and none of its values. Attention counts as a fused kernel keeps it: its
inputs, its output and one number a row, not its matrix.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
import torch.utils.checkpoint
from torch import Tensor

from benchmarks import published
from unlearnlab.benchmark.cost import Held
from unlearnlab.stable_diffusion.preflight import COPIES

DTYPE = torch.bfloat16
RANK = 8
HEADING = (
    "| network | weights | student, rank 8, and Adam's means | a row | a row, checkpointing |",
    "|---|---|---|---|---|",
)


class Fused(torch.autograd.Function):
    """Attention by its sizes: what a fused kernel keeps for its gradient."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # type: ignore[override]
        out = q.new_empty((*q.shape[:-1], v.shape[-1]))
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        q, k, v, _, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def fused(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    """In the place of torch's scaled_dot_product_attention."""
    return Fused.apply(query, key, value)


def kept(student: Any, rows: int) -> int:
    """The most bytes that autograd holds in one pass of so many rows and back."""
    x = torch.zeros((rows, *student.shape), dtype=student.dtype, device=student.device)
    t = torch.zeros(rows, dtype=torch.long, device=x.device)
    networks = [*student.net.parameters(), *student.net.buffers()]
    whose = mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", fused)
    with whose, Held(networks) as counted:
        student(x, t).sum().backward()
    return counted.peak


def needs(name: str) -> dict[str, float]:
    """Bytes of one of `published.NAMES`: its weights, a student, and what a row keeps."""
    with torch.device("meta"):
        net = published.network(name)
    student = published.around(net.to(DTYPE), "meta", DTYPE).lora(RANK, text="a cowboy")
    own = sum(p.nbytes for p in student.net.parameters() if p.requires_grad)
    weights = sum(p.nbytes for p in student.net.parameters()) - own
    plain = kept(student, 1)
    blocks: list[int] = []

    def checkpointed(block: Any, *inputs: Any) -> Any:
        """A block that is computed again, whose gradient then holds all that it keeps."""
        with Held([*block.parameters(), *block.buffers()]) as counted:
            block(*inputs)
        blocks.append(counted.peak)
        return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)

    student.net.enable_gradient_checkpointing(checkpointed)
    student.net.train()
    between = kept(student, 1)
    return {
        "weights": weights,
        "student": COPIES * own,
        "row": plain,
        "checkpointing": between + max(blocks),
    }


MEASURES = {name: lambda name=name: needs(name) for name in published.NAMES}


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Lines of Markdown, in GB of 10⁹ bytes."""
    rows = [
        f"| {name} | {one['weights'] / 1e9:.1f} GB | {one['student'] / 1e9:.2f} GB | "
        f"{one['row'] / 1e9:.1f} GB | {one['checkpointing'] / 1e9:.2f} GB |"
        for name, one in found.items()
    ]
    return [*HEADING, *rows]
