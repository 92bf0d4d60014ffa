"""What tells two things apart when a run is continued: their contents, ready for JSON."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import cached_property, partial, singledispatch
from hashlib import sha256
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

PACKAGE = __name__.split(".")[0]
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in what Python prints of things that it cannot read
# What is told of a class, besides its functions.
PLAIN = (int, float, str, bytes, list, tuple, dict, set, frozenset, np.ndarray)
_SEEN: ContextVar[list[type] | None] = ContextVar("_SEEN", default=None)
_INSIDE: ContextVar[frozenset[int]] = ContextVar("_INSIDE", default=frozenset())


@dataclass(frozen=True)
class Options:
    """What a problem or an objective takes besides its models; each has its own as a subclass."""

    def identity(self) -> dict[str, Any]:
        """Names and contents of the options, ready for JSON."""
        return {one.name: content(getattr(self, one.name)) for one in fields(self)}


def content(value: Any) -> Any:
    """`value` in a form that JSON can compare; of what holds itself, once.

    Rungs register their own kinds with `contents`, such as tensors.
    """
    inside = _INSIDE.get()
    if id(value) in inside:
        return "itself"
    token = _INSIDE.set(inside | {id(value)})
    try:
        return contents(value)
    finally:
        _INSIDE.reset(token)


@singledispatch
def contents(value: Any) -> Any:
    """What is in a value, by its kind: of an object what it holds, of a callable what it does.

    Where neither can be read, as of one that a library made in C, a warning says so.
    """
    if isinstance(value, type) or isinstance(getattr(value, "__wrapped__", None), FunctionType):
        return {value.__qualname__: content(getattr(value, "__wrapped__", None))}
    held = attributes(value)
    if held:
        calls = {"__call__": type(value).__call__} if callable(value) else {}
        return {type(value).__qualname__: content(held | calls)}
    told = repr(value)
    if ADDRESS.search(told):
        told = type(value).__qualname__
        warnings.warn(
            f"what a {told} holds cannot be read: another one in its place would be taken for it "
            "when a run is continued; a function of points can be named, ul.Function(f, key=...)",
            stacklevel=2,
        )
    return told


def attributes(value: Any) -> dict[str, Any]:
    """What an object holds, but for what it has computed of it and kept."""
    kind = type(value)
    return {
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), cached_property)
    }


@contents.register(type(None))
@contents.register(bool)
@contents.register(int)
@contents.register(float)
@contents.register(str)
def _(value: Any) -> Any:
    return value


@contents.register(list)
@contents.register(tuple)
def _(value: Any) -> list[Any]:
    return [content(item) for item in value]


@contents.register(set)
@contents.register(frozenset)
def _(value: Any) -> list[str]:
    return sorted(repr(content(item)) for item in value)  # of another order in another process


@contents.register(dict)
def _(value: dict[Any, Any]) -> Any:
    named = {str(key): content(item) for key, item in value.items()}
    if len(named) == len(value):
        return named
    return [[repr(key), content(item)] for key, item in value.items()]  # 1 and "1"


@contents.register(bytes)
def _(value: bytes) -> str:
    return sha256(value).hexdigest()


@contents.register(np.ndarray)
def _(value: Any) -> Any:
    if value.dtype.hasobject:
        return content(value.tolist())
    return array_told(value.dtype, value.shape, value.tobytes())


def array_told(kind: Any, shape: Sequence[int], numbers: bytes) -> str:
    """An array by its kind, shape and a digest of its numbers."""
    return f"{kind} {list(shape)} {sha256(numbers).hexdigest()}"


@contents.register(partial)
def _(value: Any) -> list[Any]:
    return [content(value.func), content(value.args), content(value.keywords)]


@contents.register(MethodType)
def _(value: MethodType) -> list[Any]:
    return [content(value.__func__), content(value.__self__)]


@contents.register(BuiltinFunctionType)
def _(value: BuiltinFunctionType) -> Any:
    owner = value.__self__
    if owner is None or isinstance(owner, ModuleType | type):
        return f"{value.__module__}.{value.__qualname__}"
    return {value.__qualname__: content(owner)}


@contents.register(FunctionType)
def _(value: FunctionType) -> Any:
    """Name, source, defaults and what it closes over: `lambda x: x > c` is another for another c.

    The constants of its code as well: two lambdas of one line have the same source. Of what it
    reads of its module: numbers, arrays, networks, functions and classes; others by name.
    """
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = value.__code__.co_code.hex()
    told = source + repr(_constants(value.__code__))
    found = {
        "name": value.__qualname__,
        "code": sha256(told.encode()).hexdigest(),
        "closes over": content(_closure(value)),
        "defaults": [content(value.__defaults__), content(value.__kwdefaults__)],
        "reads": _globals(value),
    }
    return {key: item for key, item in found.items() if item not in ({}, [None, None])}


def _closure(function: FunctionType) -> dict[str, Any]:
    """Names and values that a function closes over; one that is not set yet is left out."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _globals(function: FunctionType) -> dict[str, Any]:
    """What a function reads of its module."""
    there, found = function.__globals__, {}
    for name in sorted(_names(function.__code__) & there.keys()):
        item = there[name]
        if isinstance(item, FunctionType) and item.__globals__ is not there:
            found[name] = f"{item.__module__}.{item.__qualname__}"  # a library's
        elif isinstance(item, type):
            own = item.__module__ == function.__module__
            # Of the package's own classes the version tells; a user's have none.
            if own and item.__module__.split(".")[0] != PACKAGE:
                found[name] = _class_contents(item)
        elif not isinstance(item, ModuleType):
            found[name] = content(item)
    return found


def _class_contents(kind: type) -> Any:
    """What is in a class and in those of its module that it is made of; of each class once."""
    seen = _SEEN.get()
    if seen is None:
        token = _SEEN.set([])
        try:
            return _class_contents(kind)
        finally:
            _SEEN.reset(token)
    if kind in seen:
        return kind.__qualname__
    seen.append(kind)
    own = {}
    for name, item in vars(kind).items():
        item = getattr(item, "fget", getattr(item, "func", getattr(item, "__func__", item)))
        mine = isinstance(item, FunctionType) and item.__module__ == kind.__module__
        if mine or (isinstance(item, PLAIN) and not name.startswith("__")):
            own[name] = content(item)
    bases = [one for one in kind.__bases__ if one.__module__ == kind.__module__]
    return [own, [_class_contents(one) for one in bases]]


def _names(code: CodeType) -> set[str]:
    """Names that a function's code and the functions inside it use."""
    inner = (_names(one) for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*inner)


def _constants(code: CodeType) -> list[Any]:
    """Names and constants of a function's code and of the functions inside it."""
    inner: list[Any] = []
    for one in code.co_consts:
        if isinstance(one, CodeType):
            inner.append(_constants(one))
        else:  # sets of strings come in another order in another process
            inner.append(sorted(map(repr, one)) if isinstance(one, frozenset) else one)
    return [list(code.co_names), inner]


def differences(one: Any, other: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two identities differ: the place, by its names, and what is there in each."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{where} {key}".strip())
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{where}[{i}]" if len(one) > 1 else where)
    elif one != other:
        yield where, one, other
