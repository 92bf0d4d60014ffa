"""What the site takes from the package registries besides Python packages: named, and hashed.

Archives are fetched once into build/cache; one whose SHA-256 is another is not used. npm packs them
without installing anything.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.provenance import ROOT

CACHE = ROOT / "build" / "cache"


class MissingError(RuntimeError):
    """Something that a part of the site needs is not here, in a sentence that says what to do."""


class Pinned(NamedTuple):
    """One version of a package: the file that its registry sends, and its SHA-256."""

    version: str
    file: str
    sha256: str


NPM = {
    "axe-core": Pinned(
        "4.14.1",
        "axe-core-4.14.1.tgz",
        "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
    ),
    "d3": Pinned(
        "7.9.2",
        "d3-7.9.2.tgz",
        "f0c1d2c2479907a6e3265370d0fd715f7aef0f561cdd2b415df385ba7df9d1aa",
    ),
    "mathjax": Pinned(
        "3.2.2",
        "mathjax-3.2.2.tgz",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
    ),
    "playwright-core": Pinned(
        "1.65.1",
        "playwright-core-1.65.1.tgz",
        "6f5a60be62a4fddfbe7d10c448d8fbd54547da3358f2f8a04211440471ee863e",
    ),
    "pyodide": Pinned(
        "314.0.3",
        "pyodide-314.0.3.tgz",
        "d7f7d24f8db486c7eda7280f3b0f7517524c8e43e8b086c6ee6ae8016658b484",
    ),
}
# Wheels compiled for WebAssembly, each with the SHA-256 that pyodide's own lock names: one pair.
CARRIER = "open-webui"
CARRIED = Pinned(
    "0.12.4",
    "open_webui-0.12.4-py3-none-any.whl",
    "02e9caba96234db3fa17a92e56163b3f7f2b8ca8227fa886b85c178d696483f6",
)


def npm(name: str) -> Path:
    """The archive of an npm package.

    Raises:
        MissingError: there is no npm, it does not answer, or it sends another file.
    """
    version, file, sha256 = NPM[name]
    path = CACHE / file
    if not path.exists():
        if shutil.which("npm") is None:
            raise MissingError(
                f"npm is not installed, and {name} {version} comes from it: install npm"
            )
        CACHE.mkdir(parents=True, exist_ok=True)
        fetched(["npm", "pack", "--silent", f"{name}@{version}"], f"{name} {version}")
    same(path, sha256)
    return path


def wheel(name: str, pinned: Pinned) -> Path:
    """A wheel from Python's package index, as it stands there.

    Raises:
        MissingError: the index does not have it, does not answer, or sends another file.
    """
    path = CACHE / pinned.file
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        download([f"{name}=={pinned.version}"], CACHE)
    same(path, pinned.sha256)
    return path


def download(requirements: list[str], to: Path, *more: str) -> None:
    """Wheels as `pip download` finds them, without what they depend on."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    how = ["--no-deps", "--only-binary=:all:", *more, "-d", str(to)]
    fetched([*pip, *how, *requirements], ", ".join(requirements))


def fetched(command: list[str], what: str) -> None:
    """Run a command that fetches into build/cache."""
    found = subprocess.run(command, cwd=CACHE, capture_output=True, text=True)
    if found.returncode:
        lines = found.stderr.strip().splitlines() or ["no message"]
        raise MissingError(f"{what} could not be fetched ({lines[-1]}): is there a network?")


def same(path: Path, sha256: str) -> None:
    """Refuse a file that is not the pinned one.

    Raises:
        MissingError: its SHA-256 is another.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise MissingError(
            f"{path.name} is not the file that is pinned: its SHA-256 is {found[:12]}…, not "
            f"{sha256[:12]}…: delete {path} and try again"
        )


def members(archive: Path, *prefixes: str) -> Iterator[tuple[str, bytes]]:
    """(path, contents) of the files of an npm archive whose paths begin so, without "package/"."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = member.name.removeprefix("package/")
            if member.isfile() and name.startswith(prefixes):
                opened = tar.extractfile(member)
                assert opened is not None  # a file
                yield name, opened.read()


def unpack(archive: Path, to: Path, *prefixes: str, strip: str = "") -> None:
    """Write those files below a folder, without a first part of their paths."""
    for name, data in members(archive, *prefixes):
        path = to / name.removeprefix(strip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
