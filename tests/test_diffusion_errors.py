"""Bad input to diffusion models is refused by name and value, and no NaN comes back in silence."""

import re

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.diffusion import sampling

MIX = ul.GaussianMixture
TWO, ONE = MIX([0.5, 0.5], [[-2, 0], [2, 0]], [0.6, 0.6]), MIX([1], [[2, 0]], [0.6])
Q, A = TWO.diffused(), ONE.diffused()
LINE = MIX([1], [0], [1]).diffused()
POINT = ul.PointMass(torch.zeros(2))
GRID = ONE.on(ul.Grid((-2, -4), (6, 4), (50, 50)))
SCHEDULE = ul.Schedule()
KINDS = [ul.ReverseKL, ul.ForwardKL, ul.Likelihood]
X = torch.zeros(3, 2)
T = torch.zeros(3, dtype=torch.long)
NAN = float("nan")


def spoilt(shape=2):
    """A noise prediction that is finite while it is tried, and no longer."""
    calls = []

    def broken(x, t):
        calls.append(t)
        return x if len(calls) < 4 else x * NAN

    return ul.wrap(broken, SCHEDULE, shape)


# Models that cannot be compared


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("other", "theirs", "own"),
    [
        (LINE, "shape (1,)", "shape (2,)"),
        (ONE.diffused(ul.Schedule(spacing="trailing")), "trailing), float32", "-10.12), float32"),
        (ONE.diffused(ul.Schedule(steps_offset=1)), "steps_offset=1", "-10.12), float32"),
        (ONE.diffused(ul.Schedule(np.full(9, 0.1))), "9 steps", "1000 steps"),
        (ONE.diffused(dtype=torch.float64), "float64", "float32"),
        (GRID, "Grid(low=(-2.0, -4.0)", "samples of shape (2,)"),
    ],
    ids=["shape", "spacing", "offset", "betas", "dtype", "grid"],
)
def test_forgetting_on_another_space_is_refused_with_both_sides(kind, other, theirs, own):
    message = f"forget[1] lives on .*{re.escape(theirs)}.*, but retain lives on .*{re.escape(own)}"
    with pytest.raises(ValueError, match=message.replace("[1]", r"\[1\]")):
        kind(Q, [A, other], 1.0)
    if other is GRID:
        with pytest.raises(ValueError, match=r"samples of shape.*but retain lives on Grid"):
            kind(GRID, [A], 1.0)
        return
    for compare in (
        lambda: ul.kl(Q, other),
        lambda: ul.kl(Q, other, kind="path"),
        lambda: ul.log_ratio(X, Q, other),
    ):
        with pytest.raises(ValueError, match=f"q lives on .*{re.escape(theirs)}.*but p lives on"):
            compare()
    with pytest.raises(ValueError, match=r"forget\[0\] lives on .*but retain lives on"):
        ul.ComposedModel(Q, [other], [1.0])


@pytest.mark.parametrize("kind", KINDS)
def test_points_have_no_dual_problem(kind):
    with pytest.raises(ul.SupportError, match=r"forget\[1\] is (a )?PointMass.*use "):
        ul.solve(kind(Q, [A, POINT], 1.0), pool=64)
    with pytest.raises(ul.SupportError, match="retain is a PointMass"):
        ul.solve(kind(POINT, [A], 1.0), pool=64)


@pytest.mark.parametrize("pair", [(Q, POINT), (POINT, Q)])
def test_points_have_no_log_ratio(pair):
    with pytest.raises(ul.SupportError, match="is a PointMass"):
        ul.log_ratio(X, *pair)


@pytest.mark.parametrize("kind", [ul.ReverseKL, ul.ForwardKL])
def test_forgetting_what_is_retained_is_refused(kind):
    with pytest.raises(ValueError, match=r"forget\[0\] equals retain"):
        kind(Q, [TWO.diffused()], [1.0])
    network = ul.ScoreNetwork(1)
    for same in (network, network.for_training()):
        with pytest.raises(ValueError, match=r"forget\[0\] equals retain"):
            kind(network, [same], [1.0])
    digits = ul.digits.load_model("conditional", label=3)
    with pytest.raises(ValueError, match=r"forget\[1\] equals retain"):
        kind(digits, [digits.labelled(4), digits.labelled(3)], [1.0, 1.0])
    assert kind(network, [network], [0.0]).m == 1


def test_what_needs_a_table_says_that_there_is_none():
    problem = ul.ReverseKL(Q, [A], [1.0])
    for call in (problem.ceilings, lambda: problem.target([0.1]), lambda: ul.verify(problem)):
        with pytest.raises(TypeError, match="no table of its own: solve draws a pool"):
            call()


# Values


def net():
    return ul.ScoreNetwork(2, width=8)


WHOLE = "must be a whole number of at least"
REFUSED = [
    # Schedules
    (lambda: ul.Schedule([0.1, 1.0, 1.0]), "of which the last alone may be 1; got"),
    (lambda: ul.Schedule([0.1, 1.0]), r"two or more numbers .* got shape \(2,\), \[0.1 1"),
    (lambda: ul.Schedule([0.1]), r"betas must be a vector of two or more.*shape \(1,\)"),
    (lambda: ul.Schedule([0.1, NAN]), "betas must be .*strictly between 0 and 1, .*; got.*nan"),
    (lambda: ul.Schedule([0.1, 0.0]), "betas must be .*strictly between 0 and 1"),
    (lambda: ul.Schedule(spacing="even"), "spacing must be one of leading, .*; got 'even'"),
    (lambda: SCHEDULE.timesteps(5, spacing="even"), "spacing must be one of .*got 'even'"),
    (lambda: ul.Schedule(steps_offset=-1), "steps_offset must be .* between 0 and 999; got -1"),
    (lambda: ul.Schedule(steps_offset=1000), "steps_offset must be .* between 0 and 999; got 1000"),
    (lambda: ul.Schedule(steps_offset=30).timesteps(50), "fewer than 50 .*=30, .* up to 1010"),
    (lambda: SCHEDULE.timesteps(0), f"steps {WHOLE} 1; got 0"),
    (lambda: SCHEDULE.timesteps(2.5), f"steps {WHOLE} 1; got 2.5"),
    (lambda: SCHEDULE.timesteps(1001), "steps must lie between 1 and 1000; got 1001"),
    # Draws
    *[
        (lambda m=m, n=n, o=o: m.sample(n, **o), f"n {WHOLE} 1; got {n!r}")
        for m, o in ((Q, {}), (Q, {"quasi": True}), (Q, {"sampler": "ddpm"}), (POINT, {}))
        for n in (0, -3, 2.5)
    ],
    (lambda: Q.sample(3, sampler="euler"), "sampler must be 'ddim' or 'ddpm'; got 'euler'"),
    (lambda: Q.sample(3, sampler="ddim", steps=0), f"steps {WHOLE} 1; got 0"),
    (lambda: sampling.with_log_density(Q, 0, steps=5, seed=0), f"n {WHOLE} 1; got 0"),
    (lambda: ul.solve(ul.ReverseKL(Q, [A], [1.0]), pool=31), f"pool {WHOLE} 32; got 31"),
    (lambda: ul.solve(ul.ReverseKL(Q, [A], [1.0]), pool=99.5), f"pool {WHOLE} 32; got 99.5"),
    # Divergences and log-ratios
    (lambda: ul.kl(Q, A, kind="end"), "kind must be 'point' or 'path'; got 'end'"),
    (lambda: ul.kl(Q, A, samples=1), f"samples {WHOLE} 2; got 1"),
    (lambda: ul.kl(Q, A, kind="path", samples=1), f"samples {WHOLE} 2; got 1"),
    (lambda: ul.kl(Q, A, kind="path", steps=1), f"steps {WHOLE} 2; got 1"),
    (lambda: ul.log_ratio(X, Q, A, levels=1), f"levels {WHOLE} 2; got 1"),
    (lambda: ul.log_ratio(X, Q, A, noises=7), f"noises {WHOLE} 8; got 7"),
    (lambda: ul.log_ratio(X[:, :1], Q, A), r"samples of shape \(2,\).*got shape \(3, 1\)"),
    (lambda: ul.log_ratio(X[0], Q, A), r"samples of shape \(2,\).*got shape \(2,\)"),
    (lambda: ul.log_ratio(X * NAN, Q, A), r"x must hold finite samples"),
    (lambda: Q.log_ratios([A], atoms=X * NAN), r"samples must be finite.*NaN"),
    (lambda: Q.log_ratios([A], atoms=X[:, :1]), r"of shape \(2,\), stacked; got \(3, 1\)"),
    # Models
    (lambda: Q.noise_prediction(X[:, :1], T), r"x_t must have shape \(n, 2\); got \(3, 1\)"),
    (lambda: Q.log_density(X[:, :1]), r"x must have shape \(n, 2\); got \(3, 1\)"),
    (lambda: LINE.log_density(X), r"x must have shape \(n, 1\); got \(3, 2\)"),
    (lambda: LINE.log_density(X[:, 0]), r"x must have shape \(n, 1\); got \(3,\)"),
    (lambda: ul.PointMass(torch.tensor(1.0)), "one finite sample, with at least one axis"),
    (lambda: ul.PointMass(torch.tensor([1.0, NAN])), "one finite sample"),
    (lambda: ul.ComposedModel(Q, [A], [-0.5]), r"guidance must not be negative; got \[-0.5\]"),
    (lambda: ul.ComposedModel(Q, [A], [NAN]), r"guidance must be finite; got \[nan\]"),
    (lambda: ul.ComposedModel(Q, [A], [1, 2]), "guidance must hold one number per forget"),
    (lambda: ul.ComposedModel(Q, [A], [1], corrector_steps=-1), f"corrector_steps {WHOLE} 0"),
    (lambda: ul.wrap(lambda x, t: x[:, :1], SCHEDULE, 2), r"returned torch.float32 \(4, 1\)"),
    (lambda: ul.wrap(lambda x, t: x.double(), SCHEDULE, 2), "returned torch.float64"),
    (lambda: ul.wrap(lambda x, t: x.numpy(), SCHEDULE, 2), "returned ndarray"),
    (lambda: ul.wrap(lambda x, t: x * NAN, SCHEDULE, 2), "not finite for 4 of 4 samples; a noise"),
    (lambda: ul.wrap(lambda x, t: x, SCHEDULE, ()), "at least one axis"),
    (lambda: ul.wrap(lambda x, t: x, SCHEDULE, (3, 0)), f"in shape {WHOLE} 1; got 0"),
    *[(lambda d=d: ul.ScoreNetwork(d), f"dim .*1 and 16; got {d}") for d in (0, 17, 2.5)],
    (lambda: net().fit(np.zeros((30, 3))), r"finite rows of 2 numbers; got shape \(30, 3\)"),
    (lambda: net().fit(np.zeros(30)), r"finite rows of 2 numbers; got shape \(30,\)"),
    (lambda: net().fit(np.zeros((19, 2))), r"20 or more finite rows.*got shape \(19, 2\)"),
    (lambda: net().fit(np.full((30, 2), np.inf)), "20 or more finite rows of 2 numbers"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ul.wrap(3, SCHEDULE, 2), r"callable as f\(x_t, t\); got int"),
        (lambda: ul.wrap(lambda x, t: x, "ddpm", 2), "schedule must be a Schedule; got str"),
        (lambda: TWO.diffused("ddpm"), "schedule must be a Schedule; got str"),
        (lambda: ul.Schedule.from_scheduler("ddpm"), "must be a diffusers scheduler.*got str"),
        (lambda: ul.Schedule.from_scheduler({}), "must be a diffusers scheduler.*got dict"),
        (lambda: ul.kl(Q, GRID), "q must be a diffusion model; got GridDensity"),
        (lambda: ul.kl(Q, TWO), "q must be a model .*got GaussianMixture"),
        (lambda: ul.log_ratio(X, Q, GRID), "q must be a diffusion model; got GridDensity"),
        (lambda: ul.ComposedModel(Q, [GRID], [1]), r"forget\[0\] must be a diffusion model"),
        (lambda: ul.solve(Q), "problem must be a ReverseKL"),
    ],
)
def test_things_of_another_type_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_flows_of_many_dimensions_are_refused():
    model = ul.ComposedModel(*((wide := MIX([1], np.zeros((1, 17)), [1]).diffused()), [wide]), [1])
    with pytest.raises(ValueError, match=r"up to 16 dimensions; .* has 17: use kind='path'"):
        ul.kl(model, wide)


# Nothing returns NaN in silence


@pytest.mark.parametrize(
    "call",
    [
        lambda: ul.kl(Q, spoilt()),
        lambda: ul.kl(spoilt(), Q),
        lambda: ul.kl(Q, spoilt(), kind="path"),
        lambda: ul.kl(spoilt(), Q, kind="path"),
        lambda: ul.kl(ul.ComposedModel(Q, [spoilt()], [1.0]), Q),
        lambda: ul.kl(ul.ComposedModel(Q, [A], [1.0]), spoilt(), samples=16),
        lambda: ul.log_ratio(X, Q, spoilt()),
        lambda: spoilt().sample(3),
        lambda: ul.ComposedModel(Q, [spoilt()], [1.0]).sample(3),
        lambda: ul.ReverseKL(Q, [spoilt()], relative=2.0),
        lambda: ul.Likelihood(Q, [spoilt()], relative=0.5),
        lambda: ul.ForwardKL(Q, [spoilt()], relative=2.0),
        lambda: ul.solve(ul.ReverseKL(Q, [spoilt()], [1.0]), pool=64),
    ],
    ids=range(13),
)
def test_a_noise_prediction_of_nan_is_named(call):
    with pytest.raises(ValueError, match=r"not finite for \d+ of \d+ samples; a noise prediction"):
        call()


class Stochastic(torch.nn.Module):
    """A network with dropout, or with a norm over the batch."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, t):
        return self.layer(x)


def in_place(x, t):
    return x.mul_(0.5)


def behind_torch(x, t):
    out = x * 0.5
    x.numpy()[:] = 0
    return out


def by_data(x, t):
    out = x * 0.5
    t.data.zero_()
    return out


def drifting():
    seen = []

    def function(x, t):
        seen.append(t)
        return x * len(seen)

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Stochastic(torch.nn.Dropout(0.5)), r"same x_t and t differ by .*training mode: call its"),
        (
            Stochastic(torch.nn.BatchNorm1d(2)),
            r"in a larger one differ by .*training mode: call its",
        ),
        (lambda x, t: x - x.mean(0), "samples of a batch and the same in a larger one differ by"),
        (lambda x, t: torch.randn_like(x), "two calls with the same x_t and t differ by"),
        (drifting(), "two calls with the same x_t and t differ by"),
        (behind_torch, "must not change x_t or t"),
        (by_data, "must not change x_t or t"),
        (in_place, "must not change x_t or t"),
    ],
)
def test_a_function_of_more_than_x_and_t_is_refused(function, message):
    """Each of them would be given a certificate for a model that is not there."""
    with pytest.raises(ValueError, match=message):
        ul.wrap(function, SCHEDULE, 2)
    if isinstance(function, Stochastic):
        assert ul.wrap(function.eval(), SCHEDULE, 2).sample(3).isfinite().all()


def test_every_call_of_a_function_is_watched():
    """What is right while it is tried may be wrong later."""
    calls = []

    def later(x, t):
        calls.append(t)
        if len(calls) < 4:
            return x
        return x[:, :1] if len(calls) < 6 else x.mul_(0.5)

    model = ul.wrap(later, SCHEDULE, 2)
    for message in (r"of the shape and dtype of x_t, torch.float32 \(3, 2\); a call", "not change"):
        for _ in range(2):
            with pytest.raises(ValueError, match=message):
                model.noise_prediction(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
