"""What a lesson takes by a count of words, lines and figures, and what it says that it takes."""

import re
from pathlib import Path

import nbformat
import pytest

from tools import minutes

ROOT = Path(__file__).parent.parent
LABELS = minutes.labels()
LONGEST = 60


@pytest.mark.parametrize("lesson", LABELS)
def test_lessons_take_what_they_say(lesson):
    count, said = LABELS[lesson]
    assert said is not None and abs(said - count) <= minutes.SLACK * count
    assert max(count, said) <= LONGEST


def test_instructors_are_told_the_same():
    text = (ROOT / "tutorials" / "INSTRUCTORS.md").read_text()
    rows = dict(re.findall(r"^\| (\d\d) [^|\d][^|]* \| (\d+)", text, re.MULTILINE))
    assert {lesson: int(told) for lesson, told in rows.items()} == {
        lesson: said for lesson, (_, said) in LABELS.items()
    }


def test_each_part_counts_what_it_is_said_to():
    """220 words, a fold of 110 that counts by half, an exercise, a lab, five lines, a figure."""
    text = "word " * 220 + "<details>" + "word " * 108 + "</details>\n"
    headings = "## Exercise 1 · One\n\n## Exercise 2 · Lab: two (15 minutes)\n"
    code = 'import numpy as np\n\n# a comment\nmake(\n    1,\n)\nshow(\n    x,\n    alt="text",\n)'
    picture = nbformat.v4.new_output("display_data", {"image/png": "AAAA"})
    cells = [
        nbformat.v4.new_markdown_cell(text + headings),
        nbformat.v4.new_code_cell(code, outputs=[picture]),
    ]
    said = minutes.words(headings) / 220 + 220 / 220 + 110 / 2 / 220
    said += minutes.EXERCISE + 15 + 5 * 12 / 60 + 40 / 60
    assert minutes.minutes(cells) == pytest.approx(said, abs=0.02)
    cells[1].metadata["nbgrader"] = {"solution": True}
    assert minutes.minutes(cells) == pytest.approx(said - 5 * 12 / 60 - 40 / 60, abs=0.02)


def test_cells_for_a_gpu_count_by_half():
    cell = nbformat.v4.new_code_cell("%%cuda\nx = 1\ny = 2")
    assert minutes.minutes([cell]) == pytest.approx(2 * 12 / 60 / 2)
