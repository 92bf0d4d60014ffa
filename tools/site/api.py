"""The API reference: every public name of the package on a page, problems first."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import unlearnlab

# Titles of the groups, and the modules whose names are in each; a test holds that none is left out.
GROUPS = {
    "Problems": ("problems", "statistics"),
    "Solving, and what proves an answer": (
        *("dual", "solution", "certificate", "density.storage", "verify", "lyapunov"),
        *("curves", "estimate", "model", "errors"),
    ),
    "Densities and path measures": ("density", "density.paths"),
    "Diffusion models": ("diffusion",),
    "Training": ("training",),
    "Images and prompts": ("stable_diffusion", "pictures", "images", "digits"),
}


def grouped() -> dict[str, list[str]]:
    """Public names by group; those of a module that no group has are under its own name."""
    found: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name in sorted(set(unlearnlab.__all__) - set(modules())):
        home = unlearnlab._HOME[name]
        title = next((key for key, homes in GROUPS.items() if home in homes), home)
        found.setdefault(title, []).append(name)
    return {title: names for title, names in found.items() if names}


def modules() -> list[str]:
    """Public names that are modules."""
    names = unlearnlab.__all__
    return [name for name in names if isinstance(getattr(unlearnlab, name), ModuleType)]


def write(folder: Path) -> None:
    """The pages, in reStructuredText: one lists all, and Sphinx makes one for each name."""
    folder.mkdir(parents=True)
    lines = heading("API reference", "=")
    lines += ["Every public name, from its docstring. ``import unlearnlab as ul``.", ""]
    for title, names in grouped().items():
        lines += [*heading(title, "-"), ".. currentmodule:: unlearnlab", ""]
        lines += [".. autosummary::", "   :toctree: names", "", *(f"   {n}" for n in names), ""]
    lines += [*heading("Modules", "-"), ".. toctree::", "   :maxdepth: 1", ""]
    lines += [f"   {name}" for name in modules()]
    (folder / "index.rst").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in modules():
        page = [*heading(f"unlearnlab.{name}", "="), f".. automodule:: unlearnlab.{name}", ""]
        page += [f".. currentmodule:: unlearnlab.{name}", "", ".. autosummary::"]
        page += ["   :toctree: names", "", *(f"   {one}" for one in public(name)), ""]
        (folder / f"{name}.rst").write_text("\n".join(page), encoding="utf-8")


def public(name: str) -> list[str]:
    """The functions and classes of a public module: its `__all__`, or what is defined in it."""
    module = import_module(f"unlearnlab.{name}")
    listed = getattr(module, "__all__", None)
    names = [n for n in dir(module) if not n.startswith("_")] if listed is None else listed
    own = [n for n in names if is_own(getattr(module, n), name)]
    return sorted(set(own) - set(unlearnlab._HOME))  # those have pages already


def is_own(thing: object, module: str) -> bool:
    """Whether it is a function or a class of that module or package."""
    home = getattr(thing, "__module__", None) or ""
    return callable(thing) and home.startswith(f"unlearnlab.{module}")


def heading(title: str, line: str) -> list[str]:
    """A heading in reStructuredText."""
    return [title, line * len(title), ""]
