"""f-divergences between Gaussians against integrals of densities, suprema and differences."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import erf
from scipy.stats import norm

from unlearnlab.baselines.divergences import (
    CHI2,
    DIVERGENCES,
    HELLINGER,
    JENSEN_SHANNON,
    KL,
    TOTAL_VARIATION,
    alpha,
    expm1_tangent,
    named,
    quadrature,
)

ORDERS = (-0.5, 0.0, 0.3, 0.5, 1.0, 1.5, 2.0)
ALL = [*DIVERGENCES.values(), *map(alpha, ORDERS)]
CLOSED = [one for one in ALL if one.closed is not None]
DELTAS = np.array([0.01, 0.3, 1.0, 4.0, 9.0])

# f written out a second time, with p and q themselves: ∫ of these is D_f.
INTEGRANDS = {
    "kl": lambda p, q: p * np.log(p / q),
    "hellinger": lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2,
    "chi2": lambda p, q: (p - q) ** 2 / q,
    "js": lambda p, q: 0.5 * (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))),
    "tv": lambda p, q: 0.5 * abs(p - q),
    "alpha(0)": lambda p, q: q * np.log(q / p),
    "alpha(1)": lambda p, q: p * np.log(p / q),
}


def integrand(divergence):
    if divergence.name in INTEGRANDS:
        return INTEGRANDS[divergence.name]
    a = float(divergence.name[6:-1])
    return lambda p, q: (p**a * q ** (1 - a) - q) / (a * (a - 1)) - (p - q) / (a - 1)


def by_names(divergences):
    return pytest.mark.parametrize("divergence", divergences, ids=lambda one: one.name)


def closed(divergence, delta):
    return divergence.closed(torch.as_tensor(delta, dtype=torch.float64)).numpy()


@by_names(ALL)
def test_quadrature_is_the_integral_of_the_densities(divergence):
    """N(1, d·σ) against N(1, 0), σ = 2, integrated over x: another variable and another rule."""
    f, sigma = integrand(divergence), 2.0
    for delta, value in zip(DELTAS, quadrature(divergence, DELTAS), strict=True):
        d = sigma * math.sqrt(delta)

        def at(x, d=d):
            return f(norm.pdf(x, d, sigma), norm.pdf(x, 0, sigma))

        ends = (-9 * sigma - d, d / 2, 2 * d + 9 * sigma)
        exact = sum(
            quad(at, low, high, epsabs=1e-13, epsrel=1e-12, limit=400)[0]
            for low, high in pairwise(ends)
        )
        assert value == pytest.approx(exact, rel=1e-9, abs=1e-13)


@by_names(CLOSED)
def test_closed_forms_are_the_quadrature(divergence):
    deltas = np.array([0.0, 1e-9, 1e-4, *DELTAS, 20.0])
    assert closed(divergence, deltas) == pytest.approx(quadrature(divergence, deltas), rel=1e-11)
    single = divergence.closed(torch.tensor(deltas, dtype=torch.float32))
    assert single.numpy() == pytest.approx(closed(divergence, deltas), rel=1e-5)


def test_the_family_has_the_others_as_members():
    assert closed(alpha(0.5), DELTAS) == pytest.approx(2 * closed(HELLINGER, DELTAS), rel=1e-13)
    assert closed(alpha(2), DELTAS) == pytest.approx(closed(CHI2, DELTAS) / 2, rel=1e-13)
    for order in (0.0, 1.0):
        assert (closed(alpha(order), DELTAS) == closed(KL, DELTAS)).all()
    assert closed(alpha(-1.3), DELTAS) == pytest.approx(closed(alpha(2.3), DELTAS), rel=1e-13)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_orders_near_the_limits_are_near_kl(limit):
    """(e^{cδ/2} − 1)/c = δ/2 + cδ²/8 + O(c²): the first difference is seen, not rounding."""
    for step in (1e-12, 1e-9, 1e-6, 1e-4):
        for order in (limit - step, limit + step):
            c = order * (order - 1)
            excess = closed(alpha(order), DELTAS) - DELTAS / 2
            assert excess == pytest.approx(c * DELTAS**2 / 8, rel=10 * step, abs=1e-14)
    for delta in 2e-3 / 0.21 * np.array([1 - 1e-9, 1 + 1e-9]):  # where the series takes over
        assert closed(alpha(0.3), delta) == pytest.approx(
            -math.expm1(-0.105 * delta) / 0.21, rel=1e-14
        )


def test_total_variation_is_an_error_function():
    assert quadrature(TOTAL_VARIATION, DELTAS) == pytest.approx(erf(np.sqrt(DELTAS / 8)), rel=1e-12)


@by_names(ALL)
def test_divergences_grow_from_zero_to_their_bound(divergence):
    """Hellinger ≤ 2, Jensen–Shannon ≤ log 2, total variation ≤ 1, 0 < a < 1 ≤ 1/(a(1 − a))."""
    deltas = np.array([0.0, 1e-6, *DELTAS, 30.0, 150.0])
    values = quadrature(divergence, deltas)
    assert values[0] == 0 and (np.diff(values) > 0).all() and (values <= divergence.bound).all()
    if divergence.bound < math.inf and divergence.name != "alpha(0.3)":  # e^{−0.1δ} is slow
        assert values[-1] == pytest.approx(divergence.bound, rel=1e-3)
    known = {"hellinger": 2, "js": math.log(2), "tv": 1, "alpha(0.5)": 4}
    assert divergence.bound == known.get(divergence.name, divergence.bound)
    assert (divergence.bound < math.inf) == (divergence.name in {*known, "alpha(0.3)"})


@by_names(ALL)
def test_generators_slopes_and_curvatures(divergence):
    f, u, h = divergence.generator, np.array([0.05, 0.4, 0.9, 1.3, 4.0]), 1e-5
    assert f(np.array([1.0])) == 0
    chords = f(u[1:]) + f(u[:-1]) - 2 * f((u[1:] + u[:-1]) / 2)
    assert (f(u) > 0).all() and (chords > -1e-15).all()
    differences = (f(u + h) - f(u - h)) / (2 * h)
    assert divergence.slope(u) == pytest.approx(differences, rel=1e-6, abs=1e-8)
    one = np.array([1 - 1e-4, 1 + 1e-4])
    second = f(one).sum() / 1e-8
    if divergence.curvature is None:
        assert second > 1e3  # a kink
    else:
        assert second == pytest.approx(divergence.curvature, rel=1e-6)
        small = np.array([1e-6])
        assert quadrature(divergence, small) == pytest.approx(
            divergence.curvature * small / 2, rel=1e-5
        )


@by_names(ALL)
def test_conjugates_are_suprema(divergence):
    for t in (-3.0, -0.8, -0.3, 0.0, 0.2, 0.3):

        def loss(log_u, t=t):
            u = np.exp(np.array([log_u]))
            return float((divergence.generator(u) - u * t)[0])

        best = -minimize_scalar(
            loss, bounds=(-25, 8), method="bounded", options={"xatol": 1e-9}
        ).fun
        found = float(divergence.conjugate(np.array([t]))[0])
        assert found == pytest.approx(best, abs=2e-4), t  # the search stops at u = e^−25
        assert found >= best - 1e-9
    beyond = {"hellinger": 1.0, "js": 0.35, "tv": 0.51, "alpha(0.5)": 2.0, "alpha(-0.5)": 0.7}
    if divergence.name in beyond:
        assert divergence.conjugate(np.array([beyond[divergence.name]])) == np.inf


@by_names(ALL)
def test_critics_pay_the_conjugate_of_what_they_claim(divergence):
    v = torch.linspace(-4, 4, 9, dtype=torch.float64)
    claimed, paid = (one.numpy() for one in divergence.critic(v))
    assert paid == pytest.approx(divergence.conjugate(claimed), rel=1e-11, abs=1e-14)
    if divergence is not TOTAL_VARIATION:  # its tanh stands for a jump
        assert claimed == pytest.approx(divergence.slope(np.exp(v.numpy())), rel=1e-11, abs=1e-14)


@by_names(CLOSED)
def test_gradients_in_the_distance(divergence):
    for d in (1e-6, 0.01, 0.7, 3.0):
        x = torch.tensor(d, dtype=torch.float64, requires_grad=True)
        divergence.closed(x**2).backward()
        h = 1e-4 * d
        slope = (quadrature(divergence, (d + h) ** 2) - quadrature(divergence, (d - h) ** 2)) / (
            2 * h
        )
        assert float(x.grad) == pytest.approx(float(slope), rel=1e-6), d


@by_names(CLOSED)
def test_losses_are_finite_and_still_push_far_away(divergence):
    delta = torch.tensor([0.0, 50.0, 1e3, 1e6], requires_grad=True)
    value = divergence.closed(delta)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(delta.grad).all()
    assert delta.grad[0] == pytest.approx(divergence.curvature / 2)
    if divergence.bound == math.inf:
        assert (delta.grad[1:] > 0).all()


def test_the_tangent_touches_the_exponential():
    x = torch.tensor([29.999, 30.001, 80.0], dtype=torch.float64, requires_grad=True)
    value = expm1_tangent(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    value = value.detach()
    assert float(value[0]) == pytest.approx(math.expm1(29.999), rel=1e-12)
    assert float(value[1]) == pytest.approx(math.expm1(30.001), rel=1e-6)
    assert float(value[2]) == pytest.approx(math.exp(30) * 51, rel=1e-12)
    assert slope[1:].tolist() == pytest.approx([math.exp(30)] * 2)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"divergence must be one of kl, .*got 'kullback'"):
        named("kullback")
    for name, order in (("alpha", None), ("kl", 0.5)):
        with pytest.raises(ValueError, match="alpha is the order of divergence='alpha'"):
            named(name, order)
    with pytest.raises(ValueError, match="alpha must be a finite number; got nan"):
        alpha(math.nan)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="delta must be finite and not negative"):
            quadrature(KL, bad)
    with pytest.raises(ValueError, match=r"quadrature of chi2: f overflows; got up to 1000"):
        quadrature(CHI2, 1000.0)
    assert named(JENSEN_SHANNON) is JENSEN_SHANNON
    assert named("alpha", 0.5).name == "alpha(0.5)"


def test_the_min_max_converges_as_its_second_derivative_says():
    """f''(1)(−1 ± i√3)/2 and −f''(1) for a log-ratio linear in x; total variation only turns.

    By hand: the flow is θ' = −κa, a' = κθ − κa, c' = −κc with κ = f''(1).
    """
    sys.path.insert(0, str(Path(__file__).parent.parent))
    try:
        from figures.divergences import DIRECT, local
    finally:
        sys.path.pop(0)
    for divergence in (HELLINGER, JENSEN_SHANNON):
        kappa, found = divergence.curvature, local(divergence.critic, 0.0)
        pairs = sorted(found["eigenvalues"])
        turn = kappa * math.sqrt(3) / 2
        known = [[-kappa, 0.0], [-kappa / 2, -turn], [-kappa / 2, turn]]
        assert np.array(pairs) == pytest.approx(np.array(known), abs=1e-9)
        assert found["largest step"] == pytest.approx(1 / kappa)
        assert found["measured per step"] == pytest.approx(found["predicted per step"], rel=0.03)
        below, beyond = found["measured at 0.97 and 1.03 of the largest"]
        assert below < 0 < beyond
    turning = local(TOTAL_VARIATION.critic, 0.0)
    assert turning["rate"] == 0 and turning["measured per step"] > 0
    damped = local(TOTAL_VARIATION.critic, 0.25)
    assert damped["rate"] == pytest.approx(0.125) and damped["measured per step"] < 0
    # With T itself linear, θ' = −a and a' = θ − a/κ: Hellinger's ½ is where turning just stops.
    assert local(DIRECT["hellinger"], 0.0)["rate"] == pytest.approx(1.0, abs=1e-6)
