"""Pictures of what the choice of an f-divergence changes; see `divergences.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from unlearnlab import plot

Result = dict[str, Any]
LOOKS = {  # name: label, colour, marker
    "kl": ("KL (squared error)", "#0072B2", "o"),
    "hellinger": ("squared Hellinger", "#D55E00", "s"),
    "chi2": ("χ²", "#009E73", "^"),
    "js": ("Jensen–Shannon", "#CC79A7", "D"),
    "tv": ("total variation", "#000000", "v"),
}
NEVER = 5500  # where "not in 3000 steps" is drawn


def divergences(result: Result, path: Path) -> Result:
    """Only KL pulls harder from afar without running away: at one rate it arrives from anywhere."""
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7))
        for i, (name, (label, color, marker)) in enumerate(LOOKS.items()):
            axes[0].semilogy(result["distance"], result["gradient"][name], color=color, label=label)
            steps = result["steps"]["gd"][name]["equal rate"]
            starts = result["starts"]
            inside = [(d, n) for d, n in zip(starts, steps, strict=True) if n is not None]
            outside = [d for d, n in zip(starts, steps, strict=True) if n is None]
            if inside:
                axes[1].semilogy(*zip(*inside, strict=True), marker + "-", ms=4.5, color=color)
            axes[1].semilogy(
                outside, [NEVER * 1.15**i] * len(outside), marker, ms=6, mfc="none", mec=color
            )
        axes[0].set(
            xlabel="distance d from the anchor (standard deviations)",
            ylabel="gradient |dD/dd| (nats per standard deviation)",
            ylim=(1e-5, 1e4),
        )
        axes[1].set(
            xlabel="distance at the start (standard deviations)",
            ylabel="steps until within 0.01",
            title="gradient descent at rate 0.125",
            ylim=(8, 1.3e4),
        )
        axes[1].set_yticks([10, 100, 1000, NEVER], ["10", "100", "1000", "> 3000"])
        axes[1].minorticks_off()
        axes[0].legend(loc="lower left")
        figure.savefig(path)
    rows = [
        [name, f"{kind}, {conditions}", *result["steps"][kind][name][conditions]]
        for kind, conditions in (("gd", "equal rate"), ("gd", "one rate"), ("adam", "equal rate"))
        for name in LOOKS
    ]
    return {"columns": ["divergence", "rate", *map(str, result["starts"])], "steps": rows}


def minmax(result: Result, path: Path) -> Result:
    """f''(1) sets the speed of the learned min–max; how the critic is written, which way round.

    Lines are the formulas, markers the eigenvalues of the game, crosses what its steps measured.
    """
    curvature = np.geomspace(0.15, 3, 400)
    games = result["games"]
    inside = np.sqrt(np.maximum(1 / (4 * curvature**2) - 1, 0))
    lines = {
        "log-ratio": ("log-ratio", "-", curvature / 2),
        "direct": ("T", "--", 1 / (2 * curvature) - inside),
    }
    with plot.style():
        figure, ax = plt.subplots(figsize=(6.6, 4.2))
        for kind, (label, style, rate) in lines.items():
            ax.loglog(
                curvature, rate, style, color="0.4", lw=1.2, label=f"critic: {label} linear in x"
            )
            for game in games:
                if game["critic"] != kind or game["curvature"] is None:
                    continue
                name = game["divergence"].removeprefix("2 ")
                doubled = game["divergence"] != name
                _, color, marker = LOOKS[name]
                at = game["curvature"]
                fill = "none" if doubled else color
                ax.plot(at, game["rate"], marker, ms=9 if doubled else 6, color=color, mfc=fill)
                ax.plot(at, -game["measured per step"] / 0.1, "x", ms=5, color="black")
        for name, (label, color, marker) in LOOKS.items():
            if name != "tv":
                ax.plot([], [], marker, color=color, label=label)
        ax.plot([], [], "o", color="0.4", mfc="none", ms=9, label="the same, doubled")
        ax.plot([], [], "x", color="black", label="measured, steps of 0.1")
        ax.set(
            xlabel="f''(1) (nats)",
            ylabel="slowest rate to the equilibrium (1/unit of time)",
            ylim=(0.04, 2.2),
        )
        ax.set_xticks([0.25, 0.5, 1, 2], ["¼", "½", "1", "2"])
        ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
        ax.minorticks_off()
        ax.legend(loc="lower right", fontsize="x-small", ncols=2)
        figure.savefig(path)
    keys = ("divergence", "critic", "rate", "largest step", "predicted per step")
    keys = (*keys, "measured per step", "best per step")
    rows = [
        [one[k] if isinstance(one[k], str) else round(one[k], 4) for k in keys] for one in games
    ]
    return {"columns": list(keys), "rows": rows}
