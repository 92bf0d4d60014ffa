"""What the experiments on handwritten digits share: tools, settings, and runs stored one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from joblib import Parallel, delayed

import unlearnlab as ul
from tools.provenance import ROOT, write_json

SEEDS = (0, 1, 2)
SAMPLER = {"steps": 20}
HOW = {"batch": 32, "steps": 100, "lr": 5e-4, "evaluate": False, "progress": False}
WORKING = ROOT / "figures" / "results" / "working"


@cache
def tools() -> tuple[Any, Any, Any, Any]:
    """Classifier, its descriptor, training and held-out digits."""
    torch.set_num_threads(1)
    classifier = ul.digits.load_classifier()
    return (
        classifier,
        classifier.descriptor(),
        ul.digits.data(),
        ul.digits.data(held_out=True),
    )


def run_all(name: str, key: str, jobs: dict[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """The results of all jobs, two at a time; those of the same code that are stored are read."""

    def one(label: str, job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = WORKING / name / f"{label}.json"
        if path.exists() and (stored := json.loads(path.read_text()))["key"] == key:
            return stored["result"]
        torch.set_num_threads(1)
        start = time.perf_counter()
        result = job()
        result["seconds in all"] = round(time.perf_counter() - start, 1)
        print(f"  {name} {label}: {result['seconds in all']} s", flush=True)
        write_json(path, {"key": key, "result": result})
        return result

    found = Parallel(n_jobs=2)(delayed(one)(label, job) for label, job in jobs.items())
    return dict(zip(jobs, found, strict=True))
