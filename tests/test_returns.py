"""Single images: the target that leaves them out, and students that give them back no more."""

from functools import cache

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.data_unlearning import unlearn_images
from unlearnlab.training.returns import LeaveOut, Returns, shares

SCHEDULE = ul.Schedule()
POINT = torch.tensor([1.5, -0.5])
WITHIN = {"noise_to": 500, "within": 0.15}


@cache
def data():
    """A broad Gaussian in the plane, and a fifth of all samples at one point."""
    g = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn(1600, 2, generator=g), POINT.expand(400, 2)])


@cache
def network():
    torch.set_num_threads(1)
    return ul.ScoreNetwork(2, SCHEDULE, width=64).fit(data(), steps=1200)


def objective(model, samples, images, level=0.1):
    return LeaveOut([Returns(model, images, level, **WITHIN)], 32, data=samples)


def test_at_a_large_multiplier_the_target_is_the_denoiser_of_what_is_left():
    """For the exact denoiser of the data: that of the data without what lies near the image."""
    samples = data()[::8]
    exact = ul.DataSet(samples, SCHEDULE)
    apart = (samples - POINT).square().mean(1).sqrt()
    left = ul.DataSet(samples[apart >= WITHIN["within"]], SCHEDULE)
    made = objective(exact, samples, [POINT])
    g = torch.Generator().manual_seed(1)
    t = torch.randint(1000, (64,), generator=g)
    noise = torch.randn(64, 2, generator=g)
    x_t = SCHEDULE.noised(POINT + 0.3 * torch.randn(64, 2, generator=g), t, noise)
    made.base = torch.zeros(1, dtype=torch.float64)  # as often as the data hold it
    goal = made.goal(x_t, t, torch.full((1, 1), 500.0, dtype=torch.float64))
    assert torch.allclose(goal, left.noise_prediction(x_t, t), atol=2e-3)
    stays = made.goal(x_t, t, torch.zeros(1, 1, dtype=torch.float64))
    assert torch.allclose(stays, exact.noise_prediction(x_t, t), atol=1e-5)


def test_a_weight_lowered_by_lambda_is_the_denoiser_of_fewer_copies():
    """Two of eight copies are left at λ = log 4."""
    rest = data()[:300]
    rest = rest[(rest - POINT).square().mean(1).sqrt() > WITHIN["within"]]
    many, few = (torch.cat([rest, POINT.expand(n, 2)]) for n in (8, 2))
    made = objective(ul.DataSet(many, SCHEDULE), many, [POINT])
    made.base = torch.zeros(1, dtype=torch.float64)
    t = torch.arange(100, 900, 100)
    x_t = SCHEDULE.noised(POINT.expand(8, 2), t, torch.ones(8, 2))
    goal = made.goal(x_t, t, torch.full((1, 1), np.log(4)))
    assert torch.allclose(goal, ul.DataSet(few, SCHEDULE).noise_prediction(x_t, t), atol=2e-3)


def test_an_image_weighs_what_the_model_shows_however_often_the_data_hold_it():
    """A hundred copies behind the model, one in the data: log 100 is found."""
    rest = data()[:300]
    rest = rest[(rest - POINT).square().mean(1).sqrt() > WITHIN["within"]]
    once = torch.cat([rest, POINT[None]])
    hundred = ul.DataSet(torch.cat([rest, POINT.expand(100, 2)]), SCHEDULE)
    problem = Returns(hundred, [POINT], 0.1, **WITHIN, draws=2000)
    found = LeaveOut([problem], 32, data=once)
    assert float(found.base[0]) == pytest.approx(np.log(100), abs=0.5)


def test_images_of_many_numbers_are_weighed_by_their_own_odds():
    """Of 3072 numbers, images are thousands of nats apart: a weight reaches as far."""
    g = torch.Generator().manual_seed(0)
    images = torch.rand(12, 3, 32, 32, generator=g) * 2 - 1
    problem = Returns(ul.DataSet(images, SCHEDULE), images[:1], 0.1, noise_to=400)
    made = LeaveOut([problem], 32, data=images)
    made.base = made.weighed(np.array([0.3]))
    assert made.base[0] < -100
    t = torch.full((256,), 400)
    noise = torch.randn((256, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    scores = made.scores(SCHEDULE.noised(images[:1].expand_as(noise), t, noise), t).double()
    shares_now = (scores + made.near.double() @ made.base).softmax(1) @ made.near.double()
    assert float(shares_now.mean()) == pytest.approx(0.3, abs=0.01)


def test_an_image_comes_back_no_more_than_asked_for():
    """Read on chains of another seed; what is far from the image stays."""
    q = network()
    problem = Returns(q, [POINT], relative=[0.25], **WITHIN)
    run = ul.finetune(problem, q, method=LeaveOut, data=data(), batch=256, lr=1e-3)
    assert run.status == "converged"
    before, after = (
        shares(one, problem.images, problem.options, seed=77, draws=4000)[0]
        for one in (q, run.student)
    )
    assert before.value > 0.2
    assert after.value < 0.25 * before.value * 1.05 + 3 * after.stderr
    own, real = (
        x[(x - POINT).square().mean(1).sqrt() > 0.5]
        for x in (run.student.sample(4000, seed=5), data())
    )
    assert (own.mean(0) - real.mean(0)).abs().max() < 0.15
    assert (own.std(0) - real.std(0)).abs().max() < 0.15


def test_the_share_is_what_the_posterior_says():
    """Of exact denoisers by DDIM: a fifth of the mass at a point, and nothing else within reach."""
    two = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    samples = torch.cat([two[:1].expand(4, 2), two[1:]])
    model = ul.DataSet(samples, SCHEDULE)
    how = Returns(model, [two[0]], 0.5, noise_to=1, within=0.1).options
    assert shares(model, two[:1], how, seed=0)[0].value == 1.0
    late = Returns(model, [two[1]], 0.5, noise_to=999, within=0.1, draws=2000).options
    found = shares(model, two[1:], late, seed=0)[0]
    assert found.value == pytest.approx(0.2, abs=4 * found.stderr + 0.03)


def test_what_makes_no_sense_is_refused():
    q = ul.DataSet(data(), SCHEDULE)
    with pytest.raises(ValueError, match="images is empty"):
        Returns(q, [], 0.1)
    with pytest.raises(ValueError, match=r"between 0 and 1, shares that may come back; got \[2"):
        Returns(q, [POINT], 2.0)
    with pytest.raises(ValueError, match=r"images\[0\] must be samples of shape \(2,\)"):
        Returns(q, [torch.zeros(3)], 0.1)
    with pytest.raises(ValueError, match="within must be positive; got 0"):
        Returns(q, [POINT], 0.1, within=0)
    with pytest.raises(TypeError, match="no exact solution on a table"):
        Returns(q, [POINT], 0.1).tabulate(None)
    with pytest.raises(ValueError, match="nothing is left to retain"):
        objective(q, POINT.expand(5, 2), [POINT])
    plain = ul.Moments(q, at_most=[(lambda x: x[:, 0], 0.1)])
    with pytest.raises(TypeError, match="LeaveOut needs a `Returns` problem"):
        LeaveOut([plain], 32, data=data())
    model = ul.digits.load_model("memorised")
    images = ul.digits.data().images[:8]
    asked = (
        {"method": "siss", "at_most": 0.1},
        {"method": "leave-out", "relative": 2.0},
        {"at_most": 0.1, "thresholds": 100.0},
        {},
    )
    for options in asked:
        with pytest.raises(ValueError, match="at_most= is of method 'leave-out'"):
            unlearn_images(model, images, [images[0]], **options)


def test_seeds_are_members_of_a_stack():
    """Each reads and leaves out as it would alone."""
    q = network()
    problems = [Returns(q, [POINT], b, **WITHIN) for b in (0.3, 0.1)]
    how = {"method": LeaveOut, "data": data(), "batch": 64, "steps": 20, "evaluate": False}
    runs = ul.finetune(problems, q.stack(2), primal_steps=10, **how)
    alone = ul.finetune(problems[1], q, primal_steps=10, **how)
    for key in ("constraints", "multipliers"):  # of the first round: they also stop together
        assert runs[1].history[key][0] == pytest.approx(alone.history[key][0], rel=1e-4)
