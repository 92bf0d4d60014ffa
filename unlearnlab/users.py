"""Functions that users give on a command line: by file and name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def names_a_function(told: str) -> bool:
    """Whether this is meant as `file.py:function` or `module:function`."""
    place, colon, name = told.rpartition(":")
    return told.endswith(".py") or (bool(place and colon) and name.isidentifier())


def function_of(argument: str, told: str) -> Callable[..., Any]:
    """The function that `file.py:function` or `module:function` names.

    Args:
        argument: what it is given as, to say so in errors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no function named, a module that cannot be imported, or one without it.
    """
    if told.endswith(".py"):
        raise ValueError(f"{argument} {told!r} is a file: name a function of it, {told}:NAME")
    place, _, name = told.rpartition(":")
    if place.endswith(".py"):
        module = _executed(argument, Path(place))
    else:
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise ValueError(f"{argument} {place!r} cannot be imported: {error}") from None
    found: Any = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{argument}: {place} has no function {name!r}")
    return found


def _executed(argument: str, path: Path) -> ModuleType:
    """The module in a file, which other processes then get by value: they may not see the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{argument} {str(path)!r} is no file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # its dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules[path.stem]
        else:
            sys.modules[path.stem] = before
    return module
