"""Bad input is refused: the right exception, naming the argument, its value and what belongs."""

import re
import warnings

import numpy as np
import pytest

import unlearnlab as ul

GRID = ul.Grid(-8.0, 8.0, 401)
Q, A, B = (ul.Discrete(p) for p in ([0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]))
HOLE = ul.Discrete([0.5, 0.5, 0.0])
N0, N1 = (ul.GaussianMixture([1], [mean], [1]).on(GRID) for mean in (0, 1))
RU, FU, LU = ul.ReverseKL, ul.ForwardKL, ul.Likelihood
KINDS = [RU, FU, LU]
MIX = ul.GaussianMixture


def two_dimensional(covariances):
    return MIX([1], [[0, 0]], covariances=covariances)


all_kinds = pytest.mark.parametrize("kind", KINDS)


# Thresholds


@all_kinds
@pytest.mark.parametrize("name", ["thresholds", "relative"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1.0, ValueError, r"must not be negative; got \[-1.0, -1.0\]"),
        ([1.0, -2.0], ValueError, r"must not be negative; got \[1.0, -2.0\]"),
        (np.nan, ValueError, r"must be finite; got \[nan, nan\]"),
        ([1.0, np.inf], ValueError, r"must be finite; got \[1.0, inf\]"),
        ([1.0], ValueError, r"one number per forget distribution: expected 2, got shape \(1,\)"),
        ([1.0] * 3, ValueError, r"expected 2, got shape \(3,\)"),
        ([], ValueError, r"expected 2, got shape \(0,\)"),
        ([[1.0, 1.0]], ValueError, r"expected 2, got shape \(1, 2\)"),
        ("much", TypeError, "must be numbers.*got 'much'"),
    ],
)
def test_bad_thresholds_are_refused(kind, name, value, error, message):
    with pytest.raises(error, match=f"{name} .*{message}"):
        kind(Q, [A, B], **{name: value})


@all_kinds
@pytest.mark.parametrize("given", [{}, {"thresholds": 0.5, "relative": 0.5}])
def test_neither_or_both_of_thresholds_and_relative_are_refused(kind, given):
    with pytest.raises(ValueError, match=r"either thresholds= or relative=, not both or neither"):
        kind(Q, [A], **given)


@pytest.mark.parametrize("given", [{"thresholds": 0.0}, {"relative": 0.0}])
def test_likelihood_refuses_a_threshold_of_zero(given):
    with pytest.raises(ValueError, match=r"must be positive; got \[0.0\]"):
        LU(Q, [A], **given)


# Densities, grids, mixtures, atoms


REFUSED = [
    (GRID.density, np.full(401, np.nan), "log_density holds 401 NaN"),
    (GRID.density, np.append(np.inf, np.zeros(400)), r"log_density holds \+inf"),
    (GRID.density, np.full(401, -np.inf), "log_density is zero everywhere"),
    (GRID.density, np.zeros(400), r"log_density must give one value per cell \(401\).*\(400,\)"),
    (GRID.density, lambda x: np.zeros(3), r"one value per cell \(401\); got shape \(3,\)"),
    (GRID.density, lambda x: np.nan * x[:, 0], "log_density holds 401 NaN"),
    (GRID.density, "normal", "log_density must be a function .* got str 'normal'"),
    (ul.Grid, (1, -1, 10), "low must lie below high.*low=1, high=-1"),
    (ul.Grid, (1, 1, 10), "low must lie below high.*low=1, high=1"),
    (ul.Grid, ((-1, 1), (1, -1), 4), "low must lie below high"),
    (ul.Grid, ([-1] * 4, [1] * 4, 2), "one to three dimensions; got 4"),
    (ul.Grid, ([], [], []), "one to three dimensions; got 0"),
    (ul.Grid, (-1, 1, 0), "cells must be a positive whole number.*got 0"),
    (ul.Grid, (-1, 1, -3), "cells must be a positive whole number.*got -3"),
    (ul.Grid, (-1, 1, 2.5), "cells must be a positive whole number.*got 2.5"),
    (ul.Grid, (-1, 1, np.nan), "cells must be finite; got nan"),
    (ul.Grid, (np.nan, 1, 2), "low must be finite; got nan"),
    (ul.Grid, (-1, np.inf, 2), "high must be finite; got inf"),
    (ul.Grid, ("a", 1, 2), "low must be a number.*got 'a'"),
    (ul.Grid, ((-1, -1), (1, 1, 1), 3), "low and high must have one number per axis"),
    (MIX, ([0.5, 0.4], [0, 1], 1.0), r"weights must .*sum to 1; got \[0.5, 0.4\]"),
    (MIX, ([-0.5, 1.5], [0, 1], 1.0), r"weights must be non-negative.*-0.5"),
    (MIX, ([np.nan, 1], [0, 1], 1.0), r"weights must be finite; got \[nan"),
    (MIX, ([1], [0, 1], 1.0), "weights must hold one number per component: expected 2"),
    (MIX, ([0.5, 0.5], [0, 1], [1, -1]), r"stds must be positive; got \[1.0, -1.0\]"),
    (MIX, ([0.5, 0.5], [0, 1], 0.0), r"stds must be positive; got \[0.0, 0.0\]"),
    (MIX, ([0.5, 0.5], [0, 1], [1, np.nan]), "stds must be finite"),
    (MIX, ([0.5, 0.5], [0, 1], [1, 1, 1]), "stds must hold .*expected 2"),
    (MIX, ([0.5, 0.5], [0, 1]), "either stds= .* or covariances="),
    (MIX, ([0.5, 0.5], [0, np.nan], 1.0), "means must be finite"),
    (MIX, ([0.5, 0.5], ["a", "b"], 1.0), "means must be .*a"),
    (two_dimensional, np.eye(2), r"covariances must have shape \(1, 2, 2\); got \(2, 2\)"),
    (two_dimensional, [np.eye(3)], r"covariances must have shape \(1, 2, 2\); got \(1, 3, 3\)"),
    (two_dimensional, [[[1, 2], [2, 1]]], "covariances must be symmetric positive definite"),
    (two_dimensional, [[[1, 0], [0, 0]]], "covariances must be symmetric positive definite"),
    (two_dimensional, [[[1, 0.5], [0, 1]]], "covariances must be symmetric positive definite"),
    (two_dimensional, [[[1, np.nan], [np.nan, 1]]], "covariances must be .*(finite|definite)"),
    (two_dimensional, [[[np.inf, 0], [0, 1]]], "covariances must be .*(finite|definite)"),
    (two_dimensional, "round", "covariances must be .*round"),
    (MIX([1], [0], [1]).on, ul.Grid((-1, -1), (1, 1), 4), "grid has 2 dimensions, the mixture 1"),
    (MIX([1], [0], [1]).on, "grid", r"grid must be .*got str"),
    (ul.Discrete, [0.5, 0.6], "probabilities must sum to 1; got 2 with sum 1.1"),
    (ul.Discrete, [-0.5, 1.5], r"probabilities must not be negative or NaN; got \[-0.5, 1.5\]"),
    (ul.Discrete, [np.nan, 1.0], r"probabilities must not be negative or NaN; got \[nan"),
    (ul.Discrete, [np.inf, 1.0], "probabilities must sum to 1; got 2 with sum inf"),
    (ul.Discrete, [0.0, 0.0], "probabilities must sum to 1; got 2 with sum 0"),
    (ul.Discrete, [], "probabilities must sum to 1; got 0"),
    (ul.Discrete, "half", "probabilities must be numbers; got 'half'"),
    *((Q.split, k, f"k must be a positive whole .*{k}") for k in (0, -1, 1.5, np.nan, np.inf)),
]


@pytest.mark.parametrize(("make", "given", "message"), REFUSED)
def test_bad_densities_grids_mixtures_and_atoms_are_refused(make, given, message):
    of_kind = TypeError if isinstance(given, str) else (ValueError, TypeError)
    with pytest.raises(of_kind, match=message):
        make(*given) if isinstance(given, tuple) else make(given)


@pytest.mark.parametrize("std", [0.004, 10.0])
def test_a_mixture_warns_with_the_mass_that_its_grid_loses(std):
    centres, width = (np.arange(401) - 200) * 16 / 401, 16 / 401
    held = np.exp(-0.5 * (centres / std) ** 2).sum() * width / (std * np.sqrt(2 * np.pi))
    with pytest.warns(UserWarning, match=re.escape(f"{1 - held:+.2%} lost")) as caught:
        MIX([1], [0], [std]).on(GRID)
    assert ("too coarse" if std < 1 else "too small") in str(caught[0].message)


@pytest.mark.parametrize(("std", "outside"), [(4.0, 0.0455), (22.36, 0.7205)])
def test_a_function_warns_with_the_mass_outside_its_grid(std, outside):
    with pytest.warns(UserWarning, match=r"outside the grid .*too small.*widen it") as caught:
        GRID.density(lambda x: -0.5 * (x[:, 0] / std) ** 2)
    text = str(caught[0].message)
    named = float(re.search(r"([\d.]+)%", text).group(1)) / 100
    assert abs(named - outside) < 0.01 or ("at least" in text and named <= outside)


@pytest.mark.parametrize("centre", [0.0, 8 / 401])
def test_a_function_narrower_than_a_cell_warns(centre):
    # Gaussian of a tenth of a cell, on a cell's centre and on the wall between two.
    with pytest.warns(UserWarning, match="too coarse"):
        GRID.density(lambda x: -0.5 * ((x[:, 0] - centre) / 0.004) ** 2)


# Models


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (N0, ul.GaussianMixture([1], [0], [1]).on(ul.Grid(-8, 8, 402))),
        (N0, ul.GaussianMixture([1], [0], [1]).on(ul.Grid(-8, 9, 401))),
        (Q, ul.Discrete([0.5, 0.5])),
        (N0, Q),
        (Q, N0),
    ],
)
def test_models_on_different_spaces_are_refused(first, second):
    with pytest.raises(ValueError, match=r"q lives on .* but p lives on .*put both on the same"):
        ul.kl(first, second)
    for kind in KINDS:
        with pytest.raises(ValueError, match=r"forget\[0\] lives on .* but retain lives on"):
            kind(first, [second], 0.5)


@pytest.mark.parametrize("value", ["horse", None, ul.Discrete, ul.GaussianMixture([1], [0], [1])])
def test_what_is_no_model_is_refused_by_name(value):
    for name, pair in (("p", (value, Q)), ("q", (Q, value))):
        with pytest.raises(TypeError, match=f"{name} must be a model .* got "):
            ul.kl(*pair)
    for kind in KINDS:
        with pytest.raises(TypeError, match=r"retain must be a model .* got "):
            kind(value, [A], 0.5)
        with pytest.raises(TypeError, match=r"forget\[1\] must be a model .* got "):
            kind(Q, [A, value], 0.5)


@all_kinds
@pytest.mark.parametrize("value", ["horse", A, np.array([0.1, 0.1, 0.8]), None])
def test_forget_must_be_a_list(kind, value):
    with pytest.raises(TypeError, match=f"forget must be a list .*got {type(value).__name__}"):
        kind(Q, value, 0.5)


@all_kinds
def test_an_empty_forget_list_is_refused(kind):
    with pytest.raises(ValueError, match="forget is empty: name at least one"):
        kind(Q, [], [])


@pytest.mark.parametrize("kind", [RU, FU])
def test_forgetting_what_is_retained_is_refused_unless_its_threshold_is_zero(kind):
    with pytest.raises(ValueError, match=r"forget\[1\] equals retain.*thresholds\[1\]"):
        kind(Q, [A, Q], 0.1)
    with pytest.raises(ValueError, match=r"forget\[0\] equals retain"):
        kind(N0, [ul.GaussianMixture([1], [0], [1]).on(GRID)], 1e-6)
    solution = ul.solve(kind(Q, [Q], 0.0))
    assert solution.certificate.ok and solution.certificate.regime == "inactive"
    assert np.abs(solution.model.probabilities - [0.5, 0.3, 0.2]).max() < 1e-15
    solution = ul.solve(kind(Q, [A, Q], [1.5, 0.0]))  # beyond KL at q: it must move
    assert solution.certificate.ok and solution.objective > 1e-2


def test_likelihood_may_forget_what_is_retained():
    q = np.array([0.5, 0.3, 0.2])
    solution = ul.solve(LU(Q, [Q], 0.3))
    expected = q * np.exp(-solution.multipliers[0] * q)
    assert solution.certificate.ok
    assert np.abs(solution.model.probabilities - expected / expected.sum()).max() < 1e-12
    assert abs(solution.model.probabilities @ q - 0.3) < 1e-9


def test_supports_that_do_not_cover_are_refused():
    with pytest.raises(ul.SupportError, match=r"forget\[1\] is zero in 1 cells where retain is no"):
        RU(Q, [A, HOLE], 0.5)
    with pytest.raises(ul.SupportError, match=r"retain is zero in 1 cells where forget\[0\] is no"):
        FU(HOLE, [A, HOLE], 0.5)
    assert issubclass(ul.SupportError, ValueError)


@pytest.mark.parametrize(
    ("kind", "retain", "forget", "threshold"),
    [
        (RU, HOLE, A, 1.8),
        (RU, HOLE, ul.Discrete([0.2, 0.7, 0.1]), 0.6),
        (RU, HOLE, ul.Discrete([0.2, 0.8, 0.0]), 0.5),
        (FU, Q, HOLE, 0.8),
        (LU, Q, HOLE, 0.2),
        (LU, HOLE, Q, 0.35),
        (LU, HOLE, ul.Discrete([0.0, 0.2, 0.8]), 0.05),
    ],
)
@pytest.mark.parametrize("on_grid", [False, True])
def test_zeros_elsewhere_are_legal(kind, retain, forget, threshold, on_grid):
    if on_grid:
        grid = ul.Grid(0, 3, 3)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "one of 3 cells holds")
            retain, forget = (grid.density(model.log_masses) for model in (retain, forget))
    solution = ul.solve(kind(retain, [forget], threshold))
    p = solution.model.probabilities
    assert solution.certificate.ok and solution.certificate.regime in ("regular", "boundary")
    assert np.isfinite([*solution.multipliers, solution.objective, *p]).all()
    held = p > 0
    assert not (held & (retain.probabilities == 0)).any()
    q, f = retain.probabilities, forget.probabilities
    if kind is RU:
        reached, side = p[held] @ np.log(p[held] / f[held]), +1
    elif kind is FU:
        reached, side = f[f > 0] @ np.log(f[f > 0] / p[f > 0]), +1
    else:
        reached, side = p @ f, -1
    assert side * (reached - threshold) >= -1e-8 * threshold
    ahead, behind = (q, p) if kind is FU else (p, q)
    some = ahead > 0
    objective = ahead[some] @ np.log(ahead[some] / behind[some])
    assert abs(solution.objective - objective) < 1e-12


# Options, multipliers, verbs


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (LU, {"statistic": "log"}, "statistic must be 'density' or 'ratio'; got 'log'"),
        (LU, {"statistic": None}, "statistic must be 'density' or 'ratio'; got None"),
        (LU, {"cap": 0.0}, "cap must be positive, or None for none; got 0.0"),
        (LU, {"temperature": 0}, "temperature must be positive; got 0"),
        (LU, {"temperature": -1.0}, "temperature must be positive; got -1"),
        (LU, {"temperature": np.nan}, "temperature must be finite; got .*nan"),
        (LU, {"temperature": np.inf}, "temperature must be finite; got .*inf"),
        (LU, {"temperature": "dim"}, "temperature must be .* got 'dim'"),
        *((FU, {"floor": T}, f"floor must .*{T}") for T in (0, -1.0, 601, np.nan, np.inf, "deep")),
    ],
)
def test_bad_options_are_refused(kind, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kind(Q, [A], 0.3, **options)


@all_kinds
@pytest.mark.parametrize(
    ("multipliers", "error", "message"),
    [
        ([-0.5, 0.2], ValueError, r"multipliers must not be negative; got \[-0.5, 0.2\]"),
        ([np.nan, 0.2], ValueError, r"multipliers must be finite; got \[nan, 0.2\]"),
        ([np.inf, 0.2], ValueError, r"multipliers must be finite; got \[inf, 0.2\]"),
        ([0.5], ValueError, r"multipliers must hold one number per constraint: expected 2"),
        ([0.1, 0.1, 0.1], ValueError, r"multipliers must .*expected 2, got shape \(3,\)"),
        ("large", TypeError, "multipliers must be numbers.*got 'large'"),
    ],
)
def test_bad_multipliers_are_refused(kind, multipliers, error, message):
    problem = kind(Q, [A, B], 0.5)
    for function in (problem.target, problem.dual_value):
        with pytest.raises(error, match=message):
            function(multipliers)


@pytest.mark.parametrize("multipliers", [[0.5, 0.5], [1.0, 0.0], [2.0, 1.0]])
def test_no_reverse_kl_target_exists_from_sum_one_on(multipliers):
    with pytest.raises(ValueError, match=r"must sum to less than 1; got .* with sum [13]\.0"):
        RU(Q, [A, B], 0.5).target(multipliers)


def test_a_forward_kl_target_without_mass_is_refused():
    with pytest.raises(ValueError, match=r"multipliers \[50.0, 50.0\] leave no mass"):
        FU(Q, [A, B], 0.5).target([50, 50])


@pytest.mark.parametrize("value", ["problem", None, RU, Q])
def test_only_problems_are_solved_and_verified(value):
    for function in (ul.solve, ul.verify):
        with pytest.raises(TypeError, match="a ReverseKL, ForwardKL, Likelihood or Moments"):
            function(value)


@pytest.mark.parametrize("starts", [0, -1, 2.5, "many"])
def test_verify_needs_a_start(starts):
    with pytest.raises((ValueError, TypeError), match=f"starts must be .*{starts}"):
        ul.verify(RU(Q, [A], 0.5), starts=starts)


# Infeasible

LEFT, RIGHT = ul.Discrete([0.05, 0.15, 0.8]), ul.Discrete([0.8, 0.15, 0.05])


def extreme_values(problem):
    """(3, m) constraint values at the extreme distributions, from probabilities alone."""
    q, f = problem.retain.probabilities, np.array([d.probabilities for d in problem.forget])
    if isinstance(problem, RU):
        return -np.log(f).T
    if isinstance(problem, LU):
        return f.T
    v = np.exp(-problem.floor) * q + (1 - np.exp(-problem.floor)) * np.eye(3)
    return np.array([[fi @ np.log(fi / vj) for fi in f] for vj in v])


@pytest.mark.parametrize(
    ("kind", "thresholds", "ceiling", "words"),
    [
        (RU, [3.1, 0.5], -np.log([0.05, 0.05]), r"KL.*thresholds\[0\]: above it"),
        (RU, [2.5, 2.5], -np.log([0.05, 0.05]), "each can be reached alone but not together"),
        (LU, [0.04, 0.9], [0.05, 0.05], r"E_p.*0\.05.*thresholds\[0\]: below it"),
        (LU, [0.1, 0.1], [0.05, 0.05], "each can be reached alone but not together"),
        (FU, [1.0, 1000.0], None, r"KL.*thresholds\[1\]: above it"),
        (FU, [23.0, 23.0], None, "each can be reached alone but not together"),
    ],
)
def test_an_infeasible_problem_comes_with_a_proof(kind, thresholds, ceiling, words):
    problem = kind(Q, [LEFT, RIGHT], thresholds)
    with pytest.raises(ul.InfeasibleError, match=words) as caught:
        ul.solve(problem)
    values, ray = extreme_values(problem), caught.value.ray
    best = values.min(axis=0) if kind is LU else values.max(axis=0)
    assert np.allclose(caught.value.ceiling, best if ceiling is None else ceiling, rtol=1e-12)
    assert np.allclose(problem.ceilings(), caught.value.ceiling, rtol=0)
    assert (ray >= 0).all() and abs(ray.sum() - 1) < 1e-12
    reached = values @ ray
    assert reached.min() > ray @ thresholds if kind is LU else reached.max() < ray @ thresholds
    assert isinstance(caught.value, ValueError)
