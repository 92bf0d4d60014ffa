"""The slides of the session: one file that needs no network, and what they refuse to show."""

import contextlib
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import slides
from unlearnlab import plot

CELLS = nbformat.read(slides.SESSION, as_version=4).cells
SHOWN = [c for c in CELLS if c.metadata.get("slideshow", {}).get("slide_type") != "skip"]
NUMBER = re.compile(r"\d+\.\d+")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    target = tmp_path_factory.mktemp("slides") / "new" / "session.html"
    assert slides.build(slides.SESSION, target) == 22
    assert [path.name for path in target.parent.iterdir()] == ["session.html"]
    return target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def soup(page):
    return BeautifulSoup(page, "html.parser")


def test_the_page_asks_the_network_for_nothing(page, soup):
    assert "http:" not in page and "https:" not in page and "url(" not in page
    assert not soup.find_all(["link", "iframe", "base", "object", "embed"])
    asked = [tag[name] for name in ("src", "href", "srcset") for tag in soup.select(f"[{name}]")]
    assert len(asked) == len(soup.find_all("img"))
    assert all(address.startswith("data:image/png;base64,") for address in asked)


def test_every_slide_has_a_title_of_its_own_and_a_page_number(soup):
    sections = soup.find_all("section")
    titles = [section.find(["h1", "h2"]).get_text() for section in sections]
    assert len(titles) == 22 and len(set(titles)) == 22 and all(titles)
    numbers = [section.footer.get_text() for section in sections]
    assert numbers == [f"{n} / 22" for n in range(1, 23)]


def test_every_formula_is_mathml(soup):
    """As many as the notebook has, and neither a dollar nor a command left in the text."""
    text = "\n\n".join(cell.source for cell in SHOWN if cell.cell_type == "markdown")
    block = re.findall(r"\$\$.+?\$\$", text, re.DOTALL)
    inline = re.findall(r"\$[^$]+\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.DOTALL))
    found = [tag["display"] for tag in soup.find_all("math")]
    assert (found.count("block"), found.count("inline")) == (len(block), len(inline))
    assert len(block) > 20 and len(inline) > 40
    for section in soup.find_all("section"):
        assert not re.search(r"[$\\]", section.get_text()), section.h2


def test_every_picture_says_what_it_shows(soup):
    pictures = soup.find_all("img")
    outputs = [out for cell in SHOWN for out in cell.get("outputs", [])]
    stored = sum("image/png" in out.get("data", {}) for out in outputs)
    assert len(pictures) == stored + 2  # and two of figures/
    for picture in pictures:
        assert len(picture["alt"]) > 40 and "No description" not in picture["alt"]


def test_code_is_left_out_and_what_it_printed_is_not(page):
    assert "import numpy" not in page and "0.3087" in page


def test_stored_numbers_are_those_of_the_code(monkeypatch):
    monkeypatch.setattr(plot, "show", lambda ax, alt: plot.plt.close("all"))
    monkeypatch.setattr(plot, "use_style", lambda: None)  # it would stay set for other tests
    space: dict = {}
    for cell in (cell for cell in CELLS if cell.cell_type == "code"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(cell.source, space)
        stored = "".join(out.get("text", "") for out in cell.outputs)
        assert NUMBER.sub("#", printed.getvalue()) == NUMBER.sub("#", stored)
        ours, theirs = (
            [float(number) for number in NUMBER.findall(text)]
            for text in (printed.getvalue(), stored)
        )
        assert ours == pytest.approx(theirs, abs=1e-6)


def title(text="## One", kind="slide"):
    cell = new_markdown_cell(text)
    cell.metadata["slideshow"] = {"slide_type": kind}
    return cell


def ran(*outputs):
    return new_code_cell("1", execution_count=1, outputs=list(outputs))


PICTURE = new_output("display_data", {"image/png": "AAAA"})
FAILED = new_output("error", ename="NameError", evalue="x", traceback=[])


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([], "no slide"),
        ([new_markdown_cell("## One")], "cell 0 comes before the first"),
        ([title("no heading")], "cell 0 begins a slide without a title"),
        ([title(), title("## Two", "fragment")], "cell 1 has slide type 'fragment'"),
        ([title(), new_code_cell("1")], "cell 1 has not run"),
        ([title(), ran(FAILED)], "cell 1 failed with NameError"),
        ([title(), ran(PICTURE)], "cell 1 shows a picture without alt"),
        ([title("## One\n\n![a](gone.png)")], "the picture gone.png is no file"),
        ([title("## One\n\n![](here.png)")], "here.png has no alternative text"),
        ([title("## One\n\n$\\nonsense x$")], r"'\\\\nonsense x' has a command"),
        ([title("## One\n\n$\\frac{1$")], "has a brace without its other half"),
        ([title("## One\n\n$\\left( 1$")], "is not valid LaTeX"),
    ],
)
def test_what_cannot_be_shown_is_named_and_the_old_file_stays(tmp_path, cells, said):
    source, target = tmp_path / "own.ipynb", tmp_path / "own.html"
    (tmp_path / "here.png").write_bytes(b"png")
    target.write_text("old")
    nbformat.write(new_notebook(cells=cells), source)
    with pytest.raises(ValueError, match=f"^own.ipynb: .*{said}"):
        slides.build(source, target)
    assert target.read_text() == "old" and not list(tmp_path.glob("*.part"))


def test_the_command_says_in_a_sentence_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tools.slides", str(tmp_path / "gone.ipynb")])
    assert slides.main() == 1
    assert capsys.readouterr().err == f"{tmp_path / 'gone.ipynb'} is no file: name a notebook\n"
    nbformat.write(new_notebook(), tmp_path / "empty.ipynb")
    monkeypatch.setattr(sys, "argv", ["tools.slides", str(tmp_path / "empty.ipynb")])
    assert slides.main() == 1
    assert capsys.readouterr().err.startswith("empty.ipynb: the notebook has no slide")


def test_slides_go_where_make_says(monkeypatch, capsys, tmp_path):
    target = tmp_path / "out.html"
    monkeypatch.setattr(sys, "argv", ["tools.slides", str(slides.SESSION), str(target)])
    assert slides.main() == 0 and target.stat().st_size > 100_000
    assert capsys.readouterr().out.startswith(f"{target}: 22 slides;")
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    assert "\nslides: $(VENV)/ready\n\t$(BIN)/python -m tools.slides\n" in makefile
