"""Reading saved solutions of exact problems."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from ..certificate import certify
from ..errors import Array
from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from ..solution import FORMAT, Solution
from .discrete import Discrete
from .exact import ExactModel
from .grid import Grid, GridDensity
from .mixture import GaussianMixture

KINDS: dict[str, type[Problem]] = {c.__name__: c for c in (ReverseKL, ForwardKL, Likelihood)}


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
        written = header["format"]
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive fails in many ways; all mean the same
        raise ValueError(f"{name} is not a saved solution: {error}") from None
    if written != FORMAT:
        raise ValueError(f"{name} has format {written!r}; this version reads {FORMAT}")

    space = header["space"]
    retain = _model(space, arrays, "retain")
    forget = [_model(space, arrays, f"forget{i}") for i in range(len(header["thresholds"]))]
    problem = KINDS[header["problem"]](retain, forget, header["thresholds"], **header["options"])
    model, multipliers = _model(space, arrays, "model"), np.array(header["multipliers"])
    certificate = certify(problem, model, multipliers)
    stored = header["certificate"]
    for key in ("primal", "dual"):
        if abs(getattr(certificate, key) - stored[key]) > 1e-9 * max(1e-3, abs(stored[key])):
            raise ValueError(
                f"{name} is damaged: its densities give a {key} value of "
                f"{getattr(certificate, key)}, its certificate says {stored[key]}"
            )
    return Solution(problem, model, multipliers, certificate, header["objective_at_twice_floor"])


def _model(space: dict[str, Any], arrays: dict[str, Array], name: str) -> ExactModel:
    own = {key.split(".", 1)[1]: arrays[key] for key in arrays if key.split(".", 1)[0] == name}
    masses = own["log_masses"]
    if "atoms" in space:
        return Discrete(np.full(len(masses), 1 / len(masses))).with_log_masses(masses)
    mixture = None
    if "weights" in own:
        mixture = GaussianMixture(own["weights"], own["means"], covariances=own["covariances"])
    return GridDensity(Grid(**space), masses, mixture)
