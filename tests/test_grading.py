"""A class graded by nbgrader: right, empty, wrong and crashing submissions, and no training."""

import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.utils import is_grade, is_solution

from tools import grade
from unlearnlab.teaching import EXERCISES
from unlearnlab.teaching.autograding import NOTICE
from unlearnlab.teaching.students import drawn

TUTORIALS = Path(__file__).parent.parent / "tutorials"
SOURCE = min((TUTORIALS / "solutions").glob("*.ipynb"))  # the first lesson, the quickest
TRAINING = nbformat.v4.new_code_cell("trained = 1 / 0")  # a cell that must not run
TRAINING.metadata["tags"] = ["slow"]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course that has the first lesson alone, with a training cell at its end."""
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the command adds to it
    folder = tmp_path / "course"
    (folder / "source" / "unlearnlab").mkdir(parents=True)
    shutil.copy(TUTORIALS / "nbgrader_config.py", folder)
    lesson = nbformat.read(SOURCE, as_version=4)
    lesson.cells.append(TRAINING)
    nbformat.write(lesson, folder / "source" / "unlearnlab" / SOURCE.name)
    return folder


def bare(notebook):
    """What nbgrader releases: no outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def solutions():
    """The answers of the first lesson, by their grade_id."""
    cells = nbformat.read(SOURCE, as_version=4).cells
    return {cell.metadata.nbgrader.grade_id: cell.source for cell in cells if is_solution(cell)}


def hand_in(folder, student, notebook, answers):
    """Submit a notebook in which the student has filled in some cells."""
    for cell in notebook.cells:
        if is_solution(cell) and (given := answers.get(cell.metadata.nbgrader.grade_id)):
            cell.source = given
    place = folder / "submitted" / student / "unlearnlab"
    place.mkdir(parents=True)
    nbformat.write(notebook, place / SOURCE.name)


def built():
    """The student's notebook as the repository has it, with the training cell."""
    notebook = nbformat.read(TUTORIALS / SOURCE.name, as_version=4)
    notebook.cells.append(TRAINING.copy())
    return notebook


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tools.grade", *map(str, arguments)])
    return grade.main()


def printed(cell):
    return "".join(output.get("text", "") for output in cell.get("outputs", []))


def test_points_are_for_right_answers_alone(course, monkeypatch, capsys):
    assert grade.interface(course).generate_assignment("unlearnlab")["success"]
    released = nbformat.read(course / "release" / "unlearnlab" / SOURCE.name, as_version=4)
    assert bare(released) == bare(built())

    right = solutions()
    stub = "left = ...\n# your code here"
    crashing = {"answer-00-1": f"{stub}\nleft = [1 / 0]"}
    wrong = {"answer-00-1": f"{stub}\nleft = [1, 0, 0]", "answer-00-3": "relative = -123.0"}
    hand_in(course, "right", built(), right)
    hand_in(course, "empty", built(), {})
    hand_in(course, "crashing", built(), right | crashing)
    hand_in(course, "wrong", released, right | wrong)
    assert run(monkeypatch, course) == 0
    lines = capsys.readouterr().out.splitlines()
    told = {line.split()[0]: re.search(r"\d of \d points", line)[0] for line in lines[:-1]}
    assert told == {
        "right": "3 of 3 points",
        "empty": "0 of 3 points",
        "crashing": "2 of 3 points",
        "wrong": "1 of 3 points",
    }
    assert lines[-1].startswith("4 of 4 graded in ")

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        points = [
            book.find_grade(f"check-00-{k}", SOURCE.stem, "unlearnlab", "wrong").score
            for k in (1, 2, 3)
        ]
    assert points == [0, 1, 0]

    place = course / "autograded" / "wrong" / "unlearnlab" / SOURCE.name
    graded = nbformat.read(place, as_version=4).cells
    said = [
        output.get("text") or "".join(output.traceback)
        for cell in graded
        if is_grade(cell)
        for output in cell.outputs
    ]
    assert re.match(
        r"Not yet: .* off in 3 of 3 entries. \(Your numbers: width = .*\) Hint 1 of 3: ", said[0]
    )
    assert said[1].startswith("Right, because ")
    assert said[2].startswith("Not yet: your answer is -123.")
    assert printed(graded[-1]) == NOTICE  # the training cell
    everything = "".join(map(printed, graded))
    for k in (1, 2, 3):  # those of the id that nbgrader knows the student by
        theirs = drawn(f"00.{k}", EXERCISES[f"00.{k}"].variants, "wrong")
        listed = ", ".join(f"{name} = {value}" for name, value in theirs.items())
        assert f"Your numbers: {listed}\n" in everything


def test_a_course_that_is_not_ready_is_told_what_to_do(course, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"nothing to grade: notebooks are .*STUDENT"):
        run(monkeypatch, course)
    hand_in(course, "ada", built(), {})
    with pytest.raises(SystemExit, match="run `nbgrader generate_assignment unlearnlab` there"):
        run(monkeypatch, course)
    with pytest.raises(SystemExit, match=r"nbgrader_config\.py is missing: copy tutorials/"):
        run(monkeypatch, tmp_path)
