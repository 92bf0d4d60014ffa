"""nbgrader's settings for these lessons; `make course` reads the same ones.

To grade them in an nbgrader course, with COURSE its folder:

    cp tutorials/nbgrader_config.py COURSE/
    mkdir -p COURSE/source
    cp -r tutorials/solutions COURSE/source/unlearnlab
    cd COURSE
    nbgrader generate_assignment unlearnlab
    # students' notebooks go to submitted/STUDENT/unlearnlab/
    nbgrader autograde unlearnlab

generate_assignment fills the gradebook. What it releases differs from the notebooks in tutorials/
in one thing, the stored outputs, so a student may hand in either.
"""

c = get_config()  # nbgrader defines it

c.ClearSolutions.code_stub = {"python": "# your code here"}
c.Execute.timeout = 120  # seconds a cell; the default, 30, is little for a slow machine
