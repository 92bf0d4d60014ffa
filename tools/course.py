"""The students' notebooks, tutorials/*.ipynb, made from tutorials/solutions/ as nbgrader does.

    python -m tools.course           make them
    python -m tools.course --check   name what is out of step, and fail if anything is

nbgrader's own preprocessors do the work, with the settings in tutorials/nbgrader_config.py. It
clears every output; here the demonstrations keep theirs, so that the lessons can be read with
their pictures where nothing runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from nbgrader.utils import is_grade, is_solution
from traitlets.config import Config, PyFileConfigLoader

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
WIDGET = "application/vnd.jupyter.widget-view+json"
# A subset of `nbgrader generate_assignment`, in its order.
STEPS = (
    LockCells,
    ClearSolutions,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from one run or machine to the next.

    A stored widget has lost its kernel: front ends would show an error in its place, and without
    it they show the picture that is stored beside it. What a cell prints comes in pieces that
    depend on the clock: they are joined.
    """
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    notebook.metadata.get("language_info", {}).pop("version", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def student(notebook: NotebookNode, config: Config) -> NotebookNode:
    """The notebook without solutions, and without the outputs that they made."""
    resources: dict = {}
    for step in STEPS:
        notebook, resources = step(config=config).preprocess(notebook, resources)
    clear = ClearOutput(config=config)
    for i, cell in enumerate(notebook.cells):
        if is_grade(cell) or is_solution(cell):
            clear.preprocess_cell(cell, resources, i)
    return notebook


def course(folder: Path) -> dict[Path, str]:
    """What each notebook of the folder should say: sources and slides tidied, lessons built."""
    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    texts = {}
    for source in sorted((folder / "solutions").glob("*.ipynb")):
        notebook = tidy(nbformat.read(source, as_version=4))
        texts[source] = nbformat.writes(notebook) + "\n"
        texts[folder / source.name] = nbformat.writes(student(notebook, config)) + "\n"
    for source in sorted((folder / "kit").glob("*.ipynb")):
        texts[source] = nbformat.writes(tidy(nbformat.read(source, as_version=4))) + "\n"
    return texts


def out_of_step(folder: Path) -> list[str]:
    """One line for each notebook that is not as `course` says."""
    texts = course(folder)
    lines = [
        f"{path.relative_to(folder)}: {'differs' if path.exists() else 'missing'}"
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    extra = set(folder.glob("*.ipynb")) - set(texts)
    return lines + [f"{path.name}: has no source in solutions/" for path in sorted(extra)]


def main() -> int:
    """Make the notebooks, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=TUTORIALS)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    if not options.check:
        for path, text in course(options.folder).items():
            path.write_text(text, encoding="utf-8", newline="\n")
    lines = out_of_step(options.folder)
    if lines:
        print("Out of step; `make course` builds them again:", *lines, sep="\n", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
