"""Which cells of a lesson a grader has to run: training is skipped where no answer needs it."""

from __future__ import annotations

import dis
from collections.abc import Sequence
from types import CodeType
from typing import Any

SLOW = "slow"  # the tag of lesson cells that train or sample for long


def binds(source: str) -> set[str]:
    """Names that a cell leaves behind."""
    return {
        one.argval
        for one in dis.get_instructions(compile(source, "cell", "exec"))
        if one.opname in ("STORE_NAME", "STORE_GLOBAL")
    }


def reads(source: str) -> set[str]:
    """Names that a cell takes from the cells before it."""
    own: set[str] = set()
    taken: set[str] = set()
    inner: list[CodeType] = []
    for one in dis.get_instructions(compile(source, "cell", "exec")):
        if one.opname == "STORE_NAME":
            own.add(one.argval)
        elif one.opname == "LOAD_NAME" and one.argval not in own:
            taken.add(one.argval)
        elif isinstance(one.argval, CodeType):
            inner.append(one.argval)
    while inner:
        for one in dis.get_instructions(inner.pop()):
            if one.opname == "LOAD_GLOBAL" and one.argval not in own:
                taken.add(one.argval)
            elif isinstance(one.argval, CodeType):
                inner.append(one.argval)
    return taken


def skipped(cells: Sequence[Any]) -> set[int]:
    """Places of the cells that no answer and no check of a notebook needs.

    Cells with the tag `slow` are left out, and lesson cells that read what those make. A cell is
    run all the same where an answer, a check, or a cell that either needs reads a name of it: so a
    student may start from a model that the lesson trained.

    Args:
        cells: of a notebook of nbformat 4, with nbgrader's metadata.
    """
    code = {i: cell for i, cell in enumerate(cells) if cell.cell_type == "code"}
    names = {i: _names(cell.source) for i, cell in code.items()}
    left: set[int] = set()
    gone: set[str] = set()  # names whose last value comes from a cell that is left out
    for i, cell in code.items():
        bound, taken = names[i]
        graded = "nbgrader" in cell.metadata
        if not graded and (SLOW in cell.metadata.get("tags", []) or taken & gone):
            left.add(i)
            gone |= bound
        else:
            gone -= bound
    asked = [i for i, cell in code.items() if "nbgrader" in cell.metadata]
    while asked:
        place = asked.pop()
        for name in names[place][1]:
            makers = [i for i in code if i < place and name in names[i][0]]
            if makers and makers[-1] in left:
                left.discard(makers[-1])
                asked.append(makers[-1])
    return left


def _names(source: str) -> tuple[set[str], set[str]]:
    # What Python cannot read binds nothing: the cell fails by itself.
    source = source.removeprefix("%%cuda\n")
    try:
        return binds(source), reads(source)
    except (SyntaxError, ValueError):
        return set(), set()
