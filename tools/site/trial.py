"""The built site in a real browser: `make site-test`.

    python -m tools.site.trial                    pages, lessons and explorers
    python -m tools.site.trial pages explorers    some of them

It needs Node and Chromium, and takes playwright-core and axe-core from npm, pinned.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from tools.provenance import ROOT
from tools.site import pinned, serve
from tools.site.__main__ import BUILT

TESTS = ROOT / "site" / "tests"
PACKAGES = ROOT / "build" / "site-test"
PARTS = ("pages", "explorers", "lessons")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def tools() -> tuple[str, str]:
    """Node and Chromium.

    Raises:
        MissingError: one of them is not installed.
    """
    node = shutil.which("node")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if node is None or browser is None:
        lacking = "Node" if node is None else "Chromium"
        raise pinned.MissingError(
            f"{lacking} is not installed, and the site is tested in a browser: install it "
            "(Debian's packages are nodejs and chromium)"
        )
    return node, browser


def listed(site: Path) -> Path:
    """A file with the names of all pages, JupyterLite's and the slides left out."""
    names = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    own = [name for name in names if not name.startswith(("lite/", "_static/", "_modules/"))]
    path = PACKAGES / "pages.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own))
    return path


def run(part: str, *arguments: str, site: Path = BUILT) -> int:
    """One script of site/tests on a server of its own; its exit code."""
    node, browser = tools()
    for name in ("playwright-core", "axe-core"):
        if not (PACKAGES / name).exists():
            pinned.unpack(pinned.npm(name), PACKAGES / name, "")
    with serve.server(site, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        env = {
            **os.environ,
            "SITE_TEST_BASE": f"http://{serve.HOST}:{serving.server_port}",
            "SITE_TEST_CHROMIUM": browser,
            "SITE_TEST_PACKAGES": str(PACKAGES),
        }
        script = str(TESTS / f"{part}.mjs")
        code = subprocess.run([node, script, str(listed(site)), *arguments], env=env).returncode
        serving.shutdown()
    print(f"{part}: {serve.Handler.sent / 1e6:.0f} MB sent")
    serve.Handler.sent = 0
    return code


def main(parts: list[str]) -> int:
    """All parts that are asked for; the largest exit code."""
    if not (BUILT / "index.html").exists():
        print("build/site holds no site: make site builds it", file=sys.stderr)
        return 1
    try:
        return max(run(part) for part in parts or PARTS)
    except pinned.MissingError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
