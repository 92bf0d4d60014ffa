"""The benchmark table, as ratios taken in one run: `make bench`.

Every time is the median of several; what a ratio compares is measured in turn, A B A B, because a
shared machine drifts.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks import course, networks, solvers
from tools.provenance import EVERYTHING, ROOT, code_key, provenance, write_json

RESULT = ROOT / "benchmarks" / "results" / "rung1.json"
TABLE = ROOT / "benchmarks" / "README.md"
MEASURES = solvers.MEASURES | course.MEASURES | networks.MEASURES


def table(stored: dict[str, Any]) -> str:
    """The table as Markdown."""
    got, about = stored["result"], stored["provenance"]
    faster = got["clarabel"]["times faster than CVXPY + Clarabel"]
    theirs = got["clarabel"]["its distance from our dual bound, relative"]
    ours = got["clarabel"]["our relative gap"]
    rows = [
        (
            "LU, 10⁴ cells, against CVXPY + Clarabel",
            "≥ 300 × faster",
            f"{faster:.0f} ×",
            faster >= 300,
        ),
        (
            "… relative gap, ours and its",
            "ours smaller",
            f"{ours:.0e}, {theirs:.0e}",
            ours < theirs,
        ),
    ]
    for kind in ("LU", "RU"):
        cost = got[f"{kind} at 10^7"]["times one in-place numpy.exp"]
        arrays = got[f"{kind} memory"]
        growth = got[f"{kind} scaling"]
        shown = " / ".join(f"{growth[f'10^{e} cells']:.2f}" for e in (4, 5, 6))
        rows += [
            (f"{kind}, 10⁷ cells, in all", "≤ 8 × one numpy.exp", f"{cost:.1f} ×", cost <= 8),
            (f"{kind}, 10⁷ cells, memory", "≤ 8 arrays of 10⁷", f"{arrays:.1f}", arrays <= 8),
            (
                f"{kind}, seconds per cell at 10⁴ / 10⁵ / 10⁶, relative to 10⁷",
                "no growth with size",
                shown,
                min(growth.values()) >= 0.5,
            ),
        ]
    loading, edge = got["import"], got["FU contact"]
    rows += [
        ("import unlearnlab", "≤ 0.3 s", f"{loading:.2f} s", loading <= 0.3),
        (
            "FU in contact, 2001 cells, cold / from a solution nearby",
            "",
            f"{edge['cold']:.0f} / {edge['warm']:.0f} ms",
            None,
        ),
        *course.rows(got),
        *networks.rows(got),
    ]
    said = {True: "yes", False: "no", None: ""}
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page from `results/rung1.json`. Ratios are of one run; what",
        "they compare is measured in turn; every number is a median. A solve is timed from the two",
        "densities to the certified solution.",
        "",
        "| what | aim | measured | met |",
        "|---|---|---|---|",
        *(f"| {what} | {aim} | {value} | {said[met]} |" for what, aim, value, met in rows),
        "",
        "Small grids cost more per cell: a solve has a fixed cost of about a millisecond. At 10⁴",
        "cells that is most of it, and what keeps the ratio to Clarabel below its aim where it is.",
        "",
        f"{about['machine']}; Python {about['python']}; {versions}; {about['date']}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing or out of date, then write the table."""
    key = code_key(
        *EVERYTHING,
        "benchmarks/run.py",
        "benchmarks/solvers.py",
        "benchmarks/course.py",
        "benchmarks/networks.py",
    )
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if stored.get("key") != key:
        stored = {
            "key": key,
            "provenance": provenance("cvxpy", "clarabel"),
            "result": {},
        }
    for name, measure in MEASURES.items():
        if name in stored["result"]:
            print(f"{name}: up to date")
            continue
        stored["result"][name] = measure()
        write_json(RESULT, stored)
        print(f"{name}: {stored['result'][name]}", flush=True)
    TABLE.write_text(table(stored))


if __name__ == "__main__":
    main()
