"""Baselines with an anchor in a concept's place: ablation, SalUn and UCE, by their formulas."""

import numpy as np
import pytest
import torch
from students import SCHEDULE, Shifted, gaussian
from test_baselines import losses
from test_objectives import LIKE

import unlearnlab as ul
from unlearnlab import baselines
from unlearnlab.baselines.salun import BATCHES
from unlearnlab.baselines.uce import EDITED, edited
from unlearnlab.stable_diffusion.prompt import Prompt
from unlearnlab.stable_diffusion.tiny import untrained
from unlearnlab.training import Run
from unlearnlab.training.draws import Draws

Q, Q1, ANCHOR = gaussian(0.0), gaussian(1.0), gaussian(-1.0)
PROBLEM = ul.ForwardKL(Q, [Q1], thresholds=[1.0])


def test_ablation_is_the_divergence_from_the_anchor():
    """Of Gaussians of unit variance, KL(N(−1, 1)‖N(μ, 1)) = (μ + 1)²/2."""
    objective = baselines.Ablation([PROBLEM], 4096, anchor=ANCHOR)
    for mean in (0.0, 0.7):
        loss = losses(objective, Shifted(mean))
        assert float(loss[0].detach()) == pytest.approx((mean + 1) ** 2 / 2, rel=0.05)


def test_an_ablated_student_is_the_anchor():
    run = baselines.ablation(PROBLEM, Shifted(), anchor=ANCHOR, steps=300, batch=64, lr=3e-2)
    assert float(run.student.mean) == pytest.approx(-1.0, abs=0.05)
    assert run.status == "fixed"  # nobody asked whether q_1 is far enough: no multiplier moves


def network():
    net = ul.ScoreNetwork(dim=1)
    net.fit(np.random.default_rng(0).normal(size=(200, 1)), steps=20, batch=64)
    return net


def test_salun_moves_the_share_with_the_largest_gradients():
    net = network()
    problem = ul.ForwardKL(net, [Q1], [3.0])
    how = {"anchor": ANCHOR, "steps": 10, "batch": 32, "evaluate": False}
    for share in (1.0, 0.5, 0.1):
        run = baselines.salun(problem, net, share=share, **how)
        pairs = list(zip(net.parameters(), run.student.parameters(), strict=True))
        moved = torch.cat([(a != b).flatten() for a, b in pairs])
        assert share / 2 < float(moved.float().mean()) <= share and run.status == "fixed"
    objective = baselines.SalUn([problem], 32, anchor=ANCHOR, share=0.1)
    student = net.for_training()
    objective.attach(student)
    own = list(student.parameters())
    slopes = [torch.zeros_like(p) for p in own]
    for i in range(BATCHES):
        draws = Draws([0], i, like=torch.empty(0))
        loss = objective.forgotten(objective.errors(student, draws)).sum()
        found = torch.autograd.grad(loss, own)
        slopes = [slope + one for slope, one in zip(slopes, found, strict=True)]
    chosen = torch.cat([mask.flatten() for mask in objective.masks])
    sizes = torch.cat([slope.abs().flatten() for slope in slopes])
    assert sizes[chosen].min() > sizes[~chosen].max()


def test_saluns_loss_is_its_formula():
    """Towards the anchor on q_1's samples, plus α times denoising of q's: exact for a shift."""
    for alpha in (0.0, 2.0):
        objective = baselines.SalUn([PROBLEM], 4096, anchor=ANCHOR, retained_weight=alpha)
        student = Shifted(0.5)
        (loss,) = losses(objective, student)
        draws = Draws([0], 0, part=2, like=LIKE)
        seen = objective.seen(student, draws)
        level = objective.levels.scale
        # ε̂ of N(μ, 1) is σ(x_t − αμ): two of them differ by σα(μ − μ'), whatever x_t.
        keep, spread = SCHEDULE.at(seen.t, seen.noisy[1])
        apart = (level * (1.5 * keep * spread) ** 2).sum(1)
        expected = apart.mean() + alpha * seen.errors[0, 0].mean()
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_the_edit_is_the_least_squares_that_it_states(ridge):
    """Against LAPACK's solution of the stacked equations, which knows no normal equations."""
    generator = torch.Generator().manual_seed(0)
    weight, said, aim, kept = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((5, 7), (4, 7), (4, 7), (3, 7))
    )
    found = edited(weight, said, aim, kept, ridge)
    rows = torch.cat([said, kept, ridge**0.5 * torch.eye(7, dtype=torch.float64)])
    values = torch.cat([aim @ weight.T, kept @ weight.T, ridge**0.5 * weight.T])
    exact = torch.linalg.lstsq(rows, values, driver="gelsd").solution.T
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-10)


def test_uce_makes_a_concept_say_what_the_anchor_says(monkeypatch):
    few = Prompt.effort._replace(samples=8, draws=8)  # what is judged here is the edit
    monkeypatch.setattr(Prompt, "effort", few)
    sd = ul.TextToImage(untrained())
    problem = ul.ReverseKL(sd.prompt("a cowboy"), [sd.prompt("a horse")], [1.0])
    how = {"anchor": sd.prompt("a tree"), "keep": [sd.prompt("a house")], "ridge": 1e-4}
    run = baselines.uce(problem, sd.lora(rank=96), **how)
    assert isinstance(run, Run) and run.status in ("converged", "violated", "unresolved")
    unchecked = baselines.uce(problem, sd.lora(rank=2), evaluate=False)
    assert unchecked.status == "unchecked" and unchecked.evaluation is None
    horse, tree, house = (
        sd.states(text)["states"][0].double() for text in ("a horse", "a tree", "a house")
    )
    edits = 0
    for name, layer in run.student.net.named_modules():
        if name.endswith(EDITED):
            edits += 1
            weight = layer.base_layer.weight.double()
            b, a = (getattr(layer, one)["default"].weight.double() for one in ("lora_B", "lora_A"))
            after = weight + b @ a
            exact = edited(weight, horse, tree, house, 1e-4)
            assert torch.dist(after, exact) < 1e-4 * (exact - weight).norm()
            before = torch.dist(horse @ weight.T, tree @ weight.T)
            assert torch.dist(horse @ after.T, tree @ weight.T) < 0.1 * before
            assert torch.dist(house @ after.T, house @ weight.T) < 0.1 * before
    assert edits == 8
    assert torch.equal(
        run.student.source.pipeline.unet.conv_in.weight, sd.family.net.conv_in.weight
    )


def test_what_they_cannot_do_is_said():
    sd = ul.TextToImage(untrained())
    problem = ul.ReverseKL(sd.prompt("a cowboy"), [sd.prompt("a horse")], [1.0])
    with pytest.raises(ValueError, match=r"no LoRA on attn2\.to_k and attn2\.to_v"):
        baselines.uce(problem, sd.lora(rank=2, layers=["attn1.to_q"]))
    with pytest.raises(ValueError, match="ridge must be positive; got 0"):
        baselines.uce(problem, sd.lora(rank=2), ridge=0)
    with pytest.raises(TypeError, match="UCE edits prompts of a pipeline; got a Shifted"):
        baselines.uce(PROBLEM, Shifted())
    with pytest.raises(ValueError, match=r"share must lie above 0 and be at most 1; got 0"):
        baselines.salun(PROBLEM, Shifted(), anchor=ANCHOR, share=0)
    with pytest.raises(TypeError, match="anchor"):
        baselines.ablation(PROBLEM, Shifted(), anchor="a tree")
    with pytest.raises(ValueError, match="shape"):
        wide = ul.GaussianMixture([1.0], [[0.0, 0.0]], [1.0]).diffused(SCHEDULE)
        baselines.ablation(PROBLEM, Shifted(), anchor=wide)
