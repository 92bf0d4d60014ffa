"""Grade what students handed in, with nbgrader, two submissions at a time.

    python -m tools.grade COURSE                   all of COURSE/submitted/*/unlearnlab
    python -m tools.grade COURSE --student ada     one of them
    python -m tools.grade COURSE --jobs 4          four at a time, a core each

COURSE is nbgrader's folder, where `nbgrader generate_assignment` has run. Points go to its
gradebook, graded notebooks to COURSE/autograded, as with `nbgrader autograde`. Training cells are
skipped where no answer needs them (`c.Autograde.autograde_preprocessors` in nbgrader_config.py).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from sqlalchemy.exc import SAWarning
from traitlets.config import PyFileConfigLoader

CONFIG = "nbgrader_config.py"
PATIENCE = 60  # seconds that one process waits for another's entry into the gradebook


def interface(course: Path) -> Any:
    """nbgrader for a course's folder, with the settings that lie there."""
    # nbgrader looks for its database tool on the path, where an activated environment has it.
    here = str(Path(sys.executable).parent)
    if here not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join((here, os.environ["PATH"]))
    config = PyFileConfigLoader(CONFIG, path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    if "db_url" not in config.CourseDirectory:
        book = course / "gradebook.db"
        config.CourseDirectory.db_url = f"sqlite:///{book}?timeout={PATIENCE}"
    return NbGraderAPI(config=config)


def grade(course: Path, assignment: str, student: str) -> tuple[str, float, str]:
    """Grade one submission: the student, the seconds that it took, and an error's text or ""."""
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", SAWarning)  # nbgrader's way with its own database
    start = time.perf_counter()
    done = interface(course).autograde(assignment, student)
    error = "" if done["success"] else done.get("error") or done.get("log") or "no reason is known"
    return student, time.perf_counter() - start, error


def prepared(course: Path, assignment: str, students: list[str]) -> str:
    """The course's gradebook with all students in it; before several processes write to it.

    Raises:
        SystemExit: the course has no settings, no such assignment, or nothing was handed in.
    """
    if not (course / CONFIG).exists():
        raise SystemExit(f"{course / CONFIG} is missing: copy tutorials/{CONFIG} there")
    if not students:
        where = course / "submitted" / "STUDENT" / assignment
        raise SystemExit(f"nothing to grade: notebooks are looked for in {where}")
    url = interface(course).coursedir.db_url
    with Gradebook(url) as book:
        try:
            book.find_assignment(assignment)
        except MissingEntry:
            raise SystemExit(
                f"the gradebook of {course} has no assignment {assignment!r}: run "
                f"`nbgrader generate_assignment {assignment}` there first"
            ) from None
        for student in students:
            book.update_or_create_student(student)
    return url


def graded(course: Path, assignment: str, students: list[str], jobs: int) -> list[str]:
    """Grade, and print a line for each; what went wrong, one text for each that failed."""
    url = prepared(course, assignment, students)
    failed = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        todo = [pool.submit(grade, course, assignment, student) for student in students]
        for one in todo:
            student, seconds, error = one.result()
            if error:
                failed.append(f"{student}: {error}")
                print(f"{student:20} not graded, {seconds:.0f} s")
                continue
            with Gradebook(url) as book:
                found = book.find_submission(assignment, student)
                points = f"{found.score:g} of {found.max_score:g} points"
            print(f"{student:20} {points}, {seconds:.0f} s", flush=True)
    return failed


def main() -> int:
    """Grade a course; 1 if a submission could not be graded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("course", type=Path)
    parser.add_argument("--assignment", default="unlearnlab")
    parser.add_argument("--student", action="append", help="may be given several times")
    parser.add_argument("--jobs", type=int, default=2, help="submissions at a time")
    options = parser.parse_args()
    course = options.course.resolve()
    found = sorted(path.parent.name for path in course.glob(f"submitted/*/{options.assignment}"))
    start = time.perf_counter()
    students = options.student or found
    failed = graded(course, options.assignment, students, options.jobs)
    minutes = (time.perf_counter() - start) / 60
    print(f"{len(students) - len(failed)} of {len(students)} graded in {minutes:.1f} minutes")
    for text in failed:
        print(text, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
