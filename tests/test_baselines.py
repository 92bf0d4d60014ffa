"""The baselines' losses, against formulas written out and facts they must satisfy."""

import numpy as np
import pytest
import torch
from students import SCHEDULE, Shifted, gaussian
from test_objectives import LIKE, Offset, gradient

import unlearnlab as ul
from unlearnlab import baselines
from unlearnlab.training.denoising import ForwardKLObjective
from unlearnlab.training.draws import Draws
from unlearnlab.training.reverse_kl import ReverseKLObjective

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(40, 1, generator=GENERATOR)
A = X[:5]
Q = gaussian(0.0)
FU = ul.ForwardKL(Q, [ul.DataSet(A, SCHEDULE)], thresholds=[10.0])
RU = ul.ReverseKL(Q, [gaussian(1.0)], thresholds=[0.7])


def losses(objective, student, step=0):
    objective.attach(student)
    start = np.zeros((1, len(objective.forget))) if objective.start is None else objective.start
    table = torch.tensor(start)
    objective.begin(student, table, Draws([0], step, part=1, like=LIKE))
    (loss,) = objective.losses(student, table, Draws([0], step, part=2, like=LIKE))
    return loss


def test_data_set_predicts_the_noise_of_its_mixture():
    """Gaussians of vanishing width at the samples, whose prediction is known in closed form."""
    x = torch.randn(7, 2, generator=GENERATOR)
    data = ul.DataSet(x, SCHEDULE)
    narrow = ul.GaussianMixture([1 / 7] * 7, x.double().tolist(), [1e-6] * 7).diffused(SCHEDULE)
    t = torch.arange(20, 1000, 49)
    x_t = SCHEDULE.noised(x[torch.arange(len(t)) % 7], t, torch.randn(len(t), 2))
    torch.testing.assert_close(
        data.noise_prediction(x_t, t), narrow.noise_prediction(x_t, t), rtol=1e-4, atol=1e-4
    )
    point = ul.PointMass(x[0], SCHEDULE)
    alpha, sigma = SCHEDULE.at(t, x_t)
    assert torch.equal(point.noise_prediction(x_t, t), (x_t - alpha * x[0]) / sigma)


def test_data_set_draws_every_sample_equally_often():
    draws = ul.DataSet(X, SCHEDULE).sample(100, seed=3)
    counts = (draws == X.T).sum(0)
    assert len(draws) == 100 and counts.min() == 2 and counts.max() == 3


def test_siss_is_unbiased():
    """One importance-sampled pass and two plain passes have the same expected gradient."""
    found = {}
    for importance in (True, False):
        objective = baselines.SISS([FU], 1024, data=X, importance=importance)
        found[importance] = gradient(objective, Offset(gaussian(0.4, 1.3)), [0.0], 60)
    (one, one_error), (two, two_error) = found.values()
    assert abs(one - two) < 4 * np.hypot(one_error, two_error)
    assert abs(two) > 10 * two_error  # and it is not zero


def test_siss_weights_are_density_ratios():
    """w_x = N(m; αx)/mixture, w_a = N(m; αa)/mixture on one draw of everything."""
    objective = baselines.SISS([FU], 64, data=X, mixing=0.3)
    student = Offset(gaussian(0.4, 1.3))
    draws = Draws([0], 0, part=2, like=LIKE)
    kept, dropped = objective.weighted(student, draws)
    again = Draws([0], 0, part=2, like=LIKE)
    x, a = X[again.pick(40, 64)], A[again.pick(5, 64)]
    t = objective.levels.draw(again, 64)
    chosen = torch.where((again.uniform(64)[0] < 0.3)[:, None], a, x)
    m = SCHEDULE.noised(chosen, t, objective.noise(again))
    alpha, sigma = (v.double() for v in SCHEDULE.at(t, m))
    of_x, of_a = (torch.distributions.Normal(alpha * y, sigma).log_prob(m).exp() for y in (x, a))
    mixture = 0.7 * of_x + 0.3 * of_a
    own = student(m, t)
    for got, density, y in ((kept, of_x, x), (dropped, of_a, a)):
        errors = objective.levels.scale * ((m - alpha * y) / sigma - own).square()
        expected = (density / mixture * errors).mean()
        assert float(got.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)


def test_siss_in_two_passes_is_forward_kl_at_fixed_multipliers():
    siss = baselines.SISS([FU], 64, data=X, importance=False)
    forward = ForwardKLObjective([FU], 64, data=X)
    student, share = Offset(gaussian(0.4)), 5 / 40
    draws = Draws([0], 0, part=2, like=LIKE)
    forward.begin(student, torch.zeros(1, 1), draws)
    (lagrangian,) = forward.losses(
        student, torch.tensor([[share]]), Draws([0], 0, part=2, like=LIKE)
    )
    assert float(losses(siss, student).detach()) == pytest.approx(
        float(lagrangian.detach()) / (1 - share), rel=1e-5
    )


def combined(objective, student):
    """The gradient of a step, from those of its terms."""
    (parameter,) = student.parameters()
    terms = losses(objective, student)
    assert terms.shape == (2, 1)
    parts = [list(torch.autograd.grad(one.sum(), parameter, retain_graph=True)) for one in terms]
    return objective.combine(parts)[0]


@pytest.mark.parametrize(("batch", "accumulation"), [(64, 1), (16, 4)])
def test_norms_and_products_are_of_the_whole_step(batch, accumulation):
    """However a step is cut into batches."""
    net = ul.ScoreNetwork(1, SCHEDULE, width=8)

    def step(method, **own):
        """The gradient of the first step."""
        seen = []

        def hook(parameters):
            seen.append(torch.cat([p.grad.flatten() for p in parameters]))

        how = {"steps": 1, "batch": batch, "accumulation": accumulation, "clip": None, "data": X}
        method(FU, net, evaluate=False, progress=False, gradient_hook=hook, **how, **own)
        return seen[0]

    kept, both = (step(baselines.siss, importance=False, forget_norm=norm) for norm in (1e-9, 5.0))
    assert float((both - kept).norm()) == pytest.approx(5.0, rel=1e-3)
    # ∇E + (η − ⟨∇E, ∇f⟩/‖∇f‖²)∇f: without η∇f nothing is left along ∇f.
    once, twice = (step(baselines.erasediff, rate=rate) for rate in (50.0, 100.0))
    astray = (twice - once) / 50
    rest = once - 50 * astray
    assert float(rest.norm()) > 0.05 * float(astray.norm())
    cosine = torch.nn.functional.cosine_similarity(rest, astray, dim=0)
    assert float(cosine) == pytest.approx(0.0, abs=5e-3)


def test_siss_rescales_the_forgotten_gradient():
    """Its own gradient less that of the retained part has the norm asked for."""
    student = Offset(gaussian(0.4))
    (parameter,) = student.parameters()
    full = baselines.SISS([FU], 64, data=X, importance=False, forget_norm=7.0)
    both = combined(full, student)
    (kept,) = torch.autograd.grad(  # of all samples, at multipliers of zero
        losses(ForwardKLObjective([FU], 64, data=X), student).sum(), parameter
    )
    assert abs(float(both - kept * full.keep)) == pytest.approx(7.0, rel=1e-3)


def test_siss_takes_the_authors_scaling_norm():
    """Their loss is ours divided by n/(n−k) and by the factor from a mean over levels to nats."""
    theirs = baselines.SISS([FU], 64, data=X, scaling_norm=7.0)
    assert theirs.forget_norm == pytest.approx(7.0 * 40 / 35 * theirs.levels.scale)
    with pytest.raises(ValueError, match="give forget_norm or scaling_norm, not both"):
        baselines.SISS([FU], 64, data=X, forget_norm=1.0, scaling_norm=7.0)


def test_neggrad_is_minus_denoising_on_what_is_forgotten():
    student = Offset(gaussian(0.4))
    up = losses(baselines.NegGrad([FU], 256), student)
    other = ul.ForwardKL(Q, [ul.DataSet(X[5:], SCHEDULE)], thresholds=[10.0])
    down = losses(baselines.Naive([other], 256, data=A), student)
    (parameter,) = student.parameters()
    (rise,), (fall,) = (torch.autograd.grad(one.sum(), parameter) for one in (up, down))
    assert float(rise) == pytest.approx(-float(fall), rel=1e-5)  # the same draws come first
    assert float(up.detach()) < 0 < float(down.detach())


def test_vdu_holds_parameters_like_a_spring():
    """Moved by d, the stability term pulls back with d/σ²; where it started it does not."""
    student = Shifted(0.0)
    objective = baselines.VDU([FU], 64, plasticity=1e-12, spread=0.2)
    objective.attach(student)
    with torch.no_grad():
        student.mean += 0.3
    draws = Draws([0], 0, part=2, like=LIKE)
    objective.begin(student, torch.zeros(1, 1), draws)
    (loss,) = objective.losses(student, torch.zeros(1, 1), draws)
    (pull,) = torch.autograd.grad(loss.sum(), student.mean)
    assert float(pull) == pytest.approx(0.3 / 0.2**2, rel=1e-4)
    (start,) = torch.autograd.grad(losses(objective, Shifted(0.0)).sum(), objective.parameters[0])
    assert abs(float(start)) < 1e-6


def test_erasediff_lowers_the_astray_loss_at_its_rate():
    """⟨step, ∇f⟩ ≥ η‖∇f‖², with equality where the retained gradient alone would fall short."""
    student = Offset(gaussian(0.4))
    (parameter,) = student.parameters()
    objective = baselines.EraseDiff([FU], 64, data=X, rate=3.0)
    step = combined(objective, student)
    again = Draws([0], 0, part=2, like=LIKE)
    objective.errors(student, again)
    (astray,) = torch.autograd.grad(objective.astray(student, again).sum(), parameter)
    (kept,) = torch.autograd.grad(
        losses(baselines.Naive([FU], 64, data=X), student).sum(), parameter
    )
    reached, bound = float(step * astray), 3.0 * float(astray) ** 2
    expected = max(bound, float(kept * astray))
    assert reached == pytest.approx(expected, rel=1e-4)


def test_esd_trains_on_partial_chains_as_its_authors_do():
    """Guided by w from N(0, 1) towards N(1, 1), a chain is at α_t·w + standard normal noise."""
    objective = baselines.ESD([RU], 4096, guidance=1.0, start_guidance=3.0, sampling_steps=50)
    draws = Draws([0], 0, part=1, like=LIKE)
    objective.begin(Offset(gaussian(0.4)), torch.tensor(objective.start), draws)
    x_t, t = objective.points
    alpha, _ = SCHEDULE.at(t, x_t)
    apart = x_t - 3.0 * alpha
    assert len(t.unique()) == 49  # of 50 steps two round to one timestep
    assert abs(float(apart.mean())) < 0.06 and float(apart.std()) == pytest.approx(1.0, abs=0.04)
    late = alpha[:, 0] > 0.9
    assert float((x_t / alpha)[late].mean()) == pytest.approx(3.0, abs=0.15)
    step = objective.losses(Offset(gaussian(0.0)), torch.tensor(objective.start), draws)
    assert float(next(step).detach()) > 0


def test_esd_is_reverse_kl_at_fixed_multipliers():
    """Its gradient is D.1's divided by 1 − Λ, at λ = η/(1 + η), sample for sample."""
    eta, student = 1.5, Offset(gaussian(0.3))
    (parameter,) = student.parameters()
    multipliers = torch.tensor([[eta / (1 + eta)]])
    reverse = ReverseKLObjective([RU], 64)
    reverse.begin(student, multipliers, Draws([0], 0, part=1, like=LIKE))
    (theirs,) = reverse.losses(student, multipliers, Draws([0], 0, part=2, like=LIKE))
    (slope,) = torch.autograd.grad(theirs.sum(), parameter)
    ours = losses(baselines.ESD([RU], 64, guidance=eta), student)
    (own,) = torch.autograd.grad(ours.sum(), parameter)
    assert float(own) == pytest.approx(float(slope) * (1 + eta), rel=1e-3)
    at_concept = losses(baselines.ESD([RU], 64, guidance=eta, base=RU.forget[0]), student)
    (shifted,) = torch.autograd.grad(at_concept.sum(), parameter)
    weaker = losses(baselines.ESD([RU], 64, guidance=eta - 1), student)
    (same,) = torch.autograd.grad(weaker.sum(), parameter)
    assert float(shifted) == pytest.approx(float(same), rel=1e-3)


RUNS = {
    "naive": (FU, {"data": X}),
    "neggrad": (FU, {}),
    "siss": (FU, {"data": X, "forget_norm": 5.0}),
    "erasediff": (FU, {"data": X}),
    "esd": (RU, {"guidance": 2.0}),
    "vdu": (FU, {"spread": 0.5}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_goes_on_to_the_same_end(name, tmp_path):
    problem, options = RUNS[name]
    options = {"steps": 30, "batch": 32, "lr": 0.01, "evaluate": False} | options
    method = getattr(baselines, name)
    whole = method(problem, Shifted(0.5), **options)
    folder = tmp_path / "run"
    stop = pytest.MonkeyPatch()
    from unlearnlab.training.loop import Loop

    save = Loop.save

    def stopping(loop):
        save(loop)
        if loop.round == 4:
            raise KeyboardInterrupt

    with stop.context() as patch:
        patch.setattr(Loop, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            method(problem, Shifted(0.5), folder=folder, save_every=2, **options)
    rest = method(problem, Shifted(0.5), folder=folder, resume=True, save_every=2, **options)
    assert torch.equal(rest.student.mean, whole.student.mean)
    assert np.array_equal(rest.history["loss"], whole.history["loss"])
    assert "fixed multipliers" in whole.reason
    assert float(whole.student.mean) != 0.5


def test_a_run_is_not_continued_on_other_images(tmp_path):
    """Two data sets of one shape: the same but for their numbers."""
    options = {"steps": 5, "batch": 8, "evaluate": False, "folder": tmp_path}
    baselines.neggrad(FU, Shifted(0.5), **options)
    other = ul.ForwardKL(Q, [ul.DataSet(A + 1, SCHEDULE)], thresholds=[10.0])
    with pytest.raises(ValueError, match="of another run: its forgotten samples"):
        baselines.neggrad(other, Shifted(0.5), resume=True, **options)


def test_forgetting_only_methods_draw_nothing_retained():
    class Silent(type(Q)):
        def sample(self, *args, **options):
            raise AssertionError("retained samples were drawn")

    quiet = Silent.__new__(Silent)
    quiet.__dict__ = Q.__dict__
    problem = ul.ForwardKL(quiet, [ul.DataSet(A, SCHEDULE)], thresholds=[10.0])
    options = {"steps": 5, "batch": 16, "evaluate": False}
    for method in (baselines.neggrad, baselines.vdu):
        run = method(problem, Shifted(0.5), **options)
        assert (run.history["objective"] > 0).all()  # deviation from q where it is trained


def test_bad_options_are_named():
    cases = [
        (baselines.SISS, FU, {"mixing": 1.0}, "mixing must lie strictly between 0 and 1; got 1.0"),
        (baselines.SISS, FU, {"data": X[:, :0]}, "data must be samples of shape"),
        (baselines.SISS, FU, {"data": X[5:10]}, "share must lie strictly between"),
        (baselines.EraseDiff, FU, {"rate": 0.0}, "rate must be positive"),
        (baselines.VDU, FU, {"spread": 0.0}, "spread must be positive"),
        (baselines.ESD, RU, {"guidance": -1.0}, "guidance must be positive"),
        (baselines.NegGrad, FU, {"forget_clip": 0.0}, "forget_clip must be positive"),
    ]
    for method, problem, options, message in cases:
        with pytest.raises(ValueError, match=message):
            ul.finetune(problem, Shifted(), method=method, **options)
    with pytest.raises(TypeError, match="unknown setting 'data'; settings are"):
        baselines.neggrad(FU, Shifted(), data=X)  # it would read none of it
    with pytest.raises(TypeError, match="unknown setting 'guidance'; settings are"):
        baselines.naive(FU, Shifted(), guidance=1.0)
    with pytest.raises(ValueError, match="share=None needs forgotten DataSets"):
        baselines.siss(ul.ForwardKL(Q, [gaussian(1.0)], thresholds=[1.0]), Shifted())
    with pytest.raises(ValueError, match="samples must be one or more finite samples"):
        ul.DataSet(torch.zeros(0, 2))
