"""The page of results: every figure with what it shows, where it came from, how to do it again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tools.provenance import ROOT

FIGURES = ROOT / "figures"
TABLES = {  # of figures that have one
    "conditional.png": "digits.md",
    "unconditional.png": "digits.md",
    "horses.png": "horses.md",
    "shootout.png": "shootout.md",
}
INTRODUCTION = """# Results

Every figure is drawn from stored numbers by `make figures`; the numbers are computed by
`make experiments`, each result once for each version of the code that it depends on. What a figure
says is discussed on the page named with it, with what does not hold; its numbers are in
[manifest.json](figures/manifest.json).
"""
PICTURE = re.compile(r"!\[([^\]]+)\]\(figures/(\w+\.png)\)")


def page(source: Path) -> str:
    """The page, in Markdown. Alternative texts are those of the pages that show a figure.

    Raises:
        ValueError: no page shows a figure.
    """
    manifest: dict[str, Any] = json.loads((FIGURES / "manifest.json").read_text(encoding="utf-8"))
    shown = described(source)
    parts = [INTRODUCTION]
    for name, about in manifest.items():
        if name not in shown and not listed_elsewhere(name):
            raise ValueError(f"no page of site/ shows figures/{name}")
        parts.append(section(name, about, shown.get(name)))
    return "\n".join(parts)


def described(source: Path) -> dict[str, tuple[str, str]]:
    """Alternative text and page of every figure that a page shows."""
    found = {}
    for path in sorted(source.glob("*.md")):
        for text, name in PICTURE.findall(path.read_text(encoding="utf-8")):
            if name not in found or path.name != "index.md":
                found[name] = (text, path.name)
    return found


def listed_elsewhere(name: str) -> bool:
    """Whether a table of figures/ shows it."""
    return any(f"]({name})" in path.read_text(encoding="utf-8") for path in FIGURES.glob("*.md"))


def section(name: str, about: dict[str, Any], shown: tuple[str, str] | None) -> str:
    """A figure's part of the page."""
    origin, shows = about["provenance"], about["shows"]
    text, where = shown or (shows, "")
    places = [f"[Discussed here]({where})."] if where else []
    if name in TABLES:
        places.append(f"[All numbers](figures/{TABLES[name]}).")
    versions = ", ".join(f"{key} {value}" for key, value in origin["versions"].items())
    made = (
        f"Computed on {origin['date']} in {origin['seconds']:g} seconds ({origin['machine']}, "
        f"Python {origin['python']}, {versions}); seeds: {origin['seeds']}."
    )
    title = re.split(r"[:;.] ", shows)[0].rstrip(".")
    picture = f"![{text}](figures/{name})"
    return "\n\n".join([f"## {title}", picture, " ".join([shows, *places]), made, ""])
