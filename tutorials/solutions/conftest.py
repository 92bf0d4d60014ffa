"""nbval's notebooks, with exercises asked and facts asserted in the kernel, between the cells.

Each exercise is asked just before its answer is run. The facts behind a cell whose digits differ
between machines are asserted just after it; where that is a check, that the answer is right.
"""

from collections import defaultdict
from pathlib import Path

import nbformat
from exercises import ask, number, right, role
from facts import assertions, facts_after
from nbval.plugin import IPyNbCell

TESTS = Path(__file__).resolve().parents[2] / "tests"


IMPORT = f"__import__('sys').path.append({str(TESTS)!r})\n__import__('exercises')"


def one_more(beside, name, source):
    """A cell that is run and shows nothing."""
    return IPyNbCell.from_parent(
        beside.parent,
        name=name,
        cell_num=beside.cell_num,
        cell=nbformat.v4.new_code_cell(source),
        options=defaultdict(bool),
    )


def pytest_collection_modifyitems(items):
    """More cells, and the last lessons first: they take the longest."""
    cells = [item for item in items if isinstance(item, IPyNbCell)]
    for cell, after in zip(cells, [*cells[1:], None]):
        kind, place = role(cell.cell), items.index(cell)
        if kind == "answer":
            of = number(after.cell)
            source = f"{IMPORT}.{ask.__name__}({of!r}, {cell.cell.source!r}, globals())"
            items.insert(place, one_more(cell, f"Exercise {of}", source))
        elif kind == "check" and "nbval-ignore-output" in cell.cell.metadata.get("tags", []):
            of = number(cell.cell)
            items.insert(place + 1, one_more(cell, f"{of} right", f"{IMPORT}.{right.__name__}({of!r})"))
        elif facts := facts_after(cell.path.name[:2], cell.cell.source):
            items.insert(place + 1, one_more(cell, "Facts", assertions(facts)))
    items.sort(key=lambda item: item.path.name, reverse=True)
