"""Reading what the lab itself has written, also another version of it: what is not known is passed over, what is known is checked.

The frozen dataclasses say what a file holds; nothing is taken for a number that is none, and nothing is too large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import ConfigDict, RootModel, ValidationError
from pydantic_core import from_json

from lab.errors import shown
from lab.spec.base import said

T = TypeVar("T")
NUMBER_MAX = 1e15
DOCUMENT_MAX_BYTES = 64_000_000


class MalformedError(ValueError):
    """A document is not what it should be: a line of words that says what is wrong."""


class _Reader(RootModel[T], Generic[T]):
    """Strict about values, and not about fields that it does not know."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


@cache
def _reader(kind: Any) -> Any:
    return cast(Any, _Reader)[kind]


def parse(kind: type[T], text: str | bytes) -> T:
    """A JSON text as a dataclass. Raises MalformedError."""
    try:
        return cast(T, _reader(cast(Any, kind)).model_validate_json(_with_whole_characters(text)).root)
    except ValidationError as error:
        raise MalformedError(_worded(error)) from error


def document(text: str | bytes) -> Any:
    """A JSON text, whatever it holds: not too deep, and with no number that is too large to calculate with.

    Raises MalformedError.
    """
    try:
        found = from_json(_with_whole_characters(text), allow_inf_nan=False)
    except ValueError as error:
        raise MalformedError(f"this is not JSON: {shown(str(error), 100)}") from error
    if (large := next(_too_large(found), None)) is not None:
        raise MalformedError(f"{shown(large)} is no number that the lab writes")
    return found


def whole(kind: type[T], text: str | bytes) -> T:
    """A JSON text as a dataclass, each of its numbers one to calculate with. Raises MalformedError."""
    document(text)
    return parse(kind, text)


def content(file: Path, most_bytes: int = DOCUMENT_MAX_BYTES) -> bytes:
    """All that a file holds. Raises OSError, and MalformedError where that is more than any file of the lab's holds."""
    with open(file, "rb") as opened:
        found = opened.read(most_bytes + 1)
    if len(found) > most_bytes:
        raise MalformedError(f"more than {most_bytes} bytes")
    return found


def is_there(file: Path) -> bool:
    """Whether there is such a file or folder; a name that no file can have is none that is there."""
    try:
        return file.exists()
    except (OSError, ValueError):
        return False


# A character of two halves, half of one, or any other escape: only the second is no text.
_ESCAPES = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.")


def _with_whole_characters(text: str | bytes) -> bytes:
    """A JSON text in which half a character (a lone surrogate) is a replacement character: nothing could show it."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], raw) if b"\\u" in raw else raw


def _worded(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "this"
    if first["type"] == "json_invalid":
        return f"this is not JSON: {shown(first['msg'].removeprefix('Invalid JSON: '), 100)}"
    if first["type"] == "missing":
        return f"{shown(where)} is missing"
    return f"{shown(where)} should be {shown(first['msg'].removeprefix('Input should be '), 100)}, not {said(first['input'])}"


def _too_large(found: Any) -> Iterator[Any]:
    """The numbers in a document that are too large."""
    if isinstance(found, dict):
        for each in found.values():
            yield from _too_large(each)
    elif isinstance(found, list):
        for each in found:
            yield from _too_large(each)
    elif isinstance(found, (int, float)) and abs(found) > NUMBER_MAX:
        yield found
