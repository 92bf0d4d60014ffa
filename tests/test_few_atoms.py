"""Random problems on few atoms: facts that hold whatever the numbers are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import KINDS, audit, dual, normal, values

import unlearnlab as ul


@st.composite
def atoms(draw):
    """(kind, log q, log q_i, feasible log p, thresholds it meets, problem)."""
    kind, n = draw(st.sampled_from(list(KINDS))), draw(st.integers(2, 6))
    logs = st.lists(st.floats(-12, 0), min_size=n, max_size=n).map(lambda a: normal(np.array(a)))
    log_q, log_p = draw(logs), draw(logs)
    log_f = np.array(draw(st.lists(logs, min_size=1, max_size=3)))
    b = values(kind, log_p, log_q, log_f)[1] * draw(st.sampled_from([1.0, 0.9, 0.3]))
    if kind == "LU":
        b = values(kind, log_p, log_q, log_f)[1] * draw(st.sampled_from([1.0, 1.1, 2.0]))
    else:
        b = np.where(np.abs(log_f - log_q).max(axis=1) < 1e-9, 0.0, np.maximum(b, 0.0))
    forget = [ul.Discrete(np.exp(f)) for f in log_f]
    problem = KINDS[kind](ul.Discrete(np.exp(log_q)), forget, b)
    return kind, log_q, log_f, log_p, b, problem


shares = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(np.array)
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@few
@given(atoms(), shares, st.floats(0, 3))
def test_weak_duality(case, lam, size):
    kind, log_q, log_f, log_p, b, problem = case
    lam = size * lam[: len(b)] / lam[: len(b)].sum()
    objective = values(kind, log_p, log_q, log_f)[0]
    value = problem.dual_value(lam)
    assert value <= objective + 1e-9 * (1 + objective + lam @ b)
    assert value == pytest.approx(dual(kind, lam, b, log_q, log_f), rel=1e-8, abs=1e-9)


@few
@given(atoms(), shares, st.floats(0, 0.95), st.integers(0, 2**32 - 1))
def test_the_target_minimises_the_lagrangian(case, lam, size, seed):
    kind, log_q, log_f, _, b, problem = case
    lam = size * lam[: len(b)] / lam[: len(b)].sum()

    def lagrangian(log_p):
        objective, constraints = values(kind, log_p, log_q, log_f)
        return objective + (-1 if kind == "LU" else 1) * lam @ (b - constraints)

    try:
        target = problem.target(lam).log_masses
    except ValueError as error:  # only where no cell keeps mass
        assert kind == "FU" and "no mass" in str(error)
        assert (np.exp(log_q) - lam @ np.exp(log_f)).max() <= 1e-12
        return
    least = lagrangian(target)
    assert least == pytest.approx(problem.dual_value(lam), rel=1e-8, abs=1e-8)
    rng = np.random.default_rng(seed)
    for step in (1.0, 0.1, 1e-3):
        other = np.log(rng.dirichlet(np.ones(len(log_q)), size=20) + 1e-9)
        for log_d in other:  # mixtures with q-floored densities stay above FU's floor
            log_d = np.logaddexp(log_d, log_q - 20)
            mixed = normal(np.logaddexp(np.log1p(-0.999 * step) + target, np.log(step) + log_d))
            assert lagrangian(mixed) >= least - 1e-9 * (1 + abs(least))


@few
@given(atoms())
def test_a_certificate_that_says_ok_is_right(case):
    kind, log_q, log_f, log_p, b, problem = case
    solution = audit(problem, must_be_ok=kind == "LU")
    c, lam = solution.certificate, solution.multipliers
    assert c.violation <= 1e-8  # log_p is feasible, so what is returned must be
    again = ul.certify(problem, solution.model, lam)
    assert (again.primal, again.dual, again.ok, again.regime) == (c.primal, c.dual, c.ok, c.regime)
    ours = dual(kind, lam, b, log_q, log_f)
    assert c.dual == pytest.approx(ours, rel=1e-7, abs=1e-9)
    objective = values(kind, log_p, log_q, log_f)[0]
    assert c.dual <= objective + 1e-9 * (1 + objective)
    if c.ok:
        assert solution.objective <= objective + 1e-7 * (1e-3 + objective)
        assert abs(solution.objective - ours) <= 2e-7 * max(1e-3, solution.objective)
