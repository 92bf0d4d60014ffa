"""UCE: what a concept says to the attention becomes what another one says, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import real, switch
from ..training.run import judge

EDITED = ("attn2.to_k", "attn2.to_v")  # keys and values of a UNet's attention to the text


def edited(weight: Tensor, said: Tensor, aim: Tensor, kept: Tensor, ridge: float) -> Tensor:
    """(out, in) the W' that minimises Σ‖W'c − Wc*‖² + Σ‖W'k − Wk‖² + ridge·‖W' − W‖².

    W' = (ridge·W + ΣWc*cᵀ + ΣWkkᵀ)(ridge·I + Σccᵀ + Σkkᵀ)⁻¹, eq. (7) of the source.

    Args:
        weight: (out, in) W.
        said: (n, in) c, the states of what is to be forgotten. aim: (n, in) c*, in their place.
        kept: (k, in) states that are to say what they said.
    """
    gram = said.T @ said + kept.T @ kept + ridge * torch.eye(said.shape[1]).to(said)
    onto = aim.T @ said + kept.T @ kept + ridge * torch.eye(said.shape[1]).to(said)
    return torch.linalg.solve(gram, (weight @ onto).T).T  # gram is symmetric


def uce(
    problem: Any,
    student: Any,
    *,
    anchor: Any = None,
    keep: Sequence[Any] = (),
    scale: float = 1.0,
    ridge: float = 0.1,
    evaluate: bool = True,
) -> Any:
    """Edit the keys and values of a LoRA student's attention to the text; nothing is trained.

    The change W' − W goes into the LoRA by a singular value decomposition: of a smaller rank than
    its own it is the nearest one.

    Args:
        problem: on prompts of one pipeline with a UNet; its forgotten prompts are the concepts.
        student: a LoRA of it, on layers with the keys and values of its attention to the text.
        anchor: the prompt that they become; by default the empty one.
        keep: prompts that are to stay as they are.
        scale: how much a concept counts beside a prompt to keep.
        ridge: how much the weights do.
        evaluate: judge the student on held-out samples.

    Returns:
        A `Run`, judged by its held-out evaluation alone.

    Raises:
        TypeError: models that are no prompts.
        ValueError: a network without attention to the text apart, or a LoRA without its keys and
            values; a scale or ridge that is not positive.

    Source: Gandikota et al. (2024), Unified concept editing in diffusion models, arXiv 2308.14761.
    """
    switch("evaluate", evaluate)
    for name, value in (("scale", scale), ("ridge", ridge)):
        if not real(name, value) > 0:
            raise ValueError(f"{name} must be positive; got {value!r}")
    prompts = [*problem.forget, *keep, *([] if anchor is None else [anchor])]
    for one in (student, *prompts):
        if not hasattr(one, "asked"):  # of prompts alone, which lie above this file
            raise TypeError(f"UCE edits prompts of a pipeline; got a {type(one).__name__}")
    pupil = student.for_training().requires_grad_(False)
    pupil.condition(problem.retain)
    source = pupil.source
    layers = [
        one
        for name, one in pupil.net.named_modules()
        if name.endswith(EDITED) and pupil.adapter in getattr(one, "lora_A", ())
    ]
    if not layers:
        raise ValueError(
            f"the student has no LoRA on {' and '.join(EDITED)}: UCE is for UNets, and for "
            "students of their attention to the text"
        )

    def states(text: str) -> Tensor:
        return source.states(text)["states"][0].double()

    to = states("" if anchor is None else anchor.text)
    said = scale**0.5 * torch.cat([states(one.text) for one in problem.forget])
    aim = scale**0.5 * torch.cat([to] * len(problem.forget))
    kept = torch.cat([to[:0], *(states(one.text) for one in keep)])
    for layer in layers:
        weight = layer.base_layer.weight.double()
        change = edited(weight, said, aim, kept, ridge) - weight
        a, b = (getattr(layer, one)[pupil.adapter].weight for one in ("lora_A", "lora_B"))
        left, size, right = torch.linalg.svd(change, full_matrices=False)
        rank = min(len(a), len(size))
        root = (size[:rank] / layer.scaling[pupil.adapter]).sqrt()
        a.data.zero_()[:rank] = root[:, None] * right[:rank]
        b.data.zero_()[:, :rank] = left[:, :rank] * root
    return judge(problem, pupil, evaluate=evaluate)
