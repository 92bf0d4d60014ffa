"""Charts that lessons draw by a call: every number that is given stands where it belongs."""

import numpy as np
import pytest

from unlearnlab import plot
from unlearnlab.teaching import charts, sheets
from unlearnlab.teaching.shifted import Shifted, parts_of_gaps, statuses, train, two_gaussians


@pytest.fixture
def shown(monkeypatch):
    """The figures that were shown, still open."""
    pytest.importorskip("matplotlib")
    figures = []
    monkeypatch.setattr(plot, "show", lambda ax, alt: figures.append(ax.get_figure(root=True)))
    yield figures
    import matplotlib.pyplot as plt

    plt.close("all")


def test_curves_have_their_values_bars_and_levels(shown):
    x, rows = np.array([1.0, 2.0, 4.0]), {"one": [3.0, 2.0, 1.0], "two": [0.5, 1.0, 1.5]}
    errors = {"one": [0.1, 0.1, 0.1], "two": [0.2, 0.2, 0.2]}
    how = {"levels": {"known": 2.5}, "xlabel": "x", "xticks": {1: "a", 4: "d"}}
    charts.curves(x, rows, "alt", errors=errors, **how)
    (ax,) = shown[0].axes
    drawn = {box.get_label(): box for box in ax.containers}
    for name, values in rows.items():
        line, _, (bars,) = drawn[name].lines
        assert line.get_xdata().tolist() == x.tolist() and line.get_ydata().tolist() == values
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert np.diff(ends, axis=1)[:, 0] == pytest.approx(2 * np.array(errors[name]))
    (level,) = (line for line in ax.lines if line.get_linewidth() == 0.8)
    assert list(level.get_ydata()) == [2.5, 2.5]
    assert [text.get_text() for text in ax.texts] == ["known"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "d"]
    assert len(ax.get_legend().get_texts()) == 2


def test_rows_of_different_lengths_are_counted_from_zero(shown):
    charts.curves(None, {"long": [1, 2, 3], "short": [1, 2]}, "alt")
    (ax,) = shown[0].axes
    assert [len(box.lines[0].get_xdata()) for box in ax.containers] == [3, 2]
    assert ax.containers[1].lines[0].get_xdata().tolist() == [0, 1]


def test_dots_stand_in_the_row_of_their_name(shown):
    panels = {"share": {"a": [0.1, 0.9], "b": [0.2, 0.3]}, "distance": {"all": [5.0, 1.0]}}
    charts.dots(["first", "second"], panels, "alt", lines={"distance": 2.0})
    left, right = shown[0].axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["first", "second"]
    assert left.yaxis_inverted()
    for line, values in zip(left.lines, panels["share"].values(), strict=True):
        assert line.get_xdata().tolist() == values
        assert np.round(line.get_ydata()).tolist() == [0, 1]
    assert list(right.lines[1].get_xdata()) == [2.0, 2.0]
    assert left.get_xlabel() == "share" and right.get_xlabel() == "distance"


def test_runs_and_gaps_are_shown_as_they_are_printed(shown, capsys):
    """Two runs on a Gaussian, and the four parts of a gap that are made up."""
    problem = two_gaussians(b=2.0)
    runs = {
        name: train(problem, Shifted(), steps=20, dual_lr=lr)
        for name, lr in (("a", 0.05), ("b", 0.0))
    }
    statuses(runs, "alt")
    printed = capsys.readouterr().out
    assert f"a\n   status  {runs['a'].status}\n" in printed
    upper = shown[0].axes[0].lines[0].get_ydata()
    assert upper.tolist() == runs["a"].history["multipliers"][:, 0].tolist()
    gap = type("Gap", (), {"duality": 0.0, "estimation": 0.25, "composition": -0.5, "network": 1.0})
    parts_of_gaps({("tilt", "8 wide"): gap, ("tilt", "64 wide"): gap}, "alt")
    assert "0.2500 ± 0.0000" in capsys.readouterr().out
    for ax in shown[1].axes:
        assert ax.containers[0].lines[0].get_ydata().tolist() == [0.0, 0.25, -0.5, 1.0]


def test_two_kinds_of_weights_are_drawn_over_what_they_pay(shown):
    row = [np.array([1.0, 2.0])] * 5
    sheets.both_curves({"one": row, "other": [2 * part for part in row]}, "alt")
    for ax in shown[0].axes:
        first, second = (box.lines[0].get_xdata() for box in ax.containers)
        assert (second == 2 * first).all()
