"""Text files that people write: their encoding, and YAML without its silences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def read_yaml(path: Path) -> dict[Any, Any]:
    """Keys and values of a YAML file.

    Raises:
        ValueError: another encoding, not YAML, no keys and values, or a key given twice, of which
            YAML readers silently keep the last.
    """
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"config {str(path)!r} has {key.value!r} again in line {line}")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    Loader.add_constructor("tag:yaml.org,2002:int", _number)
    Loader.add_constructor("tag:yaml.org,2002:float", _number)
    try:
        given = yaml.load(read_text(path), Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"config {str(path)!r} is not YAML ({error})") from None
    if not isinstance(given, Mapping):
        raise ValueError(f"config {str(path)!r} must hold keys and values")
    return dict(given)
