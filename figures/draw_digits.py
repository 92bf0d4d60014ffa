"""Pictures of unlearning on digits; see `memorised.py` and `digit_classes.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from figures.digit_classes import ANCHORED, NEEDS
from figures.memorised import SHOWN
from unlearnlab import plot

Result = dict[str, Any]
TASKS = {
    "conditional": "Asked for a 4, draw any other digit (conditional model)",
    "unconditional": "Draw no 4 any more (unconditional model)",
}
COLORS = {
    "constrained": "#0072B2",
    "at most": "#0072B2",
    "nats": "#E69F00",
    "equal weights": "#D55E00",
}


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


KINDS = {
    "at most": ("D", "a share may come back"),
    "nats": ("o", "thresholds in nats, D.2"),
    "equal weights": ("s", "equal weights, D.2"),
}


def data_unlearning(result: Result, path: Path) -> Result:
    """How often the worst image comes back, against kernel distance; and what was asked for."""
    names = ["level", "worst share", "±", "kernel distance", "±", "worst similarity", "λ"]
    numbers: Result = {"columns": names}
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7))
        for kind, (marker, label) in KINDS.items():
            levels, mean, error = curve(result, kind)
            x, y, x_error, y_error = mean[:, 0], mean[:, 1], error[:, 0], error[:, 1]
            how: dict[str, Any] = {"fmt": marker + "-", "ms": 4.5, "capsize": 2}
            axes[0].errorbar(x, y, y_error, x_error, color=COLORS[kind], label=label, **how)
            numbers[kind] = [
                [
                    level,
                    *np.round([m[0], e[0], m[1], e[1], m[2]], 4).tolist(),
                    m[3:].round(5).tolist(),
                ]
                for level, m, e in zip(levels, mean, error, strict=True)
            ]
        untouched = result["pretrained"]
        worst = max(untouched["share"]), untouched["kernel distance"]
        axes[0].plot(*worst, "k*", ms=9)
        where = {"xytext": (-8, 8), "textcoords": "offset points", "ha": "right"}
        axes[0].annotate("pretrained", worst, **where)
        share = max(result["never planted"]["share"])
        axes[0].axvline(share, color="0.6", lw=0.8, ls=":")
        axes[0].text(share, 0.45, " never planted", color="0.4", fontsize="small")
        axes[0].set(
            xlabel="share of noised copies that come back, worst image",
            ylabel="kernel distance to held-out digits",
        )
        axes[0].legend(fontsize="small")
        kept = _kept(result)
        for j, times in enumerate(result["planted"]):
            offset = 0.004 * (j - 1)
            axes[1].plot(kept[:, 0] + offset, kept[:, 1 + j], "o", ms=4.5, label=f"{times} times")
        asked = np.unique(kept[:, 0])
        axes[1].plot(asked, asked, color="0.4", lw=1, ls=":")
        axes[1].set(
            xlabel="share that may come back",
            ylabel="share that comes back, fresh noise",
            ylim=(0, None),
        )
        axes[1].set_xticks(asked)
        axes[1].legend(title="repeated")
        figure.savefig(path)
    numbers["asked, and on fresh noise"] = kept.round(4).tolist()
    for name in ("pretrained", "never planted"):
        numbers[name] = {key: value for key, value in result[name].items() if key != "back"}
    return numbers


def _kept(result: Result) -> np.ndarray:
    """Rows (share asked for, share of each image on fresh noise) of the runs that asked for one."""
    runs = [run for label, run in result["runs"].items() if label.startswith("at most")]
    return np.array([[run["thresholds"][0], *(share for share, _ in run["fresh"])] for run in runs])


def reconstructions(result: Result, path: Path) -> Result:
    """Noised to step 400 and denoised, images come back before unlearning and not after it."""
    kind, level, seed = SHOWN
    shown = result["runs"][f"{kind} {level} seed {seed}"]
    columns = {
        "image": result["images"],
        "pretrained": result["pretrained"]["back"],
        "left out": shown["back"],
        "never planted": result["never planted"]["back"],
    }
    with plot.style():
        figure, axes = plt.subplots(3, 6, figsize=(7.6, 3.9))
        for i, times in enumerate(result["planted"]):
            pictures = [column[i] for column in columns.values()] + shown["drawn"][
                2 * i : 2 * i + 2
            ]
            for ax, picture in zip(axes[i], pictures, strict=True):
                ax.imshow(picture, cmap="gray", vmin=-1, vmax=1)
                ax.set(xticks=[], yticks=[])
            axes[i][0].set_ylabel(f"× {times}")
        for ax, name in zip(axes[0], [*columns, "a draw", "a draw"], strict=True):
            ax.set_title(name, fontsize="small")
        figure.savefig(path)
    return {"shown": f"{kind} {level:g}, seed {seed}"}


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


def _class_figure(result: Result, path: Path) -> Result:
    names, numbers = methods(result)
    names.reverse()  # the first on top
    shown = [key for key in PANELS if key in numbers[names[0]]]
    with plot.style():
        figure, axes = plt.subplots(1, len(shown), figsize=(2.5 * len(shown) + 1.6, 5), sharey=True)
        for ax, key in zip(axes, shown, strict=True):
            label, scale = COLUMNS[key]
            for y, name in enumerate(names):
                if numbers[name][key] is None:
                    ax.text(0.5, y, "too few left", transform=ax.get_yaxis_transform(), **SMALL)
                    continue
                mean, error = (scale * v for v in numbers[name][key])
                color = COLORS["constrained"] if _own(name) else COLORS["equal weights"]
                ax.errorbar(mean, y, xerr=error, fmt="o", ms=5, capsize=2, color=color)
            ax.set(xlabel=label)
            if (untouched := result["pretrained"].get(key)) is not None:
                ax.axvline(scale * untouched, color="0.3", lw=0.8, ls=":")
            if scale == 1.0:
                ax.set_xscale("symlog", linthresh=0.1)
                ax.set_xticks([0, 0.1, 1, 5], ["0", "0.1", "1", "5"])
            else:
                most = max(100 * sum(numbers[name][key]) for name in names)
                top = 100 if most > 50 else 10 * np.ceil(most / 10)
                ax.set_xlim(-0.04 * top, 1.04 * top)
            ax.grid(axis="y", lw=0.4)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_title(
            "blue: constrained; orange: baselines; dotted: before", loc="left", fontsize="small"
        )
        figure.savefig(path)
    return {"pretrained": result["pretrained"], "methods": numbers}


def _own(name: str) -> bool:
    return name.startswith(("FU", "LU", "RU"))


def conditional(result: Result, path: Path) -> Result:
    """Asked for a 4: what is left of the 4s, of the rest and of other labels, and what returns."""
    return _class_figure(result, path)


def unconditional(result: Result, path: Path) -> Result:
    """Unasked: what is left of the 4s and of the rest, and what returns after relearning."""
    return _class_figure(result, path)


PANELS = (
    "forgotten class",
    "kernel distance of all",
    "other labels",
    "forgotten class after relearning",
)
SMALL = {"ha": "center", "va": "center", "fontsize": "x-small", "color": "0.4"}
COLUMNS = {
    "forgotten class": ("still the class (%)", 100.0),
    "kernel distance of the rest": ("kernel distance of the rest", 1.0),
    "kernel distance of all": ("kernel distance of all drawn", 1.0),
    "nearest class": ("the nearest class (%)", 100.0),
    "other labels": ("other labels right (%)", 100.0),
    "nearest label": ("label 9 right (%)", 100.0),
    "forgotten class after relearning": ("the class after relearning (%)", 100.0),
    "seconds": ("time (s)", 1.0),
}


def table(task: str, result: Result) -> str:
    """All methods on one task, in Markdown: mean ± standard error over seeds."""
    names, numbers = methods(result)
    shown = [key for key in COLUMNS if any(key in row for row in numbers.values())]
    head = ["method", "reads", "weight", *(COLUMNS[key][0] for key in shown), "λ", "status (runs)"]
    rows = [head, ["---"] * len(head)]
    untouched = [cell(result["pretrained"].get(key), COLUMNS[key][1]) for key in shown]
    rows.append(["*pretrained*", "", "", *untouched, "", ""])
    for name in names:
        row = numbers[name]
        cells = [cell(row[key], COLUMNS[key][1]) for key in shown]
        lam = f"{np.mean([m[0] for m in row['multipliers']]):.3g}" if _own(name) else ""
        ends = sorted(set(row["status"])) if _own(name) else []
        counted = [f"{end} ({row['status'].count(end)})" for end in ends]
        if not counted and (failed := row["status"].count("diverged")):
            counted = [f"diverged ({failed})"]
        status = ", ".join(counted)
        rows.append([name, *NEEDS.get(name, ANCHORED), *cells, lam, status])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    picture = f"![{TASKS[task]}: a row for each method]({task}.png)"
    return "\n".join([f"## {TASKS[task]}", "", picture, "", *lines, ""])


def cell(value: Any, scale: float) -> str:
    """A number, or mean and standard error; a dash where too few images were left to measure."""
    if value is None:
        return "–"
    first = value[0] if isinstance(value, list) else value
    digits = 1 if scale > 1 or abs(first) > 4 else 3
    if isinstance(value, list):
        return f"{scale * value[0]:.{digits}f} ± {scale * value[1]:.{digits}f}"
    return f"{scale * value:.{digits}f}"
