"""Checkpoints: killed runs end as if never killed; nothing foreign is read or overwritten."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from students import Shifted, gaussian

import unlearnlab as ul
from unlearnlab import files
from unlearnlab.training import checkpoint, settings

RU = ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[2.0])
OPTIONS = {"steps": 100, "batch": 32, "evaluate": False, "save_every": 5}


def stored(folder):
    with safe_open(Path(folder) / checkpoint.NAME, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
        return tensors, file.metadata()


def test_a_finished_run_is_read_back(tmp_path):
    first = ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    written = (tmp_path / checkpoint.NAME).read_bytes()
    again = ul.finetune(RU, Shifted(), folder=tmp_path, resume=True, **OPTIONS)
    assert float(again.student.mean) == float(first.student.mean)
    assert again.status == first.status
    assert (tmp_path / checkpoint.NAME).read_bytes() == written


def test_a_folder_in_use_is_refused(tmp_path):
    ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="already holds a run; resume=True continues it"):
        ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="resume=True needs folder"):
        ul.finetune(RU, Shifted(), resume=True, **OPTIONS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch": 64}, "batch"),
        ({"lr": 0.5}, "settings"),
        ({"seed": 7}, "settings"),
        ({"dual_lr": 0.5}, "dual optimiser"),
        ({"multipliers": [0.3]}, "first multipliers"),
        ({"problem": ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[3.0])}, "thresholds"),
        ({"student": ul.ScoreNetwork(1, width=8)}, "student"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, named):
    ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    options = OPTIONS | {"folder": tmp_path, "resume": True} | change
    problem, student = options.pop("problem", RU), options.pop("student", Shifted())
    with pytest.raises(ValueError, match=f"is of another run: .*its {named}.*nothing was over"):
        ul.finetune(problem, student, **options)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty", "foreign", "flipped"])
def test_damaged_and_foreign_files_are_refused(tmp_path, damage):
    ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    path = tmp_path / checkpoint.NAME
    content = path.read_bytes()
    if damage == "foreign":
        save_file({"weights": torch.zeros(3)}, path)
    elif damage == "flipped":
        at = content.index(b"identity")
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    else:
        bad = {"truncated": content[: len(content) // 2], "noise": os.urandom(500), "empty": b""}
        path.write_bytes(bad[damage])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.safetensors is .*nothing was overwritten"):
        ul.finetune(RU, Shifted(), folder=tmp_path, resume=True, **OPTIONS)
    assert path.read_bytes() == before


def test_no_flipped_bit_passes(tmp_path):
    """Of three hundred, anywhere in the file: in numbers, names, shapes, or the digest itself."""
    state = {"weights": torch.linspace(0, 1, 50), "round": 3, "other": [torch.arange(4), None]}
    checkpoint.write(tmp_path, state, {"seed": 1})
    path = tmp_path / checkpoint.NAME
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        place = rng.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"run\.safetensors is .*nothing was overwritten"):
            checkpoint.read(tmp_path, {"seed": 1})
    path.write_bytes(content)
    assert torch.equal(checkpoint.read(tmp_path, {"seed": 1})["weights"], state["weights"])


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, {"x": torch.ones(2)}, {"a": 1})

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(tmp_path, {"x": torch.zeros(2)}, {"a": 1})
    assert torch.equal(checkpoint.read(tmp_path, {"a": 1})["x"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME]


def test_state_comes_back_as_it_was(tmp_path):
    state = {
        "numbers": [1, 2.5, None, "three", True],
        "nested": {"pair": (torch.arange(3), torch.tensor(1.5, dtype=torch.float64)), 0: "int key"},
    }
    checkpoint.write(tmp_path, state, {})
    back = checkpoint.read(tmp_path, {})
    assert back["numbers"] == state["numbers"] and isinstance(back["nested"]["pair"], tuple)
    assert torch.equal(back["nested"]["pair"][0], torch.arange(3))
    assert back["nested"]["pair"][1].dtype == torch.float64 and back["nested"][0] == "int key"
    json.dumps(stored(tmp_path)[1])
    with pytest.raises(TypeError, match="cannot hold a set"):
        checkpoint.write(tmp_path, {"x": {1}}, {})


def reload(path, change):
    """A checkpoint with other contents, and the digest of those."""
    with safe_open(path, framework="pt") as file:
        identity = json.loads(file.metadata()["identity"])
    _, state = checkpoint.opened(path)
    change(state)
    checkpoint.write(path.parent, state, identity)


def test_the_state_before_is_kept_and_offered(tmp_path):
    """A damaged checkpoint says so; moved away, the one before goes on to the same end."""
    first = ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    last, before = tmp_path / checkpoint.NAME, tmp_path / checkpoint.PREVIOUS
    whole = stored(tmp_path)
    last.write_bytes(last.read_bytes()[:-1])
    offer = "run.safetensors is .*move it away to continue from run.safetensors.previous beside it"
    with pytest.raises(ValueError, match=offer + ", of round 15; nothing was overwritten"):
        ul.finetune(RU, Shifted(), folder=tmp_path, resume=True, **OPTIONS)
    last.unlink()
    with pytest.raises(ValueError, match="already holds a run"):
        ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    again = ul.finetune(RU, Shifted(), folder=tmp_path, resume=True, **OPTIONS)
    assert float(again.student.mean) == float(first.student.mean)
    assert stored(tmp_path)[1] == whole[1]
    for path in (last, before):
        path.write_bytes(b"")
    for path in (last, before):  # nothing is offered that is damaged, too
        with pytest.raises(ValueError, match=f"{path.name} is damaged.*move it away or choose an"):
            ul.finetune(RU, Shifted(), folder=tmp_path, resume=True, **OPTIONS)
        path.unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(round=99), "it is of round 99, and its history of {'loss': 20"),
        (lambda s: s.update(step=-1), "it is of step -1 of 100"),
        (lambda s: s["history"].pop("loss"), "it is of round 20, and its history of {'objective'"),
        (lambda s: s["student"][0].fill_(np.nan), "its student is not finite"),
        (lambda s: s["average"][0].fill_(np.nan), "its average is not finite"),
        (lambda s: s.update(student=[torch.zeros(2)]), r"its student has shapes \[\(2,\)\], where"),
        (lambda s: s.update(multipliers=torch.zeros(1, 3)), "its multipliers has shapes"),
        (lambda s: s.pop("dual"), "'dual'"),
        (lambda s: s["primal"][0]["exp_avg"].fill_(np.inf), "its primal is not finite"),
        (lambda s: s.update(primal=3), "disagrees with itself or with this run"),
    ],
)
def test_a_state_that_disagrees_is_refused(tmp_path, change, says):
    ul.finetune(RU, Shifted(), folder=tmp_path, **OPTIONS)
    reload(tmp_path / checkpoint.NAME, change)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with pytest.raises(ValueError, match=f"run.safetensors .*{says}.*nothing was overwritten"):
        ul.finetune(RU, Shifted(), folder=tmp_path, resume=True, **OPTIONS)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_another_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", "unlearnlab run 1")
    checkpoint.write(tmp_path, {"round": 1}, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"is of another version .'unlearnlab run 1'; this one re"):
        checkpoint.read(tmp_path, {})


def test_students_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="student's mean must be finite"):
        ul.finetune(RU, Shifted(float("nan")), **OPTIONS)

    def spoil(loop):
        if loop.done:
            loop.average[0].fill_(np.nan)

    with pytest.raises(ValueError, match=r"parameters are not finite at the end.*such as watch"):
        ul.finetune(RU, Shifted(), watch=spoil, **OPTIONS)


def test_a_run_is_continued_with_more_steps(tmp_path, capsys):
    """Its rate is that of the longer run from there on, killed again or not."""
    rates = []

    def watch(loop):
        rates.append(loop.primal.param_groups[0]["lr"] / loop.settings.lr)

    how = OPTIONS | {"watch": watch, "primal_steps": 1, "steps": 10, "progress": True}
    short = ul.finetune(RU, Shifted(), folder=tmp_path / "a", **how)
    assert rates[-1] == pytest.approx(0.05, abs=0.03)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    capsys.readouterr()
    longer = how | {"steps": 20, "resume": True}
    whole = ul.finetune(RU, Shifted(), folder=tmp_path / "a", **longer)
    assert rates[10] == pytest.approx(0.05 + 0.475 * (1 + np.cos(np.pi * 9 / 19)))
    said = capsys.readouterr().err
    assert "continues after round 10 of 20, of 20 steps where it was 10: its learning rates" in said
    assert f"from {rates[10]:.2g} of the largest" in said
    assert np.array_equal(whole.history["loss"][:10], short.history["loss"])

    def kill(loop):
        if loop.round == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ul.finetune(RU, Shifted(), folder=tmp_path / "b", **longer | {"watch": kill})
    again = ul.finetune(RU, Shifted(), folder=tmp_path / "b", **longer)
    assert float(again.student.mean) == float(whole.student.mean)
    with pytest.raises(ValueError, match="is of a run of 20 steps, and this one is of 10: a run"):
        ul.finetune(RU, Shifted(), folder=tmp_path / "b", **how | {"resume": True})


def test_the_loss_scale_of_half_precision_is_resumed(tmp_path):
    """It grows every three steps; what is clipped depends on it here."""

    def run(folder, stop=None):
        accelerator = Accelerator(cpu=True)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**6, growth_interval=3)

        def watch(loop):
            if loop.round == stop:
                raise KeyboardInterrupt

        how = OPTIONS | {"accelerator": accelerator, "watch": watch, "resume": True, "clip": 0.01}
        run = ul.finetune(RU, Shifted(), folder=folder, **how)
        return float(run.student.mean), accelerator.scaler.get_scale()

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 12)
    assert run(tmp_path / "stopped") == whole and whole[1] > 2.0**30


def test_fewer_processes_than_asked_for_are_said(monkeypatch):
    """What `accelerate launch --num_processes 4` sets where it starts one alone."""
    for name in ("MASTER_ADDR", "ACCELERATE_MIXED_PRECISION", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    settings.warn_if_alone()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with pytest.warns(UserWarning, match="asked for several processes and has started one"):
        settings.warn_if_alone()
    monkeypatch.setenv("WORLD_SIZE", "4")
    settings.warn_if_alone()


def hold(folder, until):
    """Another process, in the middle of a run."""
    with files.held(folder):
        (Path(folder) / "ready").touch()
        while not Path(until).exists():
            time.sleep(0.02)


def test_a_folder_is_one_run_s_at_a_time(tmp_path):
    """Another process is told who holds it; when that is killed, the folder is free."""
    folder = tmp_path / "run"
    job = forked.begin(tmp_path / "log", {}, hold, folder, tmp_path / "stop")
    while not (folder / "ready").exists():
        assert job.exitcode is None
        time.sleep(0.02)
    with pytest.raises(RuntimeError, match=r"is in use by another run \(process \d+ on .*since 20"):
        ul.finetune(RU, Shifted(), folder=folder, **OPTIONS)
    assert not (folder / checkpoint.NAME).exists()
    forked.kill(job)
    ul.finetune(RU, Shifted(), folder=folder, **OPTIONS)
    seen = sorted(one.name for one in folder.iterdir())
    assert seen == [files.LOCK, "ready", checkpoint.NAME, checkpoint.PREVIOUS]


def test_a_folder_is_held_again_by_who_holds_it_and_left_as_it_was(tmp_path):
    with files.held(tmp_path / "new"), files.held(tmp_path / "new"):
        assert (tmp_path / "new" / files.HOLDER).exists()
    assert not (tmp_path / "new").exists()  # nothing was put there


def test_what_is_not_there_to_be_continued_is_said(tmp_path, capsys):
    run = {"folder": tmp_path / "a", "resume": True} | OPTIONS
    ul.finetune(RU, Shifted(), **run)
    assert f"{tmp_path / 'a'} holds no run to continue" in capsys.readouterr().err
    ul.finetune(RU, Shifted(), **run)
    assert "holds no run" not in capsys.readouterr().err


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    how = OPTIONS | {"folder": "run", "watch": lambda loop: os.chdir(tmp_path / "elsewhere")}
    ul.finetune(RU, Shifted(), **how)
    assert (tmp_path / "run" / "run.safetensors").exists()
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_link_to_nowhere_is_named(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"folder '.*link' cannot be written to .a broken link"):
        ul.finetune(RU, Shifted(), folder=tmp_path / "link", **OPTIONS)
    assert not (tmp_path / "nowhere").exists()
