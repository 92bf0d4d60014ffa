"""Figures that lessons draw by a call: what they mark, and that nothing is cut off."""

import numpy as np
import pytest
import torch

from unlearnlab import plot
from unlearnlab.stable_diffusion.classifier import ATTRIBUTES
from unlearnlab.teaching import sheets, stacked_weights
from unlearnlab.teaching.copies import share_back
from unlearnlab.teaching.loops import mode_masses

pytest.importorskip("matplotlib")


@pytest.fixture
def shown(monkeypatch):
    """The figures that were shown, still open."""
    figures = []
    monkeypatch.setattr(plot, "show", lambda ax, alt: figures.append(ax.get_figure(root=True)))
    yield figures
    import matplotlib.pyplot as plt

    plt.close("all")


def pictures(n=10):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("columns", [3, 14])
@pytest.mark.parametrize("name", ["x", "a picture of a cowboy in the desert\nafter"])
def test_labels_of_a_sheet_are_whole(shown, name, columns):
    sheets.scene_rows({name: pictures(14), "other": pictures(14)}, alt="a", columns=columns)
    (figure,) = shown
    figure.canvas.draw()
    (ax,) = figure.axes
    wide, high = figure.canvas.get_width_height()
    assert wide <= 1000  # a notebook shrinks what is wider
    for text in (*ax.get_yticklabels(), ax.xaxis.label):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= wide and box.y0 >= 0 and box.y1 <= high, text


def test_named_pictures_of_a_sheet_have_a_border_and_their_word(shown):
    rows = {"before": pictures(), "after": pictures()}
    sheets.scene_rows(rows, alt="a", named={(1, 4): "cactus"})
    (ax,) = shown[0].axes
    (border,), (word,) = ax.patches, ax.texts
    assert word.get_text() == "cactus"
    assert (border.get_x(), border.get_y()) == (40, 9.5)  # a picture of 8 and its rim are 10


def test_what_became_what():
    class Reader:
        def attributes(self, shown):
            return shown

    def seen(*names):
        return torch.tensor([[name in one for name in ATTRIBUTES] for one in names])

    before = seen(["cowboy"], ["cowboy"], ["horse"], ["cowboy", "cactus"])
    after = seen(["cactus"], ["cowboy", "cactus"], ["cactus"], ["cactus"])
    found = sheets.became(before, after, Reader(), "cowboy", "cactus")
    assert found.tolist() == [True, False, False, True]


def test_outliers_have_a_box_of_their_own(shown):
    ratio = np.linspace(-1, 1, 40)[:, None].repeat(2, 1)
    ratio[7, 1] = -50
    group = np.arange(40) < 20
    sheets.log_ratios_by_group(
        ratio, abs(ratio) / 10, {"with": group, "without": ~group}, ("one", "two"), alt="a"
    )
    one, two = shown[0].subfigs
    assert [ax.get_title(loc="left") or ax.get_title() for ax in one.axes] == ["one"]
    titles = {ax.get_title(loc="left") or ax.get_title(): ax for ax in two.axes}
    assert set(titles) == {"two", "outliers: 1"}
    inside = [line.get_xdata() for line in titles["two"].lines]
    assert min(min(x) for x in inside if len(x)) >= -1.2
    outside = [line.get_xdata() for line in titles["outliers: 1"].lines]
    assert [list(x) for x in outside if len(x)] == [[-50.0]]


def test_shares_of_modes_and_of_what_comes_back():
    assert mode_masses(np.array([-3.0, -1.5, 0.0, 1.5, 2.0])).tolist() == [0.2, 0.6, 0.2]
    x = torch.zeros(1, 8, 8)
    back = torch.stack([x, x + 0.2, x + 0.3, x + 2])
    assert share_back([back], [x]) == [0.5]


def test_weights_of_pipelines_add_up(shown):
    sizes = stacked_weights(["large", "small"], {"UNet": (800, 300), "rest": (500, 500)}, alt="a")
    assert sizes == pytest.approx([2.6, 1.6])
    assert shown[0].axes[0].get_xlim()[1] > sizes.max()


def test_rates_stand_beside_what_they_should_be(shown):
    names = {"a cowboy": ["cowboy", "horse"], "a ball": ["ball", "red", "tree"]}
    truth = {text: dict.fromkeys(some, 0.5) for text, some in names.items()}
    counted = {text: dict.fromkeys(some, 0.2) for text, some in names.items()}
    sheets.rates_beside(names, truth, counted, 100, alt="a")
    for ax, some in zip(shown[0].axes, names.values(), strict=True):
        assert [label.get_text() for label in ax.get_yticklabels()] == some
        marks, points = ax.lines[:2]
        assert list(marks.get_xdata()) == [0.5] * len(some)
        assert list(points.get_xdata()) == [0.2] * len(some)
        (bars,) = ax.collections
        for (low, _), (high, _) in bars.get_segments():
            assert (low, high) == pytest.approx((0.12, 0.28))  # 2·√(0.2·0.8/100) = 0.08
