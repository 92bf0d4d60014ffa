"""nbval's notebooks, with exercises asked and facts asserted in the kernel, between the cells.

Each exercise is asked just before its answer is run; the facts behind a cell whose digits differ
between machines are asserted just after it.
"""

from collections import defaultdict
from pathlib import Path

import nbformat
from exercises import ask, number, role
from facts import assertions, facts_after
from nbval.plugin import IPyNbCell

TESTS = Path(__file__).resolve().parents[2] / "tests"


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
        if role(cell.cell) == "answer":
            of = number(after.cell)
            source = (
                f"__import__('sys').path.append({str(TESTS)!r})\n"
                f"__import__('exercises').{ask.__name__}({of!r}, {cell.cell.source!r}, globals())"
            )
            items.insert(items.index(cell), one_more(cell, f"Exercise {of}", source))
        elif facts := facts_after(cell.path.name[:2], cell.cell.source):
            place = items.index(cell) + 1
            items.insert(place, one_more(cell, "Facts", assertions(facts)))
    items.sort(key=lambda item: item.path.name, reverse=True)
