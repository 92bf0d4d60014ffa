"""nbgrader's settings for these lessons; `make course` reads the same ones.

INSTRUCTORS.md says how to grade with them. What `nbgrader generate_assignment` releases differs
from the notebooks in tutorials/ in one thing, the stored outputs, so a student may hand in either.
"""

c = get_config()  # nbgrader defines it

c.ClearSolutions.code_stub = {"python": "# your code here"}
c.Execute.timeout = 120  # seconds a cell; the default, 30, is little for a slow machine
