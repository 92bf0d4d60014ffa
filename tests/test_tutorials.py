"""Every lesson, worked through: the exercises answer, and the stored outputs are whole."""

from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from exercises import OPEN, number, role, stub

from tools.minutes import LABEL
from unlearnlab.teaching import EXERCISES, NotYet
from unlearnlab.teaching.needed import binds, reads

TUTORIALS = Path(__file__).parent.parent / "tutorials"
SOURCES = sorted((TUTORIALS / "solutions").glob("*.ipynb"))
STUDENTS = sorted(TUTORIALS.glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4).cells


def name(path):
    return f"{path.parent.name}-{path.stem[:2]}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_lessons_stand_on_open_exercises(path):
    """Nothing after an answer leans on it; what the checks say to answers is asked by nbval."""
    left, exercises = set(), 0
    code = [cell for cell in read(path) if cell.cell_type == "code"]
    for cell, after in pairwise([*code, None]):
        if role(cell) == "answer":
            (asked,) = OPEN.findall(stub(cell.source))
            assert role(after) == "check"
            assert after.source == f'check("{number(after)}", {asked})'
            assert not left & reads(cell.source), cell.source
            left |= binds(cell.source)
            exercises += 1
        elif role(cell) == "lesson":
            source = cell.source.removeprefix("%%cuda\n")
            assert not left & reads(source), source
            left -= binds(source)
    assert exercises >= 3


def test_every_exercise_has_its_lesson():
    asked = [number(cell) for path in SOURCES for cell in read(path) if role(cell) == "check"]
    assert asked == list(EXERCISES)


def test_a_notebook_shows_a_sentence_and_no_traceback():
    sentence = "Not yet: one sentence."
    assert NotYet(sentence)._render_traceback_() == [sentence]


@pytest.mark.parametrize("path", SOURCES + STUDENTS, ids=name)
def test_lessons_open_with_aim_time_and_a_figure(path):
    cells = read(path)
    first = cells[0].source
    assert "You will learn" in first
    assert LABEL.search(first)  # how many: test_minutes.py
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
            (said,) = cell.outputs
            assert said.text.startswith("Right, because ")
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
