"""Rows of JSON from strangers: one that cannot be read costs itself, not the rows beside it."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
        error (`str`): why.
    """

    error: str


def array_rows(text: str) -> list[Any]:
    """Reads the rows of a JSON array.

    Args:
        text (`str`): the array.

    Returns:
        `list`: its elements; one that is nested too deeply for Python's reader is a [`BadRow`].

    Raises:
        ValueError: the text is no JSON, or no array.
    """
    try:
        rows = json.loads(text)
    except RecursionError:
        rows = [parse_row(element) for element in _elements(text)]
    if not isinstance(rows, list):
        raise ValueError("it holds no array")
    return rows


def line_rows(lines: Iterable[str]) -> Iterator[Any]:
    """Reads JSON lines; empty ones are skipped.

    Args:
        lines (`Iterable[str]`): of a file.

    Yields:
        One row a line; one that is no JSON is a [`BadRow`].

    Raises:
        ValueError: no line is JSON, so the file is something else. Nothing was yielded then.
    """
    bad: list[BadRow] | None = []  # held back until one row is JSON
    for line in lines:
        if not line.strip():
            continue
        row = parse_row(line)
        if bad is not None and isinstance(row, BadRow):
            bad.append(row)
            continue
        yield from bad or ()
        bad = None
        yield row
    if bad:
        raise ValueError(f"none of its {len(bad)} lines is JSON: {bad[0].error}")


def parse_row(text: str) -> Any:
    """Reads one row.

    Args:
        text (`str`): its JSON.

    Returns:
        What it says, or a [`BadRow`].
    """
    try:
        return json.loads(text)
    except RecursionError:
        return BadRow("JSON that is nested too deeply")
    except ValueError as error:
        return BadRow(f"no JSON: {error}")


def _elements(text: str) -> Iterator[str]:
    """The texts of an array's elements, found by brackets and quotes alone."""
    text = text.strip()
    depth, begin = 0, 1
    for token in _STRUCTURE.finditer(text):
        mark = token[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        if (mark == "," and depth == 1) or depth == 0:
            yield text[begin : token.start()]
            begin = token.end()
        if depth == 0:
            return
    raise ValueError("its array does not end")


__all__ = ["BadRow", "array_rows", "line_rows", "parse_row"]
