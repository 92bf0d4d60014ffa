"""nbval's notebooks, with each exercise asked in the kernel just before its answer is run."""

from collections import defaultdict
from pathlib import Path

import nbformat
from exercises import ask, number, role
from nbval.plugin import IPyNbCell

TESTS = Path(__file__).resolve().parents[2] / "tests"


def pytest_collection_modifyitems(items):
    """One more cell before each answer, and the last lessons first: they take the longest."""
    cells = [item for item in items if isinstance(item, IPyNbCell)]
    for answer, check in zip(cells, cells[1:]):
        if role(answer.cell) == "answer":
            of = number(check.cell)
            source = (
                f"__import__('sys').path.append({str(TESTS)!r})\n"
                f"__import__('exercises').{ask.__name__}({of!r}, {answer.cell.source!r}, globals())"
            )
            extra = IPyNbCell.from_parent(
                answer.parent,
                name=f"Exercise {of}",
                cell_num=answer.cell_num,
                cell=nbformat.v4.new_code_cell(source),
                options=defaultdict(bool),
            )
            items.insert(items.index(answer), extra)
    items.sort(key=lambda item: item.path.name, reverse=True)
