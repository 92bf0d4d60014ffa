"""A solved problem: the unlearned model, its multipliers and its certificate, on disk and off."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .certificate import Certificate, certify
from .density import Discrete, ExactModel, GaussianMixture, Grid, GridDensity
from .errors import Array
from .problems import ForwardKL, Likelihood, Problem, ReverseKL

FORMAT = 1
KINDS: dict[str, type[Problem]] = {c.__name__: c for c in (ReverseKL, ForwardKL, Likelihood)}
OPTIONS = {"ReverseKL": (), "ForwardKL": ("floor",), "Likelihood": ("statistic", "temperature")}


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of an unlearning problem.

    Attributes:
        problem: what was solved.
        model: the unlearned model, of the retained model's own kind.
        multipliers: (m,) λ*: by how many nats the objective rises per unit of each threshold.
        certificate: what the solution is worth.
    """

    problem: Problem
    model: Any
    multipliers: Array
    certificate: Certificate

    @property
    def objective(self) -> float:
        """Deviation from the retained model, nats."""
        return self.certificate.primal

    @property
    def constraints(self) -> Array:
        """(m,) constraint values of the model."""
        return self.certificate.constraints

    @cached_property
    def objective_at_twice_floor(self) -> float | None:
        """The optimum with FU's floor twice as deep, nats; None out of contact.

        How far it lies from `objective` says how much of the answer is the floor's doing.
        """
        problem = self.problem
        if self.certificate.regime != "contact" or not isinstance(problem, ForwardKL):
            return None
        from .dual import solve

        deeper = ForwardKL(
            problem.retain, problem.forget, problem.thresholds, floor=min(2 * problem.floor, 600.0)
        )
        return solve(deeper).objective

    def to_dict(self) -> dict[str, Any]:
        """Everything but the densities, ready for JSON; numbers are exact."""
        certificate = asdict(self.certificate)
        for key in ("constraints", "thresholds"):
            certificate[key] = certificate[key].tolist()
        return {
            "format": FORMAT,
            "problem": type(self.problem).__name__,
            "options": {
                name: getattr(self.problem, name) for name in OPTIONS[type(self.problem).__name__]
            },
            "space": _describe(self.problem.retain),
            "thresholds": self.problem.thresholds.tolist(),
            "multipliers": self.multipliers.tolist(),
            "objective": self.objective,
            "constraints": self.constraints.tolist(),
            "certificate": certificate,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write problem, model and certificate to one .npz file, whole or not at all."""
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        models = {"retain": self.problem.retain, "model": self.model}
        models |= {f"forget{i}": model for i, model in enumerate(self.problem.forget)}
        arrays = {name: model.log_masses for name, model in models.items()}
        for name, model in models.items():
            mixture = getattr(model, "mixture", None)
            if mixture is not None:
                for part in ("weights", "means", "covariances"):
                    arrays[f"{name}.{part}"] = getattr(mixture, part)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".partial")
        try:
            with os.fdopen(descriptor, "wb") as file:
                header = np.array(json.dumps(self.to_dict()))
                np.savez_compressed(file, header=header, **arrays)  # type: ignore[arg-type]
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
        return target

    def __repr__(self) -> str:
        multipliers = np.array2string(self.multipliers, precision=6)
        return (
            f"Solution of {type(self.problem).__name__}: {self.problem.objective_name} = "
            f"{self.objective:.6g} nats, multipliers {multipliers}\n{self.certificate!r}"
        )


def load(path: str | os.PathLike[str]) -> Solution:
    """Read what `Solution.save` wrote, and certify it again from its densities.

    Raises:
        ValueError: not such a file, or its densities do not support its stored certificate.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            header = json.loads(str(arrays.pop("header")))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{os.fspath(path)} is not a saved solution: {error}") from None
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{os.fspath(path)} has format {header.get('format')!r}; this version reads {FORMAT}"
        )

    def read(name: str) -> ExactModel:
        space, masses = header["space"], arrays[name]
        if "atoms" in space:
            return Discrete(np.full(len(masses), 1 / len(masses))).with_log_masses(masses)
        mixture = None
        if f"{name}.weights" in arrays:
            mixture = GaussianMixture(
                arrays[f"{name}.weights"],
                arrays[f"{name}.means"],
                covariances=arrays[f"{name}.covariances"],
            )
        return GridDensity(Grid(**space), masses, mixture)

    problem = KINDS[header["problem"]](
        read("retain"),
        [read(f"forget{i}") for i in range(len(header["thresholds"]))],
        header["thresholds"],
        **header["options"],
    )
    model, multipliers = read("model"), np.array(header["multipliers"])
    certificate = certify(problem, model, multipliers)
    stored = header["certificate"]["primal"]
    if abs(certificate.primal - stored) > 1e-9 * max(1e-3, abs(stored)):
        raise ValueError(
            f"{os.fspath(path)} is damaged: its densities give a primal of {certificate.primal}, "
            f"its certificate says {stored}"
        )
    return Solution(problem, model, multipliers, certificate)


def _describe(model: ExactModel) -> dict[str, Any]:
    if isinstance(model, GridDensity):
        return {"low": model.grid.low, "high": model.grid.high, "cells": model.grid.cells}
    return {"atoms": len(model.log_masses)}
