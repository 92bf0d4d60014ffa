"""Every picture returns axes that say what they show."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import unlearnlab as ul
from unlearnlab import plot

mpl.use("Agg")
LINE, PLANE = ul.Grid(-6, 6, 200), ul.Grid((-4, -4), (4, 4), (40, 40))
Q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.7, 0.7]).on(LINE)
Q1 = ul.GaussianMixture([1.0], [2], [0.7]).on(LINE)
DOUBLE = ul.GaussianMixture([1.0], [-1], [0.7]).on(LINE)
DISC = ul.GaussianMixture([1.0], [[0.0, 0.0]], [1.0]).on(PLANE)
SOLUTION = ul.solve(ul.Likelihood(Q, [Q1], relative=0.2))
FAR = ul.ReverseKL(Q, [Q1], relative=1.5)
PAIR = next(iter(ul.boundary_pairs(FAR, 1)))
COMB = ul.lyapunov_split(*PAIR, 0.5, FAR)

PICTURES = {
    "density": lambda ax: plot.density(Q, Q1, labels=["q", "q₁"], ax=ax),
    "unlearning": lambda ax: plot.unlearning(SOLUTION, ax=ax),
    "contours": lambda ax: plot.contours(DISC, ax=ax, label="q"),
    "filled": lambda ax: plot.contours(DISC, ax=ax, filled=True),
    "dual": lambda ax: plot.dual(SOLUTION.problem, ax=ax),
    "comb": lambda ax: plot.comb(COMB, *PAIR, ax=ax),
    "tradeoff": lambda ax: plot.tradeoff({"a": ([1, 2], [3, 4])}, xlabel="b (nats)", ax=ax),
    "multipliers": lambda ax: plot.multipliers(SOLUTION, ax=ax),
}


@pytest.mark.parametrize("name", PICTURES)
def test_axes_are_returned_and_named(name):
    figure, given = plt.subplots()
    assert PICTURES[name](given) is given
    own = PICTURES[name](None)
    assert own is not given
    for ax in (given, own):
        assert ax.get_xlabel() and ax.get_ylabel()
        assert ax.has_data()
    units = " ".join([given.get_xlabel(), given.get_ylabel()])
    assert "contours" in name or "filled" in name or "nats" in units or "unit" in units
    figure.canvas.draw()
    plt.close("all")


def test_style_does_not_leak():
    before = dict(mpl.rcParams)
    plot.density(Q)
    plt.close("all")
    assert dict(mpl.rcParams) == before


def test_contour_regions_hold_their_mass():
    """The 50 % line of a standard Gaussian has radius √(2 log 2)."""
    ax = plot.contours(DISC, levels=[0.5])
    path = ax.collections[0].get_paths()[0].vertices
    radius = (path**2).sum(axis=1) ** 0.5
    assert radius.mean() == pytest.approx((2 * 0.6931) ** 0.5, abs=0.05)
    plt.close("all")


def test_dual_of_an_infeasible_problem_is_drawn_without_a_maximum():
    q, q1 = ul.Discrete([0.5, 0.5]), ul.Discrete([0.6, 0.4])
    ax = plot.dual(ul.Likelihood(q, [q1], [0.1]))
    values = ax.lines[0].get_ydata()
    assert values[-1] > values[0]
    plt.close("all")


def test_wrong_dimensions_and_models_are_refused():
    with pytest.raises(ValueError, match="expected densities in 1 dimension"):
        plot.density(DISC)
    with pytest.raises(TypeError, match="expected densities on a grid; got Discrete"):
        plot.contours(ul.Discrete([1.0]))


def test_dual_of_several_is_drawn_along_the_ray_to_its_maximum():
    two = ul.Likelihood(Q, [Q1, DOUBLE], relative=0.2)
    solution = ul.solve(two)
    ax = plot.dual(two)
    total, value = ax.lines[0].get_data()
    ray = solution.multipliers / solution.multipliers.sum()
    assert value[70] == pytest.approx(two.dual_value(total[70] * ray))
    assert value.max() == pytest.approx(solution.objective, rel=1e-3)
    assert "Σλ" in ax.get_xlabel()
    plt.close("all")
