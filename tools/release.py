"""Build what is released, and try it: `make dist`.

    python -m tools.release            the sdist and the wheel in dist/, the wheel tried
    python -m tools.release --tagged   besides, the commit must carry the tag vVERSION

The version is that of the package; the changelog must have a part of it, and CITATION.cff must name
it. The wheel is installed into a fresh environment, with what it needs and nothing else, and a
problem is solved and certified there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tools.provenance import ROOT

DIST = ROOT / "dist"
TRIED = """
import unlearnlab as ul
from pathlib import Path
grid = ul.Grid(low=-8.0, high=8.0, cells=801)
q, q1 = (ul.GaussianMixture([1.0], means=[m], stds=[1.0]).on(grid) for m in (0.0, 2.0))
solution = ul.solve(ul.ReverseKL(retain=q, forget=[q1], thresholds=[8.0]))
assert solution.certificate.ok and abs(solution.multipliers[0] - 0.5) < 1e-6, solution
home = Path(ul.__file__).parent
assert (home / "py.typed").exists() and any((home / "digits" / "weights").rglob("*.safetensors"))
print(f"unlearnlab {ul.__version__}: solved, certified")
"""


def version() -> str:
    """The package's, checked against what must agree with it.

    Raises:
        SystemExit: something names another version.
    """
    own = re.findall(r'__version__ = "(.+)"', text("unlearnlab/__init__.py"))[0]
    if f"\n## {own}\n" not in text("CHANGELOG.md"):
        raise SystemExit(f"CHANGELOG.md has no part '## {own}'")
    if f"\nversion: {own}\n" not in text("CITATION.cff"):
        raise SystemExit(f"CITATION.cff names another version than {own}")
    return own


def text(name: str) -> str:
    """A file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def require_tag(own: str) -> None:
    """Refuse a commit that is not the released one, or a tree that is not the commit."""
    tags = run("git", "tag", "--points-at", "HEAD").split()
    if f"v{own}" not in tags:
        raise SystemExit(f"this commit has no tag v{own}: git tag v{own}")
    if run("git", "status", "--porcelain"):
        raise SystemExit("the working tree has changes that are not committed")


def run(*command: str) -> str:
    """A command's output; its own words where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build() -> tuple[Path, Path]:
    """The sdist and the wheel, made by the project's own build backend."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for kind in ("sdist", "wheel"):
        code = f"from setuptools import build_meta as b; b.build_{kind}({str(DIST)!r})"
        run(sys.executable, "-c", code)
    return next(DIST.glob("*.tar.gz")), next(DIST.glob("*.whl"))


def tried(wheel: Path) -> str:
    """What the wheel says in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = next(Path(folder).glob("bin/python"), Path(folder) / "Scripts" / "python.exe")
        quiet = ("--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"))
        run(str(python), "-m", "pip", "install", *quiet, str(wheel))
        return run(str(python), "-I", "-c", f"import os; os.chdir({folder!r})\n{TRIED}").strip()


def main() -> None:
    """Check, build, try."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tagged", action="store_true", help="the commit must carry its tag")
    own = version()
    if parser.parse_args().tagged:
        require_tag(own)
    sdist, wheel = build()
    if own not in wheel.name:
        raise SystemExit(f"{wheel.name} is not version {own}")
    print(tried(wheel))
    for path in (sdist, wheel):
        print(f"dist/{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
