"""The site: nothing is missing from it, its explorers compute what the package does, it works."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import unlearnlab as ul
from tools.provenance import ROOT
from tools.site import api, links, lite, pages, pinned, serve, trial
from tools.site.__main__ import build_pages

EXPLORERS = ROOT / "site" / "explorers"


def test_every_public_name_has_a_page_in_a_group():
    grouped = api.grouped()
    assert set(grouped) == set(api.GROUPS), "a module belongs to no group"
    listed = {name for names in grouped.values() for name in names}
    assert listed | set(api.modules()) == set(ul.__all__)
    assert "unlearn_images" in api.public("data_unlearning")
    assert "TextToImage" not in api.public("stable_diffusion")  # has a page already


def test_lessons_say_what_they_teach_and_those_of_the_browser_need_no_torch():
    found = pages.lessons()
    assert [lesson.title[:2] for lesson in found] == [lesson.path.name[:2] for lesson in found]
    assert all("minutes" in lesson.time for lesson in found)
    in_browser = sorted((ROOT / "tutorials").glob(pages.IN_BROWSER))
    assert len(in_browser) == 6
    for path in in_browser:
        assert "torch" not in path.read_text(), path.name


def computed(module: str, expression: str):
    """What a module of the explorers computes."""
    if (node := shutil.which("node")) is None:
        pytest.skip("the explorers are JavaScript, and Node is not installed")
    address = (EXPLORERS / f"{module}.mjs").as_uri()
    code = f'import * as m from "{address}"; console.log(JSON.stringify({expression}));'
    command = [node, "--input-type=module", "-e", code]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def three_modes(cells=1001, stds=(0.6, 0.6, 0.6)):
    grid = ul.Grid(low=-8.0, high=8.0, cells=cells)
    q = ul.GaussianMixture([1 / 3] * 3, means=[-3, 0, 3], stds=list(stds)).on(grid)
    return grid, q, ul.GaussianMixture([1.0], means=[0], stds=[0.6]).on(grid)


@pytest.mark.parametrize(
    ("kind", "problem", "multiplier"),
    [("RU", ul.ReverseKL, 0.1), ("FU", ul.ForwardKL, 0.2), ("LU", ul.Likelihood, 7.8)],
)
def test_the_targets_that_are_turned_by_hand_are_the_packages(kind, problem, multiplier):
    _, q, q1 = three_modes()
    asked = problem(retain=q, forget=[q1], relative=1.0)
    found = asked.evaluate(asked.target([multiplier]))
    shown = computed("targets", f'm.measured("{kind}", {multiplier})')
    assert shown["deviation"] == pytest.approx(found.objective, rel=1e-9)
    assert shown["constraint"] == pytest.approx(found.constraints[0], rel=1e-9)


def test_the_supporting_line_and_its_gap_are_the_packages():
    q, q1 = ul.Discrete([0.300, 0.695, 0.005]), ul.Discrete([0.69, 0.30, 0.01])
    found = ul.solve(ul.ReverseKL(retain=q, forget=[q1], thresholds=[2.0])).certificate
    line = computed("supporting", "m.best(true)")
    assert line["bound"] == pytest.approx(found.dual, abs=1e-9)
    assert computed("supporting", "m.primal(2, true)") == pytest.approx(found.primal, abs=1e-9)
    fine = ul.ReverseKL(retain=q.split(3), forget=[q1.split(3)], thresholds=[2.0])
    without_end = computed("supporting", "m.primal(2, false)")
    assert without_end == pytest.approx(ul.solve(fine).certificate.primal, abs=1e-8)


def test_the_comb_has_what_the_package_says_and_converges():
    grid, q, q1 = three_modes(4000)
    asked = ul.ReverseKL(retain=q, forget=[q1], relative=1.0)
    coarse, fine = (computed("comb", f"m.measured({n}, 0.5)") for n in (2, 400))
    masses = np.array(computed("comb", "Array.from(m.comb(2, 0.5))"))
    density = ul.GridDensity(grid, np.log(masses / masses.sum()))
    found = asked.evaluate(density)
    assert coarse["comb"] == pytest.approx([found.constraints[0], found.objective], rel=1e-9)
    away = [abs(np.subtract(one["comb"], one["wanted"])).max() for one in (coarse, fine)]
    assert away[1] < 1e-6 < 0.1 < away[0]
    assert coarse["average"][0] < coarse["wanted"][0]


def test_the_area_over_log_snr_is_the_divergence_that_is_lost():
    grid = ul.Grid(low=-9.0, high=9.0, cells=4001)

    def divergence(gamma):
        alpha, sigma = (1 + np.exp(-gamma)) ** -0.5, (1 + np.exp(gamma)) ** -0.5
        means, stds = [-3 * alpha, 0, 3 * alpha], [np.hypot(0.6 * alpha, sigma)] * 3
        weights = ([0.45, 0.1, 0.45], [1 / 3] * 3)
        p, q = (ul.GaussianMixture(w, means=means, stds=stds).on(grid) for w in weights)
        return ul.kl(p, q)

    cleanest = divergence(8)
    for gamma in (4, 2, 0, -8):
        area, left = computed("noising", f"[m.area({gamma}), m.divergence({gamma})]")
        assert left == pytest.approx(divergence(gamma), abs=1e-6)
        assert area == pytest.approx(cleanest - divergence(gamma), abs=2e-6)


@pytest.mark.parametrize("shares", [(0.3, 0.5), (0.02, 0.02), (0.3, 1.0), (1.0, 0.1)])
def test_two_prices_are_the_packages(shares):
    grid = ul.Grid(low=-8.0, high=8.0, cells=1001)
    q = ul.GaussianMixture([0.5, 0.3, 0.2], means=[-2, 0.5, 3], stds=[0.7] * 3).on(grid)
    concepts = [
        ul.GaussianMixture([1.0], [at], [std]).on(grid) for at, std in ((0.5, 0.7), (2, 0.9))
    ]
    found = ul.solve(ul.Likelihood(retain=q, forget=concepts, relative=shares))
    shown = computed(
        "prices", f"(({{lambda, deviation}}) => [lambda, deviation])(m.solved({list(shares)}))"
    )
    assert shown[0] == pytest.approx(found.multipliers, rel=1e-5, abs=1e-6)
    assert shown[1] == pytest.approx(found.objective, rel=1e-6)


def test_an_explorer_is_small():
    shared = sum((EXPLORERS / f"{name}.mjs").stat().st_size for name in ("frame", "densities"))
    for path in EXPLORERS.glob("*.mjs"):
        assert path.stat().st_size + shared < 30_000, path.name


def test_faults_of_pages_are_named(tmp_path):
    (tmp_path / "one.html").write_text(
        '<a href="two.html">x</a><a href="#here">y</a><img src="a.png">'
        '<script src="https://example.org/x.js"></script><a href="https://example.org">z</a>'
    )
    (tmp_path / "a.png").write_bytes(b"")
    assert links.broken(tmp_path) == [
        "one.html: #here has no such place on its page",
        "one.html: https://example.org/x.js is loaded from another host",
        "one.html: the picture a.png has no alternative text",
        "one.html: two.html leads nowhere",
    ]
    (tmp_path / "one.html").write_text('<p id="here"></p><a href="#here">y</a>')
    assert links.broken(tmp_path) == []


def test_what_is_fetched_is_what_is_pinned_and_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(pinned, "CACHE", tmp_path)
    monkeypatch.setattr(pinned.shutil, "which", lambda name: None)
    with pytest.raises(pinned.MissingError, match=r"npm is not installed, and d3 .* install npm"):
        pinned.npm("d3")
    (tmp_path / pinned.NPM["d3"].file).write_bytes(b"another file")
    with pytest.raises(pinned.MissingError, match="is not the file that is pinned"):
        pinned.npm("d3")
    with pytest.raises(pinned.MissingError, match="Node is not installed"):
        trial.tools()
    with pytest.raises(pinned.MissingError, match=r"no Pyodide distribution: it has no pyodide"):
        lite.from_folder(tmp_path)


def test_without_npm_the_rest_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(pinned, "CACHE", tmp_path)
    monkeypatch.setattr(pinned.shutil, "which", lambda name: None)
    monkeypatch.setattr(pages.slides, "build", lambda source, target: target.parent.mkdir())
    first, second = pages.scripts(tmp_path / "static")
    assert first.startswith("explorers stay empty: npm is not installed")
    assert second.startswith("formulas stay as they are written: npm is not installed")
    assert (tmp_path / "static" / "site.css").exists()


def test_a_file_is_sent_once_and_compressed(tmp_path):
    import threading
    from http.client import HTTPConnection

    (tmp_path / "index.html").write_text("hello " * 1000)
    with serve.server(tmp_path, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        connection = HTTPConnection(serve.HOST, serving.server_port)
        connection.request("GET", "/")
        first = connection.getresponse()
        assert (first.status, first.getheader("Content-Encoding")) == (200, "gzip")
        assert len(first.read()) < 200
        connection.request("GET", "/", headers={"If-None-Match": first.getheader("ETag")})
        again = connection.getresponse()
        assert (again.status, again.read()) == (304, b"")
        connection.request("GET", "/none.html")
        assert connection.getresponse().status == 404
        serving.shutdown()


def test_the_site_is_whole_and_works_in_a_browser(tmp_path):
    site = tmp_path / "site"
    missing = build_pages(site, "owner/name")
    assert links.broken(site) == []
    results = (site / "results.html").read_text()
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text())
    for name, about in manifest.items():
        assert name in results and about["provenance"]["date"] in results
    lesson = (site / "tutorials" / "03_lyapunov_watched.html").read_text()
    assert "lite/notebooks/index.html?path=03_lyapunov_watched.ipynb" in lesson
    assert "colab.research.google.com/github/owner/name/blob/main/tutorials/03_" in lesson
    assert re.search(r'alt="[^"]{40,}"', lesson), "alternative texts of outputs are kept"
    page = (site / "api" / "names" / "unlearnlab.Likelihood.html").read_text()
    assert "ArrayLike" in page and "_NestedSequence" not in page
    assert "lyapunov_split" in (site / "searchindex.js").read_text()
    if missing:
        pytest.skip(f"the pages are whole, but {missing[0]}")
    try:
        assert trial.run("pages", "quick", site=site) == 0
        assert trial.run("explorers", "quick", site=site) == 0
    except pinned.MissingError as error:
        pytest.skip(f"the pages are whole; {error}")
