"""The values that a configuration may hold: each check returns the value, or says what is wrong.

YAML 1.1 has traps: `1e-4` is text, `no` is false, and one prompt where a list belongs is as good a
sequence as any. A check is called with the field's name and its value, and raises a `ValueError`
that names both.
"""

from __future__ import annotations

import difflib
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..files import expanded

Check = Callable[[str, Any], Any]
JOINERS = "\u200c\u200d"  # zero-width, and part of the spelling of Persian words and of emoji
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # nothing to see, of other categories


def one_of(name: str, value: Any, known: Iterable[str]) -> Any:
    """A known name; else the nearest one is suggested."""
    names = list(known)
    if value not in names:
        close = difflib.get_close_matches(str(value), names, 1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name} must be one of {', '.join(names)}; got {value!r}{guess}")
    return value


def among(known: Iterable[str]) -> Check:
    """A check for one of the known names."""
    return lambda name, value: one_of(name, value, known)


def text(name: str, value: Any) -> str:
    """Text on one line, without the space around it."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ValueError(
            f"{name} must be text; got {value!r}: put what reads as a number, a date or yes and no "
            "in quotes"
        )
    found = value.strip()
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in found):
        raise ValueError(f"{name} must be one line of text; got {value!r}")
    return found


def require_visible(name: str, value: str) -> None:
    """Refuse characters that nobody sees and a text encoder does: what is asked would not be shown.

    Zero-width and control characters, but for breaks of lines and tabs, which are read as spaces,
    and for joiners between letters that are not ASCII.

    Raises:
        ValueError: the first of them, and where it stands.
    """
    for i, one in enumerate(value):
        hidden = unicodedata.category(one) in ("Cc", "Cf", "Cs") and one not in "\n\r\t"
        joins = one in JOINERS and not (value[i - 1 : i] + value[i + 1 : i + 2]).isascii()
        if (hidden or one in BLANK) and not joins:
            known = unicodedata.name(one, "a control character")
            raise ValueError(
                f"{name} has U+{ord(one):04X} ({known}) as character {i + 1}, which cannot be "
                f"seen: remove it; got {value!r}"
            )


def prompt(name: str, value: Any) -> str:
    """Text on one line, all of which can be seen."""
    if isinstance(value, str):
        require_visible(name, value)
    return text(name, value)


def path(name: str, value: Any) -> str:
    """A file, a folder or a hub id; `~` and variables stand for what a shell makes of them."""
    return expanded(name, text(name, value))


def prompts(name: str, value: Any) -> list[str]:
    """A list of prompts; one prompt is a list of one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a text or a list of texts; got {value!r}")
    return [prompt(f"{name}[{i}]", one) for i, one in enumerate(value)]


def switch(name: str, value: Any) -> bool:
    """On or off, as YAML writes it: true, false, on, off, yes, no without quotes."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, without quotes; got {value!r}")
    return value


def number(name: str, value: Any) -> float:
    """A finite number; text that reads as one is one, for to YAML 1.1 `1e-4` is text."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        found = float(value)
        if not math.isfinite(found):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{name} must be a finite number; got {value!r}") from None
    return found


def whole(least: int, most: int = sys.maxsize) -> Check:
    """A check for a whole number of at least `least`, and of at most `most`."""

    def check(name: str, value: Any) -> int:
        found = number(name, value)
        # A float has 53 bits of a number.
        exact = value if isinstance(value, int) else int(found)
        if found != int(found) or exact < least:
            raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}")
        if exact > most:
            raise ValueError(f"{name} must be a whole number of at most {most}; got {value!r}")
        return exact

    return check


def positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    found = number(name, value)
    if not found > 0:
        raise ValueError(f"{name} must be positive; got {value!r}")
    return found


def not_negative(name: str, value: Any) -> float:
    """A finite number of at least 0."""
    found = number(name, value)
    if found < 0:
        raise ValueError(f"{name} must not be negative; got {value!r}")
    return found


def numbers(name: str, value: Any) -> float | list[float]:
    """A number of at least 0, or a list of them."""
    if not isinstance(value, list | tuple):
        return not_negative(name, value)
    return [not_negative(f"{name}[{i}]", one) for i, one in enumerate(value)]


def shares(name: str, value: Any) -> dict[str, float]:
    """Names, and a share above 0 and below 1 for each."""
    found = {key: number(f"{name}: {key}", one) for key, one in mapping(name, value or {}).items()}
    for key, one in found.items():
        if not 0 < one < 1:
            raise ValueError(f"{name}: {key} must lie between 0 and 1; got {one!r}")
    return found


def names(name: str, value: Any) -> str | list[str]:
    """A text, or a list of texts that is not empty."""
    if not isinstance(value, list | tuple):
        return text(name, value)
    if not value:
        raise ValueError(f"{name} is an empty list: name at least one, or leave it out")
    return [text(f"{name}[{i}]", one) for i, one in enumerate(value)]


def sides(name: str, value: Any) -> int | tuple[int, int]:
    """A side in pixels, or height and width."""
    if not isinstance(value, list | tuple):
        return int(whole(1)(name, value))
    if len(value) != 2:
        raise ValueError(f"{name} must be one side, or height and width; got {list(value)}")
    height, width = (int(whole(1)(f"{name}[{i}]", one)) for i, one in enumerate(value))
    return height, width


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Keys and values."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must hold keys and values; got {value!r}")
    return {text(f"key in {name}", key): one for key, one in value.items()}


def optional(check: Check) -> Check:
    """A check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def either(word: str, check: Check) -> Check:
    """A check that lets one word pass."""
    return lambda name, value: word if value == word else check(name, value)


def typed(annotation: Any) -> Check:
    """The check for what a dataclass says of a field: int, float or bool, and None beside them."""
    kinds = [part.strip() for part in str(annotation).split("|")]
    known: dict[str, Check] = {"int": whole(0), "float": number, "bool": switch, "str": text}
    check = known.get(kinds[0], lambda name, value: value)
    return optional(check) if "None" in kinds else check
