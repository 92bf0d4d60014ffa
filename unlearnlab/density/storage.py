"""Reading saved solutions of exact problems."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..certificate import certify
from ..dual import optimal_value
from ..errors import Array, finite_vector
from ..problems import Problem, registered
from ..ratios import log_sum_exp
from ..solution import FORMAT, Solution, digest
from ..statistics import Function, Known
from .discrete import Discrete
from .exact import ExactModel
from .grid import Grid, GridDensity
from .mixture import GaussianMixture


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A function that is known at some points alone: what a file keeps of a user's function."""

    table: Array

    def __call__(self, points: Any) -> Array:
        """The values that were saved, for the points that they were saved for."""
        if len(points) != len(self.table):
            raise ValueError(
                f"this function was read from a file, which holds its values at {len(self.table)} "
                f"points; it cannot be evaluated at {len(points)} others"
            )
        return self.table


def load(path: str | os.PathLike[str]) -> Solution:
    """Read what `Solution.save` wrote, and certify it again from its densities.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or its densities do not support its stored certificate.
    """
    name = os.fspath(path)
    try:
        with np.load(name, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}; this version reads {FORMAT}")
        if header.pop("sha256") != digest(arrays, header):
            raise ValueError("its contents are not what was written")
        return _rebuild(header, arrays)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive fails in many ways; all mean the same
        raise ValueError(
            f"{name} is not a saved solution, or is damaged ({type(error).__name__}: {error}): "
            "save it again, or solve the problem anew"
        ) from None


def _rebuild(header: dict[str, Any], arrays: dict[str, Array]) -> Solution:
    space = header["space"]
    problem = _problem(header, arrays)
    model, multipliers = _model(space, arrays, "model"), np.array(header["multipliers"])
    certificate, stored = certify(problem, model, multipliers), header["certificate"]
    for key in ("primal", "dual"):
        now, then = getattr(certificate, key), float(stored[key])
        if not abs(now - then) <= 1e-9 * max(1e-3, abs(then)):
            raise ValueError(f"its densities give a {key} value of {now}, its certificate {then}")
    if certificate.ok != stored["ok"]:
        raise ValueError(f"its certificate says ok = {stored['ok']}; it is {certificate.ok}")
    deeper = problem.deeper() if certificate.regime == "contact" else None
    twice = None if deeper is None else partial(optimal_value, deeper)  # computed, not believed
    return Solution(problem, model, multipliers, certificate, twice)


def _problem(header: dict[str, Any], arrays: dict[str, Array]) -> Problem:
    """The problem, whatever arguments its class was made with."""
    space = header["space"]
    count = len({key.split(".", 1)[0] for key in arrays if key.startswith("compared")})
    retain = _model(space, arrays, "retain")
    compared = [_model(space, arrays, f"compared{i}") for i in range(count)]
    functions = sorted(
        (int(key.removeprefix("function")), np.asarray(table, dtype=np.float64))
        for key, table in arrays.items()
        if key.startswith("function")
    )
    keys = header["functions"]
    kept = [
        Function(Tabulated(table), key=Known(key))
        for (_, table), key in zip(functions, keys, strict=True)
    ]
    kind = registered(header["problem"])
    made = kind.__new__(kind)  # whatever arguments it was made with
    made.retain, made.compared = retain, tuple(compared)
    made.forgotten, made.options = header["forgotten"], kind.Options(**header["options"])
    made.take_functions(kept, header["senses"])
    made.check_support()
    made.thresholds = finite_vector("thresholds", header["thresholds"], made.m, per="constraint")
    made.check_thresholds()
    made.check_distinct()
    return made


def _model(space: dict[str, Any], arrays: dict[str, Array], name: str) -> ExactModel:
    own = {key.split(".", 1)[1]: arrays[key] for key in arrays if key.split(".", 1)[0] == name}
    masses = np.asarray(own["log_masses"], dtype=np.float64)
    size = space["atoms"] if "atoms" in space else Grid(**space).size
    if masses.shape != (size,) or not abs(log_sum_exp(masses)) < 1e-6:
        raise ValueError(f"{name} is no distribution over {size} cells")
    if "atoms" in space:
        return Discrete(np.full(size, 1 / size)).with_log_masses(masses)
    mixture = None
    if "weights" in own:
        mixture = GaussianMixture(own["weights"], own["means"], covariances=own["covariances"])
    return GridDensity(Grid(**space), masses, mixture)
