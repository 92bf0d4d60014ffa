"""Numbers in README.md and site/*.md that results know: `make figures` writes them.

They are those of figures/manifest.json, and, as of a picture called "benchmark", of the summary in
benchmarks/unlearning/results.json.

A number stands between two comments that Markdown does not show, with the picture, the keys and how
it is written: <!--n shootout.png methods/gate/median .2f-->1.34<!--/n-->. "hundred" writes a share
as so many of a hundred; everything else is a format of Python. None begins a line, which Markdown
would take for HTML.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tools.provenance import ROOT

MANIFEST = ROOT / "figures" / "manifest.json"
BENCHMARK = ROOT / "benchmarks" / "unlearning" / "results.json"
MARKED = re.compile(r"(<!--n (\S+) (.+?) (\S+?)-->)(.*?)(<!--/n-->)", re.DOTALL)


def known() -> dict[str, Any]:
    """The manifest of figures, and the benchmark beside it."""
    found: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    summary = json.loads(BENCHMARK.read_text(encoding="utf-8"))["summary"]
    return found | {"benchmark": {"numbers": summary}}


def pages() -> list[Path]:
    """Where such numbers may stand."""
    return [ROOT / "README.md", *sorted((ROOT / "site").glob("*.md"))]


def value(manifest: dict[str, Any], picture: str, keys: str) -> Any:
    """What the manifest has of a picture at these keys, separated by slashes.

    Raises:
        KeyError: it does not know the picture, or has no such key.
    """
    found = manifest[picture]["numbers"]
    for key in keys.split("/"):
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


def written(number: float, how: str) -> str:
    """A number as a page says it."""
    return f"{100 * number:.0f}" if how == "hundred" else f"{number:{how}}"


def filled(text: str, manifest: dict[str, Any]) -> str:
    """A page with its marked numbers as they are now."""

    def one(found: re.Match[str]) -> str:
        begin, picture, keys, how, _, end = found.groups()
        return f"{begin}{written(value(manifest, picture, keys), how)}{end}"

    return MARKED.sub(one, text)


def main() -> None:
    """Write the numbers into all pages."""
    manifest = known()
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (now := filled(text, manifest)) != text:
            path.write_text(now, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
