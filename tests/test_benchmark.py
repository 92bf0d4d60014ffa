"""The benchmark: what is known beforehand comes out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab import benchmark
from unlearnlab.benchmark import cost, methods
from unlearnlab.benchmark.definition import Effort, Optimum
from unlearnlab.benchmark.mixtures import _axes

FAST = Effort(1024, 100, 8, 10, 20, 150)  # of which networks are hardly trained
KNOWN = ("forgotten", "deviation", "kept", "rest")
DRAWING = (*KNOWN, "another sampler", "inverted latents")
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
