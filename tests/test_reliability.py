"""A tenth of the benchmark of what is lost or passes in silence (benchmarks/reliability.py)."""

import pytest

from benchmarks import damages, reliability
from benchmarks.run import stored
from tools.provenance import ROOT


def test_struck_and_resumed_is_bit_identical():
    found = reliability.strikes(killed=3, aimed=1, terminated=1)
    assert found["lost"] == 0 and found["equal"]


@pytest.mark.parametrize("name", damages.formats())
def test_no_damage_passes_in_silence(name):
    found = damages.damaged(damages.formats()[name], 50)
    assert found["silent"] == found["raw"] == 0 and found["noticed"] > 35


def test_saves_by_several_threads():
    assert reliability.threads()["lost"] == 0


def test_a_full_disk_loses_nothing():
    found = reliability.full_disk()
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found == {"formats": 5, "lost": 0}


def test_the_readme_says_what_was_counted():
    got = stored("reliability")["result"]
    told = " ".join((ROOT / "README.md").read_text().split())
    assert reliability.sentence(got) in told and "skipped" not in got["full disk"]
    assert all(met for _, _, _, met in reliability.rows(got))
