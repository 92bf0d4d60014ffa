"""The slides of the 90-minute session: one HTML file that asks the network for nothing.

    python -m tools.slides                        tutorials/kit/session.ipynb to build/slides/
    python -m tools.slides NOTEBOOK OUTPUT.html   another notebook with slideshow metadata

A cell of slide type "slide" begins a slide, "skip" leaves its cell out, and a cell without a type
continues the slide before it. The stored outputs are shown, the code is not. nbconvert renders the
cells, latex2mathml turns formulas into MathML, which browsers draw themselves, and pictures are
put into the file.
"""

from __future__ import annotations

import argparse
import base64
import html
import mimetypes
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from unlearnlab.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
SESSION = ROOT / "tutorials" / "kit" / "session.ipynb"
PAGE = Path(__file__).with_name("slides.html")
NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # HTML knows <math> without it
BUILT = ROOT / "build" / "slides" / "session.html"


def mathml(formula: str, display: str) -> str:
    r"""A formula as MathML.

    Args:
        formula: LaTeX, without dollars.
        display: "inline" or "block".

    Raises:
        ValueError: braces or \left and \right do not match, or latex2mathml does not know a
            command. It hands such a command through as text: a backslash in it betrays that.
    """
    braces = re.sub(r"\\[{}]", "", formula)
    if braces.count("{") != braces.count("}"):
        raise ValueError(f"the formula {formula!r} has a brace without its other half")
    try:
        converted = convert(formula.strip(), display=display)
    except Exception as error:  # the converter's own errors share no base class
        raise ValueError(f"the formula {formula!r} is not valid LaTeX: {error!r}") from error
    if "\\" in converted:
        raise ValueError(f"the formula {formula!r} has a command that latex2mathml does not know")
    return str(converted).replace(NAMESPACE, "")


class SlideRenderer(IPythonRenderer):
    """Markdown to HTML with MathML for formulas and pictures inside the file."""

    def inline_math(self, body: str) -> str:
        """Of `$body$`."""
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        """Of `$$body$$`."""
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        r"""Of `\\begin{name}body\\end{name}` outside of dollars."""
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Of `![text](url)`: a local file, with a text for those who do not see it.

        nbconvert embeds only what lies below the notebook's folder; figures/ does not.
        """
        path = Path(self.path) / url
        if not path.is_file():
            raise ValueError(f"the picture {url} is no file beside the notebook")
        if not text.strip():
            raise ValueError(f"the picture {url} has no alternative text: ![what it shows]({url})")
        kind = mimetypes.guess_type(path.name)[0]
        data = base64.b64encode(path.read_bytes()).decode()
        return f'<img alt="{html.escape(text)}" src="data:{kind};base64,{data}">'


class SlideExporter(HTMLExporter):
    """nbconvert's exporter without a page around it, without code, and with the renderer above."""

    template_name = "basic"
    exclude_input = True
    exclude_output_prompt = True

    def __init__(self, folder: Path, **options: Any):
        super().__init__(**options)
        self.folder = folder

    def default_filters(self) -> Any:
        """Those of nbconvert, but for Markdown."""
        yield from super().default_filters()
        yield "markdown2html", self.slide_markdown

    def slide_markdown(self, source: str) -> str:
        """A cell's Markdown as HTML."""
        renderer = SlideRenderer(escape=False, path=str(self.folder), exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)


def split(notebook: NotebookNode) -> list[list[NotebookNode]]:
    """The cells of each slide.

    Raises:
        ValueError: a slide type that is not shown here, a slide without a heading, a picture
            without an alternative text, or no slide at all.
    """
    slides: list[list[NotebookNode]] = []
    for number, cell in enumerate(notebook.cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-") or "-"
        if kind not in ("slide", "-", "skip"):
            raise ValueError(f"cell {number} has slide type {kind!r}: use slide, skip or none")
        if kind == "skip":
            continue
        if kind == "slide":
            if cell.cell_type != "markdown" or not cell.source.startswith(("# ", "## ")):
                raise ValueError(
                    f"cell {number} begins a slide without a title: begin its Markdown with ##"
                )
            slides.append([])
        if not slides:
            raise ValueError(f"cell {number} comes before the first cell of slide type 'slide'")
        check_outputs(cell, number)
        slides[-1].append(cell)
    if not slides:
        raise ValueError("the notebook has no slide: give cells the slide type 'slide'")
    return slides


def check_outputs(cell: NotebookNode, number: int) -> None:
    """Raise ValueError where a cell did not run, failed, or shows a picture without a text."""
    if cell.cell_type == "code" and cell.execution_count is None:
        raise ValueError(f"cell {number} has not run: run the notebook and save it")
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            raise ValueError(f"cell {number} failed with {output.ename}: mend it and run it again")
        shown = output.get("metadata", {}).get("image/png", {})
        if "image/png" in output.get("data", {}) and not shown.get("alt"):
            raise ValueError(f"cell {number} shows a picture without alt: give plot.show one")


def build(source: Path, target: Path) -> int:
    """Write the slides of a notebook, and return how many there are.

    Args:
        source: a notebook that has run.
        target: an HTML file; it is replaced only once the new one is complete.

    Raises:
        ValueError: what `split` and `mathml` refuse, with the notebook's name.
    """
    notebook = nbformat.read(source, as_version=4)
    exporter = SlideExporter(source.parent)
    try:
        slides = split(notebook)
        bodies = [
            exporter.from_notebook_node(
                nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
            )[0]
            for cells in slides
        ]
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from error
    sections = "\n".join(
        f'<section id="{n}">\n{body}\n<footer>{n} / {len(bodies)}</footer>\n</section>'
        for n, body in enumerate(bodies, start=1)
    )
    title = html.escape(slides[0][0].source.splitlines()[0].lstrip("# "))
    page = PAGE.read_text(encoding="utf-8").replace("TITLE", title).replace("SLIDES", sections)
    write_whole(target, page.encode())
    return len(bodies)


def main() -> int:
    """The command; 1 and a sentence where a notebook cannot be shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="?", default=SESSION)
    parser.add_argument("target", type=Path, nargs="?", default=BUILT)
    given = parser.parse_args()
    if not given.source.is_file():
        print(f"{given.source} is no file: name a notebook", file=sys.stderr)
        return 1
    try:
        count = build(given.source, given.target)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.target}: {count} slides; arrow keys turn them, and it prints one a page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
