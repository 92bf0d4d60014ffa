"""nbgrader's settings for these lessons; `make course` reads the same ones.

INSTRUCTORS.md says how to grade with them. What `nbgrader generate_assignment` releases differs
from the notebooks in tutorials/ in one thing, the stored outputs, so a student may hand in either.
"""

from unlearnlab.teaching.autograding import steps

c = get_config()  # nbgrader defines it

c.ClearSolutions.code_stub = {"python": "# your code here"}
c.Execute.timeout = 300  # seconds a cell; the default, 30, is less than a lab takes
c.Autograde.autograde_preprocessors = steps()  # training cells run where an answer needs them
