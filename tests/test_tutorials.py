"""Every lesson, worked through with its own solutions: the exercises answer, and say yes."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest

mpl.use("Agg")
TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.ipynb"))
OPEN = re.compile(r"^(\w+) = \.\.\.$", re.MULTILINE)
SOLUTION = re.compile(r"<details><summary>Solution</summary>\s+```python\n(.*?)```", re.DOTALL)


def read(path):
    return nbformat.read(path, as_version=4).cells


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_solutions_are_right_and_wrong_answers_are_told_so(path, monkeypatch):
    monkeypatch.setattr("unlearnlab.plot.show", lambda ax, alt: plt.close("all"))
    cells, space, exercises = read(path), {}, 0
    with mpl.rc_context():
        for i, cell in enumerate(cells):
            if cell.cell_type != "code":
                continue
            printed = io.StringIO()
            question = OPEN.search(cell.source)
            with contextlib.redirect_stdout(printed):
                if question is None:
                    exec(cell.source, space)
                    continue
                exercises += 1
                wrong = OPEN.sub(r"\1 = -123.0", cell.source)
                exec(wrong, dict(space))
                answer = SOLUTION.search(cells[i + 1].source)
                assert answer, f"no solution after exercise {exercises}"
                exec(OPEN.sub(lambda _, a=answer: a.group(1), cell.source), space)
            told, confirmed = printed.getvalue().strip().split("\n")
            assert told.startswith("Not yet")
            assert confirmed == "Right."
    assert exercises >= 3


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_lessons_open_with_aim_time_and_a_figure(path):
    cells = read(path)
    first = cells[0].source
    assert "You will learn" in first
    assert int(re.search(r"\*\*Time:\*\* (\d+) minutes", first).group(1)) <= 30
    assert any("image/png" in output.get("data", {}) for output in cells[1].outputs)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_stored_outputs_are_whole_and_pictures_have_words(path):
    for cell in read(path):
        if cell.cell_type != "code":
            continue
        assert cell.execution_count is not None
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 40
