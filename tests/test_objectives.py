"""The gradients of Appendix D, against closed forms."""

import math

import numpy as np
import pytest
import torch
from students import SCHEDULE, Shifted, gaussian
from torch import nn

import unlearnlab as ul
from unlearnlab.diffusion import sampling
from unlearnlab.training import policy_gradient
from unlearnlab.training.denoising import ForwardKLObjective
from unlearnlab.training.draws import Draws, Levels
from unlearnlab.training.log_variance import LogVariance
from unlearnlab.training.objective import Denoising
from unlearnlab.training.policy_gradient import PolicyGradient
from unlearnlab.training.reverse_kl import ReverseKLObjective

LIKE = torch.empty(0)


def log_likelihoods(problem, x):
    """(n, m) log ℓ, read as a training step reads it."""
    return torch.from_numpy(problem.values_at(x, quality=problem.retain.effort.training)).log()


class Offset(ul.DiffusionModel, nn.Module):
    """Another model's prediction plus a constant: its gradient says where that prediction leads."""

    members = 1

    def __init__(self, model):
        nn.Module.__init__(self)
        ul.DiffusionModel.__init__(self, model.shape, SCHEDULE)
        self.model = [model]
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, x_t, t):
        return self.model[0].noise_prediction(x_t, t) + self.offset

    noise_prediction = forward


def gradient(objective, student, multipliers, steps):
    """Mean and standard error over steps of the gradient in the student's only parameter."""
    found = []
    (parameter,) = student.parameters()
    table = torch.tensor([multipliers])
    for step in range(steps):
        objective.begin(student, table, Draws([0], step, part=1, like=LIKE))
        parameter.grad = None
        for loss in objective.losses(student, table, Draws([0], step, part=2, like=LIKE)):
            loss.sum().backward()
        found.append(float(parameter.grad))
    return np.mean(found), np.std(found) / math.sqrt(steps)


def test_reverse_kl_steps_stop_at_the_composed_score():
    """(28) is (1 − Λ)‖ε̂_θ − composed‖² + const, so its gradient vanishes there at every sample."""
    q, q1, q2 = gaussian(0.0), gaussian(1.0, 1.5), gaussian(-2.0, 0.8)
    problem = ul.ReverseKL(q, [q1, q2], thresholds=[2.0, 3.0])
    objective = ReverseKLObjective([problem], 64)
    multipliers = [0.3, 0.2]
    composed = ul.ComposedModel(q, [q1, q2], np.array(multipliers) / 0.5)
    mean, _ = gradient(objective, Offset(composed), multipliers, 5)
    assert abs(mean) < 1e-4
    elsewhere, error = gradient(objective, Offset(q), multipliers, 5)
    assert abs(elsewhere) > 10 * error


def test_reverse_kl_measures_lemma_3():
    q, q1 = gaussian(0.0), gaussian(1.0)
    student = Shifted(-1.0)
    objective = ReverseKLObjective([ul.ReverseKL(q, [q1], thresholds=[2.0])], 8192)
    table = torch.tensor([[0.5]])
    objective.begin(student, table, Draws([0], 0, part=1, like=LIKE))
    list(objective.losses(student, table, Draws([0], 0, part=2, like=LIKE)))
    seen = objective.tally.measured(objective.tally.total())
    assert float(seen.objective) == pytest.approx(0.5, abs=0.01)  # (−1 − 0)²/2
    assert float(seen.constraints) == pytest.approx(2.0, abs=0.04)  # (−1 − 1)²/2


def test_forward_kl_steps_stop_at_the_exact_target():
    """(33): q less its part of a component is the mixture of the others."""
    q = ul.GaussianMixture([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5])
    q1 = ul.GaussianMixture([1.0], [2.0], [0.5])
    lam = 0.3
    target = ul.GaussianMixture([0.5 / 0.7, 0.2 / 0.7], [-2.0, 2.0], [0.5, 0.5]).diffused(SCHEDULE)
    problem = ul.ForwardKL(q.diffused(SCHEDULE), [q1.diffused(SCHEDULE)], thresholds=[2.0])
    objective = ForwardKLObjective([problem], 4096)
    mean, error = gradient(objective, Offset(target), [lam], 12)
    assert abs(mean) < 4 * error
    elsewhere, error = gradient(objective, Offset(target), [0.0], 12)
    assert abs(elsewhere) > 8 * error


def test_forgotten_points_are_pushed_no_further_than_the_clip():
    q, point = gaussian(0.0), ul.PointMass(torch.tensor([0.5]), SCHEDULE)
    problem = ul.ForwardKL(q, [point], thresholds=[50.0])
    objective = ForwardKLObjective([problem], 256, forget_clip=4.0)
    student = Shifted(0.0)
    with torch.no_grad():
        student.mean += 1e6  # far beyond the clip at every level

    def loss(multiplier):
        draws = Draws([0], 0, part=2, like=LIKE)
        return next(objective.losses(student, torch.tensor([[multiplier]]), draws))

    (retained,) = torch.autograd.grad(loss(0.0), student.mean)
    (both,) = torch.autograd.grad(loss(1.0), student.mean)
    assert torch.equal(retained, both)  # nothing pushes on
    with torch.no_grad():
        student.mean.fill_(0.5)  # the point itself: no error is clipped
    error = float((loss(0.0) - loss(1.0)).detach())
    assert 0 < error < 4.0 * objective.levels.scale


def closed_form(q_mean, theta, steps, lam, forget_mean, forget_std):
    """D.3's Lagrangian for the student N(m, 1): the chain is linear, its end Gaussian."""
    mean, variance = torch.zeros(()), torch.ones(())
    divergence = torch.zeros(())
    for step in sampling.chain(SCHEDULE, "ddpm", steps, spacing="log_snr"):
        alpha, sigma = float(SCHEDULE.signal[step.t]), float(SCHEDULE.noise[step.t])
        m = theta if step.spread else theta.detach()  # the last transition has no gradient
        factor = step.keep + step.turn * sigma
        mean = factor * mean - step.turn * sigma * alpha * m
        if step.spread:
            gap = sigma * alpha * (m - q_mean)
            divergence = divergence + step.turn**2 / (2 * step.spread**2) * gap**2
        variance = factor**2 * variance + step.spread**2
    total = variance + forget_std**2
    likelihood = (
        torch.exp(-((mean - forget_mean) ** 2) / (2 * total)) / (2 * math.pi * total) ** 0.5
    )
    return divergence + lam * likelihood, divergence, likelihood


def test_policy_gradient_is_that_of_the_lagrangian():
    q, q1 = gaussian(0.0), gaussian(1.0, 0.7)
    objective = PolicyGradient([ul.Likelihood(q, [q1], thresholds=[0.1])], 512)
    theta = torch.tensor(-0.4, requires_grad=True)
    value, divergence, likelihood = closed_form(
        0.0, theta, objective.options.sampling_steps, 3.0, 1.0, 0.7
    )
    (exact,) = torch.autograd.grad(value, theta)
    mean, error = gradient(objective, Shifted(-0.4), [3.0], 60)
    assert abs(mean - float(exact)) < 4 * error
    assert error < 0.05 * abs(float(exact))  # else the line above could not fail
    seen = objective.tally.measured(objective.tally.total())
    assert float(seen.objective) == pytest.approx(float(divergence.detach()), rel=1e-4)
    assert abs(float(seen.constraints) - float(likelihood.detach())) < 4 * float(seen.stderr)


def test_denoising_stops_at_the_score_of_the_weighted_samples():
    """Weights e^x on N(0, 1) make N(1, 1)."""
    x = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
    weights = torch.exp(x[:, 0]).double()
    objective = Denoising(gaussian(0.0), 1, 4096, x, (weights / weights.sum())[None])
    mean, error = gradient(objective, Shifted(1.0), [], 10)
    assert abs(mean) < 5 * error + 0.05  # the sample's own mean is off by about 0.01
    elsewhere, error = gradient(objective, Shifted(0.0), [], 10)
    assert abs(elsewhere + 1) < 5 * error + 0.05  # d/dm (m − 1)²/2 at m = 0


def test_levels_are_even_in_log_snr():
    levels = Levels(SCHEDULE)
    t = levels.draw(Draws([3], 0, like=LIKE), 20000)
    gamma = SCHEDULE.log_snr[t]
    low, high = float(SCHEDULE.log_snr[-1]), float(SCHEDULE.log_snr[0])
    assert levels.scale == pytest.approx((high - low) / 2, rel=1e-12)
    share = float((gamma > (low + high) / 2).double().mean())
    assert share == pytest.approx(0.5, abs=0.01)


def test_members_see_what_they_would_see_alone():
    both = Draws([5, 9], 3, like=LIKE)
    alone = [Draws([5], 3, like=LIKE), Draws([9], 3, like=LIKE)]
    assert torch.equal(both.normal(4, 2), torch.cat([one.normal(4, 2) for one in alone]))
    assert torch.equal(both.uniform(6), torch.cat([one.uniform(6) for one in alone]))
    assert not torch.equal(Draws([5], 3, like=LIKE).normal(4), Draws([5], 4, like=LIKE).normal(4))


@pytest.mark.parametrize("statistic", ["density", "ratio"])
def test_likelihoods_by_lemma_2_are_those_of_the_densities(statistic):
    """D.3 needs ℓ_i of samples: exact where densities are known, else Lemma 2 in a few calls."""
    q, q1 = gaussian(0.0, 1.2), gaussian(1.0, 0.8)
    hidden = [ul.wrap(model.noise_prediction, SCHEDULE, 1) for model in (q, q1)]
    for model, known in zip(hidden, (q, q1), strict=True):
        model.sample = known.sample
    x = q.sample(200, seed=3)
    found = [
        log_likelihoods(ul.Likelihood(one, [other], thresholds=[0.1], statistic=statistic), x)
        for one, other in ((q, q1), hidden)
    ]
    errors = (found[0] - found[1]).abs()
    assert float(errors.median()) < 0.1 and float(errors.mean()) < 0.2
    tempered = ul.Likelihood(q, [q1], thresholds=[0.1], statistic=statistic, temperature=4.0)
    assert torch.allclose(4 * log_likelihoods(tempered, x), found[0])


def test_losses_of_the_policy_gradient_add_up_to_the_lagrangian():
    q, q1 = gaussian(0.0), gaussian(1.0, 0.7)
    objective = PolicyGradient([ul.Likelihood(q, [q1], thresholds=[0.1])], 64)
    table, draws = torch.tensor([[3.0]]), Draws([0], 0, part=2, like=LIKE)
    objective.begin(Shifted(-0.4), table, draws)
    total = sum(float(loss.detach()) for loss in objective.losses(Shifted(-0.4), table, draws))
    seen = objective.tally.measured(objective.tally.total())
    lagrangian = float(seen.objective + 3 * (seen.constraints[0] - 0.1))
    assert total == pytest.approx(lagrangian, rel=1e-4) and total != pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("kind", [PolicyGradient, LogVariance])
def test_transitions_seen_together_have_the_gradient_of_each_alone(kind, monkeypatch):
    """For two students side by side, in one call of the network and in one for each transition."""
    q, q1 = gaussian(0.0), gaussian(1.0, 0.7)
    problem = ul.Likelihood(q, [q1], thresholds=[0.1], statistic="ratio")
    net = ul.ScoreNetwork(1, width=8, seed=1).stack(2).for_training()
    with torch.no_grad():
        net.read_out.weight += 0.1  # it begins at 0, which lets no gradient through
    table, found = torch.tensor([[3.0], [1.0]]), []
    for rows in (1 << 13, 1):
        monkeypatch.setattr(policy_gradient, "TOGETHER", rows)
        objective = kind([problem, problem.with_thresholds(np.array([0.2]))], 16)
        draws = Draws([0, 1], 0, part=2, like=LIKE)
        objective.begin(net, table, draws)
        losses = list(objective.losses(net, table, draws))
        assert len(losses) == (1 if rows > 1 else objective.options.sampling_steps - 1)
        total = torch.stack(losses).sum(0)
        found.append([total.detach(), *torch.autograd.grad(total.sum(), net.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert float(found[0][1].abs().max()) > 1e-3


def test_a_run_is_not_stopped_by_one_likelihood_out_of_all_proportion(monkeypatch):
    """A single ℓ = e^20 ends a run; with a cap it goes on, and λ moves by no more than the cap."""
    q, q1 = gaussian(0.0), gaussian(1.0, 0.7)
    seen = []

    def log_density(x):
        logs = type(q1).log_density(q1, x)
        seen.append(len(x))
        if len(seen) == 15:
            logs[0] = 20.0
        return logs

    monkeypatch.setattr(q1, "log_density", log_density)
    run = {}
    for cap in (None, 2.0):
        seen.clear()
        problem = ul.Likelihood(q, [q1], thresholds=[0.2], cap=cap)
        how = {"steps": 30, "batch": 32, "evaluate": False, "progress": False}
        run[cap] = ul.finetune(problem, Shifted(0.0), **how)
    assert run[None].status == "diverged"
    assert run[2.0].status != "diverged"
    assert np.diff(run[2.0].history["multipliers"][:, 0]).max() < 0.1
