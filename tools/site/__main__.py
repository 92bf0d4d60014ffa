"""Build the site, or serve it.

    python -m tools.site                        pages and lessons in a browser, into build/site/
    python -m tools.site --pages                without JupyterLite
    python -m tools.site --pyodide FOLDER       with a Pyodide distribution of your own
    python -m tools.site --serve [PORT]         what is built, on loopback

What is missing (npm, the network, the archive of compiled wheels) is said in a sentence, the part
that can be built is built, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.provenance import ROOT
from tools.site import links, lite, pages, serve
from tools.site.pinned import MissingError

BUILT = ROOT / "build" / "site"


def build_pages(to: Path, repository: str = "") -> list[str]:
    """Everything but the lessons that run in a browser, into a folder that is made anew.

    Returns:
        a sentence for each part that had to be left out.

    Raises:
        SystemExit: Sphinx warns of something.
    """
    missing = pages.stage(repository)
    doctrees = to.with_name(f"{to.name}-doctrees")
    for old in (to, doctrees):  # with pages that have moved since
        shutil.rmtree(old, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    folders = ["-d", doctrees, pages.SOURCE, to]
    # The same bytes each time: no date, and sets in one order.
    env = {**os.environ, "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    if subprocess.run([*command, *map(str, folders)], env=env).returncode:
        raise SystemExit("the pages have errors, named above")
    return missing


def main() -> int:
    """Build or serve, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--pages", action="store_true", help="without JupyterLite")
    parser.add_argument("--pyodide", type=Path, help="a folder with a Pyodide distribution")
    parser.add_argument("--repository", default="", help="owner/name, for links to Colab")
    parser.add_argument("--serve", nargs="?", type=int, const=8000, help="port, 8000 if none")
    asked = parser.parse_args()
    if asked.serve is not None:
        return serve.forever(BUILT, asked.serve)
    start = time.perf_counter()
    missing = build_pages(BUILT, asked.repository)
    if not asked.pages:
        try:
            lite.build(BUILT / "lite", asked.pyodide)
        except MissingError as error:
            missing.append(f"no lessons in a browser: {error}")
    broken = links.broken(BUILT)
    for line in (*missing, *broken):
        print(line, file=sys.stderr)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) / 1e6
    print(f"build/site: {seconds:.0f} s, {size:.0f} MB; make site-serve shows it")
    return int(bool(missing or broken))


if __name__ == "__main__":
    sys.exit(main())
