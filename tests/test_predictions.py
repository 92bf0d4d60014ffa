"""Networks that predict noise, v, a velocity or the sample are one model; flows are schedules."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import unlearnlab as ul
from unlearnlab.diffusion import predictions, sampling

MEANS, WEIGHTS, STDS = torch.tensor([-2.0, 1.0]), torch.tensor([0.3, 0.7]), torch.tensor([0.5, 0.8])
MIXTURE = ul.GaussianMixture(WEIGHTS.tolist(), MEANS.tolist(), STDS.tolist())


def posterior_mean(x, keep, spread):
    """E[x_0|keep·x_0 + spread·ε = x] of the mixture, from Gaussians: no noise prediction in it."""
    variance = (keep * STDS) ** 2 + spread**2
    logs = WEIGHTS.log() - (x - keep * MEANS) ** 2 / (2 * variance) - variance.log() / 2
    each = MEANS + keep * STDS**2 / variance * (x - keep * MEANS)
    return (logs.softmax(1) * each).sum(1, keepdim=True)


def predicted(kind, schedule):
    """A function that predicts so, exactly."""

    def function(x, t):
        if kind == "velocity":
            s = t.double().reshape(-1, 1)
            keep, spread = 1 - s, s
        else:
            keep, spread = (one.double() for one in schedule.at(t, x))
        x = x.double()
        clean = posterior_mean(x, keep, spread)
        noise = (x - keep * clean) / spread
        found = {
            "noise": noise,
            "v": keep * noise - spread * clean,
            "velocity": noise - clean,
            "sample": clean,
        }
        return found[kind].float()

    return function


SCHEDULES = {
    "betas": ul.Schedule(),
    "flow": ul.Schedule.flow(),
    "shifted": ul.Schedule.flow(400, shift=3.0),
    "cosine": ul.Schedule.from_log_snr(-2 * np.log(np.tan(np.linspace(0.02, 1.55, 500)))),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", predictions.KINDS)
def test_every_prediction_is_the_exact_noise(kind, name):
    schedule = SCHEDULES[name]
    model = ul.wrap(predicted(kind, schedule), schedule, 1, prediction=kind)
    exact = MIXTURE.diffused(schedule)
    t = torch.linspace(0, len(schedule) - 1, 60).long()
    x_t = torch.linspace(-3, 3, 60)[:, None]
    off = (model.noise_prediction(x_t, t) - exact.noise_prediction(x_t, t)).abs()[:, 0]
    # Of x̂ in float32 the noise is what is left, divided by σ.
    allowed = 1e-6 / schedule.noise[t] if kind == "sample" else torch.full((60,), 1e-5)
    assert (off <= allowed).all()


def test_a_flow_is_straight_and_shifts_as_diffusers_does():
    for steps, shift in ((1000, 1.0), (1000, 3.0), (50, 0.5)):
        schedule = ul.Schedule.flow(steps, shift=shift)
        s = (schedule.noise / (schedule.signal + schedule.noise)).numpy()
        stock = FlowMatchEulerDiscreteScheduler(num_train_timesteps=steps, shift=shift)
        assert np.allclose(s[::-1], stock.sigmas.numpy()[1:], atol=2e-7)
    assert len(ul.Schedule.flow(1000)) == 999


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_ddim_on_a_flow_is_euler_step_for_step(shift):
    """x̂ and ε̂ are held along a step by both, so that x_s' = (1 − s')x̂ + s'ε̂."""
    schedule = ul.Schedule.flow(shift=shift, spacing="linspace")
    velocity = predicted("velocity", schedule)
    model = ul.wrap(velocity, schedule, 1, prediction="velocity")
    chain = list(sampling.chain(schedule, "ddim", 12))
    t = torch.tensor([step.t for step in chain])
    size = (schedule.signal + schedule.noise)[t].float()
    s = (schedule.noise[t] / (schedule.signal + schedule.noise)[t]).tolist()
    stock = FlowMatchEulerDiscreteScheduler(shift=1.0)
    stock.set_timesteps(sigmas=s)
    ours = torch.randn(64, 1, generator=torch.Generator().manual_seed(0)) * size[0]
    theirs = ours / size[0]
    for k, step in enumerate(chain):
        told = velocity(theirs, torch.full((64,), s[k]))
        theirs = stock.step(told, stock.timesteps[k], theirs).prev_sample
        ours = step.mean(ours, model.noise_prediction(ours, t[k].expand(64)))
        last = k + 1 == len(chain)
        assert torch.allclose(ours / (1 if last else size[k + 1]), theirs, atol=2e-5)


def test_a_problem_on_a_flow_is_solved_as_on_betas():
    """The same mixtures, told as velocities: one threshold, one price."""
    found = []
    for schedule in (SCHEDULES["betas"], SCHEDULES["flow"]):
        q = MIXTURE.diffused(schedule)
        q1 = ul.GaussianMixture([1.0], [-2.0], [0.5]).diffused(schedule)
        problem = ul.Likelihood(q, [q1], relative=0.3, statistic="ratio")
        found.append(ul.solve(problem, pool=4096))
    assert found[0].multipliers == pytest.approx(found[1].multipliers, rel=0.05)
    assert found[0].objective == pytest.approx(found[1].objective, rel=0.05)


def test_what_is_no_flow_is_refused():
    with pytest.raises(ValueError, match=r"must be two or more finite log-SNRs that fall"):
        ul.Schedule.from_log_snr([1.0, 2.0])
    with pytest.raises(ValueError, match=r"shift must be positive and finite; got 0"):
        ul.Schedule.flow(shift=0)
    with pytest.raises(ValueError, match=r"steps must be a whole number of at least 3; got 2"):
        ul.Schedule.flow(2)
    with pytest.raises(ValueError, match=r"prediction must be one of noise, v, velocity, sample"):
        ul.wrap(lambda x, t: x, ul.Schedule(), 1, prediction="flow")
    with pytest.raises(ValueError, match=r"function must return velocity of the shape"):
        ul.wrap(lambda x, s: x[:1], ul.Schedule.flow(), 1, prediction="velocity")
