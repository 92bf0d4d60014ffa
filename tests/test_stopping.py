"""SIGINT and SIGTERM end a run after its round: it is saved, and goes on as if never stopped."""

import copy
import signal
import threading
import time

import forked
import pytest
import torch
from safetensors import safe_open
from students import Shifted, gaussian

import unlearnlab as ul
from unlearnlab import data_unlearning
from unlearnlab.stable_diffusion import __main__ as command
from unlearnlab.training import checkpoint, loop, stopping

RU = ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[2.0])
HOW = {"steps": 30, "batch": 8, "evaluate": False, "save_every": 100, "progress": False}


@pytest.fixture(autouse=True)
def heard():
    """SIGINT as a terminal has it: jobs that a shell starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def strike(number, at=3, times=1):
    """A watch that sends the process a signal after a round."""

    def watch(loop):
        if loop.round == at:
            for _ in range(times):
                signal.raise_signal(number)

    return watch


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_stopped_run_is_saved_and_goes_on(tmp_path, number):
    whole = ul.finetune(RU, Shifted(), folder=tmp_path / "whole", **HOW)
    before = [signal.getsignal(one) for one in stopping.SIGNALS]
    says = rf"stopped by {number.name} after round 3 of 6; folder '.*stopped' holds it: resume=True"
    folder = tmp_path / "stopped"
    with pytest.raises(stopping.Stopped, match=says) as stopped:
        ul.finetune(RU, Shifted(), folder=folder, watch=strike(number), **HOW)
    assert stopped.value.code == 128 + number
    assert before == [signal.getsignal(one) for one in stopping.SIGNALS]
    resumed = ul.finetune(RU, Shifted(), folder=folder, resume=True, **HOW)
    assert torch.equal(resumed.student.mean, whole.student.mean)


def test_a_second_signal_ends_at_once(tmp_path, monkeypatch):
    """A second one is another only after a while: launchers pass on what a terminal has sent."""
    monkeypatch.setattr(stopping, "SAME", -1.0)
    with pytest.raises(KeyboardInterrupt) as ended:
        ul.finetune(RU, Shifted(), folder=tmp_path, watch=strike(signal.SIGINT, times=2), **HOW)
    assert not isinstance(ended.value, stopping.Stopped)
    assert checkpoint.found(tmp_path) is None
    monkeypatch.undo()
    with pytest.raises(stopping.Stopped):
        ul.finetune(RU, Shifted(), folder=tmp_path, watch=strike(signal.SIGINT, times=2), **HOW)


def test_without_a_folder_nothing_is_waited_for():
    with pytest.raises(KeyboardInterrupt) as ended:
        ul.finetune(RU, Shifted(), watch=strike(signal.SIGINT), **HOW)
    assert not isinstance(ended.value, stopping.Stopped)


def test_signals_that_are_ignored_stay_so(tmp_path):
    known = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ul.finetune(RU, Shifted(), folder=tmp_path, watch=strike(signal.SIGINT), **HOW)
    finally:
        signal.signal(signal.SIGINT, known)


def test_other_threads_install_nothing(tmp_path):
    seen = []

    def watch(_):
        seen.append(signal.getsignal(signal.SIGINT))

    run = threading.Thread(
        target=ul.finetune, args=(RU, Shifted()), kwargs=HOW | {"folder": tmp_path, "watch": watch}
    )
    run.start()
    run.join()
    assert set(seen) == {signal.getsignal(signal.SIGINT)}


@pytest.mark.parametrize("how", ["interrupted", "diverged"])
def test_a_fit_that_ends_early_leaves_the_network_as_it_was(monkeypatch, how):
    net = ul.ScoreNetwork(1, width=4).fit(torch.randn(50, 1), steps=3, batch=4)
    before = copy.deepcopy(net.state_dict())
    step = loop.Loop.one_round

    def last(self):
        if self.round < 2:
            return step(self)
        if how == "interrupted":
            raise KeyboardInterrupt
        return "it exploded"

    monkeypatch.setattr(loop.Loop, "one_round", last)
    with pytest.raises(KeyboardInterrupt if how == "interrupted" else ValueError):
        net.fit(torch.randn(50, 1) * 9 + 3, steps=50, batch=4)
    after = net.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", [data_unlearning, command])
def test_commands_say_how_to_go_on(tmp_path, monkeypatch, capsys, module, number, code):
    def stopped(*_, **__):
        raise stopping.Stopped(number, "after round 3 of 9", tmp_path)

    monkeypatch.setattr(module, "_unlearn", stopped)
    given = {
        data_unlearning: "--model m --images i --forget f --at-most 0.1 --out",
        command: "--config tiny-cowboy --out",
    }[module]
    with pytest.raises(SystemExit) as ended:
        module.main([*given.split(), str(tmp_path / "out")])
    assert ended.value.code == code
    says = (
        f"stopped by {number.name} after round 3 of 9; folder {str(tmp_path)!r} holds it: --resum"
    )
    assert says in capsys.readouterr().err


def job(folder):
    from accelerate import Accelerator

    how = HOW | {"steps": 100_000, "save_every": 5}
    with stopping.as_command(speaks=True):
        ul.finetune(RU, Shifted(), folder=folder, accelerator=Accelerator(cpu=True), **how)


def test_what_one_process_hears_ends_them_all(tmp_path):
    ranks = forked.ranks(2, tmp_path / "log", job, tmp_path / "run")
    while checkpoint.found(tmp_path / "run") is None:
        assert all(one.exitcode is None for one in ranks), (tmp_path / "log").read_text()
        time.sleep(0.02)
    ranks[1].terminate()
    for one in ranks:
        one.join(60)
    assert [one.exitcode for one in ranks] == [143, 143], (tmp_path / "log").read_text()
    assert "stopped by SIGTERM after round" in (tmp_path / "log").read_text()
    with safe_open(checkpoint.found(tmp_path / "run"), framework="pt") as file:
        assert file.metadata()["format"] == checkpoint.FORMAT
