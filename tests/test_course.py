"""The course as an instructor uses it: students' notebooks in step, and graded by nbgrader."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from facts import FACTS, assertions, facts_after
from nbgrader.api import Gradebook
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import is_grade, is_solution

from tools import course
from unlearnlab.teaching import EXERCISES
from unlearnlab.teaching.students import drawn

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "tutorials"
SOURCES = sorted((TUTORIALS / "solutions").glob("*.ipynb"))
LESSON = SOURCES[0].name  # the quickest
IGNORED = "nbval-ignore-output"
SHORT = [path for path in SOURCES if path.name[:2] not in ("08", "10", "12", "13", "14", "15")]


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


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem[:2])
def test_lessons_begin_with_a_figure_in_fifteen_lines(path):
    first = next(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    assert sum(bool(line.strip()) for line in first.source.splitlines()) <= 15
    assert any("image/png" in output.get("data", {}) for output in first.outputs)


@pytest.fixture
def grader(tmp_path):
    """Runs nbgrader in an empty course that has the first lesson alone."""
    shutil.copy(TUTORIALS / "nbgrader_config.py", tmp_path)
    (tmp_path / "source" / "unlearnlab").mkdir(parents=True)
    shutil.copy(SOURCES[0], tmp_path / "source" / "unlearnlab")
    home = {name: str(tmp_path / "home") for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
    # nbgrader looks for its database tool on the path, where an activated environment has it.
    home["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(command):
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", command, "unlearnlab"],
            cwd=tmp_path,
            env=os.environ | home,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    return run


def bare(notebook):
    """What nbgrader releases: no outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def solutions():
    """The answers of the first lesson, by their grade_id."""
    cells = nbformat.read(SOURCES[0], as_version=4).cells
    return {cell.metadata.nbgrader.grade_id: cell.source for cell in cells if is_solution(cell)}


def hand_in(folder, student, notebook, answers):
    """Submit a notebook in which the student has filled in some cells."""
    for cell in notebook.cells:
        if is_solution(cell) and (given := answers.get(cell.metadata.nbgrader.grade_id)):
            cell.source = given
    place = folder / "submitted" / student / "unlearnlab"
    place.mkdir(parents=True)
    nbformat.write(notebook, place / LESSON)


def test_nbgrader_gives_points_to_right_answers_alone(grader, tmp_path):
    grader("generate_assignment")
    released = nbformat.read(tmp_path / "release" / "unlearnlab" / LESSON, as_version=4)
    built = nbformat.read(TUTORIALS / LESSON, as_version=4)
    assert bare(released) == bare(built)

    right = solutions()
    crashing = {"answer-00-1": "left = ...\n# your code here\nleft = [1 / 0]"}
    stub = "left = ...\n# your code here"
    wrong = {"answer-00-1": f"{stub}\nleft = [1, 0, 0]", "answer-00-3": "relative = -123.0"}
    hand_in(tmp_path, "right", nbformat.read(TUTORIALS / LESSON, as_version=4), right)
    hand_in(tmp_path, "empty", nbformat.read(TUTORIALS / LESSON, as_version=4), {})
    hand_in(tmp_path, "crashing", nbformat.read(TUTORIALS / LESSON, as_version=4), right | crashing)
    hand_in(tmp_path, "wrong", released, right | wrong)
    grader("autograde")

    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        points = {
            student: [
                book.find_grade(f"check-00-{k}", Path(LESSON).stem, "unlearnlab", student).score
                for k in (1, 2, 3)
            ]
            for student in ("right", "empty", "crashing", "wrong")
        }
        most = book.find_assignment("unlearnlab").max_score
    assert points == {
        "right": [1, 1, 1],
        "empty": [0, 0, 0],
        "crashing": [0, 1, 1],
        "wrong": [0, 1, 0],
    }
    assert most == 3

    graded = tmp_path / "autograded" / "wrong" / "unlearnlab" / LESSON
    said = [
        output.get("text") or "".join(output.traceback)
        for cell in nbformat.read(graded, as_version=4).cells
        if is_grade(cell)
        for output in cell.outputs
    ]
    assert re.match(
        r"Not yet: .* off in 3 of 3 entries. \(Your numbers: width = .*\) Hint 1 of 3: ", said[0]
    )
    assert said[1].startswith("Right, because ")
    assert said[2].startswith("Not yet: your answer is -123.")

    printed = "".join(
        output.get("text", "")
        for cell in nbformat.read(graded, as_version=4).cells
        for output in cell.get("outputs", [])
    )
    for k in (1, 2, 3):  # those of the id that nbgrader knows the student by
        theirs = drawn(f"00.{k}", EXERCISES[f"00.{k}"].variants, "wrong")
        listed = ", ".join(f"{name} = {value}" for name, value in theirs.items())
        assert f"Your numbers: {listed}\n" in printed


def test_the_first_lessons_do_without_torch():
    """`make lab LESSONS=grid` installs no torch."""
    installed = {"matplotlib", "numpy", "scipy", "sklearn", "unlearnlab", *sys.stdlib_module_names}
    for source in SOURCES[:6]:
        cells = [c for c in nbformat.read(source, as_version=4).cells if c.cell_type == "code"]
        code = "\n".join(cell.source for cell in cells)
        named = re.findall(r"^\s*(?:import|from) ([a-z_]+)", code, re.MULTILINE)
        assert set(named) <= installed, source.name
