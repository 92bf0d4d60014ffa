"""Explorers: what a moved control shows is what the package computes."""

import base64
import html
import sys
import warnings

import numpy as np
import pytest

import unlearnlab as ul

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ipywidgets

GRID = ul.Grid(-8, 8, 801)


def gaussians(*means, grid=GRID):
    return ul.GaussianMixture([1 / len(means)] * len(means), means, [0.6] * len(means)).on(grid)


Q, MIDDLE, RIGHT = gaussians(-3, 0, 3), gaussians(0), gaussians(3)
KINDS = {"RU": (ul.ReverseKL, 2.5), "FU": (ul.ForwardKL, 3.0), "LU": (ul.Likelihood, 0.05)}
PROBLEM = ul.ReverseKL(Q, [MIDDLE], relative=1.5)
PAIR = gaussians(-3.6, 3.8), gaussians(3.2)


def panel(explorer, i):
    return explorer.figure.axes[i]


def drawn(ax, label):
    """The line with this label."""
    (line,) = (line for line in ax.lines if line.get_label() == label)
    return line.get_xdata(), line.get_ydata()


@pytest.mark.parametrize("forget", [[MIDDLE], [MIDDLE, RIGHT]], ids=["one", "two"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_moved_threshold_shows_the_solution_there(kind, forget):
    problem, level = KINDS[kind]
    explorer = ul.widgets.ThresholdExplorer(Q, forget)
    explorer.kind.value = kind
    before = explorer._image.value
    explorer.slider.value = level
    assert explorer._image.value != before
    right = ul.solve(problem(Q, forget, relative=level))
    densities, bars, dual, trade = (panel(explorer, i) for i in range(4))
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == pytest.approx(right.multipliers, rel=1e-6)
    _, p = drawn(densities, "unlearned p")
    assert p == pytest.approx(np.exp(right.model.log_density), abs=1e-6)
    for ax, across in ((dual, right.multipliers.sum()), (trade, level)):
        (point,) = (line for line in ax.lines if len(line.get_xdata()) == 1)
        assert point.get_xdata() == pytest.approx([across], rel=1e-6)
        assert point.get_ydata() == pytest.approx([right.objective], rel=1e-6)
    for multiplier in right.multipliers:
        assert f"{multiplier:.3g}" in explorer.said
    assert (
        f"{right.objective:.3g} nats, {right.certificate.regime}, certificate ok" in explorer.said
    )
    assert explorer.said in explorer._words.value.replace("&gt;", ">")


@pytest.mark.parametrize("kind", KINDS)
def test_curves_are_the_packages(kind):
    problem, _ = KINDS[kind]
    explorer = ul.widgets.ThresholdExplorer(Q, [MIDDLE, RIGHT], kind=kind)
    _, _, dual, trade = (panel(explorer, i) for i in range(4))
    levels, deviations = drawn(trade, "optimum at each threshold")
    for level, deviation in list(zip(levels, deviations, strict=True))[::4]:
        right = ul.solve(problem(Q, [MIDDLE, RIGHT], relative=level))
        assert deviation == pytest.approx(right.objective, rel=1e-6, abs=1e-9)
    now = explorer.solution
    total, value = drawn(dual, "dual function g(λ)")
    ray = now.multipliers / now.multipliers.sum()
    assert value[50] == pytest.approx(now.problem.dual_value(total[50] * ray))
    assert max(value) <= now.objective + 1e-9


def test_each_kind_remembers_its_threshold():
    explorer = ul.widgets.ThresholdExplorer(Q, [MIDDLE], level=1.3)
    first = explorer.said
    explorer.kind.value = "LU"
    assert isinstance(explorer.solution.problem, ul.Likelihood)
    assert explorer._place.children == (explorer.slider,)
    explorer.kind.value = "RU"
    assert explorer.slider.value == pytest.approx(1.3)
    assert explorer.said == first


def test_an_infeasible_threshold_gives_its_reason_and_the_way_back():
    explorer = ul.widgets.ThresholdExplorer(Q, [MIDDLE], kind="FU")
    before, shown = explorer.said, explorer._stage.children
    start = explorer.slider.value
    explorer.slider.value = 29.0
    assert explorer.solution is None and explorer.figure is None
    with pytest.raises(ul.InfeasibleError) as error:
        ul.solve(ul.ForwardKL(Q, [MIDDLE], relative=29.0))
    assert explorer.said.startswith(str(error.value)[:40])
    assert explorer._stage.children == (explorer._reason,)
    assert "no distribution meets thresholds" in explorer._reason.value
    data, metadata = explorer._repr_mimebundle_()
    assert "image/png" not in data and not metadata
    explorer.slider.value = start
    assert explorer.said == before and explorer._stage.children == shown


def test_a_kind_that_does_not_exist_for_these_densities_gives_its_reason():
    box = GRID.density(lambda x: np.where(np.abs(x[:, 0]) < 1, 0.0, -np.inf))
    explorer = ul.widgets.ThresholdExplorer(Q, [box], kind="LU")
    explorer.kind.value = "RU"
    assert "ReverseKL needs q_i > 0" in explorer.said
    explorer.kind.value = "FU"
    assert explorer.solution is not None


def test_other_errors_are_not_swallowed(monkeypatch):
    explorer = ul.widgets.ThresholdExplorer(Q, [MIDDLE])
    shown = explorer._image.value

    def broken(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr("unlearnlab.plot.dual", broken)
    with pytest.raises(RuntimeError, match="broken"):
        explorer.slider.value = 1.2
    assert explorer._image.value == shown  # nothing half-drawn


@pytest.mark.parametrize("theta", [0.2, 0.7])
def test_a_moved_share_shows_the_comb_there(theta):
    explorer = ul.widgets.CombExplorer(*PAIR, PROBLEM)
    explorer.slider.value = theta
    right = ul.lyapunov_split(*PAIR, theta, PROBLEM)
    left, plane = explorer.figure.axes
    assert drawn(left, "comb")[1] == pytest.approx(np.exp(right.density.log_density))
    shown = {"comb": right.density, "average": right.average}
    for label, model in shown.items():
        found = PROBLEM.evaluate(model)
        x, y = drawn(plane, label)
        assert (x[0], y[0]) == pytest.approx((found.constraints[0], found.objective))
    x, y = drawn(plane, "θ on the chord")
    assert (y[0], x[0]) == pytest.approx(right.wanted[:2])
    x, y = drawn(plane, "chord")
    ends = [PROBLEM.evaluate(one) for one in PAIR[::-1]]
    assert x == pytest.approx([one.constraints[0] for one in ends])
    assert y == pytest.approx([one.objective for one in ends])
    assert f"KL(p‖q) = {PROBLEM.evaluate(right.density).objective:.4g} nats" in explorer.said
    lost = theta * ul.kl(PAIR[0], right.average) + (1 - theta) * ul.kl(PAIR[1], right.average)
    assert f"Jensen–Shannon term of p and p′ is {lost:.3g} nats" in explorer.said
    assert f"lies below it by {lost:.3g} nats and {lost:.3g}, " in explorer.said


EXPLORERS = {
    "threshold": lambda: ul.widgets.ThresholdExplorer(Q, [MIDDLE]),
    "comb": lambda: ul.widgets.CombExplorer(*PAIR, PROBLEM),
}


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_stored_output_has_a_picture_and_repeats(name):
    bundles = [EXPLORERS[name]()._repr_mimebundle_(include=None, exclude=None) for _ in range(2)]
    ignored = {"application/vnd.jupyter.widget-view+json"}  # by nbval: model ids are random
    compared = [{k: v for k, v in data.items() if k not in ignored} for data, _ in bundles]
    assert compared[0] == compared[1]
    data, metadata = bundles[0]
    assert set(data) == ignored | {"image/png", "text/plain"}
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert len(metadata["image/png"]["alt"]) > 100
    explorer = EXPLORERS[name]()
    assert isinstance(explorer.view, ipywidgets.VBox)
    # What JupyterLab shows is the same picture, and has the words for those who cannot see it.
    assert explorer._image.value.startswith(f'<img src="data:image/png;base64,{data["image/png"]}"')
    assert f'alt="{html.escape(explorer.said)}"' in explorer._image.value


def test_wrong_arguments_are_named():
    threshold, comb = ul.widgets.ThresholdExplorer, ul.widgets.CombExplorer
    other = gaussians(0, grid=ul.Grid(-8, 8, 400))
    flat = ul.GaussianMixture([1], [[0, 0]], [1]).on(ul.Grid((-4, -4), (4, 4), (20, 20)))
    off = ul.GaussianMixture([1], [[1, 0]], [0.6]).on(ul.Grid((-4, -4), (4, 4), (20, 20)))
    atoms = ul.Discrete([0.5, 0.5]), ul.Discrete([0.1, 0.9])
    for wrong, error, words in (
        (lambda: threshold(Q, MIDDLE), TypeError, "forget must be a list"),
        (lambda: threshold("q", [MIDDLE]), TypeError, "retain must be a model"),
        (lambda: threshold(Q, [other]), ValueError, r"forget\[0\] lives on"),
        (lambda: threshold(flat, [off]), ValueError, "retain must live on a 1-D grid"),
        (lambda: threshold(atoms[0], [atoms[1]]), TypeError, "retain must be a density on a grid"),
        (lambda: threshold(Q, [MIDDLE], kind="XU"), ValueError, "kind must be one of RU, FU, LU"),
        (lambda: threshold(Q, [MIDDLE], level=9), ValueError, "level must lie between"),
        (lambda: threshold(Q, [MIDDLE], kind="FU", level=29), ul.InfeasibleError, "reach at most"),
        (lambda: comb(Q, PAIR[1], PROBLEM), ValueError, "p is infeasible"),
        (lambda: comb(*PAIR, "problem"), TypeError, "problem must be"),
        (lambda: comb(*PAIR, PROBLEM, theta=1.0), ValueError, "theta must lie between"),
        (lambda: comb(PAIR[0], other, PROBLEM), ValueError, "p_prime lives on"),
    ):
        with pytest.raises(error, match=words):
            wrong()


def test_a_comb_needs_one_constraint():
    two = ul.ReverseKL(Q, [MIDDLE, RIGHT], thresholds=[0.01, 0.01])
    with pytest.raises(ValueError, match="one forget distribution; it has 2"):
        ul.widgets.CombExplorer(*PAIR, two)


def test_without_ipywidgets_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for explorer in EXPLORERS.values():
        with pytest.raises(ImportError, match=r"pip install \"unlearnlab\[course\]\""):
            explorer()
