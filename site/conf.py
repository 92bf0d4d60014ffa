"""Sphinx: lessons as they are stored, and the API from docstrings. No page asks another host."""

from __future__ import annotations

import json
import re
from typing import Any

from docutils import nodes

import unlearnlab

project, author = "unlearnlab", "The unlearnlab founders"
version = release = unlearnlab.__version__
project_copyright = author
html_title = "unlearnlab"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
templates_path = ["templates"]
exclude_patterns = ["_static", "templates"]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # stored outputs are tested elsewhere
nb_ipywidgets_js: dict[str, Any] = {}  # else a script from another host
nb_merge_streams = True
# Of a widget the picture that is stored beside it.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
mathjax_path = "mathjax/tex-chtml.js"

autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("Array", "ArrayLike", "Mask", "Numbers")}
autodoc_member_order = "bysource"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_custom_sections = ["Returns", "Source"]  # sentences, not "type: description"
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "header_links_before_dropdown": 6,
    "logo": {"text": "unlearnlab"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_nav_level": 1,
    "show_prev_next": True,
}
ALONE = ("index", "explorers", "results", "mathematics", "tutorials/GLOSSARY", "CHANGELOG")
html_sidebars: dict[str, list[str]] = {page: [] for page in ALONE}  # nothing lies below them
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_context = {"default_mode": "auto"}
html_copy_source = html_show_sourcelink = False
html_show_sphinx = False


def plain(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with backticks: outside of them * and | are themselves."""
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example and not line.lstrip().startswith("* "):
            parts = re.split(r"(`[^`]*`)", line)
            parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def described(app: Any, doctree: nodes.document, docname: str) -> None:
    """Pictures in outputs with the alternative texts that notebooks store beside them.

    Raises:
        RuntimeError: a lesson has other pictures on its page than in its file.
    """
    path = app.srcdir / f"{docname}.ipynb"
    if not path.exists():
        return
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [out for cell in cells if cell["cell_type"] == "code" for out in cell["outputs"]]
    stored = [out for out in outputs if "image/png" in out.get("data", {})]
    shown = [image for image in doctree.findall(nodes.image) if of_an_output(image)]
    if len(shown) != len(stored):
        raise RuntimeError(f"{docname}: {len(shown)} pictures on the page, {len(stored)} stored")
    for image, output in zip(shown, stored, strict=True):
        image["alt"] = output["metadata"].get("image/png", {}).get("alt", "")


def of_an_output(node: nodes.Node | None) -> bool:
    """Whether a node lies in the output of a cell."""
    while node is not None:
        if "cell_output" in getattr(node, "attributes", {}).get("classes", []):
            return True
        node = node.parent
    return False


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", plain, priority=1)
    app.connect("doctree-resolved", described)
