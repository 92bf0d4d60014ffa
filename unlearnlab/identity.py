"""What tells two things apart when a run is continued: their contents, ready for JSON."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import partial, singledispatch
from hashlib import sha256
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Options:
    """What a problem or an objective takes besides its models; each has its own as a subclass."""

    def identity(self) -> dict[str, Any]:
        """Names and contents of the options, ready for JSON."""
        return {one.name: content(getattr(self, one.name)) for one in fields(self)}


@singledispatch
def content(value: Any) -> Any:
    """`value` in a form that JSON can compare; rungs register their own kinds, such as tensors."""
    if callable(value) or type(value).__repr__ is object.__repr__:  # an address says nothing
        return [type(value).__qualname__, content(getattr(value, "__dict__", {}))]
    return repr(value)


@content.register(type(None))
@content.register(bool)
@content.register(int)
@content.register(float)
@content.register(str)
def _(value: Any) -> Any:
    return value


@content.register(list)
@content.register(tuple)
def _(value: Any) -> list[Any]:
    return [content(item) for item in value]


@content.register(dict)
def _(value: dict[Any, Any]) -> list[list[Any]]:
    return [[str(key), content(item)] for key, item in value.items()]


@content.register(np.ndarray)
def _(value: Any) -> list[Any]:
    return [list(value.shape), str(value.dtype), sha256(value.tobytes()).hexdigest()]


@content.register(partial)
def _(value: Any) -> list[Any]:
    return [content(value.func), content(value.args), content(value.keywords)]


@content.register(MethodType)
def _(value: MethodType) -> list[Any]:
    return [content(value.__func__), content(value.__self__)]


@content.register(FunctionType)
def _(value: FunctionType) -> list[Any]:
    """Name, source, defaults and what it closes over: `lambda x: x > c` is another for another c.

    The constants of its code as well: two lambdas of one line have the same source.
    """
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = value.__code__.co_code.hex()
    held = [cell.cell_contents for cell in value.__closure__ or ()]
    told = source + repr(_constants(value.__code__))
    return [
        value.__qualname__,
        sha256(told.encode()).hexdigest(),
        content(held),
        content(value.__defaults__),
        content(value.__kwdefaults__),
    ]


def _constants(code: CodeType) -> list[Any]:
    """Names and constants of a function's code and of the functions inside it."""
    inner: list[Any] = []
    for one in code.co_consts:
        if isinstance(one, CodeType):
            inner.append(_constants(one))
        else:  # sets of strings come in another order in another process
            inner.append(sorted(map(repr, one)) if isinstance(one, frozenset) else one)
    return [list(code.co_names), inner]
