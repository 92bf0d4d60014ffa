"""With `--device`: fit, every method of finetune and every baseline train there as on a CPU."""

import pytest
import torch
from device_models import FEW, SCHEDULE, gaussian, mixture, near, network, on

import unlearnlab as ul
from unlearnlab import baselines

pytestmark = pytest.mark.device
CPU = "cpu"
SAMPLES = torch.randn(200, 1, generator=torch.Generator().manual_seed(5))
HOW = {"steps": 6, "batch": 16, "primal_steps": 2, "evaluate": False, "progress": False}


def reverse(place):
    return ul.ReverseKL(gaussian(0, place), [gaussian(1, place)], [0.7])


def forward(place):
    return ul.ForwardKL(gaussian(0, place), [gaussian(1, place)], [1.0])


def of_data(place):
    return ul.ForwardKL(gaussian(0, place), [ul.DataSet(FEW, SCHEDULE, device=place)], [5.0])


def likelihood(place):
    return ul.Likelihood(mixture(place), [gaussian(2, place)], relative=0.5)


def ratio(place):
    how = {"statistic": "ratio", "temperature": "dim"}
    return ul.Likelihood(network(place), [gaussian(1, place)], [0.5], **how)


CASES = {
    "D.1": (reverse, {"sampling_steps": 3, "multipliers": [0.2]}),
    "D.2": (forward, {"multipliers": [0.2]}),
    "D.3": (likelihood, {"sampling_steps": 3, "multipliers": [0.2]}),
    "D.3, by Lemma 2": (ratio, {"sampling_steps": 3, "multipliers": [0.2]}),
    "gate": (forward, {"method": "gate", "chains": 16, "chain_steps": 8}),
    "log-variance": (likelihood, {"method": "log-variance", "sampling_steps": 5}),
    "tilt": (likelihood, {"method": "tilt", "pool": 256}),
    "dual-only": (reverse, {"method": "dual-only", "sampling_steps": 3}),
    "naive": (forward, {"method": baselines.Naive}),
    "neggrad": (forward, {"method": baselines.NegGrad}),
    "siss": (of_data, {"method": baselines.SISS, "data": SAMPLES}),
    "siss, two passes": (
        of_data,
        {"method": baselines.SISS, "data": SAMPLES, "importance": False, "forget_norm": 1.0},
    ),
    "erasediff": (forward, {"method": baselines.EraseDiff}),
    "esd": (reverse, {"method": baselines.ESD, "sampling_steps": 3}),
    "vdu": (forward, {"method": baselines.VDU}),
    "fdivergence": (reverse, {"method": baselines.FDivergence}),
    "fdivergence, learned": (
        reverse,
        {"method": baselines.FDivergence, "divergence": "js", "critic_steps": 1},
    ),
}


def trained(name, place, **changes):
    make, options = CASES[name]
    problem = make(place)
    options = HOW | options | changes
    if options.get("method") is baselines.FDivergence:
        options["anchor"] = gaussian(-1, place)
    student = None if options.get("method") == "dual-only" else network(place)
    return ul.finetune(problem, student, **options)


@pytest.mark.parametrize("name", CASES)
def test_a_seed_gives_the_same_run_as_on_a_cpu(name, device):
    here, there = trained(name, CPU), trained(name, device)
    assert there.status != "diverged" and on(there.student, device)
    assert there.multipliers == pytest.approx(here.multipliers, rel=1e-3, abs=1e-6)
    assert len(here.history["loss"]) == 3
    for key, values in here.history.items():
        scale = 1e-3 * (1 + abs(values).max(initial=0.0))
        assert there.history[key] == pytest.approx(values, rel=1e-3, abs=scale), key


def test_what_a_user_gives_may_lie_anywhere(device):
    """Data and multipliers on the device or on the CPU: the same run, bit for bit."""
    multipliers = torch.tensor([0.2])
    runs = [
        trained("D.2", device, data=SAMPLES.to(place), multipliers=multipliers.to(place))
        for place in (CPU, device)
    ]
    assert same(*runs)
    assert not same(runs[0], trained("D.2", device, data=SAMPLES, multipliers=[0.0]))


def same(one, other):
    """Whether two runs agree bit for bit."""
    pairs = zip(one.student.parameters(), other.student.parameters(), strict=True)
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in pairs) and all(
        (one.history[key] == other.history[key]).all() for key in one.history
    )


def test_fit_takes_samples_wherever_they_are(device):
    """The same network bit for bit, and the CPU's within rounding: it has learned the moments."""
    how = {"steps": 20, "batch": 32, "progress": False}

    def fitted(samples, place):
        return ul.ScoreNetwork(1, SCHEDULE, width=16, device=place).fit(samples, **how)

    here, *there = (
        fitted(SAMPLES, CPU),
        fitted(SAMPLES, device),
        fitted(SAMPLES.to(device), device),
    )
    assert all(on(p, device) for net in there for p in net.parameters())
    pairs = zip(*(net.state_dict().values() for net in there), strict=True)
    assert all(torch.equal(one.cpu(), other.cpu()) for one, other in pairs)
    near(there[0].mean, SAMPLES.mean(0), atol=1e-6)
    t = torch.full((len(FEW),), 300)
    with torch.no_grad():
        near(there[0](FEW.to(device), t.to(device)), here(FEW, t))


@pytest.mark.parametrize("name", ["D.1", "D.3"])
def test_a_stopped_run_goes_on_bit_for_bit(name, device, tmp_path):
    class Stopped(Exception):  # noqa: N818
        pass

    def stop(loop):
        if loop.round == 2:
            raise Stopped

    how = {"save_every": 1, "resume": True}
    whole = trained(name, device, folder=tmp_path / "whole", **how)
    with pytest.raises(Stopped):
        trained(name, device, folder=tmp_path / "stopped", watch=stop, **how)
    assert same(whole, trained(name, device, folder=tmp_path / "stopped", **how))


def test_students_side_by_side_are_what_each_is_alone(device):
    problems = [ul.ReverseKL(q := gaussian(0, device), [r := gaussian(1, device)], [0.7])]
    problems.append(ul.ReverseKL(q, [r], [1.5]))
    how = HOW | {"sampling_steps": 3, "dual_lr": 0.5}
    together = ul.finetune(problems, network(device).stack(2), **how)
    for problem, run in zip(problems, together, strict=True):
        alone = ul.finetune(problem, network(device), **how)
        assert on(run.student, device)
        assert run.multipliers == pytest.approx(alone.multipliers, rel=1e-3)
    assert together[0].multipliers[0] != together[1].multipliers[0]


def test_a_model_on_the_cpu_trains_after_one_elsewhere(device):
    """accelerate keeps one device a process."""
    assert on(trained("D.2", device).student, device)
    assert on(trained("D.2", CPU).student, CPU)


@pytest.mark.parametrize("name", ["D.1", "D.2", "D.3"])
def test_the_student_is_evaluated_there(name, device):
    """A run of one step: its constraint is near that of the untrained student, as on a CPU."""
    problem = {"D.1": reverse, "D.2": forward, "D.3": likelihood}[name]
    here, there = (
        problem(place).evaluate(network(place, size=0.0), seed=1) for place in (CPU, device)
    )
    assert there.constraints == pytest.approx(here.constraints, rel=1e-3)
    assert there.objective == pytest.approx(here.objective, rel=1e-3, abs=1e-6)
