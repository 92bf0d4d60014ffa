"""The parametrisation gap against closed forms, and what policy gradients hold in memory."""

import pytest
import torch
from students import Shifted

import unlearnlab as ul
from unlearnlab.training import Run, policy_gradient
from unlearnlab.training.draws import Draws
from unlearnlab.training.policy_gradient import PolicyGradient

GRID = ul.Grid(-12, 12, 2001)
Q, Q1 = (ul.GaussianMixture([1.0], [mean], [1.0]) for mean in (0.0, 1.0))
EXACT = ul.ReverseKL(Q.diffused(), [Q1.diffused()], thresholds=[2.0])
ON_GRID = ul.ReverseKL(Q.on(GRID), [Q1.on(GRID)], thresholds=[2.0])


def run(mean, lam):
    return Run(EXACT, Shifted(mean).requires_grad_(False), torch.tensor([lam]).numpy(), {}, "", "")


def fine_tuned(mean, lam):
    """A student that is no denoiser by declaration: its samples are measured."""
    made = run(mean, lam)
    made.student.denoiser = False
    return made


def test_the_optimum_has_no_gap():
    """λ* = ½ and p* = N(−1, 1)."""
    gap = ul.parametrisation_gap(fine_tuned(-1.0, 0.5), EXACT, ON_GRID)
    assert abs(gap.duality) < 1e-9 and abs(gap.estimation) < 1e-9
    assert float(gap.composition) == 0
    assert abs(float(gap.network)) < 4 * gap.network.stderr + 0.01
    assert "duality gap       below 1e-08" in repr(gap)


def test_each_part_is_what_it_says():
    """L(p, λ*) − D* = (1 − Λ*)KL(p‖p*), here ½·(m + 1)²/2 for a student N(m, 1)."""
    lam = 0.4  # its target is N(−2/3, 1)
    composed = ul.ComposedModel(EXACT.retain, EXACT.forget, [lam / 0.6])
    gap = ul.parametrisation_gap(fine_tuned(-0.2, lam), EXACT, ON_GRID, realised=composed)
    at_target, at_student = 0.5 * (1 / 3) ** 2 / 2, 0.5 * 0.8**2 / 2
    assert gap.estimation == pytest.approx(at_target, abs=1e-6)
    assert abs(float(gap.composition)) < 4 * gap.composition.stderr + 0.01  # equal covariances
    assert float(gap.network) == pytest.approx(at_student - at_target, abs=0.03)
    assert gap.total == pytest.approx(at_student, abs=0.03)


def test_problems_must_agree():
    other = ul.ReverseKL(Q.on(GRID), [Q1.on(GRID)], thresholds=[1.9])
    with pytest.raises(ValueError, match=r"grid has thresholds \[1.9\], the run \[2.0\]"):
        ul.parametrisation_gap(run(-1.0, 0.5), EXACT, other)
    lu = ul.Likelihood(Q.on(GRID), [Q1.on(GRID)], thresholds=[0.1])
    with pytest.raises(ValueError, match="must be of one class"):
        ul.parametrisation_gap(run(-1.0, 0.5), EXACT, lu)


class Held:
    """Bytes that autograd keeps for the backward pass."""

    now = peak = 0

    def __init__(self, tensor):
        self.tensor = tensor
        self.size = tensor.numel() * tensor.element_size()
        Held.now += self.size
        Held.peak = max(Held.peak, Held.now)

    def __del__(self):
        Held.now -= self.size


def peak_memory(steps, at_once):
    problem = ul.Likelihood(Q.diffused(), [Q1.diffused()], [0.1])
    objective = PolicyGradient([problem], 32, sampling_steps=steps)
    student, multipliers = Shifted(), torch.tensor([[1.0]])
    draws = Draws([0], 0, like=torch.empty(0))
    Held.now = Held.peak = 0
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        if at_once:
            torch.stack(list(objective.losses(student, multipliers, draws))).sum().backward()
        else:
            for loss in objective.losses(student, multipliers, draws):
                loss.sum().backward()
    return Held.peak


def test_policy_gradient_memory_does_not_grow_with_the_steps(monkeypatch):
    monkeypatch.setattr(policy_gradient, "SMALL", 0)  # a transition at a time, as of images
    ten, hundred, thousand = (peak_memory(steps, at_once=False) for steps in (10, 100, 1000))
    assert ten == hundred == thousand > 0
    assert peak_memory(100, at_once=True) > 20 * hundred  # the measure sees what it should
    monkeypatch.undo()
    monkeypatch.setattr(policy_gradient, "TOGETHER", 64)  # rows: of a small network
    several, most = (peak_memory(steps, at_once=False) for steps in (100, 1000))
    assert hundred < several == most


def test_composed_scores_fall_short_of_the_ratio_target():
    """Three modes, an outer one forgotten at λ = 0.23: the target empties it, the sampler does not.

    What the reverse-KL students of figures/figure4.png learn, here from exact scores.
    """
    q = ul.GaussianMixture([1 / 3] * 3, [-3.0, 0.0, 3.0], [0.6] * 3)
    q1 = ul.GaussianMixture([1.0], [3.0], [0.6])
    problem = ul.ReverseKL(q.on(GRID), [q1.on(GRID)], relative=1.0)
    likelihood = ul.Likelihood(q.on(GRID), [q1.on(GRID)], relative=1.0)
    lam, base = 0.23, likelihood.baseline()[0]
    left = likelihood.evaluate(problem.target([lam])).constraints[0] / base
    composed = ul.ComposedModel(q.diffused(), [q1.diffused()], [lam / (1 - lam)])
    x = composed.sample(4000, seed=0, quasi=True)
    still = float(q1.diffused().log_density(x).exp().mean()) / base
    assert left < 0.1 and still > 0.5
