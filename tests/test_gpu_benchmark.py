"""The benchmarks of rung 3: what is compared is comparable, and the GPU's runs on a CPU."""

import json
import math

import pytest
import torch

from benchmarks import backpropagation, floor, gpu, needs, published, run, stable_diffusion
from benchmarks.backpropagation import METHODS
from tools import gpu as script
from unlearnlab.stable_diffusion import tiny
from unlearnlab.stable_diffusion.prompt import Prompt
from unlearnlab.training.draws import Draws


@pytest.fixture(scope="module")
def loop():
    """Backpropagation in float64 on a student that differs from its pipeline."""
    pipeline = stable_diffusion.untrained()
    pipeline.pipeline.to(torch.float64)
    made = backpropagation.rounds(pipeline, backpropagation.Backpropagation, steps=3)
    made.objective.retain.effort = Prompt.effort._replace(training=(2, 4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters:
            p += 0.1 * torch.randn(p.shape, generator=generator)
        made.dual.weights.fill_(1e5)  # random weights hardly tell the prompts apart
    return made


def value(loop, objective):
    """The Lagrangian of one primal step, and the samples' objective and constraint."""
    draws = Draws([0], 0, part=2, like=loop.like)
    objective.begin(loop.student, loop.dual.values(), draws)
    losses = sum(loss.sum() for loss in objective.losses(loop.student, loop.dual.values(), draws))
    return losses, objective.tally.measured(objective.tally.total())


def test_backpropagation_differentiates_the_lagrangian(loop):
    loss, _ = value(loop, loop.objective)
    grads = torch.autograd.grad(loss, loop.parameters)
    generator = torch.Generator().manual_seed(1)
    ways = [torch.randn(p.shape, generator=generator).to(p) for p in loop.parameters]
    slope = sum(float((g * way).sum()) for g, way in zip(grads, ways, strict=True))
    ends = []
    with torch.no_grad():
        for move in (1e-5, -2e-5, 1e-5):  # there, to the other side, and back
            torch._foreach_add_(loop.parameters, ways, alpha=move)
            ends.append(float(value(loop, loop.objective)[0]))
    assert abs(slope) > 1e-3
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_both_sides_see_the_same_chains(loop):
    ours = backpropagation.PolicyGradient([loop.objective.problem], 4, sampling_steps=3)
    _, theirs = value(loop, loop.objective)
    _, own = value(loop, ours)
    assert float(own.objective) > 0
    for one, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=0)


def test_memory_counts_each_storage_once():
    x = torch.ones(1000, requires_grad=True)
    weight = torch.ones(1000)
    with backpropagation.Held([weight]) as counted:
        y = (x * weight).exp()  # its own output is what exp keeps
        z = y * y
        assert counted.now == counted.peak == 4000
        z.sum().backward()
        del y, z
    assert counted.now == 0


def little():
    """A UNet of the tiny one's parts, a twentieth of its size."""
    net = tiny.unet(0)
    return type(net).from_config({**net.config, "block_out_channels": (8, 16)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gpu_benchmark_runs_on_a_cpu(dtype, monkeypatch):
    monkeypatch.setattr(Prompt, "effort", Prompt.effort._replace(training=(2, 4)))
    against = dtype == torch.float32
    found = gpu.measure(little(), "cpu", dtype, steps=2, repeats=1, against=against)
    others = {
        "with likelihood": {"ours", "backpropagation"},
        "without likelihood": {"ours", "backpropagation", "shortcut"},
    }
    assert {variant: set(methods) for variant, methods in found.items()} == {
        gpu.OVER: set(floor.STEPS_OF)
    } | (others if against else {})
    for numbers in found.pop(gpu.OVER).values():
        assert set(numbers) == {"seconds", "GiB", "over"} and min(numbers.values()) > 0
    for methods in found.values():
        for numbers in methods.values():
            assert set(numbers) == {"seconds", "GiB"}
            assert all(math.isfinite(number) and number > 0 for number in numbers.values())
        others = [numbers["GiB"] for name, numbers in methods.items() if name != "ours"]
        assert methods["ours"]["GiB"] < min(others)


def test_the_floor_is_what_a_step_asks_its_network_for(monkeypatch):
    """A step of ESD draws two samples in three steps, and asks q, q_1 and the student at them."""
    pipeline = stable_diffusion.untrained()
    loop = floor.made(pipeline, floor.ESD, batch=2, steps=3)
    before = [p.clone() for p in loop.parameters]
    _, calls = floor.pair(loop, floor.one_round)
    drawn = [call for call in calls.made if not call.graded]
    graded = [call for call in calls.made if call.graded]
    assert len(graded) == loop.each and all(len(call.arguments[0]) == 2 for call in graded)
    # A chain of three steps in a round; in each of its steps q, where erasing starts, and q_1.
    assert [len(call.arguments[0]) for call in drawn] == [2] * (3 + 2 * loop.each)
    calls.again()
    assert all(p.grad is not None for p in loop.parameters)
    assert any(not torch.equal(p, q) for p, q in zip(loop.parameters, before, strict=True))
    assert "forward" not in vars(pipeline.pipeline.unet)  # nothing is left of the recording


def test_needs_are_what_autograd_keeps(monkeypatch):
    """Counted without numbers, as on a network that has them."""
    counts = []
    for device in ("meta", "cpu"):
        with torch.device(device):
            net = tiny.unet(0)
        student = published.around(net, device, torch.float32).lora(2, text="a cowboy")
        counts.append(needs.kept(student, 3))
    assert counts[0] == counts[1] > 0
    found = run.stored("needs")["result"]
    assert set(found) == set(published.NAMES)
    for one in found.values():
        assert one["checkpointing"] < one["row"]


def test_what_does_not_fit_is_a_result(monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(backpropagation.Backpropagation, "losses", full)
    pipeline = stable_diffusion.untrained()
    assert gpu.timed(pipeline, backpropagation.Backpropagation, 3, 1) == "does not fit"
    found = {"a UNet": {"with likelihood": {"ours": "does not fit"}}}
    row = ("a UNet, with likelihood: ours", "", "does not fit", None)
    assert gpu.rows({"result": found, "note": ""}) == [row]
    cut_off = gpu.rows({"result": found, "note": gpu.CUT_OFF})
    assert cut_off == [row, ("the rest", "", gpu.CUT_OFF, None)]


def test_what_fails_leaves_the_others(monkeypatch):
    monkeypatch.setattr(backpropagation.Loop, "attempted", lambda loop: "round 0: not finite")
    found = gpu.timed(stable_diffusion.untrained(), backpropagation.Shortcut, 3, 1)
    assert found == "failed: round 0: not finite"


def test_every_row_is_kept_as_it_comes(tmp_path, monkeypatch):
    """Cut off after each row in turn, the file holds the rows until then, and says so."""
    rows = [(gpu.OVER, name) for name in floor.STEPS_OF]
    rows += [(variant, name) for variant in METHODS for name in METHODS[variant]]
    monkeypatch.setattr(gpu, "NAMES", ["tiny"])
    monkeypatch.setattr(gpu, "AGAINST", ["tiny"])
    monkeypatch.setattr(gpu, "RESULT", tmp_path / "gpu.json")
    monkeypatch.setattr(gpu, "network", lambda name: tiny.unet(0))
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "around", lambda *how: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    for last in range(1, len(rows) + 2):
        timed = iter(range(1, last))

        def cut(*how, timed=timed):
            number = next(timed, None)
            if number is None:
                raise KeyboardInterrupt
            return {"seconds": number, "GiB": 1.0}

        monkeypatch.setattr(gpu, "attempted", cut)
        if last <= len(rows):
            with pytest.raises(KeyboardInterrupt):
                gpu.main()
        else:
            gpu.main()
        if last == 1:
            assert not gpu.RESULT.exists()
            continue
        stored = json.loads(gpu.RESULT.read_text())
        assert stored["note"] == ("" if last > len(rows) else gpu.CUT_OFF)
        assert stored["provenance"]["device"] == "a card"
        kept = [(v, name) for v, found in stored["result"]["tiny"].items() for name in found]
        assert kept == rows[: last - 1]


def test_the_published_sizes():
    with torch.device("meta"):
        nets = {name: published.network(name) for name in published.NAMES}
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert sizes == {
        "Stable Diffusion v1.4": 859_520_964,
        "bk-sdm-tiny": 323_384_964,
        "Stable Diffusion XL": 2_567_463_684,
        "Stable Diffusion 3 medium": 2_028_328_000,
        "FLUX.1-dev": 11_901_408_320,
    }


def test_without_cuda_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        gpu.main()


def test_the_script_keeps_every_part_as_it_ends(tmp_path, monkeypatch):
    parts = {
        "done": (60, ["-c", "print('one'); print('two')"]),
        "failed": (60, ["-c", "raise SystemExit(3)"]),
        "slow": (2, ["-u", "-c", "import time; print('begun'); time.sleep(60)"]),
        "told": (60, ["-c", "import sys; print(sys.argv[1])", "{out}"]),
    }
    monkeypatch.setattr(script, "PARTS", parts)
    monkeypatch.setattr(script, "RESULT", tmp_path / "device.json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    script.main()
    found = json.loads(script.RESULT.read_text())["parts"]
    assert list(found) == list(parts)
    assert found["done"]["ended"] == "exit code 0" and found["done"]["printed"] == ["one", "two"]
    assert found["failed"]["ended"] == "exit code 3"
    assert found["slow"]["ended"] == "cut off after 2 s" and found["slow"]["printed"] == ["begun"]
    assert found["told"]["printed"][0].endswith("run")
    assert sum(limit for limit, _ in script.PARTS.values()) < 600


def test_the_page_shows_what_is_stored():
    assert run.TABLE.read_text() == run.table()


def test_one_rung_leaves_the_others_numbers(tmp_path, monkeypatch):
    before = run.path("rung1").read_text()
    (tmp_path / "rung1.json").write_text(before)
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setitem(run.RUNGS, "rung3", run.RUNGS["rung3"]._replace(measures={"x": lambda: 1}))
    run.measure("rung3")
    assert run.stored("rung3")["result"] == {"x": 1}
    assert (tmp_path / "rung1.json").read_text() == before
