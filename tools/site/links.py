"""Whether links inside the site lead somewhere, and whether pages load anything from elsewhere."""

from __future__ import annotations

from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

NOT_OURS = {"lite", "_static"}  # JupyterLite's, the theme's templates, the slides
LOADS = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}


class Page(HTMLParser):
    """What a page links to and loads, and where it can be linked to."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.targets: list[tuple[str, str, str]] = []  # tag, attribute, URL
        self.undescribed: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down anchors, links and pictures without a text."""
        given = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := given.get(key)))
        self.targets += [(tag, key, given[key] or "") for key in ("href", "src") if key in given]
        if tag == "img" and not given.get("alt"):
            self.undescribed.append(given.get("src") or "")


class Site:
    """The pages below a folder, without those of JupyterLite."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def pages(self) -> dict[Path, Page]:
        """By their paths."""
        paths = sorted(self.root.rglob("*.html"))
        own = [path for path in paths if path.relative_to(self.root).parts[0] not in NOT_OURS]
        return {path: Page(path) for path in own}

    def fault(self, page: Page, tag: str, attribute: str, url: str) -> str | None:
        """What is wrong with a link, if anything is."""
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") or parts.netloc:
            loaded = (tag, attribute) in LOADS and tag != "link"
            return "is loaded from another host" if loaded else None
        if parts.scheme or url in ("", "#"):
            return None
        target = page.path
        if parts.path:
            target = (page.path.parent / unquote(parts.path)).resolve()
        if target.is_dir():
            target = target / "index.html"
        if not target.exists():
            lite = self.root / "lite"  # may not be built
            unbuilt = target.is_relative_to(lite) and not lite.exists()
            return None if unbuilt else "leads nowhere"
        other = self.pages.get(target)
        if parts.fragment and other and unquote(parts.fragment) not in other.anchors:
            return "has no such place on its page"
        return None


def broken(root: Path) -> list[str]:
    """A sentence for each link that leads nowhere, foreign script and image without a text."""
    site, found = Site(root.resolve()), []
    for path, page in site.pages.items():
        at = path.relative_to(site.root)
        for tag, attribute, url in page.targets:
            fault = site.fault(page, tag, attribute, url)
            if fault:
                found.append(f"{at}: {url} {fault}")
        found += [f"{at}: the picture {url} has no alternative text" for url in page.undescribed]
    return sorted(set(found))
