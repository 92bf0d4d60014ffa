"""Pictures of unlearning on digits; see `digits.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from unlearnlab import plot

Result = dict[str, Any]
SHOWN = 1000.0  # nats: the level in pictures
COLORS = {"constrained": "#0072B2", "equal weights": "#D55E00"}


def curve(result: Result, kind: str) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Levels of a kind of run, and mean and standard error over seeds of what was measured.

    Columns: worst share that comes back, kernel distance, worst similarity, and the multipliers.
    """
    levels: dict[float, list[list[float]]] = {}
    for label, run in result["runs"].items():
        if label.startswith(kind):
            level = float(label.removeprefix(kind).split()[0])
            worst = (max(run["share"]), run["kernel distance"], max(run["similarity"]))
            row = [*worst, *run["multipliers"]]
            levels.setdefault(level, []).append(row)
    table = np.array([levels[level] for level in sorted(levels)])
    return sorted(levels), table.mean(1), table.std(1, ddof=1) / table.shape[1] ** 0.5


def data_unlearning(result: Result, path: Path) -> Result:
    """How often the worst image comes back, against kernel distance: dual updates or one weight."""
    names = ["level", "worst share", "±", "kernel distance", "±", "worst similarity", "λ"]
    numbers: Result = {"columns": names}
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7))
        for kind, marker in (("constrained", "o"), ("equal weights", "s")):
            levels, mean, error = curve(result, kind)
            axes[0].errorbar(
                mean[:, 0],
                mean[:, 1],
                xerr=error[:, 0],
                yerr=error[:, 1],
                fmt=marker + "-",
                ms=4.5,
                capsize=2,
                color=COLORS[kind],
                label=kind,
            )
            numbers[kind] = [
                [
                    level,
                    *np.round([m[0], e[0], m[1], e[1], m[2]], 4).tolist(),
                    m[3:].round(5).tolist(),
                ]
                for level, m, e in zip(levels, mean, error, strict=True)
            ]
            if kind == "constrained":
                for j, times in enumerate(result["planted"]):
                    axes[1].plot(
                        levels, mean[:, 3 + j], "o-", ms=4.5, label=f"repeated {times} times"
                    )
        untouched = result["pretrained"]
        axes[0].plot(max(untouched["share"]), untouched["kernel distance"], "k*", ms=9)
        axes[0].annotate(
            "pretrained",
            (max(untouched["share"]), untouched["kernel distance"]),
            xytext=(-8, 8),
            textcoords="offset points",
            ha="right",
        )
        axes[0].axvline(max(result["never planted"]["share"]), color="0.6", lw=0.8, ls=":")
        axes[0].set(
            xlabel="share of noised copies that come back, worst image",
            ylabel="kernel distance to held-out digits",
        )
        axes[0].legend()
        axes[1].set(
            xlabel="threshold on KL(image‖p) (nats)",
            ylabel="multiplier λ at the end",
            xscale="log",
            ylim=(0, None),
        )
        axes[1].legend()
        figure.savefig(path)
    for name in ("pretrained", "never planted"):
        numbers[name] = {key: value for key, value in result[name].items() if key != "back"}
    return numbers


def reconstructions(result: Result, path: Path) -> Result:
    """Noised to step 400 and denoised, images come back before unlearning and not after it."""
    runs = result["runs"]
    columns = {
        "image": result["images"],
        "pretrained": result["pretrained"]["back"],
        "constrained": runs[f"constrained {SHOWN} seed 0"]["back"],
        "never planted": result["never planted"]["back"],
    }
    drawn = runs[f"constrained {SHOWN} seed 0"]["drawn"]
    with plot.style():
        figure, axes = plt.subplots(3, 6, figsize=(7.6, 3.9))
        for i, times in enumerate(result["planted"]):
            pictures = [column[i] for column in columns.values()] + drawn[2 * i : 2 * i + 2]
            for ax, picture in zip(axes[i], pictures, strict=True):
                ax.imshow(picture, cmap="gray", vmin=-1, vmax=1)
                ax.set(xticks=[], yticks=[])
            axes[i][0].set_ylabel(f"× {times}")
        for ax, name in zip(axes[0], [*columns, "other images", "it draws"], strict=True):
            ax.set_title(name, fontsize="small")
        figure.savefig(path)
    return {"shown": f"threshold {SHOWN:.0f} nats, seed 0"}


def methods(result: Result) -> tuple[list[str], Result]:
    """Mean and standard error over seeds of every number of every method."""
    table: dict[str, list[Result]] = {}
    for label, run in result["runs"].items():
        table.setdefault(label.rsplit(" seed ", 1)[0], []).append(run)
    numbers = {}
    for name, runs in table.items():
        row = {}
        for key in runs[0]:
            values = [run[key] for run in runs]
            if key in ("status", "multipliers"):
                row[key] = values
            elif all(isinstance(v, float | int) for v in values):
                error = float(np.std(values, ddof=1)) / len(values) ** 0.5
                row[key] = [round(float(np.mean(values)), 4), round(error, 4)]
            elif key != "reason":
                row[key] = None  # too few images are left to measure a distribution by
        numbers[name] = row
    return list(numbers), numbers


def _class_figure(result: Result, path: Path, *, other: str, label: str) -> Result:
    names, numbers = methods(result)
    with plot.style():
        figure, ax = plt.subplots(figsize=(7.6, 4.6))
        for k, name in enumerate(names):
            row = numbers[name]
            if row[other] is None:
                continue
            ours = name.startswith(("FU", "LU", "RU"))
            ax.errorbar(
                100 * row["forgotten class"][0],
                row[other][0],
                xerr=100 * row["forgotten class"][1],
                yerr=row[other][1],
                fmt="o" if ours else "s",
                ms=6,
                capsize=2,
                color=f"C{k % 10}",
                mfc=f"C{k % 10}" if ours else "white",
                label=name,
            )
        ax.set(xlabel="images still in the class (%)", ylabel=label)
        ax.legend(fontsize="x-small", ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(path)
    return {"pretrained": result["pretrained"], "methods": numbers}


def conditional(result: Result, path: Path) -> Result:
    """Asked for a 4: how many are left, and how well the other nine labels are still drawn."""
    return _class_figure(
        result, path, other="other labels", label="other labels drawn right (share)"
    )


def unconditional(result: Result, path: Path) -> Result:
    """Unasked: how many 4s are left, and how far the rest is from held-out digits."""
    name = "kernel distance of the rest"
    return _class_figure(result, path, other=name, label=name)
