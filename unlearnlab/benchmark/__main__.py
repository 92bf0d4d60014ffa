"""The command: `python -m unlearnlab.benchmark METHOD... --task NAME --folder FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import report
from .definition import FULL, QUICK
from .families import names, task
from .methods import ANSWERS, METHODS, fits, known
from .points import Point
from .runner import SEEDS, run

FOLDER = "benchmark-results"
ABOUT = """methods: {methods};
each also with ", tuned"; and the known answers {answers}.
tasks: {tasks}."""
QUICKLY = {"methods": (*ANSWERS, "tilt", "ESD"), "tasks": ("line-mild", "line-severe")}


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    about = ABOUT.format(
        methods="; ".join(METHODS), answers=", ".join(ANSWERS), tasks=", ".join(names())
    )
    made = argparse.ArgumentParser(
        prog="python -m unlearnlab.benchmark",
        description="Score unlearning methods on tasks whose optimum is known.",
        epilog=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("methods", nargs="*", metavar="METHOD", help="see below; by name")
    made.add_argument("--task", action="append", help="one task; may be given again")
    made.add_argument("--all", action="store_true", help="all methods, published and tuned")
    made.add_argument("--quick", action="store_true", help="ten minutes: few methods, small draws")
    made.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    made.add_argument("--jobs", type=int, default=2, help="points at a time")
    made.add_argument("--folder", type=Path, default=Path(FOLDER), help="where results are kept")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and write the report."""
    made = parser()
    asked = made.parse_args(arguments)
    methods: Any = asked.methods
    if asked.all:
        methods = list(known())
    elif asked.quick and not methods:
        methods = list(QUICKLY["methods"])
    if not methods:
        made.error("name a method, or give --all or --quick")
    tasks = asked.task or (list(QUICKLY["tasks"]) if asked.quick else names())
    how: dict[str, Any] = {"seeds": asked.seeds, "folder": asked.folder, "jobs": asked.jobs}
    how["effort"] = QUICK if asked.quick else FULL
    points: list[Point] = []
    try:
        for name in tasks:
            fitting = [one for one in methods if not asked.all or fits(one, task(name))]
            points += run(fitting, name, progress=True, **how).points
    except (ValueError, RuntimeError) as error:
        made.error(str(error))
    for path in report.write(points, asked.folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
