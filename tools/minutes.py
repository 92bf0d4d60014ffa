"""How long each lesson takes a student, by a count: `python -m tools.minutes`.

A reader who reads 220 words a minute, follows a line of code in 12 seconds, looks at a figure for
40, and needs 4 minutes for an exercise, but for one whose heading says how many. Folded text is
opened by one in two: it counts by half. Lines without code (comments, brackets, texts) are not
counted, nor is what a solution holds, for students write it. Cells that need a GPU count by half,
too: most machines skip them.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

SOLUTIONS = Path(__file__).resolve().parent.parent / "tutorials" / "solutions"
WORDS, LINE, FIGURE, EXERCISE = 220, 12 / 60, 40 / 60, 4.0  # a minute; and minutes for each
FOLD = re.compile(r"<details>.*?</details>", re.DOTALL)
HEADING = re.compile(r"^## Exercise \d.*", re.MULTILINE)
SAID = re.compile(r"\((\d+) minutes\)")
LABEL = re.compile(r"\*\*Time:\*\* (\d+) minutes")
SLACK = 0.25  # of the count, by which a label may differ


def words(text: str) -> int:
    """Of a text; a formula or a number is as long as its parts."""
    return len(re.findall(r"\w[\w'’.-]*", text))


def lines(source: str) -> int:
    """Of a code cell, those that hold a name or a number; an alternative text holds none."""
    text = "\n".join("" if one.startswith("%") else one for one in source.splitlines())
    held = {
        token.start[0]: token.line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type in (tokenize.NAME, tokenize.NUMBER)
    }
    return sum(not line.strip().startswith("alt=") for line in held.values())


def minutes(cells: Sequence[Any]) -> float:
    """Of a lesson's cells, from nbformat 4 with nbgrader's metadata."""
    total = 0.0
    for cell in cells:
        if cell.cell_type == "markdown":
            folded = "".join(FOLD.findall(cell.source))
            total += (words(cell.source) - words(folded) / 2) / WORDS
            for heading in HEADING.findall(cell.source):
                said = SAID.search(heading)
                total += float(said[1]) if said else EXERCISE
        elif cell.cell_type == "code" and "nbgrader" not in cell.metadata:
            skipped = cell.source.startswith("%%cuda")
            total += LINE * lines(cell.source) * (0.5 if skipped else 1.0)
            pictures = ("image/png" in output.get("data", {}) for output in cell.outputs)
            total += FIGURE * sum(pictures)
    return total


def labels() -> dict[str, tuple[float, int | None]]:
    """Of every lesson, by its number: the count, and the minutes that its first cell says."""
    found = {}
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        said = LABEL.search(cells[0].source)
        found[path.name[:2]] = minutes(cells), int(said[1]) if said else None
    return found


def main() -> int:
    """Print the table; fail where a label is off by more than a quarter."""
    off = 0
    for lesson, (count, said) in labels().items():
        wrong = said is None or abs(said - count) > SLACK * count
        off += wrong
        print(f"{lesson}  {count:5.1f} minutes, says {said}" + ("  <- " if wrong else ""))
    return min(off, 1)


if __name__ == "__main__":
    sys.exit(main())
