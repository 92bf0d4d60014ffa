"""Pictures of unlearning with the tiny Stable Diffusion; see `scenes.py` and `concepts.py`."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from figures.concepts import CONCEPTS
from figures.draw_digits import COLORS
from figures.scenes import DRAWN
from unlearnlab import plot

Result = dict[str, Any]
MARKERS = {"constrained": "o", "equal weights": "s"}


def cowboys(result: Result, path: Path) -> Result:
    """Ten cowboys before and after the README's ten lines, from the same noise."""
    rows = [plt.imread(BytesIO(b64decode(result[name]))) for name in ("before", "after")]
    pixels, height = np.concatenate(rows), len(rows[0])
    with plot.style():
        figure, ax = plt.subplots(figsize=(9.5, 2.2))
        ax.imshow(pixels, interpolation="nearest")
        ax.set_yticks([height / 2, 1.5 * height], ["pretrained", "horse unlearned"])
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title("“a cowboy”, drawn from the same noise")
        figure.savefig(path)
    return {key: value for key, value in result.items() if key not in ("before", "after", "code")}


def concept_curve(result: Result, kind: str) -> np.ndarray:
    """Rows (KL to pretrained, its error, worst KL to a concept, its error, worst share)."""
    rows = []
    for label, run in result["runs"].items():
        if label.startswith(kind):
            worst = int(np.argmin(run["separations"]))
            share = max(run["rates"][name] for name in CONCEPTS)
            apart, error = run["separations"][worst], run["separations stderr"][worst]
            rows.append([run["deviation"], run["deviation stderr"], apart, error, share])
    return np.array(sorted(rows))


def concepts(result: Result, path: Path) -> Result:
    """How far the worst of three concepts is, and how often drawn, against what is given up."""
    start, numbers = result["pretrained"], {}
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7))
        for kind, marker in MARKERS.items():
            table = concept_curve(result, kind)
            share_error = np.sqrt(table[:, 4] * (1 - table[:, 4]) / DRAWN)
            how: dict[str, Any] = {"fmt": marker + "-", "ms": 4.5, "capsize": 2, "label": kind}
            how["color"] = COLORS[kind]
            axes[0].errorbar(table[:, 0], table[:, 2], table[:, 3], table[:, 1], **how)
            axes[1].errorbar(table[:, 0], table[:, 4], share_error, table[:, 1], **how)
            numbers[kind] = table.round(3).tolist()
        for ax, value in ((axes[0], min(start["separations"])), (axes[1], start["rates"]["horse"])):
            ax.axhline(value, color="0.6", lw=1, ls=":", label="pretrained")
            ax.set_xlabel("KL(p‖q) along paths (nats)")
        axes[0].set(ylabel="least KL(p‖q_i) along paths (nats)", title="distance to the nearest")
        axes[1].set(ylabel="largest share of images", title="how often the worst is drawn")
        axes[1].set_ylim(0, None)
        axes[0].legend()
        figure.savefig(path)
    return {"columns": ["KL", "±", "worst KL", "±", "worst share"], **numbers}
