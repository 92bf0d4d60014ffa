"""Redraws figures/ from the stored results: `make figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from figures.experiments import RESULTS
from tools.provenance import ROOT, write_json
from unlearnlab import plot

FIGURES = ROOT / "figures"
Result = dict[str, Any]
TITLES = {"reverse KL": "KL(p‖q)", "forward KL": "KL(q‖p)", "likelihood": "KL(p‖q)"}


def figure1(result: Result, path: Path) -> Result:
    """Three Gaussians, the middle one forgotten: what each constraint does to the others."""
    with plot.style():
        figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), sharey=True)
        for ax, (name, panel) in zip(axes, result["panels"].items(), strict=True):
            x = result["x"]
            ax.fill_between(x, result["retain"], color=plot.RETAINED, alpha=0.25, lw=0)
            ax.plot(x, result["forget"], "--", color=plot.FORGOTTEN, lw=1.2)
            ax.plot(x, panel["density"], color=plot.UNLEARNED)
            ax.set(
                xlabel="x",
                ylim=(0, None),
                title=f"{name}: {TITLES[name]} = {panel['objective']:.2f} nats",
            )
        axes[0].set_ylabel("density (1/unit of x)")
        axes[0].legend(["retain q", "forget q₁", "unlearned p"], loc="upper left")
        figure.savefig(path)
    keys = ("mass left at |x| < 1.5", "top of the right mode", "KL(p‖kept)")
    return {
        name: {
            "objective": panel["objective"],
            "multipliers": panel["multipliers"],
            "thresholds": panel["thresholds"],
            **{key: panel[key] for key in keys},
        }
        for name, panel in result["panels"].items()
    }


def claim(result: Result, path: Path) -> Result:
    """Which target keeps the rest better depends on how much is forgotten."""
    shares, lu, ru = zip(*result["rows"], strict=True)
    with plot.style():
        ax = plot.tradeoff(
            {"likelihood target (LU)": (shares, lu), "ratio target (RU)": (shares, ru)},
            xlabel="unlearning likelihood left, share of the pretrained value",
            ylabel="KL(p‖retained modes) (nats)",
        )
        ax.set_xscale("log")
        ax.set_xticks([0.01, 0.05, 0.2, 0.5, 0.9], ["1 %", "5 %", "20 %", "50 %", "90 %"])
        ax.minorticks_off()
        ax.figure.savefig(path)
    return {
        "columns": result["columns"],
        "rows": [[round(v, 4) for v in row] for row in result["rows"]],
    }


DRAWINGS = {"figure1": figure1, "claim": claim}


def main() -> None:
    """Draw every figure and write the manifest."""
    manifest = {}
    for name, draw in DRAWINGS.items():
        stored = json.loads((RESULTS / f"{name}.json").read_text())
        numbers = draw(stored["result"], FIGURES / f"{name}.png")
        plt.close("all")
        about = " ".join((draw.__doc__ or "").split())
        manifest[f"{name}.png"] = {
            "shows": about,
            "provenance": stored["provenance"],
            "numbers": numbers,
        }
        print(f"figures/{name}.png")
    write_json(FIGURES / "manifest.json", manifest)


if __name__ == "__main__":
    main()
