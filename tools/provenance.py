"""Where a stored number came from: machine, versions, date, and a key of the code that made it."""

from __future__ import annotations

import datetime
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def provenance(*packages: str) -> dict[str, Any]:
    """Machine, versions and date of this run."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next(
            (x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), model
        )
    names = ("unlearnlab", "numpy", "scipy", "torch", *packages)
    versions = {name: version(name) for name in names}
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{model}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def version(package: str) -> str:
    """Of a package, also where it lies on the path without having been installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(importlib.import_module(package).__version__)


PEOPLE = {"plot", "metrics", "images", "data_unlearning"}  # no solver reads them
CORE = ("unlearnlab/*.py", "unlearnlab/density/*.py", "unlearnlab/problems/*.py")
NETWORKS = (*CORE, "unlearnlab/diffusion/*.py", "unlearnlab/training/*.py")
DIGITS = (*NETWORKS, "unlearnlab/baselines/*.py", "unlearnlab/digits/*.py")
EVERYTHING = ("unlearnlab/**/*.py",)


def code_key(*patterns: str) -> str:
    """A hash of the files that match: results with the same key need no new run."""
    digest = hashlib.sha256()
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    if EVERYTHING[0] not in patterns:
        found = {path for path in found if path.stem not in PEOPLE}
    for source in sorted(found):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, path)
