"""Redraws figures/ from the stored results: `make figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from figures.draw_digits import (
    TASKS,
    conditional,
    data_unlearning,
    reconstructions,
    table,
    unconditional,
)
from figures.draw_divergences import divergences, minmax
from figures.draw_networks import figure4
from figures.draw_scenes import concepts, cowboys, horses, horses_table
from figures.draw_shootout import shootout, shootout_table
from figures.experiments import RESULTS
from tools import numbers as numbers_on_pages
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
        "rows": _rounded(result["rows"]),
    }


def comb(result: Result, path: Path) -> Result:
    """Averages fall out of the feasible set by the Jensen–Shannon divergence; combs stay."""
    rows, shannon = result["errors"], result["Jensen–Shannon"]
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
        axes[0].axvspan(0, 0.05, color="0.9", label="feasible")
        for (name, points), marker in zip(result["drops"].items(), "ox", strict=True):
            x, y = zip(*points, strict=True)
            axes[0].plot(x, y, marker, ms=5, mew=1.2, fillstyle="none", label=name)
        axes[0].set(
            xlabel="KL(mix‖q₁) − combination (nats)",
            ylabel="KL(mix‖q) − combination (nats)",
            title="100 pairs on the boundary, half of each",
            xlim=(None, 0.05),
        )
        cells, errors, bounds = zip(
            *(row[1:] for row in rows if row[0] == "ReverseKL"), strict=True
        )
        axes[1].loglog(cells, bounds, "--", color="black", lw=1, label="bound, O(1/N)")
        axes[1].loglog(cells, errors, "o", color=plot.UNLEARNED, label="largest of ten combs")
        axes[1].set(
            xlabel="cells of the grid, N",
            ylabel="error of KL(comb‖q₁) (nats)",
            title="rounding the comb to whole cells",
        )
        for ax in axes:
            ax.legend(fontsize="small")
        figure.savefig(path)
    drops = result["drops"]["average"]
    return {
        "largest |drop of an average + Jensen–Shannon|": max(
            abs(value + js) for drop, js in zip(drops, shannon, strict=True) for value in drop
        ),
        "Jensen–Shannon, median": sorted(shannon)[len(shannon) // 2],
        "largest distance of a comb": max(abs(v) for drop in result["drops"]["comb"] for v in drop),
        "columns": ["problem", "cells", "largest error", "bound"],
        "errors": rows,
    }


def atoms(result: Result, path: Path) -> Result:
    """On atoms there is a gap from some threshold on; splitting them moves that threshold."""
    with plot.style():
        figure, ax = plt.subplots(figsize=(5, 3.4))
        for k, marker in zip((1, 2, 3, 4), "os^D", strict=True):
            rows = [row for row in result["rows"] if row[0] == k]
            gaps = [max(primal - dual, 0.0) for _, _, primal, dual in rows]
            label = "three atoms" if k == 1 else f"each split into {k}"
            ax.plot([row[1] for row in rows], gaps, marker=marker, ms=3.5, label=label)
        ax.set(xlabel="threshold b on KL(p‖q₁) (nats)", ylabel="duality gap (nats)")
        ax.legend()
        figure.savefig(path)
    return {"columns": result["columns"], "rows": _rounded(result["rows"])}


def tradeoff(result: Result, path: Path) -> Result:
    """Thresholds deviate less than one multiplier for all, when the worst constraint is matched.

    Five things lie on all sides: with reverse KL and one multiplier the pushes cancel, until p runs
    to a corner of the grid.
    """
    units = {"Likelihood": "share of E_q[q_i] left, worst of five"}
    with plot.style():
        figure, axes = plt.subplots(1, 3, figsize=(10, 3.3))
        for ax, (kind, panel) in zip(axes, result.items(), strict=True):
            curves = {
                "thresholds on each": panel["constrained"],
                "one multiplier for all": panel["equal, matched at the worst"],
            }
            plot.tradeoff(
                {name: (panel["level"], curve) for name, curve in curves.items()},
                xlabel=units.get(kind, "separation, multiple of q's, worst of five"),
                ax=ax,
            )
            ax.set(title=kind, yscale="log")
        axes[2].invert_xaxis()
        figure.savefig(path)
    keys = ("constrained", "equal, matched at the worst", "equal, matched in total")
    return {
        kind: {"level": panel["level"]} | {key: _rounded([panel[key]])[0] for key in keys}
        for kind, panel in result.items()
    }


def paths(result: Result, path: Path) -> Result:
    """Noised, a difference target is the difference of the noised; a ratio target is no ratio."""
    titles = {"ForwardKL": "difference target (FU)", "ReverseKL": "ratio target (RU)"}
    with plot.style():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
        for ax, (kind, panel) in zip(axes, result["panels"].items(), strict=True):
            for i, (state, curves) in enumerate(panel["states"].items()):
                ax.plot(
                    result["x"], curves["noised target"], color=f"C{i}", label=f"noised to {state}"
                )
                ax.plot(
                    result["x"],
                    curves["formula on noised densities"],
                    "--",
                    color="black",
                    lw=1,
                    label="formula on noised densities" if i else None,
                )
            ax.set(xlabel="x", title=titles[kind], ylim=(0, None))
            ax.legend()
        axes[0].set_ylabel("density (1/unit of x)")
        figure.savefig(path)
    return {
        kind: {key: panel[key] for key in panel if key != "states"}
        | {f"KL at {state}": curves["KL"] for state, curves in panel["states"].items()}
        for kind, panel in result["panels"].items()
    }


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in rows]


DRAWINGS = (
    figure1,
    claim,
    comb,
    atoms,
    tradeoff,
    paths,
    figure4,
    divergences,
    minmax,
    data_unlearning,
    reconstructions,
    conditional,
    unconditional,
    cowboys,
    concepts,
    horses,
    shootout,
)
SHOOTOUTS = ("shootout", "shootout_images")
RESULT_OF = {"reconstructions": "data_unlearning"}  # where it is not named as its drawing


def main() -> None:
    """Draw every figure and write the manifest."""
    manifest = {}
    for draw in DRAWINGS:
        name = draw.__name__
        path = RESULTS / f"{RESULT_OF.get(name, name)}.json"
        if not path.exists():
            print(f"{name}: not computed yet; make experiments does it")
            continue
        stored = json.loads(path.read_text())
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
    for file, title, names, write in (
        ("digits", "Forgetting a class of digits: all methods", TASKS, table),
        ("horses", "Keep the cowboy, unlearn the horse: all methods", ("horses",), horses_table),
        ("shootout", "Asked for a threshold: all methods", SHOOTOUTS, shootout_table),
    ):
        paths = [RESULTS / f"{name}.json" for name in names]
        found = [json.loads(path.read_text())["result"] for path in paths if path.exists()]
        if found:
            parts = [write(name, one) for name, one in zip(names, found, strict=False)]
            (FIGURES / f"{file}.md").write_text(f"# {title}\n\n" + "\n".join(parts))
    numbers_on_pages.main()


if __name__ == "__main__":
    main()
