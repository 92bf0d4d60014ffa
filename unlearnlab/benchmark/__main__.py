"""The command: `python -m unlearnlab.benchmark METHOD... --task NAME --folder FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..users import function_of, names_a_function
from . import report
from .definition import FULL, QUICK
from .families import names, task
from .methods import ANSWERS, METHODS, fits, known
from .points import everything
from .runner import SEEDS, run
from .scenes import made_elsewhere

FOLDER = "benchmark-results"
ABOUT = """methods: {methods};
each also with ", tuned"; the known answers {answers};
and a function of a task of your own, by file.py:function or module:function.
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
    made.add_argument("methods", nargs="*", metavar="METHOD", help="see below")
    made.add_argument("--task", action="append", help="one task; may be given again")
    made.add_argument("--lora", type=Path, help="score a LoRA made elsewhere: its file or folder")
    made.add_argument("--all", action="store_true", help="all methods, published and tuned")
    made.add_argument("--report", action="store_true", help="run nothing: report what is stored")
    made.add_argument("--quick", action="store_true", help="four minutes: few methods, small draws")
    made.add_argument("--seed", type=int, action="append", help="one; may be given again")
    made.add_argument("--jobs", type=int, default=2, help="points at a time")
    made.add_argument("--folder", type=Path, default=Path(FOLDER), help="where results are kept")
    return made


def chosen(asked: argparse.Namespace) -> dict[str, Any]:
    """By task, the methods to run on it.

    Raises:
        ValueError: nothing is asked for, or what does not go together.
    """
    tasks = asked.task or (QUICKLY["tasks"] if asked.quick else names())
    if asked.lora is not None:
        if not asked.task or asked.methods or asked.all:
            raise ValueError("--lora goes with --task, tasks on prompts, and with no method")
        return {name: {f"LoRA {asked.lora.name}": made_elsewhere(asked.lora)} for name in tasks}
    there = known()
    methods = asked.methods or (QUICKLY["methods"] if asked.quick and not asked.all else ())
    if asked.all:
        return {name: {one: there[one] for one in there if fits(one, task(name))} for name in tasks}
    if not methods:
        raise ValueError("name a method, or give --lora, --all, --quick or --report")
    own = [function_of("METHOD", one) if names_a_function(one) else one for one in methods]
    return {name: own for name in tasks}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and write the report on all that the folder holds."""
    made = parser()
    asked = made.parse_args(arguments)
    effort = QUICK if asked.quick else FULL
    how: dict[str, Any] = {"folder": asked.folder, "jobs": asked.jobs, "effort": effort}
    try:
        methods_of = {} if asked.report else chosen(asked)
        for seed in asked.seed or SEEDS:  # outermost: a run cut off has all tasks at some
            for name, methods in methods_of.items():
                run(methods, name, seeds=[seed], progress=True, **how)
        found = everything(asked.folder, effort)
        for path in report.write(found, asked.folder, names(), list(known())):
            print(path)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        made.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
