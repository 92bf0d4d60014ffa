"""The course as an instructor keeps it: students' notebooks in step with their sources."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from facts import FACTS, assertions, facts_after
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import is_grade, is_solution

from tools import course
from unlearnlab.teaching.needed import skipped

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "tutorials"
SOURCES = sorted((TUTORIALS / "solutions").glob("*.ipynb"))
IGNORED = "nbval-ignore-output"


def run_course(monkeypatch, *arguments):
    """The command, here: nbgrader takes seconds to import."""
    monkeypatch.setattr(sys, "argv", ["tools.course", *map(str, arguments)])
    return course.main()


def test_students_notebooks_are_what_the_sources_give(monkeypatch, capsys):
    assert run_course(monkeypatch, TUTORIALS, "--check") == 0, capsys.readouterr().err


def test_notebooks_out_of_step_are_named(tmp_path):
    folder = shutil.copytree(TUTORIALS, tmp_path / "tutorials")
    changed, gone = (folder / source.name for source in SOURCES[:2])
    changed.write_text(changed.read_text(encoding="utf-8").replace("## ", "# "), encoding="utf-8")
    gone.rename(folder / "99_extra.ipynb")
    checked = subprocess.run(
        [sys.executable, "-m", "tools.course", str(folder), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 1
    assert checked.stderr.splitlines()[1:] == [
        f"{changed.name}: differs",
        f"{gone.name}: missing",
        "99_extra.ipynb: has no source in solutions/",
    ]


def test_stored_widgets_leave_their_picture_alone(tmp_path, monkeypatch):
    """Without a kernel, a front end shows an error where a widget was stored."""
    folder = tmp_path / "tutorials"
    (folder / "solutions").mkdir(parents=True)
    shutil.copy(TUTORIALS / "nbgrader_config.py", folder)
    view = "application/vnd.jupyter.widget-view+json"
    data = {view: {"model_id": "1"}, "image/png": "AAAA", "text/plain": "explorer"}
    cell = nbformat.v4.new_code_cell("1")
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {view: {"state": {}}}})
    nbformat.write(notebook, folder / "solutions" / "one.ipynb")
    assert run_course(monkeypatch, folder) == 0
    for path in (folder / "solutions" / "one.ipynb", folder / "one.ipynb"):
        stored = nbformat.read(path, as_version=4)
        assert "widgets" not in stored.metadata
        assert set(stored.cells[0].outputs[0].data) == {"image/png", "text/plain"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_graded_cells_are_nbgraders(path):
    notebook = nbformat.read(path, as_version=4)
    MetadataValidator().validate_nb(notebook)  # unique ids, among others
    cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    for answer, check in zip(cells[::2], cells[1::2], strict=True):
        assert is_solution(answer) and not is_grade(answer)
        assert is_grade(check) and not is_solution(check)
        assert check.metadata.nbgrader.points > 0
        assert check.metadata.nbgrader.locked
        assert check.metadata.tags[0] == "raises-exception"  # "Run All" goes on
        number = check.metadata.nbgrader.grade_id.removeprefix("check-")
        assert answer.metadata.nbgrader.grade_id == f"answer-{number}"


@pytest.mark.parametrize("lesson", FACTS)
def test_what_nbval_does_not_compare_has_facts(lesson):
    """Each fact belongs to one cell; each cell that prints no answer and is ignored has some."""
    (path,) = (path for path in SOURCES if path.name.startswith(lesson))
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for piece in FACTS[lesson]:
        assert sum(piece in cell.source for cell in cells) == 1, piece
    for cell in cells:
        if IGNORED in cell.metadata.get("tags", []) and not is_grade(cell):
            assert facts_after(lesson, cell.source), cell.source


def test_facts_that_do_not_hold_are_named():
    exec(assertions(["1 < two", "two == 2"]), {"two": 2})
    with pytest.raises(AssertionError, match=r"^two < 1$"):
        exec(assertions(["1 < two", "two < 1"]), {"two": 2})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:2])
def test_lessons_print_numbers(path):
    """At most one yes or no in what a lesson prints."""
    printed = [
        output.get("text", "")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    answers = r"\b(?:True|False|yes)\b|\bno\s*$"
    assert len(re.findall(answers, "\n".join(printed), re.MULTILINE)) <= 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:2])
def test_lessons_begin_with_a_figure_in_fifteen_lines(path):
    first = next(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    assert sum(bool(line.strip()) for line in first.source.splitlines()) <= 15
    assert any("image/png" in output.get("data", {}) for output in first.outputs)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:2])
def test_what_trains_is_left_out_by_a_grader(path):
    """Cells for a GPU always; of the other lessons from 06 on something, but for 07."""
    cells = nbformat.read(path, as_version=4).cells
    left = skipped(cells)
    assert {i for i, cell in enumerate(cells) if cell.source.startswith("%%cuda")} <= left
    assert bool(left) == (path.name[:2] in {"06", *(f"{k:02}" for k in range(8, 18))})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:2])
def test_lessons_link_the_paper(path):
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert any("(https://arxiv.org/abs/2605.30825)" in text for text in texts)


def test_the_first_lessons_do_without_torch():
    """`make lab LESSONS=grid` installs no torch."""
    installed = {"matplotlib", "numpy", "scipy", "sklearn", "unlearnlab", *sys.stdlib_module_names}
    for source in SOURCES[:6]:
        cells = [c for c in nbformat.read(source, as_version=4).cells if c.cell_type == "code"]
        code = "\n".join(cell.source for cell in cells)
        named = re.findall(r"^\s*(?:import|from) ([a-z_]+)", code, re.MULTILINE)
        assert set(named) <= installed, source.name
