"""Computes the numbers behind figures/, once per version of the code: `make experiments`.

Each experiment writes figures/results/NAME.json when it is done, so an interrupted run goes on
where it stopped; one whose code has not changed is not run again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

import unlearnlab as ul
from tools.provenance import (
    CORE,
    DIGITS,
    NETWORKS,
    ROOT,
    code_key,
    write_json,
)
from unlearnlab.provenance import provenance

RESULTS = ROOT / "figures" / "results"
GRID = ul.Grid(low=-8.0, high=8.0, cells=2001)
MEANS, STD = (-3.0, 0.0, 3.0), 0.6


def three_modes(forget: float) -> tuple[ul.GridDensity, ul.GridDensity, ul.GridDensity]:
    """Three equal Gaussians, the one to forget, and the two to keep."""

    def mixture(means: list[float]) -> ul.GridDensity:
        k = len(means)
        return ul.GaussianMixture([1 / k] * k, means, [STD] * k).on(GRID)

    return mixture(list(MEANS)), mixture([forget]), mixture([m for m in MEANS if m != forget])


def figure1() -> dict[str, Any]:
    """The paper's Figure 1: the three targets for three Gaussians, the middle one forgotten."""
    q, q1, kept = three_modes(0.0)
    problems: dict[str, ul.Problem] = {
        "reverse KL": ul.ReverseKL(retain=q, forget=[q1], relative=1.8),
        "forward KL": ul.ForwardKL(retain=q, forget=[q1], relative=4.0),
        "likelihood": ul.Likelihood(retain=q, forget=[q1], relative=0.05),
    }
    x, panels = GRID.axes[0], {}
    for name, problem in problems.items():
        solution = ul.solve(problem)
        p = solution.model.probabilities
        right = x > 1.5
        panels[name] = {
            **solution.to_dict(),
            "mass left at |x| < 1.5": float(p[np.abs(x) < 1.5].sum()),
            "top of the right mode": float(x[right][p[right].argmax()]),
            "KL(p‖kept)": ul.kl(solution.model, kept),
            "density": np.exp(solution.model.log_density).round(6).tolist(),
        }
    return {
        "x": x.round(6).tolist(),
        "retain": np.exp(q.log_density).round(6).tolist(),
        "forget": np.exp(q1.log_density).round(6).tolist(),
        "panels": panels,
    }


def claim() -> dict[str, Any]:
    """Distance to what is kept, at equal unlearning likelihood: LU against the ratio target."""
    q, q1, kept = three_modes(3.0)
    free = ul.Likelihood(retain=q, forget=[q1], relative=1.0)
    ratio = ul.ReverseKL(retain=q, forget=[q1], relative=1.0)
    base = free.baseline()[0]
    shares = np.geomspace(0.01, 0.9, 25)
    rows = []
    for share in shares:
        lu = ul.solve(ul.Likelihood(retain=q, forget=[q1], relative=float(share)))

        def left(lam: float, share: float = share) -> float:
            return float(free.evaluate(ratio.target([lam])).constraints[0] / base - share)

        ru = ratio.target([brentq(left, 1e-9, 0.9)])
        rows.append([float(share), ul.kl(lu.model, kept), ul.kl(ru, kept)])
    return {"columns": ["share left", "LU", "RU"], "rows": rows}


def comb(pairs: int = 100) -> dict[str, Any]:
    """Lemma 1: where averages and combs of random boundary pairs end up; error against N."""
    q, q1, _ = three_modes(0.0)
    problem = ul.ReverseKL(retain=q, forget=[q1], relative=1.3)
    drops: dict[str, list[list[float]]] = {"average": [], "comb": []}
    shannon = []
    for p, other in ul.boundary_pairs(problem, pairs, seed=0):
        split = ul.lyapunov_split(p, other, 0.5, problem)
        for name, mixed in (("average", split.average), ("comb", split.density)):
            found = problem.evaluate(mixed)
            drop = [found.constraints[0] - split.wanted[1], found.objective - split.wanted[0]]
            drops[name].append([float(value) for value in drop])
        shannon.append(sum(0.5 * ul.kl(one, split.average) for one in (p, other)))
    return {"drops": drops, "Jensen–Shannon": shannon, "errors": comb_errors()}


def comb_errors() -> list[list[Any]]:
    """[problem, cells, largest error and largest bound over ten pairs], of the constraint."""
    rows: list[list[Any]] = []
    for kind, relative in ((ul.ReverseKL, 1.3), (ul.ForwardKL, 3.0), (ul.Likelihood, 0.2)):
        for cells in (200, 632, 2000, 6325, 20000):
            grid = ul.Grid(low=-8.0, high=8.0, cells=cells)
            q = ul.GaussianMixture([1 / 3] * 3, MEANS, [STD] * 3).on(grid)
            q1 = ul.GaussianMixture([1.0], [0.0], [STD]).on(grid)
            problem = kind(retain=q, forget=[q1], relative=relative)
            found = [
                ul.lyapunov_split(p, other, 0.3, problem)
                for p, other in ul.boundary_pairs(problem, 10, seed=1)
            ]
            worst = (max(float(getattr(c, key)[1]) for c in found) for key in ("errors", "bounds"))
            rows.append([kind.__name__, cells, *worst])
    return rows


def atoms() -> dict[str, Any]:
    """Three atoms split into k parts: primal, dual and gap against the threshold."""
    q, q1 = ul.Discrete([0.300, 0.695, 0.005]), ul.Discrete([0.69, 0.30, 0.01])
    rows = []
    for k in (1, 2, 3, 4):
        for b in np.linspace(1.0, 3.5, 21):
            problem = ul.ReverseKL(retain=q.split(k), forget=[q1.split(k)], thresholds=[b])
            found = ul.solve(problem).certificate
            rows.append([k, float(b), found.primal, found.dual])
    return {"columns": ["k", "threshold", "primal", "dual"], "rows": rows}


def plane() -> tuple[ul.GridDensity, list[ul.GridDensity]]:
    """Six modes in the plane, and five things to forget, of unequal mass and width."""
    grid = ul.Grid(low=(-6.5, -6.5), high=(6.5, 6.5), cells=(96, 96))
    means = [[0, 0], [2.5, 0], [-2.5, 0.5], [0, 2.5], [0.5, -2.5], [2.5, 2.5]]
    q = ul.GaussianMixture([0.3, 0.2, 0.15, 0.15, 0.1, 0.1], means, [0.7] * 6).on(grid)
    widths = (0.7, 0.8, 0.9, 0.7, 1.0)
    return q, [
        ul.GaussianMixture([1.0], [mean], [width]).on(grid)
        for mean, width in zip(means[1:], widths, strict=True)
    ]


LEVELS = {
    "ReverseKL": [1.05, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4],
    "ForwardKL": [1.05, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4],
    "Likelihood": [0.9, 0.7, 0.5, 0.35, 0.2, 0.1, 0.05, 0.02],
}


def tradeoff(levels: dict[str, list[float]] = LEVELS) -> dict[str, Any]:
    """Thresholds on five things in the plane against one multiplier for all, at matched levels."""
    q, forget = plane()
    panels = {}
    for kind, relative in levels.items():
        problem = getattr(ul, kind)(retain=q, forget=forget, relative=1.0)
        worst, total = (
            ul.tradeoff(problem, relative, match=match, jobs=2) for match in ("worst", "total")
        )
        panels[kind] = {
            "level": relative,
            "constrained": worst.constrained.deviation.tolist(),
            "equal, matched at the worst": worst.equal.deviation.tolist(),
            "equal, matched in total": total.equal.deviation.tolist(),
            "multipliers": worst.constrained.multipliers.tolist(),
        }
    return panels


def paths() -> dict[str, Any]:
    """A noising chain on 64³ cells: optima on path measures, and what becomes of them noised."""
    grid = ul.Grid(low=-5.0, high=5.0, cells=64)
    chain = ul.NoisingChain(grid)
    q = ul.GaussianMixture([0.4, 0.35, 0.25], [-2.5, 0, 2.5], [STD] * 3).on(grid)
    forget = [ul.GaussianMixture([1.0], [mean], [STD]).on(grid) for mean in (0.0, 2.5)]
    starts = [q, *forget]
    on_paths = [chain.paths(start) for start in starts]
    panels = {}
    for kind, relative in ((ul.ForwardKL, 2.0), (ul.ReverseKL, 1.6)):
        solution = ul.solve(kind(on_paths[0], on_paths[1:], relative=relative))
        flat = ul.solve(kind(q, forget, relative=relative))
        states = {}
        for state in (1, 2):
            models = [chain.marginal(model, state) for model in on_paths]
            composed = kind(models[0], models[1:], relative=1.0).target(solution.multipliers)
            noised = chain.marginal(solution.model, state)
            states[f"x{state}"] = {
                "noised target": np.exp(noised.log_density).round(6).tolist(),
                "formula on noised densities": np.exp(composed.log_density).round(6).tolist(),
                "KL": ul.kl(noised, composed),
            }
        panels[kind.__name__] = {
            "objective on paths": solution.objective,
            "objective on points": flat.objective,
            "gap": solution.certificate.gap,
            "departure": chain.departure(solution.model),
            "states": states,
        }
    return {"x": grid.axes[0].round(6).tolist(), "panels": panels}


SEEDS = {
    "comb": "0 for the pairs of the scatter, 1 for those of the errors",
    "figure4": "0, 1, 2 for the students; 0 for the pretrained network",
    "divergences": "0 for the noisy steps, 5 runs each",
    "minmax": "1 for the race, 5 runs each",
    "anchors": "0, 1, 2 for the students; 0 for the pretrained network",
    "data_unlearning": "0, 1, 2 for the students; 0 for the pretrained networks",
    "conditional": "0, 1, 2 for the students; 0 for the pretrained networks",
    "cowboys": "0",
    "concepts": "0, 1, 2 for the multipliers, paths and images",
    "horses": "0, 1, 2 for the students and their images; 5 for the paths, 77 for what to keep",
    "controls": "100, 101 for the chains",
    "released": "0 for the pictures, 1 for the noise, 5 for Lemma 2",
    "shootout": "0, 1, 2 for the students",
    "shootout_images": "0, 1, 2 for the students, 99 for the pool",
    "unconditional": "0, 1, 2 for the students; 0 for the pretrained networks",
}


class Experiment(NamedTuple):
    """What computes a result, and the files that it depends on."""

    run: Callable[[str], dict[str, Any]]  # from the key of these files
    sources: tuple[str, ...]


def experiments() -> dict[str, Experiment]:
    """All of them, by name; those on networks need torch."""
    from figures import (
        anchors,
        concepts,
        controls,
        digit_classes,
        divergences,
        horses,
        memorised,
        networks,
        released,
        scenes,
        shootout,
        shootout_images,
    )

    here = "figures/experiments.py"
    on_digits = (*DIGITS, "figures/digits.py")
    found = {
        run.__name__: Experiment(lambda key, run=run: run(), (*CORE, here))  # type: ignore[misc]
        for run in (figure1, claim, comb, atoms, tradeoff, paths)
    }
    games = (*CORE, "unlearnlab/baselines/divergences.py", "figures/divergences.py")
    found["divergences"] = Experiment(lambda key: divergences.divergences(), games)
    found["minmax"] = Experiment(lambda key: divergences.minmax(), games)
    on_modes = (*NETWORKS, here, "figures/networks.py", "figures/digits.py")
    own = ("unlearnlab/baselines/*diverg*.py", "figures/anchors.py")
    found["anchors"] = Experiment(lambda key: anchors.anchors(), (*on_modes, *own))
    found["figure4"] = Experiment(networks.figure4, on_modes)
    found["data_unlearning"] = Experiment(
        memorised.data_unlearning, (*on_digits, "figures/memorised.py")
    )
    scene_files = ("unlearnlab/stable_diffusion/*.py", "unlearnlab/stable_diffusion/weights/**/*.*")
    on_scenes = (*DIGITS, *scene_files, "figures/scenes.py", "figures/digits.py")
    found["cowboys"] = Experiment(scenes.cowboys, on_scenes)
    found["concepts"] = Experiment(concepts.concepts, (*on_scenes, "figures/concepts.py"))
    of_horses = ("figures/horses.py", "figures/shootout_images.py")  # whose gate is the same
    found["horses"] = Experiment(horses.horses, (*on_scenes, *of_horses))
    for run in (controls.controls, released.released):
        own = f"figures/{run.__name__}.py"
        found[run.__name__] = Experiment(lambda key, run=run: run(), (*on_scenes, own))
    found["shootout"] = Experiment(
        shootout.shootout, (*DIGITS, "figures/shootout.py", "figures/gates.py")
    )
    of_images = (
        *("figures/shootout.py", "figures/shootout_images.py"),
        *("figures/digits.py", "figures/digit_classes.py", "figures/concepts.py"),
    )
    found["shootout_images"] = Experiment(shootout_images.shootout_images, (*on_scenes, *of_images))
    for task in ("conditional", "unconditional"):
        found[task] = Experiment(
            partial(digit_classes.forget_class, task), (*on_digits, "figures/digit_classes.py")
        )
    return found


def main(only: list[str]) -> None:
    """Run what is missing or out of date; with names, of those alone."""
    for name, (run, sources) in experiments().items():
        if only and name not in only:
            continue
        path = RESULTS / f"{name}.json"
        key = code_key(*sources)
        if path.exists() and json.loads(path.read_text()).get("key") == key:
            print(f"{name}: up to date")
            continue
        start = time.perf_counter()
        result = run(key)
        seconds = round(time.perf_counter() - start, 2)
        about = {
            **provenance(),
            "seeds": SEEDS.get(name, "none: exact"),
            "seconds": seconds,
        }
        write_json(path, {"key": key, "provenance": about, "result": result})
        print(f"{name}: {seconds} s")


if __name__ == "__main__":
    main(sys.argv[1:])
