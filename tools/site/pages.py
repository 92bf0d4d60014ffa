"""What Sphinx reads: the pages, lessons, figures and tables of the repository, copied together.

The copy keeps the paths that files have in the repository, so that links between them stay as they
are. Pages of the site itself lie in site/ and come to its root.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tools import slides
from tools.provenance import ROOT
from tools.site import api, pinned, results

PAGES = ROOT / "site"
SOURCE = ROOT / "build" / "site-source"
BY_THEMSELVES = (
    "tutorials/GLOSSARY.md",
    "tutorials/INSTRUCTORS.md",
    "tutorials/kit/*.md",
    "figures/*.md",
    "figures/*.png",
    "benchmarks/README.md",
    "benchmarks/unlearning/README.md",
    "benchmarks/unlearning/*.png",
    "unlearnlab/digits/README.md",
    "unlearnlab/stable_diffusion/README.md",
    "CHANGELOG.md",
)
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")
NOT_A_PAGE = b"[kit/session.ipynb](kit/session.ipynb)"  # its slides are on the site
EXPLORERS = {  # by lesson: what is put before its text, and what to try with it
    "01": {"targets": "Turn λ first: which of the three moves the other modes?"},
    "03": {
        "supporting": "Turn the slope first. On which of the two does no line reach the optimum?",
        "comb": "And the number of blocks: when does the comb have what was wanted?",
    },
    "04": {"prices": "Lower one threshold first. What happens to the price of the other?"},
    "07": {"noising": "Add noise first. Where does the divergence go?"},
}
IN_BROWSER = "0[0-5]_*.ipynb"  # lessons that need no torch


class Lesson(NamedTuple):
    """A notebook of the course.

    Attributes:
        path: of the students' version.
        title: its heading; promise: what it says that one will learn; time: what it says it takes.
    """

    path: Path
    title: str
    promise: str
    time: str


def lessons() -> list[Lesson]:
    """All of them, in order, as their first cells introduce them."""
    found = []
    for path in sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.ipynb")):
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        title, promise, time = (
            re.search(pattern, first)
            for pattern in (r"# (.+)", r"\*\*You will learn\*\* (.+)", r"\*\*Time:\*\* ([^*]+?)\.")
        )
        if not (title and promise and time):
            raise ValueError(f"{path.name} does not begin with a title, a promise and a time")
        found.append(Lesson(path, title[1], promise[1], time[1]))
    return found


def stage(repository: str = "") -> list[str]:
    """Fill build/site-source.

    Args:
        repository: "owner/name" of the place that serves the notebooks to Colab; "" for no link.

    Returns:
        a sentence for each part that the pages have to do without.
    """
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for pattern in BY_THEMSELVES:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_bytes()
            copied(path, text.replace(NOT_A_PAGE, b"`kit/session.ipynb`"))
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8").replace("](../", "](")
        (SOURCE / page.name).write_text(text, encoding="utf-8")
    for lesson in lessons():
        copied(lesson.path, with_links(lesson.path, repository))
    (SOURCE / "lessons.md").write_text(course(), encoding="utf-8")
    (SOURCE / "results.md").write_text(results.page(SOURCE), encoding="utf-8")
    api.write(SOURCE / "api")
    for path in sorted(linked()):
        copied(path, path.read_bytes())
    shutil.copy(PAGES / "conf.py", SOURCE)
    shutil.copytree(PAGES / "templates", SOURCE / "templates")
    return scripts(SOURCE / "_static")


def scripts(static: Path) -> list[str]:
    """Slides, styles and scripts, and a sentence for each that cannot be had."""
    slides.build(slides.SESSION, static / "slides.html")
    shutil.copytree(PAGES / "static", static, dirs_exist_ok=True)
    shutil.copytree(PAGES / "explorers", static / "explorers")
    missing = []
    mathjax = ("es5/tex-chtml.js", "es5/output/chtml/fonts/woff-v2/")
    for name, to, parts, strip, without in (
        ("d3", static, ("dist/d3.min.js",), "dist/", "explorers stay empty"),
        ("mathjax", static / "mathjax", mathjax, "es5/", "formulas stay as they are written"),
    ):
        try:
            pinned.unpack(pinned.npm(name), to, *parts, strip=strip)
        except pinned.MissingError as error:
            missing.append(f"{without}: {error}")
    return missing


def copied(path: Path, data: bytes) -> None:
    """Write a file of the repository to its place in the copy."""
    place = SOURCE / path.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def linked() -> Iterator[Path]:
    """Files of the repository that pages link to and that are not copied yet, such as code."""
    for page in SOURCE.rglob("*.md"):
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            place = (page.parent / target).resolve()
            if place.is_relative_to(SOURCE) and not place.exists():
                path = ROOT / place.relative_to(SOURCE)
                if path.is_file():
                    yield path


def with_links(path: Path, repository: str) -> bytes:
    """A lesson with ways to run it, after its first cell."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    ways = [f'<a href="../_static/lessons/{path.name}" download>Download the notebook</a>']
    if path.match(IN_BROWSER):
        here = f"../lite/notebooks/index.html?path={path.name}"
        ways.insert(0, f'<a href="{here}">Run in your browser</a> (nothing to install, 41 MB)')
    if repository:
        at = f"https://colab.research.google.com/github/{repository}/blob/main/tutorials"
        ways.append(f'<a href="{at}/{path.name}">Open in Colab</a>')
    line = f'<p class="ways">{" · ".join(ways)}</p>'
    for name, words in EXPLORERS.get(path.name[:2], {}).items():
        line += f'\n\n{words}\n\n<div class="explorer" data-name="{name}"></div>'
    cell = {"cell_type": "markdown", "id": "ways-to-run", "metadata": {}, "source": line}
    notebook["cells"].insert(1, cell)
    as_it_is = SOURCE / "_static" / "lessons" / path.name
    as_it_is.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, as_it_is)
    return json.dumps(notebook, ensure_ascii=False).encode()


def course() -> str:
    """The page that lists the lessons."""
    rows = [
        f"| [{lesson.title}](tutorials/{lesson.path.name}) | {lesson.promise} | {lesson.time} |"
        for lesson in lessons()
    ]
    table = ["| lesson | you will learn | time |", "|---|---|---|", *rows]
    tree = [f"tutorials/{lesson.path.stem}" for lesson in lessons()]
    words = (PAGES / "parts" / "lessons.txt").read_text(encoding="utf-8")
    toctree = ["```{toctree}", ":hidden:", "", *tree, "```"]
    return "\n".join(["# Lessons", "", words, *table, "", *toctree, ""])
