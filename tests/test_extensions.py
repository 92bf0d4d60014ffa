"""What an outside engineer would add takes one short file, and works on every rung."""

from pathlib import Path

import numpy as np
import pytest
import torch
from extensions import guessed
from extensions.flow import Flow
from students import SCHEDULE, Shifted, gaussian

import unlearnlab as ul

HERE = Path(__file__).parent / "extensions"
LINES = 40


@pytest.mark.parametrize("name", ["guessed", "flow"])
def test_each_takes_few_lines(name):
    assert len((HERE / f"{name}.py").read_text().splitlines()) <= LINES


def mixtures():
    q = ul.GaussianMixture([0.5, 0.5], [-2.0, 2.0], [0.6, 0.6])
    return q, ul.GaussianMixture([1.0], [2.0], [0.6])


def on_grid(threshold=0.15):
    grid = ul.Grid(-7, 7, 501)
    q, q1 = (one.on(grid) for one in mixtures())
    return guessed.Guessed(q, [q1], [threshold])


def posterior(x):
    """σ at points (n,), from densities."""
    p, p1 = (np.exp(one.log_density(np.asarray(x, dtype=float))) for one in mixtures())
    return p1 / (p + p1)


def test_a_fourth_formulation_on_grids(tmp_path):
    problem = on_grid()
    solution = ul.solve(problem)
    assert solution.certificate.ok
    x, p = problem.retain.grid.points[:, 0], solution.model.probabilities
    assert p @ posterior(x) == pytest.approx(0.15, abs=1e-9)
    # eq. (7): log p/q is −λσ up to a constant, and its slope λ.
    t = solution.model.log_masses - problem.retain.log_masses
    assert np.ptp(t + solution.multipliers[0] * posterior(x)) < 1e-9
    check = ul.verify(problem, starts=4)
    assert 0 <= check.gap < 1e-3
    again = ul.load(solution.save(tmp_path / "guessed"))
    assert type(again.problem) is guessed.Guessed and again.certificate.ok
    few = ul.Discrete([0.5, 0.5]), ul.Discrete([0.4, 0.6])
    with pytest.raises(ul.InfeasibleError, match=r"brought down to \[0.444444\]"):
        ul.solve(guessed.Guessed(few[0], [few[1]], [0.3]))


def diffused(threshold=0.15):
    q, q1 = (one.diffused(SCHEDULE) for one in mixtures())
    return guessed.Guessed(q, [q1], [threshold])


def test_a_fourth_formulation_on_pools_agrees_with_the_grid():
    exact, solution = ul.solve(on_grid()), ul.solve(diffused(), pool=16384)
    assert solution.certificate.ok
    assert solution.multipliers[0] == pytest.approx(exact.multipliers[0], rel=0.03)
    again = solution.evaluate()
    assert again.constraints[0] == pytest.approx(0.15, abs=4 * float(again.constraints_stderr[0]))


def test_what_training_evaluation_and_the_solver_measure_is_one_statistic():
    problem = diffused()
    x = problem.retain.sample(64, seed=3)
    at_points = problem.values_at(x)[:, 0]
    np.testing.assert_allclose(at_points, posterior(x[:, 0]), atol=1e-6)
    from unlearnlab.training.objective import primal_dual

    objective = primal_dual(type(problem))([problem], 64)
    np.testing.assert_allclose(objective.values(x)[0, :, 0], at_points, atol=1e-6)


@pytest.mark.parametrize("method", ["primal-dual", "tilt"])
def test_a_fourth_formulation_in_training(method):
    """A student N(m, 1) of q = N(0, 1): it moves away from q_1 until the guess is rare enough."""
    problem = guessed.Guessed(gaussian(0.0), [gaussian(1.0)], [0.3])
    how = {"primal-dual": {"steps": 150, "dual_lr": 0.2}, "tilt": {"steps": 200, "pool": 2048}}
    run = ul.finetune(problem, Shifted(), method=method, batch=128, lr=2e-2, **how[method])
    x = run.student.sample(4096, seed=5)[:, 0].double()
    share = torch.sigmoid(x - 0.5).mean()  # log q_1/q = x − ½
    assert float(share) == pytest.approx(0.3, abs=0.03)
    assert run.evaluation.constraints[0] == pytest.approx(float(share), abs=0.02)
    assert float(run.student.mean) < -0.3


def test_a_flow_is_the_diffusion_that_it_is():
    """The exact velocity of a mixture's flow gives the mixture's noise prediction, KL and ratio."""
    mix = mixtures()[0]
    times = np.linspace(0.01, 0.99, 200)

    def velocity(x_s, s):
        # x_s is (1 − s)x + sε: its score by finite mixtures of N((1 − s)μ, (1 − s)²σ² + s²).
        x, s = x_s.double(), s.double()
        means, stds = torch.tensor(mix.means[:, 0]), torch.tensor(mix.covariances[:, 0, 0]).sqrt()
        spread = ((1 - s) * stds) ** 2 + s**2
        centred = x - (1 - s) * means
        logs = torch.tensor(mix.weights).log() - centred**2 / (2 * spread) - spread.log() / 2
        score = -(torch.softmax(logs, 1) * centred / spread).sum(1, keepdim=True)
        noise = -s * score
        return ((noise - x) / (1 - s)).to(x_s)

    flow = Flow(velocity, times, (1,))
    exact = mix.diffused(flow.schedule)
    x_t, t = torch.linspace(-3, 3, 32)[:, None], torch.arange(0, 192, 6)
    torch.testing.assert_close(
        flow.noise_prediction(x_t, t), exact.noise_prediction(x_t, t), atol=1e-4, rtol=1e-4
    )
    other = ul.GaussianMixture([1.0], [0.5], [1.5]).diffused(flow.schedule)
    assert float(ul.kl(flow, other)) == pytest.approx(float(ul.kl(exact, other)), abs=0.02)
    solution = ul.solve(ul.ReverseKL(flow, [other], relative=1.5), pool=512)
    assert solution.certificate.ok
