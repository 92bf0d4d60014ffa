"""Open tasks of lessons 09 and 14, and what lesson 12 compares losses with."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab import baselines
from unlearnlab.teaching import EXERCISES
from unlearnlab.teaching.levels import led_away
from unlearnlab.teaching.loops import mixtures, mode_masses
from unlearnlab.teaching.losses import Gradients, apart, pull
from unlearnlab.training.denoising import ForwardKLObjective


@cache
def tiny():
    torch.set_num_threads(1)
    return ul.TextToImage.from_pretrained("tiny")


def test_a_threshold_that_is_missed_or_dear_is_told_so():
    """q itself misses it; q without its right mode pays log 3/2 nats where 0.15 would do."""
    verdict = EXERCISES["09.3"].verdict
    three = mixtures()[1].diffused()
    right, why = verdict(SimpleNamespace(student=three), {"left": 0.3})
    assert not right and "miss the threshold: E_p[q₁/q] is 1.0" in why and "0.300 is asked" in why
    rest = ul.GaussianMixture([0.5, 0.5], [-3, 0], [0.6, 0.6]).diffused()
    right, why = verdict(rest, {"left": 0.3})
    assert not right and "which is dear" in why and "times the optimum's (asked: 1.5)" in why
    assert "no run and no student" in verdict(3.0, {"left": 0.3})[1]


def test_a_threshold_that_is_held_for_little_is_right():
    """The modes weighed as in the optimum, their shapes as in q."""
    grid, three, right, _ = mixtures()
    problem = ul.Likelihood(three.on(grid), [right.on(grid)], relative=0.3, statistic="ratio")
    masses = mode_masses(grid.axes[0], ul.solve(problem).model.probabilities)
    best = ul.GaussianMixture(masses, [-3, 0, 3], [0.6] * 3).diffused()
    good, why = EXERCISES["09.3"].verdict(best, {"left": 0.3})
    assert good and "times the optimum's" in why, why


def test_guidance_by_levels_is_guidance_where_it_is_constant():
    sd = tiny()
    q, q1 = sd.prompt("a cowboy"), sd.prompt("a cowboy with a horse")
    x, t = torch.randn(3, *q.shape), torch.tensor([100, 500, 900])
    with torch.no_grad():
        same = ul.ComposedModel(q, [q1], [2.0]).noise_prediction(x, t)
        even = led_away(q, q1, lambda gamma: 2.0).noise_prediction(x, t)
        assert torch.allclose(even, same, atol=1e-5)  # rows of other calls are rounded otherwise
        late = led_away(q, q1, lambda gamma: 2.0 if gamma > 0 else 0.0).noise_prediction(x, t)
        plain = q.noise_prediction(x, t)
    assert torch.allclose(late[0], same[0], atol=1e-5)
    assert torch.allclose(late[1:], plain[1:], atol=1e-5)


def test_guidance_by_levels_is_refused_before_anything_is_drawn():
    verdict = EXERCISES["14.3"].verdict
    assert "no function" in verdict(2.0, {})[1]
    for wrong in (lambda gamma: "2", lambda gamma: 1e9, lambda gamma: torch.ones(2)):
        assert "does not return one number" in verdict(wrong, {})[1]
    assert "cannot be used" in verdict(lambda: 2.0, {})[1]


def test_pulls_agree_nearby_and_part_far_away():
    assert [pull(name, 0.01) for name in ("kl", "hellinger", "js", "chi2")] == pytest.approx(
        [0.01] * 4, rel=0.01
    )
    assert pull("kl", 4.0) == pytest.approx(4.0, rel=1e-4)
    # 2(1 − e^{−d²/8}) has the slope (d/2)e^{−d²/8}; over f''(1) = ½ that is d·e^{−d²/8}.
    assert pull("hellinger", 4.0) == pytest.approx(4 * np.exp(-2), rel=1e-3)


def test_gradients_are_compared_on_the_same_draws():
    model = ul.digits.load_model("unconditional")
    forgotten, images = ul.digits.data().images.split([3, 1439])
    problem = ul.ForwardKL(model, [ul.DataSet(forgotten)], thresholds=[1.0])
    gradient = Gradients(model.for_training())
    naive = gradient(baselines.Naive([problem], 8, data=images))
    fu = gradient(ForwardKLObjective([problem], 8, data=images), [0.0])
    assert apart(naive, fu) < 1e-4
    assert apart(naive, gradient(baselines.Naive([problem], 8, data=images), draw=1)) > 0.1
    change = gradient.change_of(images[:16])
    assert 0 < change(naive) < 1
