"""Every lesson, worked through: the exercises answer, and the stored outputs are whole."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest

from unlearnlab.teaching import EXERCISES, NotYet

mpl.use("Agg")
TUTORIALS = Path(__file__).parent.parent / "tutorials"
SOURCES = sorted((TUTORIALS / "solutions").glob("*.ipynb"))
STUDENTS = sorted(TUTORIALS.glob("*.ipynb"))
OPEN = re.compile(r"^(\w+) = \.\.\.$", re.MULTILINE)
SOLUTION = re.compile(r"^### BEGIN SOLUTION\n.*?^### END SOLUTION", re.DOTALL | re.MULTILINE)


def read(path):
    return nbformat.read(path, as_version=4).cells


def role(cell):
    graded = cell.metadata.get("nbgrader", {})
    return "answer" if graded.get("solution") else "check" if graded.get("grade") else "lesson"


def name(path):
    return f"{path.parent.name}-{path.stem[:2]}"


def told(answer, check, space):
    """What a check says to an answer, in a copy of the lesson's variables."""
    space, printed = dict(space), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(answer, space)
        try:
            exec(check, space)
        except NotYet as sentence:
            return str(sentence)
    return printed.getvalue().strip()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_exercises_tell_right_from_wrong(path, monkeypatch):
    """The lesson itself runs on the open exercises: no later cell leans on an answer."""
    monkeypatch.setattr("unlearnlab.plot.show", lambda ax, alt: plt.close("all"))
    space, exercises = {}, 0
    with mpl.rc_context(), contextlib.redirect_stdout(io.StringIO()):
        for cell in read(path):
            if role(cell) == "answer":
                answer, stub = cell.source, SOLUTION.sub("# your code here", cell.source)
                exec(stub, space)
            elif role(cell) == "check":
                number = cell.metadata.nbgrader.grade_id.removeprefix("check-").replace("-", ".")
                (asked,) = OPEN.findall(stub)
                assert cell.source == f'check("{number}", {asked})'
                assert told(stub, cell.source, space).startswith("Still open")
                for right in (answer, OPEN.sub("", answer)):
                    assert told(right, cell.source, space) == "Right."
                for wrong in (OPEN.sub(r"\1 = -123.0", stub), f"{stub}\n{asked} = -123.0"):
                    sentence = told(wrong, cell.source, space)
                    assert sentence.startswith("Not yet: your answer is -123., ")
                    assert sentence.endswith(EXERCISES[number].hint)
                exercises += 1
            elif cell.cell_type == "code" and not cell.source.startswith("%%cuda"):
                exec(cell.source, space)
    assert exercises >= 3


def test_every_exercise_has_its_lesson():
    asked = [
        cell.metadata.nbgrader.grade_id.removeprefix("check-").replace("-", ".")
        for path in SOURCES
        for cell in read(path)
        if role(cell) == "check"
    ]
    assert asked == list(EXERCISES)


def test_a_notebook_shows_a_sentence_and_no_traceback():
    sentence = "Not yet: one sentence."
    assert NotYet(sentence)._render_traceback_() == [sentence]


@pytest.mark.parametrize("path", SOURCES + STUDENTS, ids=name)
def test_lessons_open_with_aim_time_and_a_figure(path):
    cells = read(path)
    first = cells[0].source
    assert "You will learn" in first
    assert int(re.search(r"\*\*Time:\*\* (\d+) minutes", first).group(1)) <= 30
    assert any("image/png" in output.get("data", {}) for output in cells[1].outputs)


@pytest.mark.parametrize("path", SOURCES + STUDENTS, ids=name)
def test_stored_outputs_are_whole_and_pictures_have_words(path):
    for cell in read(path):
        if cell.cell_type != "code":
            continue
        if path in STUDENTS and role(cell) != "lesson":
            assert (cell.execution_count, cell.outputs) == (None, [])
            continue
        assert cell.execution_count is not None
        if role(cell) == "check":
            assert [output.text for output in cell.outputs] == ["Right.\n"]
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 40


@pytest.mark.parametrize("path", STUDENTS, ids=name)
def test_students_get_no_solutions(path):
    assert "SOLUTION" not in path.read_text(encoding="utf-8")
    for cell in read(path):
        if role(cell) == "answer":
            assert OPEN.search(cell.source)
            assert cell.source.endswith("# your code here")
