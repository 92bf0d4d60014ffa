"""For nbgrader's configuration: a submission is run without the cells that no answer needs."""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_output
from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute

from .needed import skipped

NOTICE = "not run when graded: no answer of this notebook needs this cell\n"


class ExecuteNeeded(Execute):
    """nbgrader's `Execute` without the lesson's training, unless an answer starts from it."""

    def preprocess(self, nb: Any, resources: Any = None, km: Any = None) -> Any:
        """Run the notebook; what is left out says so in its place."""
        self.left = skipped(nb.cells)
        return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> Any:
        """Run one cell, or leave it out."""
        if index in self.left:
            cell.outputs = [new_output("stream", name="stdout", text=NOTICE)]
            return cell, resources
        return super().preprocess_cell(cell, resources, index)


def steps() -> list[Any]:
    """nbgrader's steps of autograding, with `ExecuteNeeded` in the place of `Execute`."""
    usual = Autograde.autograde_preprocessors.default_args[0]
    return [ExecuteNeeded if one is Execute else one for one in usual]
