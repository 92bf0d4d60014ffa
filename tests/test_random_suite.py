"""3000 random problems: no wrong certificate, and no honest failure without its reason."""

import numpy as np
import pytest
import suite

import unlearnlab as ul

COUNT, CHUNK = 1000, 50


def independent(problem, p):
    """Objective and constraints by plain sums over the returned masses."""
    masses, log_p = p.probabilities, p.log_masses
    q, forget = problem.retain.log_masses, [one.log_masses for one in problem.forget]

    def kl(log_a, log_b):
        held = np.exp(log_a) > 0
        return np.exp(log_a[held]) @ (log_a[held] - log_b[held])

    if isinstance(problem, ul.ForwardKL):
        return kl(q, log_p), np.array([kl(one, log_p) for one in forget])
    if isinstance(problem, ul.ReverseKL):
        return kl(log_p, q), np.array([kl(log_p, one) for one in forget])
    held = masses > 0
    base = q if problem.statistic == "ratio" else np.log(problem.retain.cell_volume)
    with np.errstate(over="ignore", under="ignore"):
        values = [np.exp((log_p + one - base)[held]).sum() for one in forget]
    return kl(log_p, q), np.array(values)


def confirm(problem, solution):
    """The certificate's numbers again, without the package."""
    certificate = solution.certificate
    objective, constraints = independent(problem, solution.model)
    scale = np.where(problem.thresholds > 0, problem.thresholds, 1)
    violation = problem.sense * (problem.thresholds - constraints) / scale
    gap = abs(objective - certificate.dual) / max(1e-3, abs(objective))
    assert violation.max() <= 1e-8
    assert gap <= (1e-7 if certificate.regime == "contact" else 1e-9)
    assert abs(solution.model.probabilities.sum() - 1) <= 1e-9


def refined(problem, parts):
    """The problem on atoms split into halves, quarters, ...: cells fine enough for any mass."""
    shares = -np.log(2) * np.minimum(np.arange(1, parts + 1), parts - 1)

    def split(model):
        masses = (model.log_masses[:, None] + shares).ravel()
        return ul.Discrete([1.0]).with_log_masses(masses)

    return ul.ReverseKL(
        split(problem.retain), [split(one) for one in problem.forget], problem.thresholds
    )


def confirm_ray(problem, error):
    """λ ≥ 0 and no atom, hence no density, brings λᵀconstraints to λᵀb."""
    assert (error.ray >= 0).all()
    values = problem.vertex_values() @ error.ray
    goal = error.ray @ problem.thresholds
    assert (values.max() < goal) if problem.sense > 0 else (values.min() > goal)


@pytest.mark.parametrize("kind", ["FU", "RU", "LU"])
@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_random_problems(kind, first):
    for seed in range(first, first + CHUNK):
        problem = suite.problem(kind, seed)
        try:
            solution = ul.solve(problem)
        except ul.InfeasibleError as error:
            confirm_ray(problem, error)
            continue
        certificate = solution.certificate
        assert np.isfinite([certificate.primal, certificate.dual, certificate.gap]).all()
        if certificate.ok:
            confirm(problem, solution)
        else:
            assert (kind, certificate.regime) == ("RU", "atomic"), f"{kind} problem {seed}"
            for parts in (20, 60):  # twenty are mostly enough, and cheaper
                on_fine_atoms = ul.solve(refined(problem, parts))
                if on_fine_atoms.certificate.ok:
                    break
            assert on_fine_atoms.certificate.ok, f"RU problem {seed} is not atomic"
            assert on_fine_atoms.objective <= certificate.primal + 1e-9
