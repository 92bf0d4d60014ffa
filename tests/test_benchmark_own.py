"""Methods and tasks of one's own on the benchmark: from Python, its page and its command."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from extensions.halfway import RIGHT, towards_the_rest
from test_benchmark import FAST, LINE

from unlearnlab import benchmark
from unlearnlab.benchmark import __main__ as command
from unlearnlab.benchmark import methods, points, report
from unlearnlab.benchmark.definition import FULL

ROOT = Path(__file__).parent.parent
LISTED = (benchmark.names(), list(methods.known()))


def test_a_method_and_a_task_of_ones_own_take_a_file():
    task = replace(RIGHT, effort=FAST)
    found = benchmark.run(towards_the_rest, [task], seeds=[0], axes=["forgotten", "kept"])
    (point,) = found.points
    assert (point.task, point.method, point.status) == ("right", "towards_the_rest", "fixed")
    assert point.scores["forgotten"]["right"].value < 0.24  # of those that q has
    assert set(point.scores["kept"]) == {"left", "middle", "nothing"}
    assert point.cost["rows"] > 60 * 128 and "towards_the_rest" in found.markdown()
    with pytest.raises(ValueError, match="forgotten_modes must be of left, middle, right; got"):
        replace(LINE, forgotten_modes=("midle",))
    with pytest.raises(ValueError, match=r"weights of modes must sum to 1; they sum to 1\.2"):
        replace(LINE, modes=LINE.modes._replace(weights=(0.5, 0.3, 0.3, 0.1)))
    with pytest.raises(ValueError, match="a task 'plane' is there already"):
        benchmark.register(replace(RIGHT, name="plane"))


def test_the_page_has_a_method_that_runs_and_numbers_that_are_stored():
    """Its example, on a task that is cheap to judge; its tables, from the points beside them."""
    text = (ROOT / "site" / "benchmark.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    short = code.replace('["line-severe"]', "[cheap]").replace(
        "seeds=[0]", 'seeds=[0], axes=["kept"]'
    )
    assert short.count("cheap") == 1 and short.count("axes") == 1
    short = short.replace('[mine, "tilt"]', "mine")
    space = {"cheap": replace(LINE, effort=FAST), "__name__": "__main__"}
    exec(short, space)
    assert space["found"].points[0].method == "mine"
    (line,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    cheap = "[replace(right, effort=cheap.effort)], seeds=[0], axes=['kept']"
    exec(line.replace("[right], seeds=[0]", cheap), space)
    assert set(space["found"].points[0].scores["kept"]) == {"left", "middle", "nothing"}
    folder = ROOT / "benchmarks" / "unlearning"
    stored = points.everything(folder, FULL)
    shown = report.page(report.ordered(stored, *LISTED), *LISTED)
    assert (folder / "README.md").read_text() == shown
    assert stored


def test_the_command_takes_a_method_from_a_file(tmp_path, monkeypatch, capsys):
    """In other processes too, which do not know the file."""
    monkeypatch.setattr(command, "FULL", FAST)
    monkeypatch.setattr("unlearnlab.benchmark.families.EVERYWHERE", ("deviation",))
    monkeypatch.setattr(type(LINE), "axes", ())
    path, out = tmp_path / "mine.py", tmp_path / "out"
    path.write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Kept:\n    model: 'object'\n"
        "def nothing(task):\n    return Kept(task.retain).model\n"
    )
    how = ["--task", "line-mild", "--seed", "0", "--seed", "1", "--folder", str(out)]
    assert command.main([f"{path}:nothing", *how, "--jobs", "2"]) == 0
    assert str(out / "README.md") in capsys.readouterr().out
    found = json.loads((out / "results.json").read_text())["summary"]["line-mild"]["nothing"]
    assert found["seeds"] == 2 and found["deviation"]["nats"]["value"] == 0
    assert "mine" not in sys.modules
    for wrong, message in (
        (f"{path}:something", r"METHOD: .*mine\.py has no function 'something'"),
        (f"{tmp_path}/no.py:nothing", r"METHOD .*no\.py' is no file"),
        ("no.module:nothing", "METHOD 'no.module' cannot be imported"),
        (str(path), r"METHOD .*mine\.py' is a file: name a function of it, .*mine\.py:NAME"),
    ):
        with pytest.raises(SystemExit):
            command.main([wrong, *how])
        assert re.search(message, capsys.readouterr().err)
