"""Text files that people write: their encoding, and YAML without its silences."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

COMMENT = re.compile(r" +(#[^\r\n]*)")
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_text(path: Path) -> str:
    """A file in UTF-8, or in UTF-16 that says so by its first bytes.

    Raises:
        ValueError: another encoding; it names the file, the line and the byte.
    """
    data = path.read_bytes()
    coding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(coding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} of {path} is not {coding.removesuffix('-sig').upper()}: it has the byte "
            f"0x{data[error.start]:02x}, as files in Windows-1252 or Latin-1 do; save it as UTF-8 "
            "(in a spreadsheet: CSV UTF-8)"
        ) from None


def _number(loader: Any, node: Any) -> Any:
    """A decimal number; else the text as it stands: to YAML 1.1 `010` is 8, and `1:30` is 90."""
    text = loader.construct_scalar(node)
    try:
        return int(text)
    except ValueError:
        return text if {":", "x", "b"} & set(text) else loader.construct_yaml_float(node)


def _texts(node: Any) -> Iterator[Any]:
    """The nodes of text without quotes in a value."""
    if isinstance(node.value, str):
        if node.style is None:
            yield node
        return
    for one in node.value:
        for inner in one if isinstance(one, tuple) else [one]:
            yield from _texts(inner)


def _say_what_is_cut(node: Any, text: str, path: Path) -> None:
    """Warn of words that YAML takes for a comment: of `a dog #1` it reads `a dog`."""
    for one in _texts(node):
        comment = COMMENT.match(text, one.end_mark.index)
        if comment:
            warnings.warn(
                f"line {one.end_mark.line + 1} of {str(path)!r} asks for {one.value!r}: YAML takes "
                f"{comment[1].strip()!r} for a comment; a prompt with # in it must stand in quotes",
                stacklevel=4,
            )


def read_yaml(path: Path, *, prompts: Collection[str] = ()) -> dict[Any, Any]:
    """Keys and values of a YAML file.

    Args:
        prompts: keys whose values are; a comment behind one may be its end, and is said.

    Raises:
        ValueError: another encoding, not YAML, no keys and values, or a key given twice, of which
            YAML readers silently keep the last.
    """
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, value in node.value:
                if key.value in prompts:
                    _say_what_is_cut(value, text, path)
                if isinstance(key.value, str) and key.value in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"config {str(path)!r} has {key.value!r} again in line {line}")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    Loader.add_constructor("tag:yaml.org,2002:int", _number)
    Loader.add_constructor("tag:yaml.org,2002:float", _number)
    text = read_text(path)
    try:
        given = yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"config {str(path)!r} is not YAML ({error})") from None
    if not isinstance(given, Mapping):
        raise ValueError(f"config {str(path)!r} must hold keys and values")
    return dict(given)
