"""A release is refused where version, changelog, citation or tag disagree."""

import pytest

import unlearnlab as ul
from tools import release


def test_the_version_stands_in_all_places(monkeypatch):
    assert release.version() == ul.__version__
    texts = {
        "unlearnlab/__init__.py": '__version__ = "9.9"\n',
        "CHANGELOG.md": "# Changelog\n\n## 9.8\n",
        "CITATION.cff": "version: 9.8\n",
    }
    monkeypatch.setattr(release, "text", texts.__getitem__)
    with pytest.raises(SystemExit, match=r"CHANGELOG.md has no part '## 9.9'"):
        release.version()
    texts["CHANGELOG.md"] = "# Changelog\n\n## 9.9\n"
    with pytest.raises(SystemExit, match=r"CITATION.cff names another version than 9.9"):
        release.version()


def test_only_a_clean_commit_with_its_tag_is_released(monkeypatch):
    said = {"tag": "v0.9\n", "status": ""}
    monkeypatch.setattr(release, "run", lambda git, what, *rest: said[what])
    with pytest.raises(SystemExit, match=r"no tag v1.0: git tag v1.0"):
        release.require_tag("1.0")
    release.require_tag("0.9")
    said["status"] = " M README.md\n"
    with pytest.raises(SystemExit, match="not committed"):
        release.require_tag("0.9")
