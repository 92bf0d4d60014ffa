"""The three problems in plain NumPy on log masses: nothing here trusts the package's own sums."""

import warnings

import numpy as np
from scipy.optimize import brentq

import unlearnlab as ul

KINDS = {"RU": ul.ReverseKL, "FU": ul.ForwardKL, "LU": ul.Likelihood}
GRID = ul.Grid(-5.0, 5.0, 101)
X = GRID.points[:, 0]
NORMAL = -0.5 * X**2


def on(grid, values):
    """A density from log values, however much of it lies in one cell."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*cells holds")
        return grid.density(np.asarray(values, dtype=float))


def normal(values):
    top = values.max()
    return values - top - np.log(np.exp(values - top).sum())


def kl(log_p, log_q):
    """Σ p log(p/q) in log masses."""
    held = log_p > -np.inf
    return float(np.exp(log_p[held]) @ (log_p[held] - log_q[held]))


def values(kind, log_p, log_q, log_f, volume=1.0, ratio=False, temperature=1.0):
    """Objective and constraints of p from log masses."""
    if kind == "RU":
        return kl(log_p, log_q), np.array([kl(log_p, f) for f in log_f])
    if kind == "FU":
        return kl(log_q, log_p), np.array([kl(f, log_p) for f in log_f])
    held = log_p > -np.inf
    base = log_q[held] if ratio else np.log(volume)
    terms = [np.exp(log_p[held] + (f[held] - base) / temperature) for f in log_f]
    return kl(log_p, log_q), np.array([term.sum() for term in terms])


def dual(kind, lam, b, log_q, log_f, floor=25.0):
    """g(λ) on few atoms with q, q_i > 0, written out from the definitions."""
    q, f = np.exp(log_q), np.exp(log_f)
    r = (log_q - log_f).T
    if kind == "LU":
        return -np.log(q @ np.exp(-f.T @ lam)) - lam @ b
    if kind == "RU":
        slack = 1 - lam.sum()
        if slack <= 1e-12:
            return lam @ b + (-slack * log_q - r @ lam).min()
        top = (r @ lam / slack).max()
        return lam @ b - slack * (top + np.log(q @ np.exp(r @ lam / slack - top)))
    c, least = 1 - (f / q).T @ lam, np.exp(-floor)

    def mass(log_eta):
        return q @ np.maximum(c / np.exp(log_eta), least) - 1

    t = np.full(len(q), -floor)
    if c.max() > 0:
        low = np.log(q @ np.maximum(c, 0)) - 1e-9
        log_eta = brentq(mass, low - 1, low + 1, xtol=1e-15)
        t = np.log(np.maximum(c / np.exp(log_eta), least))
    return -(q * c) @ t + lam @ (b - np.array([kl(fi, log_q) for fi in log_f]))


def audit(problem, *, must_be_ok=True):
    """Solve and hold the answer against sums of our own; returns the solution."""
    solution = ul.solve(problem)
    kind = next(k for k, c in KINDS.items() if isinstance(problem, c))
    log_p, log_q = solution.model.log_masses, problem.retain.log_masses
    options = {}
    if kind == "LU":
        options = {"ratio": problem.statistic == "ratio", "temperature": problem.temperature}
    objective, constraints = values(
        kind,
        log_p,
        log_q,
        [f.log_masses for f in problem.forget],
        problem.retain.cell_volume,
        **options,
    )
    c, b = solution.certificate, problem.thresholds
    assert np.isfinite([c.primal, c.dual, c.gap, c.violation, c.complementarity]).all(), c
    assert np.isfinite(solution.multipliers).all() and (solution.multipliers >= 0).all()
    assert np.isfinite(solution.model.probabilities).all()
    assert abs(np.exp(log_p).sum() - 1) < 1e-9 * (1 if c.ok else 1e3)
    assert abs(solution.objective - objective) <= 1e-9 * max(1e-3, objective)
    violation = (+1 if kind != "LU" else -1) * (b - constraints) / np.where(b > 0, b, 1.0)
    assert abs(c.violation - violation.max()) <= 1e-9 * max(1, abs(c.violation))
    if violation.max() <= 0:
        assert c.gap >= -1e-9, "a feasible p lies below the dual value"
    if c.ok:
        assert violation.max() <= 1.1e-8
        assert objective - c.dual <= 1.1e-7 * max(1e-3, objective)
        held = log_q > -np.inf
        assert kind != "FU" or (log_p[held] - log_q[held]).min() >= -problem.floor - 1e-8
    else:  # only where atoms leave a gap, and then the label says so
        assert not must_be_ok and c.regime not in ("regular", "inactive"), c
    return solution
