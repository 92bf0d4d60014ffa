"""How much of the horse a control along the chain can see: what a mild threshold costs, at best.

A small control u along q's chain moves E[ℓ] by Cov(ℓ, M) and costs ½Var(M) nats, with M = Σu·dW
over the noise of the chain. For the same fall the optimum pays ρ² times as much, ρ the correlation
of ℓ(x_0) and M, as its own ρ is 1. So 1/ρ² is what a direction costs over the optimum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed

import unlearnlab as ul
from figures.scenes import tools
from unlearnlab.diffusion.pool import tabulate

RETAINED = "a cowboy"
PROMPTS = (
    "a cowboy with a horse",
    "a horse",
    "a photo of a cowboy with a horse",
    "a drawing of a cowboy with a horse",
    "a cowboy with a cactus",
    "a photo of a cowboy",
    "a drawing of a cowboy",
    "",
)
CHAINS, STEPS, PARTS = 256, 40, 2
QUALITY = (12, 16)
BLOCKS, FOLDS = 8, 8
RIDGES = (1e-3, 1e-2, 0.1, 1.0, 10.0)


class Seen(NamedTuple):
    """Of one part: ℓ (n,), log R at the end and by Lemma 2 (n,), and what controls have seen.

    Attributes:
        noise: (steps, n, prompts) Σ over dimensions of (ε̂_c − ε̂_q)·z, in the units of a transition.
        ratios: (steps, n) min(R, 2) before each step.
        tangents: (n, P) gradients of a LoRA's ε̂·z, summed over the chain.
    """

    ell: np.ndarray
    ends: np.ndarray
    noise: np.ndarray
    ratios: np.ndarray
    tangents: np.ndarray


def part(k: int) -> Seen:
    """Some chains of the pipeline, and what each control has seen of their noise."""
    torch.set_num_threads(1)
    sd = tools()[0]
    q, others = sd.prompt(RETAINED), [sd.prompt(text) for text in PROMPTS]
    asked = ul.Likelihood(q, others, 1.0, statistic="ratio", cap=2.0)
    noise, ratios, points = [], [], []
    walk = asked.gated(np.zeros(len(others))).walk(
        CHAINS, steps=STEPS, particles=False, seed=100 + k
    )
    for step, x_t, x_s, predictions, _, log_ratios, _ in walk:
        if not step.spread:
            continue
        own, *rest = predictions
        z = (x_s - step.mean(x_t, own)) / step.spread
        unit = step.turn / step.spread
        seen = [unit * ((one - own) * z).flatten(1).sum(1) for one in rest]
        noise.append(torch.stack(seen, 1).double().numpy())
        ratios.append(log_ratios[:, 0].exp().clamp(max=2).numpy())
        points.append((step.t, unit, x_t, z))
    along = log_ratios[:, 0].numpy()
    table = tabulate(q, others[:1], x_s, seed=7 + k, densities=False, quality=QUALITY)
    lemma2 = -table.ratios[:, 0]
    return Seen(
        np.minimum(np.exp(lemma2), 2),
        np.stack([along, lemma2]),
        np.stack(noise),
        np.stack(ratios),
        tangents(sd, q, points),
    )


def tangents(sd: Any, q: Any, points: list[Any]) -> np.ndarray:
    """(n, P) of a LoRA of rank 8 at q, where only its second factors have gradients."""
    student: Any = sd.lora(rank=8, seed=0).for_training()
    student.condition(q)
    moved = [p for name, p in student.named_parameters() if "lora_B" in name and p.requires_grad]
    t = torch.tensor([one[0] for one in points])
    unit = torch.tensor([one[1] for one in points])
    rows = []
    for i in range(CHAINS):
        x, z = (torch.stack([one[place][i] for one in points]) for place in (2, 3))
        along = (unit * (student(x, t) * z).flatten(1).sum(1)).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(along, moved)]))
    return torch.stack(rows).double().numpy()


def explained(ell: np.ndarray, seen: np.ndarray) -> float:
    """ρ² of ℓ and M."""
    return float(np.corrcoef(ell, seen)[0, 1] ** 2)


def predicted(ell: np.ndarray, features: np.ndarray) -> float:
    """The largest ρ² of ℓ and a ridge regression on features (n, F), out of eight folds."""
    n = len(ell)
    kernel = (features - features.mean(0)) @ (features - features.mean(0)).T
    folds = np.array_split(np.random.default_rng(0).permutation(n), FOLDS)
    found = []
    for ridge in RIDGES:
        told = np.zeros(n)
        for out in folds:
            kept = np.setdiff1d(np.arange(n), out)
            inside = kernel[np.ix_(kept, kept)]
            loading = ridge * np.trace(inside) / len(kept) * np.eye(len(kept))
            weights = np.linalg.solve(inside + loading, ell[kept] - ell[kept].mean())
            told[out] = kernel[np.ix_(out, kept)] @ weights
        found.append(explained(ell, told))
    return max(found)


def controls() -> dict[str, Any]:
    """ρ² of every control, over all chains."""
    parts = Parallel(n_jobs=2)(delayed(part)(k) for k in range(PARTS))
    ell, ends, noise, r, features = (
        np.concatenate([getattr(one, name) for one in parts], axis)
        for name, axis in zip(Seen._fields, (0, 1, 1, 1, 0), strict=True)
    )
    horse = noise[:, :, 0]
    gates = {
        "1": np.ones_like(r),
        "min(R, 2)": r,
        "min(R, 1)": np.minimum(r, 1),
        "R(1 − R/2)": r * (1 - r / 2),
    }
    blocks = np.array_split(np.arange(len(r)), BLOCKS)
    profile = np.stack([(gates["R(1 − R/2)"] * horse)[block].sum(0) for block in blocks], 1)
    return {
        "chains": len(ell),
        "correlation of log R and Lemma 2": float(np.corrcoef(ends)[0, 1]),
        "gates": {name: explained(ell, (gate * horse).sum(0)) for name, gate in gates.items()},
        "eight weights over time": predicted(ell, profile),
        "eight prompts": predicted(ell, noise.sum(0)),
        "a LoRA's tangents": predicted(ell, features),
    }
