"""What each exercise of a lesson says to right and wrong answers, asked in the lesson's kernel.

`make test` runs every lesson once, by nbval; tutorials/solutions/conftest.py has the exercises
asked on the way, where the lesson's variables are: training once is enough.
"""

import contextlib
import io
import re
import tempfile

from unlearnlab.teaching import EXERCISES, MISSED, NotYet, numbers_of, student
from unlearnlab.teaching.students import drawn

OPEN = re.compile(r"^(\w+) = \.\.\.$", re.MULTILINE)
SOLUTION = re.compile(r"^### BEGIN SOLUTION\n.*?^### END SOLUTION", re.DOTALL | re.MULTILINE)


def role(cell):
    graded = cell.metadata.get("nbgrader", {})
    return "answer" if graded.get("solution") else "check" if graded.get("grade") else "lesson"


def number(check):
    """Of the exercise that a cell checks."""
    return check.metadata.nbgrader.grade_id.removeprefix("check-").replace("-", ".")


def stub(answer):
    """An answer as students find it."""
    return SOLUTION.sub("# your code here", answer)


def told(answer, check, space):
    """What a check says to an answer, in a copy of the lesson's variables."""
    space, printed = dict(space), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(answer, space)
        try:
            exec(check, space)
        except NotYet as sentence:
            return str(sentence)
    return printed.getvalue().strip()


def another(number):
    """The name of a student whose numbers are not those of the solutions; None if there is none."""
    variants = EXERCISES[number].variants
    names = (f"student {i}" for i in range(1000))
    return next((name for name in names if drawn(number, variants, name) != variants[0]), None)


def ask(number, answer, space):
    """The open exercise, a right answer and wrong ones; nbval asks the solution itself.

    The right answer is for another student's numbers: so the solutions are the key to all of them.
    """
    left = stub(answer)
    (asked,) = OPEN.findall(left)
    check = f'check("{number}", {asked})'
    assert told(left, check, space).startswith("Still open")
    if name := another(number):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            student(name)
            theirs = space | {"your": numbers_of(number)}
            right = told(OPEN.sub("", answer), check, theirs)
        assert right.startswith("Right, because "), right
    hints = EXERCISES[number].hints
    for wrong, hint in zip((-123.0, -123.0, -124.0, -125.0), (hints[0], *hints), strict=True):
        for given in (OPEN.sub(rf"\1 = {wrong}", left), f"{left}\n{asked} = {wrong}"):
            sentence = told(given, check, space)
            assert sentence.startswith(f"Not yet: your answer is {wrong:.0f}., "), sentence
            assert sentence.endswith(hint), sentence
            assert not re.search("too (large|small)", sentence)
    MISSED.clear()


def right(number):
    """Confirm that an exercise was not missed since it was asked."""
    assert number not in MISSED, MISSED[number]
