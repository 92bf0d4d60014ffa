"""The paper's Figure 4 on score networks, drawn; see `networks.py`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from unlearnlab import plot

Result = dict[str, Any]


def figure4(result: Result, path: Path) -> Result:
    """Students beside exact targets: asked for thresholds, and the paper's fixed multipliers."""
    styles = {
        "LU": ("o", plot.UNLEARNED, "likelihood (LU)"),
        "RU": ("s", plot.FORGOTTEN, "reverse KL (RU)"),
        "fixed": ("^", "#0072B2", "reverse KL, fixed multipliers (D.1)"),
    }
    numbers: Result = {"columns": ["asked", "left", "±", "KL to the kept", "±"]}
    with plot.style():
        figure, ax = plt.subplots(figsize=(6.4, 4.2))
        for kind, (marker, color, label) in styles.items():
            if kind in result["exact"]:
                exact = np.array(result["exact"][kind])
                ax.plot(exact[:, 0], exact[:, 1], color=color, lw=1, label=f"{label}, exact target")
            asked, seeds = _students(result, kind)
            mean, error = seeds.mean(1), seeds.std(1, ddof=1) / np.sqrt(seeds.shape[1])
            how: dict[str, Any] = {"fmt": marker, "ms": 4.5, "mfc": "white", "capsize": 2}
            how |= {"color": color, "label": f"{label}, trained"}
            ax.errorbar(*mean.T, xerr=error[:, 0], yerr=error[:, 1], **how)
            rows = zip(asked, mean[:, 0], error[:, 0], mean[:, 1], error[:, 1], strict=True)
            numbers[kind] = np.round(list(rows), 4).tolist()
        ax.set_xscale("log")
        ax.set_xticks([0.01, 0.05, 0.2, 0.5, 0.9], ["1 %", "5 %", "20 %", "50 %", "90 %"])
        ax.set_yscale("log")
        ax.set_yticks([0.03, 0.1, 0.3, 1, 3, 10], ["0.03", "0.1", "0.3", "1", "3", "10"])
        ax.minorticks_off()
        ax.set(
            xlim=(0.008, 1.15),
            ylim=(0.02, 20),
            xlabel="unlearning likelihood left, share of the pretrained value",
            ylabel="KL(p‖retained modes) (nats)",
        )
        ax.legend(loc="lower right", fontsize="small")
        figure.savefig(path)
    ends = Counter(run["status"] for run in result["runs"].values())
    over: Result = {"LU": [], "RU": []}
    for label, run in result["runs"].items():
        over[label[:2]].append(run["point"][2] / run["optimum's KL"])
    paid = {k: [float(np.quantile(v, at)) for at in (0, 0.5, 1)] for k, v in over.items()}
    return {
        **numbers,
        "composed: left, KL to the kept": [row[:2] for row in result["composed"]],
        "statuses": dict(ends),
        "KL over the optimum's: least, median, most": paid,
    }


def _students(result: Result, kind: str) -> tuple[list[float], np.ndarray]:
    """The levels of a kind of student, and (level, seed, 2) what is left and KL to the kept."""
    if kind == "fixed":
        return result["levels"]["RU"], np.array(result["fixed"])[..., :2]
    levels = result["levels"][kind]
    points = [run["point"][:2] for label, run in result["runs"].items() if label.startswith(kind)]
    return levels, np.reshape(points, (len(levels), -1, 2))
