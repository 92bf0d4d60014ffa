"""Pictures of unlearning with the tiny Stable Diffusion: the README's, Figures 5 and 6."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from figures.concepts import CONCEPTS
from figures.draw_digits import COLORS, cell, methods
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


def concept_rows(result: Result, kind: str) -> np.ndarray:
    """(L, 2, 3) of a kind of run: mean and standard error over seeds, at each level.

    Columns: KL to the pretrained model, least KL to a concept, and the largest share of images.
    """
    levels: dict[str, list[list[float]]] = {}
    for label, run in result["runs"].items():
        if label.startswith(kind):
            level = label.partition(" seed ")[0]
            share = max(run["rates"][name] for name in CONCEPTS)
            row = [run["deviation"], min(run["separations"]), share]
            levels.setdefault(level, []).append(row)
    rows = [[np.mean(row, 0), np.std(row, 0, ddof=1) / len(row) ** 0.5] for row in levels.values()]
    return np.array(sorted(rows, key=lambda row: float(row[0][0])))


def concepts(result: Result, path: Path) -> Result:
    """How far the worst of three concepts is, and how often drawn, against what is given up."""
    start, numbers = concept_rows(result, "pretrained")[0, 0], {}
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7))
        for kind, marker in MARKERS.items():
            table = concept_rows(result, kind)
            (x, *ups), (x_error, *errors) = table.transpose(1, 2, 0)
            how: dict[str, Any] = {"fmt": marker + "-", "ms": 4.5, "capsize": 2, "label": kind}
            how["color"] = COLORS[kind]
            for ax, y, y_error in zip(axes, ups, errors, strict=True):
                ax.errorbar(x, y, y_error, x_error, **how)
            numbers[kind] = table.transpose(0, 2, 1).reshape(len(table), -1).round(3).tolist()
        for ax, value in zip(axes, start[1:], strict=True):
            ax.axhline(value, color="0.6", lw=1, ls=":", label="pretrained")
            ax.set_xlabel("KL(p‖q) along paths (nats)")
        axes[0].set(ylabel="least KL(p‖q_i) along paths (nats)", title="distance to the nearest")
        axes[1].set(ylabel="largest share of images", title="how often the worst is drawn")
        axes[1].set_ylim(0, None)
        axes[0].legend()
        figure.savefig(path)
    found = {k: run for k, run in result["runs"].items() if run.get("status", "fixed") != "fixed"}
    return {
        "columns": ["KL", "±", "worst KL", "±", "worst share", "±"],
        "pretrained": start.round(3).tolist(),
        **numbers,
        "statuses": {label: run["status"] for label, run in found.items()},
        "multipliers": {k: np.round(run["multipliers"], 3).tolist() for k, run in found.items()},
    }


# By method: marker, colour, and the name in the figure.
STYLES = {
    "LU, gate": ("o", "#0072B2", "likelihood, gate, until met"),
    "LU, policy gradient": ("s", "#56B4E9", "likelihood, policy gradient (D.3)"),
    "LU, tilt": (">", "#E69F00", "likelihood, tilt"),
    "ESD": ("^", "#D55E00", "concept erasing, ESD"),
    "VDU": ("D", "#999999", "VDU"),
    "KL": ("v", "#009E73", "KL to an anchor"),
    "Hellinger": ("P", "#CC79A7", "Hellinger to an anchor"),
}
BEST: dict[str, Any] = {
    "color": "black",
    "ls": ":",
    "lw": 1.5,
    "label": "optima on a pool (end points)",
}
SMALLEST = {"kernel distance": 0.1, "KL": 0.01}  # below, the axis is linear
NEAR: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": "x-small"}
# Numbers of a run: in the table, its head and scale.
HEADS = {
    "horse": ("a horse (%)", 100.0),
    "likelihood": ("E_p[ℓ]", 1.0),
    "kernel distance": ("kernel distance", 1.0),
    "KL": ("KL along paths", 1.0),
    "cowboy": ("a cowboy (%)", 100.0),
    "cactus": ("a cactus (%)", 100.0),
    "paraphrased": ("a horse, paraphrased (%)", 100.0),
    "unrelated": ("unrelated prompts right (%)", 100.0),
}


def _flat(run: Result) -> Result:
    """The numbers of a run, without dictionaries."""
    told = {key: run[key] for key in ("status", "multipliers") if key in run}
    return told | {
        **{name: run["rates"][name] for name in ("horse", "cowboy", "cactus")},
        "likelihood": run["likelihood"],
        "kernel distance": run["kernel distance without horse"],
        "KL": run["KL"],
        "paraphrased": float(np.mean(list(run["paraphrases"].values()))),
        "unrelated": float(np.mean(list(run["unrelated"].values()))),
    }


def _of_all(result: Result) -> tuple[Result, Result]:
    """Numbers of the pretrained pipeline, and of every method at every level, over seeds."""
    flat = {label: _flat(run) for label, run in result["runs"].items()}
    start = {
        f"pretrained {label}": _flat(run)
        for label, run in result["pretrained"].items()
        if label.startswith("seed")
    }
    return methods({"runs": start})[1]["pretrained"], methods({"runs": flat})[1]


def horses(result: Result, path: Path) -> Result:
    """What is lost of the rest against what is left of the horse, for every method."""
    start, found = _of_all(result)
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.0))
        panels = (("likelihood", "kernel distance"), ("horse", "KL"))
        for ax, (across, up) in zip(axes, panels, strict=True):
            for prefix, (marker, color, label) in STYLES.items():
                rows = [row for name, row in found.items() if name.startswith(prefix)]
                rows = [row for row in rows if row[up] is not None]
                if not rows:
                    continue
                points = np.array([[*row[across], *row[up]] for row in rows])
                points = points[points[:, 0].argsort()]
                swept = "-" if prefix in ("ESD", "VDU") or prefix.startswith("LU") else ""
                how: dict[str, Any] = {"fmt": marker + swept, "ms": 5, "capsize": 2, "lw": 1}
                x, x_error, y, y_error = points.T
                ax.errorbar(x, y, y_error, x_error, color=color, label=label, **how)
            for name, row in found.items():
                if name.startswith("KL to "):
                    place = (row[across][0], row[up][0])
                    text = name.removesuffix(" 0").removeprefix("KL ")
                    ax.annotate(text, place, (0, 7), **NEAR)
            ax.plot(start[across][0], start[up][0], "k*", ms=10, label="pretrained")
            ax.set_yscale("symlog", linthresh=SMALLEST[up])
            ax.set_xlim(0, None)
        optima = result["optima"].values()
        axes[1].plot(*zip(*[(one["horse"], one["KL"]) for one in optima], strict=True), **BEST)
        axes[0].set(xlabel="E_p[ℓ], likelihood of the forgotten", ylabel="kernel distance")
        axes[0].set_title("pictures without a horse, to the pretrained ones")
        axes[1].set(xlabel="share of pictures with a horse", ylabel="KL(p‖q) along paths (nats)")
        axes[1].set_title("distance to the pretrained model")
        axes[1].legend(fontsize="small")
        figure.savefig(path)
    return {"pretrained": start, "optima": result["optima"], "methods": found}


def horses_table(name: str, result: Result) -> str:
    """All methods, in Markdown: mean ± standard error over seeds, and how the runs ended."""
    start, found = _of_all(result)
    head = ["method and level", *(name for name, _ in HEADS.values()), "λ", "status (runs)"]
    rows = [head, ["---"] * len(head)]
    for name, row in {"*pretrained*": start, **found}.items():
        cells = [cell(row.get(key), scale) for key, (_, scale) in HEADS.items()]
        statuses = row.get("status", [])
        if not name.startswith("LU"):  # of the others, which have no thresholds, failures alone
            statuses = [one for one in statuses if one == "diverged"]
        ends = [f"{end} ({statuses.count(end)})" for end in sorted(set(statuses))]
        lam = f"{np.mean(row['multipliers']):.2f}" if name.startswith("LU") else ""
        rows.append([name.removesuffix(" 0"), *cells, lam, ", ".join(ends)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
