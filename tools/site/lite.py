"""Lessons 00 to 05 in a browser: JupyterLite, with the package and a Pyodide that asks no host.

Pyodide's lock names every wheel with its SHA-256, and this site's lock is that one, cut to what
the lessons need, with the kernel's and the package's own wheels added. Wheels that are compiled
come from one archive of the Python package index that carries them, or from a Pyodide distribution
that the user names; those in Python alone come from the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.provenance import ROOT
from tools.site import pinned
from tools.site.pages import IN_BROWSER

WORK = ROOT / "build" / "lite"
SHOWN = WORK / "files"
DISTRIBUTION = WORK / "static" / "pyodide"
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
COMPILED = (
    *("numpy", "scipy", "matplotlib", "contourpy", "kiwisolver", "pillow", "scikit-learn"),
    *("joblib", "threadpoolctl", "fonttools", "cycler", "pyparsing", "packaging"),
    *("python-dateutil", "pytz", "six", "micropip"),
)
IN_PYTHON = (
    *("ipython", "asttokens", "decorator", "executing", "matplotlib-inline", "traitlets"),
    *("prompt-toolkit", "wcwidth", "pure-eval", "pygments", "stack-data", "jedi", "parso", "tqdm"),
)
NOT_LOCKED = {"ipywidgets": "8.1.8", "comm": "0.2.3"}
NEEDS = {  # of wheels that Pyodide's lock does not know
    "comm": ["traitlets"],
    "ipywidgets": ["comm", "ipython", "traitlets", "widgetsnbextension"],
    "piplite": ["micropip"],
    "pyodide-kernel": ["comm", "ipykernel", "ipython"],
    "unlearnlab": ["ipywidgets", "joblib", "matplotlib", "numpy", "scipy", "tqdm"],
}
# Loaded with the kernel, in one go, instead of one after the other at the first import.
AT_START = [
    *("micropip", "piplite", "ipykernel", "comm", "pyodide-kernel", "jedi", "ipython"),
    "unlearnlab",
]
WEIGHTS = re.compile(r"^unlearnlab/(digits|stable_diffusion)/weights/|\.png$")
Wheel = Callable[[str, dict[str, Any]], bytes]  # of a name and its entry in the lock


def build(to: Path, pyodide: Path | None = None) -> None:
    """JupyterLite below the site, at `to`.

    Args:
        pyodide: a folder with a Pyodide distribution, in place of the pinned pair.

    Raises:
        MissingError: something cannot be fetched, or is not what the lock names.
    """
    shutil.rmtree(WORK, ignore_errors=True)  # what a build leaves makes the next skip steps
    SHOWN.mkdir(parents=True)
    distribution(pyodide)
    for path in sorted((ROOT / "tutorials").glob(IN_BROWSER)):
        (SHOWN / path.name).write_text(for_browser(path), encoding="utf-8")
    scratch = ROOT / "site" / "parts" / "scratch.ipynb"
    (SHOWN / "scratch.ipynb").write_text(for_browser(scratch), encoding="utf-8")
    (WORK / "jupyter-lite.json").write_text(json.dumps(settings(), indent=1))
    jupyter = [sys.executable, "-m", "jupyter", "lite", "build", "--no-sourcemaps"]
    folders = ["--lite-dir", WORK, "--output-dir", to, "--contents", SHOWN]
    apps = ["--apps", "lab", "--apps", "notebooks", "--no-unused-shared-packages"]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}  # the first day that zip files know
    command = [*jupyter, *map(str, folders), *apps]
    done = subprocess.run(command, cwd=WORK, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"JupyterLite did not build:\n{done.stdout}\n{done.stderr}")
    require_own(to)


def require_own(to: Path) -> None:
    """Refuse a build whose kernel would ask another host for Pyodide."""
    built = json.loads((to / "jupyter-lite.json").read_text())["jupyter-config-data"]
    url = built["litePluginSettings"][KERNEL]["pyodideUrl"]
    if not url.startswith("./static/pyodide/"):
        raise RuntimeError(f"the kernel would load Pyodide from {url!r}, not from this site")


KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel"


def settings() -> dict[str, Any]:
    """What JupyterLite is told."""
    kernel = {
        "pyodideUrl": "./static/pyodide/pyodide.mjs",
        "disablePyPIFallback": True,
        "pipliteUrls": [],
        "loadPyodideOptions": {"packages": AT_START},
    }
    told = {
        "appName": "unlearnlab",
        "collaborative": False,
        "enableMemoryStorage": False,
        "exposeAppInBrowser": True,  # the test of the site looks inside
        "litePluginSettings": {KERNEL: kernel},
    }
    return {"jupyter-lite-schema-version": 0, "jupyter-config-data": told}


def for_browser(path: Path) -> str:
    """A notebook with the browser's kernel, and texts in one piece.

    JupyterLite shows lists of lines, as nbformat stores them, with a comma before each.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    kernel = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
    notebook["metadata"]["kernelspec"] = kernel
    for cell in notebook["cells"]:
        cell["source"] = whole(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = whole(output["text"])
            for kind, data in output.get("data", {}).items():
                output["data"][kind] = data if kind.endswith("json") else whole(data)
    return json.dumps(notebook, ensure_ascii=False)


def whole(text: Any) -> Any:
    """Lines put together."""
    return "".join(text) if isinstance(text, list) else text


def distribution(given: Path | None) -> None:
    """Pyodide, the wheels, and a lock of them, in the folder that JupyterLite serves as it is."""
    DISTRIBUTION.mkdir(parents=True)
    core, lock, compiled = from_folder(given) if given else from_registries()
    for name in CORE:
        (DISTRIBUTION / name).write_bytes(core(name))
    known, mine = lock["packages"], {}
    for name in COMPILED:
        entry = known[name]
        data = compiled(name, entry)
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise pinned.MissingError(
                f"{entry['file_name']} is not the file that Pyodide's lock names"
            )
        (DISTRIBUTION / entry["file_name"]).write_bytes(data)
        mine[name] = entry
    for path in [*in_python(known), *of_kernel(), package()]:
        name = normal(path.name.split("-")[0])
        shutil.copy(path, DISTRIBUTION)
        needs = known[name]["depends"] if name in known else NEEDS.get(name, [])
        mine[name] = entry_of(DISTRIBUTION / path.name, needs)
    for name, entry in mine.items():
        for needed in entry["depends"]:
            if normal(needed) not in mine:
                raise RuntimeError(f"{name} needs {needed}, which the site's lock does not have")
    lock["packages"] = dict(sorted(mine.items()))
    (DISTRIBUTION / "pyodide-lock.json").write_text(json.dumps(lock))


def from_registries() -> tuple[Callable[[str], bytes], dict[str, Any], Wheel]:
    """Core files, lock and compiled wheels of the pinned pair."""
    files = dict(pinned.members(pinned.npm("pyodide"), *CORE, "pyodide-lock.json"))
    carrier = pinned.wheel(pinned.CARRIER, pinned.CARRIED)

    def compiled(name: str, entry: dict[str, Any]) -> bytes:
        try:
            with zipfile.ZipFile(carrier) as archive:
                return archive.read(f"open_webui/frontend/pyodide/{entry['file_name']}")
        except KeyError:
            raise pinned.MissingError(
                f"{carrier.name} does not carry {entry['file_name']}: name a Pyodide "
                "distribution with --pyodide FOLDER"
            ) from None

    return files.__getitem__, json.loads(files["pyodide-lock.json"]), compiled


def from_folder(folder: Path) -> tuple[Callable[[str], bytes], dict[str, Any], Wheel]:
    """Core files, lock and compiled wheels of a distribution."""

    def read(name: str) -> bytes:
        if not (folder / name).is_file():
            raise pinned.MissingError(f"{folder} is no Pyodide distribution: it has no {name}")
        return (folder / name).read_bytes()

    return read, json.loads(read("pyodide-lock.json")), lambda name, entry: read(entry["file_name"])


def in_python(known: dict[str, Any]) -> list[Path]:
    """Wheels in Python alone, at the versions that the lock names where it names one."""
    versions = {name: known[name]["version"] for name in IN_PYTHON} | NOT_LOCKED
    folder = pinned.CACHE / "wheels"
    asked = [f"{name}=={version}" for name, version in versions.items()]
    marks = {f"{name.replace('-', '_')}-{version}-" for name, version in versions.items()}
    folder.mkdir(parents=True, exist_ok=True)

    def found() -> list[Path]:
        wheels = sorted(folder.glob("*.whl"))
        return [path for path in wheels if any(path.name.lower().startswith(m) for m in marks)]

    if len(found()) < len(versions):
        pinned.download(asked, folder, "--python-version", "3.14")
    return found()


def of_kernel() -> list[Path]:
    """The wheels that come with JupyterLite's kernel."""
    at = "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension/static/pypi"
    wheels = sorted((Path(sys.prefix) / at).glob("*.whl"))
    return [path for path in wheels if not path.name.startswith("widgetsnbextension-3")]


def package() -> Path:
    """This package's wheel, without weights and pictures: the lessons there use none."""
    folder = WORK / "wheel"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    how = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *how], check=True, capture_output=True)
    full = next(folder.glob("unlearnlab-*.whl"))
    slim = folder / "slim" / full.name
    slim.parent.mkdir()
    with (
        zipfile.ZipFile(full) as source,
        zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target,
    ):
        for name in sorted(source.namelist()):
            if not WEIGHTS.search(name):
                data = source.read(name)
                if name.endswith("/RECORD"):
                    lines = data.splitlines(keepends=True)
                    kept = [one for one in lines if not WEIGHTS.search(one.decode().split(",")[0])]
                    data = b"".join(sorted(kept))
                about = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                target.writestr(about, data, zipfile.ZIP_DEFLATED)
    return slim


def entry_of(path: Path, needs: list[str]) -> dict[str, Any]:
    """What the lock says of a wheel."""
    with zipfile.ZipFile(path) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    imports = {
        top.removesuffix(".py") for top in tops if not re.search(r"\.(dist-info|data)$", top)
    }
    name, version = path.name.split("-")[:2]
    return {
        "name": normal(name),
        "version": version,
        "file_name": path.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": sorted(imports),
        "depends": needs,
        "unvendored_tests": False,
    }


def normal(name: str) -> str:
    """A distribution's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()
