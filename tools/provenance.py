"""Of stored numbers: a key of the code that made them, and how they are written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


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
