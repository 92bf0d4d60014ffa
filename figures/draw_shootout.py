"""The shoot-out as a table and a picture: thresholds met, and nats over the optimum's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from unlearnlab import plot

Result = dict[str, Any]
COLORS = {
    "gate": "#0072B2",
    "log-variance": "#009E73",
    "primal-dual": "#E69F00",
    "tilt": "#CC79A7",
    "gate, then log-variance": "#56B4E9",
    "ESD": "#D55E00",
}
ABOUT = {
    "shootout": (
        "Two mixtures. KL is that of samples; the optimum's is exact, for the values that a "
        "student has. Seconds are those of one core."
    ),
    "shootout_images": (
        "Digits without a 4, and LoRAs of the tiny Stable Diffusion: a cowboy, without the horse, "
        "or without horse, cactus and night at once. ESD is asked for the same threshold and moves "
        "its guidance. Values are multiples of q's own: of LU by ratios of 192 evaluations a "
        "picture, of RU from below, of FU by the noise predicted of draws of q₁. KL is that of "
        "paths of 200 steps, which bounds that of pictures from above; the optimum's "
        "is that of weights on a pool of 192 pictures. Whether a classifier finds what is to go is "
        "a function of the picture, so any model with its rate pays at least the divergence of "
        "that rate alone, by counting 200 pictures. Where the pool's optimum pays less than that, "
        "the pool is too small to know it. Where an error is large, 'met' says little. Collateral "
        "is the largest change of any other rate."
    ),
}
HEAD = [
    "task",
    "problem",
    "method",
    "runs",
    "met",
    "largest error, of the threshold (%)",
    "KL over the optimum's: median (least, most)",
    "collateral",
    "seconds",
    "network rows (10⁶)",
]
BY_COUNTING = "least KL by counting"  # of tasks that a classifier counts
SLACK = 0.05  # of a threshold, or two standard errors of the fresh reading


def parts(label: str) -> tuple[str, str, str]:
    """Task, formulation and method of a run's label."""
    task, asked, *method, _ = label.split(", ")
    return task, asked.split()[0], ", ".join(method)


def met(run: Result, kind: str) -> bool:
    """Whether the constraints hold, within 5 % or two errors, on draws that no reading has seen."""
    sign = -1.0 if kind == "LU" else 1.0
    b, found, error = (np.array(run[key]) for key in ("asked", "values", "values stderr"))
    return bool((sign * (b - found) <= np.maximum(SLACK * b, 2 * error)).all())


def over(run: Result) -> float:
    """KL paid over what the optimum pays for the same values."""
    return float(run["KL"] / run["optimum's KL"])


def grouped(result: Result) -> dict[tuple[str, str, str], list[Result]]:
    """Runs by task, formulation and method."""
    found: dict[tuple[str, str, str], list[Result]] = {}
    for label, run in result["runs"].items():
        found.setdefault(parts(label), []).append(run)
    return found


def shootout_table(name: str, result: Result) -> str:
    """All groups of runs, in Markdown."""
    counted = any(BY_COUNTING in run for run in result["runs"].values())
    head = [*HEAD, "KL over what counting proves: median"] if counted else HEAD
    rows = [head, ["---"] * len(head)]
    for (task, kind, method), runs in grouped(result).items():
        ratios = list(map(over, runs))
        told = f"{np.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        kept = sum(met(run, kind) for run in runs)
        unsure = max(np.max(np.array(run["values stderr"]) / run["asked"]) for run in runs)
        means = [np.mean([run[key] for run in runs]) for key in ("collateral", "seconds", "rows")]
        rows.append(
            [
                *(task, kind, method, str(len(runs)), str(kept), f"{100 * unsure:.0f}", told),
                *(f"{means[0]:.3f}", f"{means[1]:.0f}", f"{means[2] / 1e6:.2f}"),
            ]
        )
        if counted:
            least = np.median([run["KL"] / run[BY_COUNTING] for run in runs])
            rows[-1].append(f"{least:.2f}")
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([ABOUT[name], "", *lines]) + "\n"


def summary(result: Result) -> dict[str, Result]:
    """Of every method: runs, thresholds met, and the ratios' median and largest."""
    found: dict[str, Result] = {}
    for (_, kind, method), runs in grouped(result).items():
        row = found.setdefault(method, {"runs": 0, "met": 0, "converged, not met": 0, "over": []})
        row["runs"] += len(runs)
        row["met"] += sum(met(run, kind) for run in runs)
        claimed = [run for run in runs if run["status"] == "converged"]
        row["converged, not met"] += sum(not met(run, kind) for run in claimed)
        row["over"] += map(over, runs)
    for row in found.values():
        ratios = row.pop("over")
        row |= {"median": round(float(np.median(ratios)), 3), "worst": round(max(ratios), 3)}
    return found


def shootout(result: Result, path: Path) -> Result:
    """Nats that students pay over the optimum's for the same constraint values, run by run."""
    groups = grouped(result)
    places = list(dict.fromkeys((task, kind) for task, kind, _ in groups))
    methods = [name for name in COLORS if any(method == name for *_, method in groups)]
    with plot.style():
        figure, ax = plt.subplots(figsize=(9.5, 4.2))
        for k, method in enumerate(methods):
            offset = (k - (len(methods) - 1) / 2) * 0.13
            points = [
                (place + offset, over(run))
                for place, (task, kind) in enumerate(places)
                for run in groups.get((task, kind, method), [])
            ]
            x, y = np.array(points).T
            ax.plot(x, y, "o", ms=4, alpha=0.8, color=COLORS[method], label=method)
        ax.axhline(1, color="0.4", lw=1, ls=":")
        ax.set_yscale("log")
        ticks = [1, 1.5, 2, 3, 5, 10, 30, 100, 300]
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xticks(range(len(places)), [f"{task}\n{kind}" for task, kind in places])
        ax.set_xlim(-0.5, len(places) - 0.5)
        ax.set(
            ylabel="KL paid over the optimum's", title="every run that was asked for a threshold"
        )
        ax.legend(fontsize="small", ncols=2)
        figure.savefig(path)
    return {"methods": summary(result)}
