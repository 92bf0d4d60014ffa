"""Lesson 17's plan of a run: by what was measured, and told where it does not fit."""

import json
from pathlib import Path

import pytest

from unlearnlab.teaching import EXERCISES, gpu_lab

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "results" / "gpu.json"
T4 = {"card_gib": 14.9, "speed": 65 / 989, "model": "bk-sdm-tiny", "batch": 4, "accumulation": 4}
T4 |= {"sampling_steps": 10, "steps": 300, "gib": 3.6, "hours": 9.28}


def said(**changes):
    right, why = EXERCISES["17.4"].verdict(T4 | changes, {})
    return right, why


def test_what_was_measured_is_what_the_benchmark_stored():
    for model, found in json.loads(BENCHMARK.read_text())["result"].items():
        every, chain = (found[kind]["ours"] for kind in ("with likelihood", "without likelihood"))
        assert gpu_lab.MEASURED[model][:3] == pytest.approx(
            (every["seconds"], chain["seconds"], every["GiB"]), rel=6e-3
        )


def test_weights_are_those_of_the_parts():
    for model, millions in (("Stable Diffusion v1.4", 859.5), ("bk-sdm-tiny", 323.4)):
        assert gpu_lab.MEASURED[model][3] == pytest.approx(millions * 2e6 / 2**30, abs=5e-3)
    assert pytest.approx((123.1 + 83.7 + 304.0) * 2e6 / 2**30, abs=5e-3) == gpu_lab.OTHERS


def test_a_plan_as_measured_takes_what_was_measured():
    as_measured = {"accumulation": 1, "speed": 1.0, "steps": 3600}
    gib, hours = gpu_lab.takes(T4 | as_measured)
    assert (gib, hours) == pytest.approx((2.65 + 0.95, 1.83))
    assert gpu_lab.takes(T4 | as_measured | {"batch": 8})[1] == pytest.approx(2 * 1.83)


def test_half_the_batch_and_twice_the_accumulation_take_as_long_and_less_memory():
    _, hours = gpu_lab.takes(T4)
    less, same = gpu_lab.takes(T4 | {"batch": 2, "accumulation": 8})
    assert same == pytest.approx(hours) and less == pytest.approx(0.95 + 0.6 + 2.05 / 2)


def test_several_plans_are_right():
    right, why = said()
    assert right and "it takes 3.6 of 14.9 GiB and 9.3 hours" in why
    a100 = {"card_gib": 40 * 1e9 / 2**30, "speed": 312 / 989, "model": "Stable Diffusion v1.4"}
    assert said(**a100, batch=16, accumulation=1, gib=15.95, hours=4.07)[0]


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"hours": 2.3}, "fits, but not as you say: look at hours again"),  # one batch of the four
        ({"gib": 2.65, "hours": 1}, "look at gib and hours again"),
        ({"batch": 64}, "34.3 GiB of 14.9"),
        ({"steps": 3000}, "92.8 hours"),
        ({"batch": 1}, "fewer than 16 latents a step"),
        ({"steps": 50, "sampling_steps": 5}, "fewer than 100 steps, 10 sampling steps"),
        ({"model": "mine"}, "none of Stable Diffusion v1.4, bk-sdm-tiny"),
        ({"speed": 65}, "whose card does not exist"),
        ({"batch": "4"}, "not all positive numbers"),
    ],
)
def test_plans_that_do_not_hold_are_told(changes, clause):
    right, why = said(**changes)
    assert not right and clause in why


def test_something_else_is_told_what_a_plan_is():
    right, why = EXERCISES["17.4"].verdict({"batch": 4}, {})
    assert not right and "no dictionary of accumulation, batch, card_gib" in why
