"""f-divergence unlearning against transitions written out, quadratures, and known anchors."""

import math

import numpy as np
import pytest
import torch
from students import SCHEDULE, Shifted, gaussian
from test_resume import stored
from torch.distributions import Normal, kl_divergence

import unlearnlab as ul
from unlearnlab.baselines.divergences import DIVERGENCES, quadrature
from unlearnlab.baselines.fdivergence import Critic, FDivergence, fdivergence
from unlearnlab.diffusion import sampling
from unlearnlab.training.draws import Draws
from unlearnlab.training.loop import Loop

Q, FORGET, ANCHOR = gaussian(0.0), gaussian(1.0), gaussian(-0.5)
PROBLEM = ul.ReverseKL(Q, [FORGET], thresholds=[2.0])
LIKE, NONE = torch.empty(0), torch.zeros(1, 1)


def loss_of(objective, student, step=0):
    (loss,) = objective.losses(student, NONE, Draws([0], step, part=2, like=LIKE))
    return loss


def transitions(objective, student):
    """The Normals p(x_s|x_t) of student and anchor at the points of a step, one row each."""
    points = objective.points(Draws([0], 0, part=2, like=LIKE))
    chain = {s.t: s for s in sampling.chain(SCHEDULE, "ddpm", 20, spacing="log_snr")}
    steps = [chain[int(t)] for t in points.t]
    spread = torch.tensor([s.spread for s in steps], dtype=torch.float64)
    x_t = points.x_t.double()  # in float32 the means would lose the digits of their difference
    predictions = (student(points.x_t, points.t).double(), objective.aim(points).double())
    means = [
        [step.mean(x, e)[0] for step, x, e in zip(steps, x_t, noise, strict=True)]
        for noise in predictions
    ]
    return [Normal(torch.stack(mean).detach(), spread) for mean in means]


def test_the_kl_loss_is_that_of_the_two_transitions():
    """torch.distributions knows it independently; Hellinger's is 2 − 2∫√(pq)."""
    student = Shifted(0.7)
    objective = FDivergence([PROBLEM], 64, anchor=ANCHOR)
    p, q = transitions(objective, student)
    loss = loss_of(objective, student).detach()
    assert float(loss) == pytest.approx(float(kl_divergence(p, q).mean()), rel=1e-4)
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None] * q.scale + (p.loc + q.loc) / 2
    affinity = (x[1] - x[0]) * (0.5 * (p.log_prob(x) + q.log_prob(x))).exp().sum(0)
    hellinger = FDivergence([PROBLEM], 64, divergence="hellinger", anchor=ANCHOR)
    assert float(loss_of(hellinger, student).detach()) == pytest.approx(
        float((2 - 2 * affinity).mean()), rel=1e-4
    )


def test_a_round_records_the_path_kl_and_the_gaps():
    """‖ε̂_θ − ε̂_{q_1}‖² = σ²α²(m − 1)² whatever x_t: 20 levels of it, and of the path KL."""
    objective = FDivergence([PROBLEM], 4096, anchor=ANCHOR)
    objective.measure(Shifted(0.7), NONE, Draws([0], 0, part=1, like=LIKE))
    seen = objective.tally.measured(objective.tally.total())
    steps = [s for s in sampling.chain(SCHEDULE, "ddpm", 20, spacing="log_snr") if s.spread]
    size = np.array([float(SCHEDULE.signal[s.t] * SCHEDULE.noise[s.t]) ** 2 for s in steps])
    rates = np.array([(s.turn / s.spread) ** 2 for s in steps])
    assert float(seen.objective) == pytest.approx((1.2**2 * rates * size).sum() / 2, rel=0.02)
    gap = objective.levels.scale * 0.3**2 * size.mean()
    assert float(seen.constraints) == pytest.approx(gap, rel=0.02)


@pytest.mark.parametrize("name", ["kl", "hellinger", "js", "tv"])
def test_a_trained_critic_finds_the_divergence(name):
    """N(d, 1) against N(0, 1) on 2000 common quantiles: within 0.01 of the quadrature."""
    d, divergence = 1.5, DIVERGENCES[name]
    z = torch.special.ndtri((torch.arange(2000) + 0.5) / 2000)[:, None]
    critic, still = Critic(1, width=8), torch.zeros(len(z))
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
    for _ in range(250):
        value = (
            divergence.critic(critic(z + d, z * 0, still))[0]
            - divergence.critic(critic(z, z * 0, still))[1]
        ).mean()
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
    exact = float(quadrature(divergence, d**2))
    assert float(value.detach()) == pytest.approx(exact, abs=0.01)
    if name != "tv":  # whose critic grows for ever
        e = torch.tensor([[-1.0], [0.0], [2.0]])
        found = critic(e, e * 0, torch.zeros(3)).detach()
        assert found.numpy() == pytest.approx((d * e[:, 0] - d**2 / 2).numpy(), abs=0.1)


def test_the_critic_ascends_where_the_student_descends():
    objective = FDivergence([PROBLEM], 64, divergence="js", anchor=ANCHOR)
    student = Shifted(0.7)
    with torch.no_grad():
        objective.extras.read_out.bias += 0.3
    loss_of(objective, student, step=3).sum().backward()
    assert student.mean.grad is None  # four steps of the critic alone
    objective.extras.zero_grad()
    before = float(loss_of(objective, student, step=4).detach())
    loss_of(objective, student, step=4).sum().backward()
    for module, sign in ((student, -1), (objective.extras, -1)):
        stored = [p.detach().clone() for p in module.parameters()]
        with torch.no_grad():
            for p in module.parameters():
                p += sign * 1e-2 * p.grad
        change = float(loss_of(objective, student, step=4).detach()) - before
        assert change < 0 if module is student else change > 0
        with torch.no_grad():
            for p, old in zip(module.parameters(), stored, strict=True):
                p.copy_(old)


@pytest.mark.parametrize(
    "options",
    [
        {"divergence": "kl", "steps": 300},
        {"divergence": "hellinger", "steps": 300},
        {"divergence": "chi2", "steps": 300},
        {"divergence": "alpha", "alpha": 1.5, "steps": 300},
        {"divergence": "hellinger", "variational": True, "steps": 1000},
        {"divergence": "js", "steps": 1000},
        {"divergence": "tv", "steps": 1000},
    ],
    ids=str,
)
def test_students_become_their_anchor(options):
    run = fdivergence(
        PROBLEM,
        Shifted(1.0),
        anchor=ANCHOR,
        lr=0.03,
        batch=64,
        evaluate=False,
        progress=False,
        **options,
    )
    assert float(run.student.mean) == pytest.approx(-0.5, abs=0.02)
    assert run.history["objective"][0] > 1 and run.history["objective"][-1] < 1e-2
    assert (run.multipliers == 0).all()


def test_a_run_that_leaves_its_anchor_says_so():
    options = {"anchor": ANCHOR, "batch": 16, "evaluate": False, "progress": False}
    run = fdivergence(PROBLEM, Shifted(-0.49), steps=20, lr=2.0, average=0.0, **options)
    assert run.status == "diverged" and "path KL to the anchor rose from" in run.reason
    kept = fdivergence(PROBLEM, Shifted(1.0), steps=50, lr=0.02, **options)
    assert kept.status == "fixed" and not kept.student.denoiser


def test_several_things_and_data_of_ones_own_are_forgotten():
    two = ul.ReverseKL(Q, [FORGET, gaussian(3.0)], thresholds=[1.0, 1.0])
    drawn = FDivergence([two], 8, anchor=ANCHOR).data
    assert drawn.shape == (1 << 15, 1) and float(drawn.mean()) == pytest.approx(2.0, abs=0.06)
    data = torch.full((5, 1), 7.0)
    assert torch.equal(FDivergence([two], 8, anchor=ANCHOR, data=data).data, data)


@pytest.mark.parametrize("divergence", ["js", "kl"])
def test_a_run_resumed_with_its_critic_is_bit_for_bit_the_same(tmp_path, divergence, monkeypatch):
    def run(folder):
        return fdivergence(
            PROBLEM,
            ul.ScoreNetwork(1, width=8),
            divergence=divergence,
            anchor=ANCHOR,
            steps=60,
            batch=32,
            evaluate=False,
            progress=False,
            folder=folder,
            resume=True,
            save_every=2,
        )

    whole = run(tmp_path / "whole")

    step = Loop.one_round

    def stop_at_7(self):
        if self.round == 7:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Loop, "one_round", stop_at_7)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    monkeypatch.setattr(Loop, "one_round", step)
    resumed = run(tmp_path / "stopped")
    for ours, theirs in zip(resumed.student.parameters(), whole.student.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for key, values in whole.history.items():
        assert np.array_equal(resumed.history[key], values), key
    ours, theirs = (stored(tmp_path / name) for name in ("stopped", "whole"))
    assert ours[1] == theirs[1] and all(torch.equal(v, theirs[0][k]) for k, v in ours[0].items())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"problems": [PROBLEM, PROBLEM]}, ValueError, "problems must hold one problem; got 2"),
        ({"anchor": None}, TypeError, "anchor must be a diffusion model; got NoneType"),
        (
            {"divergence": "js", "variational": False},
            ValueError,
            "has no closed form; leave it out",
        ),
        ({"data": torch.zeros(3, 2)}, ValueError, r"data must be samples .* got \(3, 2\)"),
        ({"data": torch.full((3, 1), math.nan)}, ValueError, "data must be finite"),
        ({"critic_steps": -1}, ValueError, "critic_steps must be a whole number of at least 0"),
        ({"damping": -1.0}, ValueError, "damping must be finite and not negative; got -1.0"),
        ({"sampling_steps": 1}, ValueError, "sampling_steps must be a whole number of at least 2"),
    ],
)
def test_bad_objectives_are_refused(change, error, words):
    options = {"problems": [PROBLEM], "anchor": ANCHOR} | change
    with pytest.raises(error, match=words):
        FDivergence(options.pop("problems"), 8, **options)


def test_objectives_say_what_they_are():
    said = repr(FDivergence([PROBLEM], 8, divergence="tv", anchor=ANCHOR))
    assert said.startswith(
        "FDivergence(tv, learned by a critic, critic_steps=4, damping=0.25, 19 random steps"
    )
