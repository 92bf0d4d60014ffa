"""Path ratios and gated models against grids, closed forms and Lemma 2."""

import copy
import math

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.diffusion import path_ratios, sampling
from unlearnlab.diffusion.quadrature import predict_all

MIXTURES = {
    1: [
        ul.GaussianMixture([1 / 3] * 3, [-3, 0, 3], [0.6] * 3),
        ul.GaussianMixture([0.3, 0.7], [0, 3], [0.6, 0.55]),
        ul.GaussianMixture([1], [-3], [0.55]),
    ],
    2: [
        ul.GaussianMixture([0.4, 0.3, 0.3], [[-2, 0], [2, 0], [0, 2.5]], [0.7] * 3),
        ul.GaussianMixture([0.6, 0.4], [[2, 0], [0, 2.5]], [0.6, 0.65]),
        ul.GaussianMixture([1], [[-2, 0]], [0.65]),
    ],
}
GRIDS = {1: ul.Grid(-8, 8, 4000), 2: ul.Grid([-6, -6], [6, 6], [240, 240])}
EDGES = {1: np.linspace(-8, 8, 101), 2: np.linspace(-6, 6, 21)}
DRAWS = 20_000


def right(x):
    return np.asarray(x)[:, 0] > 1


def first(x):
    return np.asarray(x)[:, 0]


MAKE = {  # a problem on any rung, and multipliers of it; FU's are below its contact floor
    "FU": (lambda q, *rest: ul.ForwardKL(q, rest, 1.0), [0.2, 0.15]),
    "LU": (lambda q, *rest: ul.Likelihood(q, rest, 0.1, statistic="ratio"), [0.6, 0.3]),
    "LU, capped": (
        lambda q, *rest: ul.Likelihood(
            q, rest, 0.1, statistic="ratio", cap=2.0, temperature=2.0, reference=rest[1]
        ),
        [1.0, 0.5],
    ),
    "RU": (lambda q, *rest: ul.ReverseKL(q, rest, 0.1), [0.1, 0.1]),
    "Moments": (lambda q, *_: ul.Moments(q, at_most=[(right, 1)], at_least=[(first, 0)]), [1, 0.3]),
}


def on_rungs(name, dim):
    """The problem on the grid and on exact scores, its target there, and its multipliers."""
    make, multipliers = MAKE[name]
    exact = make(*(one.on(GRIDS[dim]) for one in MIXTURES[dim]))
    return exact.target(multipliers), make(*(one.diffused() for one in MIXTURES[dim])), multipliers


def apart(x, target, dim):
    """KL in nats of binned draws from a grid's density, less what so many draws leave by chance."""
    axes = [EDGES[dim]] * dim
    seen = np.histogramdd(x.numpy(), bins=axes)[0].ravel()
    bins = len(EDGES[dim]) - 1
    shape = [bins, {1: 40, 2: 12}[dim]] * dim
    masses = target.probabilities.reshape(shape).sum(axis=tuple(range(1, 2 * dim, 2)))
    held, shares = seen > 0, seen / seen.sum()
    gap = np.log(shares[held] / np.maximum(masses.ravel()[held], 1e-300))
    return float(shares[held] @ gap) - (held.sum() - 1) / (2 * len(x))


@pytest.mark.parametrize("dim", [1, 2])
def test_the_forward_gate_alone_is_exact(dim):
    """h is linear in the ratios: no particles. Within 0.01 nats of the grid at 200 steps."""
    target, problem, multipliers = on_rungs("FU", dim)
    gated = problem.gated(multipliers)
    assert isinstance(gated, ul.GatedModel)
    draws = gated.sample(DRAWS, steps=200, particles=False, seed=1)
    own = problem.retain.sample(DRAWS, seed=1)
    assert apart(draws, target, dim) < 0.01 and apart(own, target, dim) > 0.008


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", ["LU", "LU, capped", "RU", "Moments"])
def test_particles_end_at_the_target(name, dim):
    """Within 0.02 nats of the grid, where the gate alone may be far off."""
    target, problem, multipliers = on_rungs(name, dim)
    gated = problem.gated(multipliers)
    drawn = gated.draw(DRAWS, steps=200, seed=1)
    assert apart(drawn.x, target, dim) < 0.02
    if name == "RU":
        assert apart(gated.sample(2000, steps=100, particles=False), target, dim) > 0.1
    assert 0.1 < drawn.effective < 1 and drawn.cost == 1 / drawn.effective


@pytest.mark.parametrize("name", ["FU", "LU", "LU, capped", "Moments"])
def test_rejection_is_exact(name):
    target, problem, multipliers = on_rungs(name, 1)
    drawn = ul.rejection(problem, multipliers, DRAWS, seed=1)
    assert len(drawn.x) == DRAWS and abs(apart(drawn.x, target, 1)) < 0.003
    q = MIXTURES[1][0].on(GRIDS[1])
    if name in ("LU", "FU"):  # E_q[w] draws are kept: here from the grid's own normaliser
        make, _ = MAKE[name]
        exact = make(*(one.on(GRIDS[1]) for one in MIXTURES[1]))
        kept = float(q.probabilities @ np.exp(exact.log_weights(multipliers, exact.atoms)))
        assert 1 / drawn.cost == pytest.approx(kept, rel=0.02)


def test_rejection_reads_densities_and_refuses_what_has_no_bound():
    q, q1, _ = (one.diffused() for one in MIXTURES[1])
    problem = ul.Likelihood(q, [q1], 0.1)
    exact = ul.Likelihood(
        *(one.on(GRIDS[1]) for one in MIXTURES[1][:1]), [MIXTURES[1][1].on(GRIDS[1])], 0.1
    )
    drawn = ul.rejection(problem, [4.0], DRAWS, seed=2)
    assert abs(apart(drawn.x, exact.target([4.0]), 1)) < 0.003
    with pytest.raises(ValueError, match="a gate reads ratios"):
        problem.gated([4.0])
    with pytest.raises(ValueError, match="without a bound"):
        ul.rejection(ul.ReverseKL(q, [q1], 0.1), [0.3], 10)
    with pytest.raises(ValueError, match="draws of q were kept, and n=4000 were asked for"):
        ul.rejection(problem, [4.0], 4000, most=4096)


def test_on_grids_gated_is_the_target():
    make, multipliers = MAKE["LU"]
    exact = make(*(one.on(GRIDS[1]) for one in MIXTURES[1]))
    same = exact.gated(multipliers)
    assert np.array_equal(same.log_masses, exact.target(multipliers).log_masses)


def test_gates_have_closed_forms():
    """FU −λρ/(1 − Σλρ), LU −λρ, RU −u, at any ratios."""
    _, problem, multipliers = on_rungs("FU", 1)
    log_ratios = torch.tensor([[0.3, -1.0], [-2.0, 0.5]], dtype=torch.float64)
    pull = log_ratios.exp() * torch.tensor(multipliers)
    forward = -pull / (1 - pull.sum(1, keepdim=True))
    assert torch.allclose(problem.gated(multipliers).gate(log_ratios)[1], forward, atol=1e-6)
    _, problem, multipliers = on_rungs("LU", 1)
    pull = torch.tensor(multipliers) * log_ratios.exp()
    assert torch.allclose(problem.gated(multipliers).gate(log_ratios)[1], -pull, atol=1e-6)
    _, problem, multipliers = on_rungs("RU", 1)
    u = torch.tensor(multipliers).double() / (1 - sum(multipliers))
    assert torch.allclose(problem.gated(multipliers).gate(log_ratios)[1], -u.expand(2, 2))


def test_past_the_contact_floor_a_gate_says_so():
    q, q1, _ = (one.diffused() for one in MIXTURES[1])
    with pytest.warns(UserWarning, match="past the contact floor"):
        ul.ForwardKL(q, [q1], 1.0).gated([0.9]).sample(500, steps=50)
    with pytest.warns(UserWarning, match="past the contact floor"):
        ul.rejection(ul.ForwardKL(q, [q1], 1.0), [0.9], 100)


def test_a_prediction_alone_is_gated_along_a_path_of_its_own():
    """At a point without a history: the forward gate against the score of the grid's target."""
    _, problem, multipliers = on_rungs("FU", 1)
    target = problem.retain, *problem.forget
    schedule = problem.retain.schedule
    x = torch.linspace(-3, 3, 7)[:, None].repeat_interleave(256, 0)
    t = torch.full((len(x),), 300)
    own, *others = predict_all(target, x, t)
    alpha, sigma = (float(part[300]) for part in (schedule.signal, schedule.noise))
    noised = [_noised(one, alpha, sigma) for one in MIXTURES[1]]
    exact = [torch.from_numpy(one.log_density(x.double().numpy())) for one in noised]
    pull = torch.stack(
        [lam * (log - exact[0]).exp() for lam, log in zip(multipliers, exact[1:], strict=True)], 1
    )
    gates = -pull / (1 - pull.sum(1, keepdim=True))
    wanted = own + sum(g[:, None] * (o - own) for g, o in zip(gates.T, others, strict=True))
    found = ul.GatedModel(problem, np.array(multipliers), steps=1000).noise_prediction(x, t)
    gap = (found - wanted).reshape(7, 256).mean(1).abs()
    assert float(gap.max()) < 0.1 * float((wanted - own).abs().max())


def _noised(mixture, alpha, sigma):
    """The noised mixture, in one dimension."""
    spread = np.sqrt(alpha**2 * mixture.covariances[:, 0, 0] + sigma**2)
    return ul.GaussianMixture(mixture.weights, alpha * mixture.means[:, 0], spread)


def test_the_ratio_is_a_martingale_under_qs_own_chain():
    """E_q[R] = 1 in discrete time, for any networks, exact or not."""
    torch.manual_seed(0)
    q = ul.ScoreNetwork(2, width=16)
    with torch.no_grad():
        for p in q.parameters():
            p += 0.1 * torch.randn_like(p)
        other = copy.deepcopy(q)
        for p in other.parameters():
            p += 0.02 * torch.randn_like(p)
    log_ratios = torch.zeros(20_000, 1, dtype=torch.float64)
    for step, x_t, own, x_s in sampling.trajectory(q, 20_000, sampler="ddpm", steps=12, seed=0):
        if step.spread:
            t = torch.full((len(x_t),), step.t)
            rest = predict_all([other], x_t, t)
            log_ratios += path_ratios.gains(step, x_t, x_s, own, rest)
    ratios = log_ratios.exp()
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert float(log_ratios.std()) > 0.1  # they do differ
    assert float(ratios.mean()) == pytest.approx(1, abs=4 * error) and error < 0.1


def test_path_ratios_close_in_on_the_truth():
    """Two unit Gaussians, log p/q = ½ − x: the error falls with the steps, and says how large."""
    p, q = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
    x = torch.linspace(-2, 3, 32)[:, None]
    truth, errors = (0.5 - x[:, 0]).double(), {}
    for steps in (50, 400):
        found = ul.log_ratio(x, p, q, method="path", steps=steps, paths=64, return_estimate=True)
        errors[steps] = (found.value - truth).abs()
        doubt = found.truncation.abs() + 4 * found.stderr
        assert (errors[steps] <= 1.5 * doubt).all()
    assert errors[400].mean() < 0.25 * errors[50].mean()
    with pytest.raises(ValueError, match="method must be 'lemma2' or 'path'; got 'paths'"):
        ul.log_ratio(x, p, q, method="paths")


@pytest.mark.parametrize("dim", [2, 16, 256])
def test_path_ratios_and_lemma_2_agree(dim):
    """On exact mixtures, at equal evaluations."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, dim)) * 3.6 / dim**0.5
    p = ul.GaussianMixture([0.5, 0.3, 0.2], means, [0.6] * 3).diffused()
    q = ul.GaussianMixture([0.2, 0.3, 0.5], means, [0.6] * 3).diffused()
    x = p.sample(32, seed=1)
    truth = p.log_density(x) - q.log_density(x)
    by_path = ul.log_ratio(x, p, q, method="path", steps=384, paths=2)
    by_lemma = ul.log_ratio(x, p, q, levels=24, noises=32)
    for found in (by_path, by_lemma):
        assert float((found - truth).square().mean().sqrt()) < 0.25
    assert float(truth.std()) > 0.5


def test_a_gated_model_refuses_what_it_cannot_do():
    _, problem, multipliers = on_rungs("LU", 1)
    gated = problem.gated(multipliers)
    with pytest.raises(ValueError, match="sampler of a gated model must be 'ddpm'"):
        gated.sample(4, sampler="ddim")
    with pytest.raises(ValueError, match="knows kind='path'"):
        gated.kl(problem.retain, kind="point")
    with pytest.raises(ValueError, match="multipliers of ReverseKL must sum to less than 1"):
        ul.ReverseKL(problem.retain, problem.forget, 0.1).gated([0.6, 0.6])
    assert float(gated.kl(problem.retain, samples=64, steps=20)) > 0
