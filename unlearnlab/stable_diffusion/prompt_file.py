"""Prompts from a CSV file, as spreadsheets and editors write it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from . import fields
from .reading import read_text

ROLES = ("retain", "forget", "unrelated")
COLUMNS = ("role", "prompt")
DELIMITERS = (",", ";", "\t")


def read_prompts(path: Path) -> dict[str, list[str]]:
    """Prompts by role: retain, forget and unrelated.

    The first row names the columns, `role` and `prompt` among them; what separates them is a
    comma, a semicolon or a tab. A prompt that has this character stands in quotes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another encoding, no such columns, a row with a field too many or too few, a
            role that is not known or no prompt; it names the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"prompts {str(path)!r} is no file")
    rows = list(_rows(path))
    names = [cell.lower() for cell in rows[0][1]] if rows else []
    if len(rows) < 2 or [names.count(one) for one in COLUMNS] != [1, 1]:
        raise ValueError(
            f"{path} must have columns role and prompt, once each, and rows below; its first line "
            f"names {', '.join(filter(None, names)) or 'nothing'}"
        )
    found: dict[str, list[str]] = {role: [] for role in ROLES}
    for line, row in rows[1:]:
        where = f"line {line} of {path}"
        if len(row) != len(names):
            raise ValueError(
                f"{where} has {len(row)} fields and there are {len(names)} columns; a prompt with "
                f"the character that separates them must stand in quotes; got {row}"
            )
        surplus = [cell for name, cell in zip(names, row, strict=True) if cell and not name]
        if surplus:
            raise ValueError(f"{where} has {surplus[0]!r} in a column without a name")
        given = dict(zip(names, row, strict=True))
        role = fields.one_of(f"role in {where}", given["role"].lower(), ROLES)
        prompt = fields.prompt(f"prompt in {where}", given["prompt"])
        if not prompt:
            raise ValueError(f"{where} has no prompt")
        found[role].append(prompt)
    return found


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, with the line that each begins on."""
    lines = list(io.StringIO(read_text(path), newline=""))  # other breaks are a prompt's own
    first, separator = 0, None
    if lines and lines[0].strip().lower()[:4] == "sep=":  # a remark of spreadsheets to themselves
        first, separator = 1, lines[0].strip()[4:] or "\t"
        if separator not in DELIMITERS:
            raise ValueError(f"line 1 of {path} must be sep= and a comma, a semicolon or a tab")
    reader = csv.reader(
        lines[first:],
        delimiter=separator or _delimiter(lines),
        skipinitialspace=True,
        strict=True,  # else a quote that is never closed takes the rest of the file
    )
    begins = first + 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield begins, cells
            begins = first + reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"the row from line {begins} of {path} is not CSV ({error})") from None


def _delimiter(lines: list[str]) -> str:
    """What the first line with anything in it separates its names by."""
    head = next((line for line in lines if line.strip()), "")
    return max(DELIMITERS, key=head.count)
