"""Searches that know nothing of duality, and what atoms do to it."""

import numpy as np
import pytest
import scipy.special
import suite

import unlearnlab as ul

Q, Q1 = ul.Discrete([0.300, 0.695, 0.005]), ul.Discrete([0.69, 0.30, 0.01])
TABLE = {  # parts per atom: primal, dual, multiplier
    1: (1.8274, 1.5187, 1.4508),
    2: (1.4037, 1.2062, None),
    3: (1.15987, 1.15987, 1.0),
    5: (1.15987, 1.15987, 1.0),
}


@pytest.mark.parametrize("k", TABLE)
def test_atoms_break_strong_duality(k):
    """Three atoms leave a gap of 0.3087 nats; each split into three, they leave none."""
    primal, dual, multiplier = TABLE[k]
    problem = ul.ReverseKL(Q.split(k), [Q1.split(k)], [2.0])
    solution = ul.solve(problem)
    certificate = solution.certificate
    assert certificate.dual == pytest.approx(dual, abs=5e-5)
    assert certificate.primal == pytest.approx(primal, abs=1e-4)
    assert certificate.ok == (k >= 3)
    assert certificate.regime == ("boundary" if k >= 3 else "atomic")
    if multiplier is not None:
        assert solution.multipliers[0] == pytest.approx(multiplier, abs=1e-4)
    # With Λ ≤ 1 only, the dual never sees the atoms.
    inside = max(problem.dual_value([lam]) for lam in np.linspace(0, 1, 101))
    assert inside == pytest.approx(1.15987, abs=1e-4)
    check = ul.verify(problem, starts=32, seed=1)
    assert check.primal == pytest.approx(primal, abs=2e-4)
    assert check.primal >= dual - 1e-4


@pytest.mark.parametrize("kind", ["RU", "FU", "LU"])
@pytest.mark.parametrize("seed", [1, 5, 10])
def test_search_ends_at_the_dual_bound_and_never_below(kind, seed):
    problem = suite.problem(kind, seed, cells=150)
    check = ul.verify(problem, starts=6, seed=seed)
    assert check.primal >= check.dual - 1e-9 * max(1, check.dual)
    assert check.primal <= check.dual + 2e-3 * max(1, check.dual)
    assert check.gap == check.primal - check.dual
    assert check.probabilities.sum() == pytest.approx(1, abs=1e-9)


def perturbed(p, scale, rng, lowest=-np.inf):
    log_masses = p.log_masses + rng.normal(scale=scale, size=len(p.log_masses))
    log_masses = np.maximum(log_masses, lowest)
    return p.with_log_masses(log_masses - scipy.special.logsumexp(log_masses))


@pytest.mark.parametrize("kind", ["RU", "FU", "LU"])
def test_weak_duality(kind):
    """g(λ) ≤ objective of any feasible p, for random λ; the p are tilts the solver never made."""
    rng = np.random.default_rng(4)
    problem = suite.problem(kind, 5, cells=200)
    solution = ul.solve(problem)
    feasible = [solution.objective]
    for _ in range(200):
        further = solution.multipliers * rng.uniform(1.0, 1.2)
        if kind == "RU":
            further *= min(1.0, 0.99 / further.sum())
        lowest = problem.log_base() + 0.1 if kind == "FU" else -np.inf
        p = perturbed(problem.target(further), rng.uniform(0, 0.05), rng, lowest)
        value = problem.evaluate(p)
        violation = problem.sense * (problem.thresholds - value.constraints)
        if (violation <= 0).all() and problem.admits(p):  # FU: above its floor
            feasible.append(value.objective)
    assert len(feasible) > 5
    for _ in range(50):
        lam = rng.exponential(size=problem.m) * (solution.multipliers + 0.01)
        if kind == "RU":
            lam *= min(1.0, 0.99 / lam.sum())
        assert problem.dual_value(lam) <= min(feasible) + 1e-9
        assert problem.dual_value(lam) <= solution.certificate.dual + 1e-9


@pytest.mark.parametrize("kind", ["RU", "FU", "LU"])
def test_target_minimises_the_lagrangian(kind):
    """L(p, λ) ≥ L(p_λ, λ) = g(λ) for densities around p_λ and far from it."""
    rng = np.random.default_rng(0)
    problem = suite.problem(kind, 2, cells=200)
    lam = np.full(problem.m, 0.1) / (problem.thresholds if kind == "LU" else problem.m)

    def lagrangian(p):
        value = problem.evaluate(p)
        return value.objective + lam @ (problem.sense * (problem.thresholds - value.constraints))

    target = problem.target(lam)
    assert lagrangian(target) == pytest.approx(problem.dual_value(lam), abs=1e-9)
    for scale in (1e-3, 0.1, 2.0):
        for _ in range(20):
            p = perturbed(target, scale, rng)
            if problem.admits(p):
                assert lagrangian(p) >= problem.dual_value(lam) - 1e-9
