"""Stop with a sentence when this Python is too old to install with."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is the check
    found = "{}.{}".format(*sys.version_info[:2])
    sys.exit(
        "unlearnlab needs Python 3.11 or newer; this is " + found + ". "
        "Say which to use: make PYTHON=python3.12 ..."
    )
