"""The benchmark's runs: what is stored and reported is what was run, and mistakes are named."""

import os
from dataclasses import replace

import joblib
import pytest
import torch
from matplotlib.figure import Figure
from test_benchmark import FAST, KNOWN, LINE, PLANE

import unlearnlab as ul
from unlearnlab import benchmark
from unlearnlab.benchmark import points, report
from unlearnlab.benchmark.definition import FULL
from unlearnlab.benchmark.judged import Score
from unlearnlab.benchmark.picture import LEAST, _dot

ONE = {"tasks": "line-mild", "seeds": 0, "axes": "deviation"}


def test_a_run_that_was_interrupted_goes_on(tmp_path):
    how = {"seeds": [0, 1], "axes": ["deviation"], "folder": tmp_path}
    with joblib.parallel_config("threading", n_jobs=2):
        first = benchmark.run("noise", ["line-mild", "line-severe"], **how)
    files = sorted((tmp_path / "points").glob("*.json"))
    assert len(files) == 4 and len(first.points) == 4
    files[1].unlink()
    times = {path: path.stat().st_mtime_ns for path in files if path.exists()}
    again = benchmark.run("noise", ["line-mild", "line-severe"], **how)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    for one, other in zip(first.points, again.points, strict=True):
        assert one.scores == other.scores and (one.task, one.seed) == (other.task, other.seed)


def test_another_method_of_the_same_name_is_run_anew(tmp_path):
    log = tmp_path / "log"
    log.touch()

    def first(task):
        log.write_text(log.read_text() + "first ")
        return task.retain

    def second(task):
        log.write_text(log.read_text() + "second ")
        return task.retain

    how = {"tasks": ["line-mild"], "seeds": [0], "axes": ["deviation"], "folder": tmp_path}
    for one in (first, first, second, second):
        benchmark.run({"mine": one}, **how)
    assert log.read_text() == "first second "


def test_functions_and_names_go_together_and_a_notebook_shows_the_table():
    def mine(task):
        return task.retain

    how = {"tasks": ["line-mild"], "seeds": [0], "axes": ["deviation"]}
    found = benchmark.run([mine, "noise"], **how)
    assert [point.method for point in found.points] == ["mine", "noise"]
    assert "| mine | 1 |" in found._repr_markdown_()
    with pytest.raises(ValueError, match=r"names; got mine, mine: give {name: function}"):
        benchmark.run([mine, mine], **how)


def test_what_a_method_does_to_its_student_is_not_the_next_ones():
    """A student is a copy to train: its parameters ask for gradients."""
    task = replace(LINE, effort=FAST)
    for one in (task, benchmark.task("digit")):
        first = one.student()
        before = [p.clone() for p in one.student().parameters()]
        assert all(p.requires_grad for p in first.parameters())
        with torch.no_grad():
            for p in first.parameters():
                p += 1.0
        assert all(map(torch.equal, before, one.student().parameters()))


def test_a_report_has_what_was_asked_for_last(tmp_path, capsys):
    """Two versions of a method, and the first again: read, not run, and shown."""

    def noisy(task):
        return task.noise_model()

    def exact(task):
        return task.retain

    how = ONE | {"folder": tmp_path, "progress": True}
    for one in (exact, noisy, exact):
        found = benchmark.run({"mine": one}, **how)
        written = found.write(tmp_path / "report")
    assert [path.name for path in written] == ["results.json", "README.md", "methods.png"]
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "line-mild, mine, seed 0: 0 s" and third.endswith(
        "seed 0: read from the folder"
    )
    assert "times the optimum's nats" in second
    (newest,) = points.everything(tmp_path, FULL)
    assert newest.scores["deviation"]["nats"].value == 0
    with pytest.raises(ValueError, match=r"holds 2 points, none of edition 1 and.*--quick"):
        points.everything(tmp_path, FAST)


def test_a_diverged_student_is_counted_and_a_broken_method_is_named(tmp_path):
    def spoilt(task):
        return ul.wrap(lambda x, t: x * float("nan"), task.retain.schedule, task.retain.shape)

    how = {"tasks": ["line-mild"], "seeds": [0], "axes": ["forgotten"]}
    point = benchmark.run(spoilt, **how).points[0]
    assert point.diverged and point.scores == {} and "not finite" in point.reason
    assert "1 of 1" in report.tables([point])
    assert "spoilt, seed 0, diverged: " in report.tables([point])

    def broken(task):
        raise KeyError("weights")

    with pytest.raises(KeyError) as raised:
        benchmark.run(broken, folder=tmp_path, **how)
    assert raised.value.__notes__ == ["the method 'broken' on the task 'line-mild'"]
    assert not list(tmp_path.rglob("*.json"))
    with pytest.raises(TypeError, match="'dict' must return a student, or a Run that holds one"):
        benchmark.run({"dict": lambda task: {}}, **how)


@pytest.mark.parametrize(
    ("method", "how", "message"),
    [
        ("gates", {}, r"there is no method 'gates': did you mean 'gate'\?"),
        ("SGD", {}, r"method must be one of pretrained; .*got 'SGD'"),
        ({"mine": 3}, {}, r"method 'mine' must be a function of a task; got 3"),
        (LINE.retain, {}, r"must be a function of a task; got Diffused"),
        ({"tilt": lambda task: task.retain}, {}, "'tilt' is a method of the package: give yours"),
        ("noise", {"tasks": ["line"]}, r"task must be one of line-mild; .*got 'line'"),
        (
            "noise",
            {"tasks": [replace(LINE, relative=0.5)]},
            "a task 'line-severe' is there already",
        ),
        ("noise", {"tasks": [PLANE, "plane"]}, "tasks must differ in their names.*plane, plane"),
        ("noise", {"tasks": ["plane"], "axes": ["rates"]}, r"axes of plane are .*got 'rates'"),
        ("noise", {"effort": "quick"}, "effort must be an Effort, such as benchmark.QUICK; got 'q"),
        (lambda task: PLANE.retain, ONE, r"draws \(2,\); the task 'line-mild' has draws of \(1,\)"),
    ],
)
def test_what_is_unknown_is_named(method, how, message):
    with pytest.raises((TypeError, ValueError), match=message):
        benchmark.run(method, **how)


def test_a_damaged_point_is_named_and_not_read(tmp_path):
    how = {"tasks": ["line-mild"], "seeds": [0], "axes": ["deviation"], "folder": tmp_path}
    benchmark.run("pretrained", **how)
    (file,) = (tmp_path / "points").glob("*.json")
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"seed 0, \w+.json is damaged: remove it, and run again"):
        benchmark.run("pretrained", **how)


def test_a_point_comes_back_from_its_file_and_the_report_holds_it(tmp_path):
    axes = [*KNOWN, "interference"]
    found = benchmark.run(["noise", "pretrained"], ["line-mild"], seeds=[0], axes=axes).points
    assert points.Point.from_json(found[0].to_json()) == found[0]
    report.write(found, tmp_path, ["plane", "line-mild"], ["noise", "pretrained", "gate"])
    text = (tmp_path / "README.md").read_text()
    assert "## line-mild" in text and "| noise | 1 |" in text
    assert "No method has been run on plane." in text and "Not run on line-mild: gate." in text
    lost, kept = (one.scores["interference"]["left"] for one in found)
    assert lost.value == pytest.approx(-0.97, abs=0.02)  # of a thousand draws a few hit it
    assert kept.low < 0 < kept.high  # against the best model that forgets nothing: itself
    with pytest.raises(ValueError, match="points is empty"):
        report.write([], tmp_path)


def test_the_picture_has_those_that_leave_nothing():
    """At the least that it shows, with an interval up to what may be left."""
    scores = {"forgotten": {"4, likelihood": Score(0.0, -0.002, 0.002, 0.01)}}
    scores["deviation"] = {"over the optimum's": Score(3.0, 2.0, 4.0, 1.0)}
    ax = Figure().subplots()
    _dot(ax, points.Point("digit", "gate", 0, "key", scores), 0)
    (dot,), (across, _) = ax.lines, (one.get_segments() for one in ax.collections)
    assert dot.get_xydata().tolist() == [[LEAST, 3.0]]
    assert across[0][1].tolist() == pytest.approx([0.2, 3.0])


def test_a_process_that_dies_is_said_and_what_is_done_stays(tmp_path):
    marker = tmp_path / "gone"
    marker.touch()

    def method(task):
        if task.seed == 1 and marker.exists():
            marker.unlink()
            os._exit(1)
        return task.retain

    how = {"tasks": ["line-mild"], "axes": ["deviation"], "folder": tmp_path}
    benchmark.run({"mine": method}, seeds=[0], **how)
    with pytest.raises(RuntimeError, match=r"a worker process died .* run again to go on"):
        benchmark.run({"mine": method}, seeds=[0, 1], jobs=2, **how)
    assert len(list((tmp_path / "points").glob("*.json"))) == 1
    again = benchmark.run({"mine": method}, seeds=[0, 1], jobs=2, **how)  # by loky, as before
    assert [point.seed for point in again.points] == [0, 1]
