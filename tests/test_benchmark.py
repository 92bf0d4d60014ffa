"""The benchmark: what is known beforehand comes out, and what is stored is what was run."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from extensions.halfway import RIGHT, towards_the_rest

import unlearnlab as ul
from unlearnlab import benchmark
from unlearnlab.benchmark import __main__ as command
from unlearnlab.benchmark import cost, methods, points, report
from unlearnlab.benchmark.definition import FULL, Effort, Optimum
from unlearnlab.benchmark.mixtures import _axes

ROOT = Path(__file__).parent.parent
LISTED = (benchmark.names(), list(methods.known()))
FAST = Effort(1024, 100, 8, 10, 20, 150)  # of which networks are hardly trained
KNOWN = ("forgotten", "deviation", "kept", "rest")
DRAWING = (*KNOWN, "another sampler", "inverted latents")
ONE = {"tasks": "line-mild", "seeds": 0, "axes": "deviation"}
LINE, PLANE, SIXTEEN = (benchmark.task(name) for name in ("line-severe", "plane", "sixteen"))


def scored(method, task, axes=KNOWN):
    """The scores of one known answer, on many draws."""
    return benchmark.run(method, [task], seeds=[0], axes=axes).points[0].scores


def within(score, value):
    return score.low <= value <= score.high


@pytest.mark.parametrize("task", [LINE, PLANE, SIXTEEN], ids=lambda one: one.name)
def test_the_optimum_by_rejection_is_the_optimum(task):
    """Ratio 1, every rate the grid's, and no distance: on more draws than a point takes."""
    found = scored("optimum", replace(task, effort=task.effort._replace(draws=8192)))
    assert within(found["deviation"]["over the optimum's"], 1.0)
    assert found["deviation"]["over the optimum's"].high < 1.25
    for axis in ("forgotten", "kept"):
        for name, one in found[axis].items():
            error = (one.high - one.low) / 3.92
            assert abs(one.value - one.ideal) < 4 * error, (axis, name)
    assert within(found["rest"]["distance"], 0.0)


def test_the_pretrained_model_has_forgotten_nothing_and_lost_nothing():
    found = scored("pretrained", LINE, DRAWING)
    assert found["deviation"]["nats"][:3] == (0, 0, 0) and "over the optimum's" not in found
    assert within(found["forgotten"]["middle, likelihood"], 1.0)
    assert found["forgotten"]["middle"].low > 20 * found["forgotten"]["middle"].ideal
    assert found["kept"]["left"].value == pytest.approx(0.4, abs=0.03)
    assert within(found["rest"]["distance"], 0.0)
    assert found["inverted latents"]["middle"].low > 0.95  # it gives back what was inverted


def test_noise_has_forgotten_and_lost_everything():
    for task in (LINE, SIXTEEN):
        found = scored("noise", task)
        for name in task.named:
            assert found["forgotten"][name].high < found["forgotten"][name].ideal + 0.005
        for name in ("left", "right", "centre", "corner"):
            assert name not in found["kept"] or found["kept"][name].value < 0.05
        assert found["kept"]["nothing"].value > 0.9
        assert found["deviation"]["nats"].low > 100 * found["deviation"]["nats"].ideal
        assert found["rest"]["distance"].low > 0.8


def test_a_blur_has_the_rates_of_the_retrained_and_is_not_taken_for_it():
    blurred = scored("blurred", LINE)
    exact = scored(lambda task: task.without().diffused(), LINE)
    for name in ("left", "right"):
        assert blurred["kept"][name].value == pytest.approx(exact["kept"][name].value, rel=0.15)
    assert exact["forgotten"]["middle"].high < 0.02
    assert within(exact["rest"]["distance"], 0.0) and blurred["rest"]["distance"].low > 0.05
    ratios = [one["deviation"]["over the optimum's"] for one in (exact, blurred)]
    assert ratios[0].high < 1.3 < 1.5 < ratios[1].low


def test_the_retrained_network_has_forgotten_and_stays_so_where_it_learns_something_else():
    """And five samples are enough to bring it back: deletion is no protection against data."""
    task = replace(LINE, effort=FAST)
    axes = ("forgotten", "relearning", "fine-tuning on something else")
    found = scored("retrained", task, axes)
    assert found["forgotten"]["middle"].high < 0.1
    assert found["fine-tuning on something else"]["middle"].high < 0.1
    assert found["relearning"]["middle"].low > 0.1 and found["relearning"]["middle"].ideal is None


def test_optima_are_certified_and_sixteen_dimensions_have_those_of_the_plane():
    for task in (LINE, PLANE):
        found = task.optimum()
        assert task.solution().certificate.ok and found.nats.stderr < 1e-3 * found.nats.value
    assert SIXTEEN.optimum() == PLANE.optimum()
    directions = _axes(PLANE.modes, 16)
    assert np.allclose(directions.T @ directions, np.eye(2))
    # The log-ratio is that of the two coordinates in which modes differ, at any point.
    x = SIXTEEN.data(64) + 0.3 * torch.randn(64, 16)
    flat = torch.from_numpy(x.double().numpy() @ directions).float()
    ours, planes = (one.problem.values_at(at) for one, at in ((SIXTEEN, x), (PLANE, flat)))
    assert np.allclose(ours, planes, rtol=1e-3, atol=1e-6)
    assert ul.ScoreNetwork(16).sample(3, steps=2).shape == (3, 16)
    with pytest.raises(ValueError, match=r"between 1 and 16; got 17 \(wrap a larger network\)"):
        ul.ScoreNetwork(17)


def test_a_model_that_remembers_more_owes_nothing_and_has_no_ratio():
    found = LINE.optimum([1.3])
    assert found.nats.value == pytest.approx(0.0, abs=1e-9)
    assert found.rates["middle"] == pytest.approx(0.35, abs=0.01)
    assert isinstance(LINE.optimum([0.0]), Optimum)  # what no density reaches: the nearest


def test_wilsons_interval_says_something_of_none_and_of_all():
    none, all_of_them = (benchmark.Score.rate(hits, 100) for hits in (0, 100))
    assert none.low == 0 and none.high == pytest.approx(1.96**2 / (100 + 1.96**2), abs=1e-4)
    assert all_of_them.high == 1 and all_of_them.low == pytest.approx(1 - none.high)


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


def test_tuning_takes_the_cheapest_of_those_that_forget_enough():
    """Of four exact models: too little forgotten, twice enough, and too much at a price."""
    exact = {0.3: 0.6, 1.0: 0.5, 2.0: 0.2, 4.0: 0.01}  # by what is tried, what is left
    seeds = []

    def train(task, lr, seed, **how):
        seeds.append(seed)
        left = exact[round(lr / task.settings["lr"], 1)]
        return replace(task, relative=left).best_model()

    method = methods.Method("mine", train, {}, "lr", tuple(exact))
    task = replace(benchmark.task("line-mild"), effort=FAST)
    chosen = method.tuned(task)
    assert seeds == [1000] * 4 + [0]
    left = task.forgetting(chosen, chosen.sample(4096, seed=3))[0]
    assert float(left) == pytest.approx(0.5, abs=0.06)


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


def test_costs_are_the_methods_alone():
    """Rows and bytes of what a task does aside are not counted; of the rest all are."""
    net = ul.ScoreNetwork(1)
    x, t = torch.zeros(100, 1), torch.zeros(100, dtype=torch.long)

    def step():
        pupil = net.for_training()
        pupil(x, t).sum().backward()

    with cost.measured("ScoreNetwork") as all_of_it:
        step()
        step()
    with cost.measured("ScoreNetwork") as half:
        step()
        with cost.aside():
            step()
            sum(range(3_000_000))
    with cost.measured("UNet2DModel") as other:
        step()
    assert (all_of_it.rows, half.rows, other.rows) == (200, 100, 0)
    assert half.bytes == all_of_it.bytes > 100 * 4 * 64
    assert 0 <= half.seconds < 0.1


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
