"""Text as a terminal may have it: without control characters of its own, and in characters that the stream can show."""

from __future__ import annotations

import codecs
import os
import re
import sys
from typing import TextIO

LINE_MAX = 2000
ENCODING_ERRORS = "lab-readable"
# Control characters but the line feed, marks and overrides of the direction of writing, other ends of a line, and halves of
# a character. Each of them can make a terminal show something else than what is there.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
# What also the text of a file may hold: tabs, and the ends of lines that CSV has.
_UNSAFE_IN_A_FILE = re.compile(rf"(?!\t|\r\n)(?:{_UNSAFE.pattern})")
_PLAIN = {
    "≥": ">=",
    "≤": "<=",
    "·": "-",
    "▁": "_",
    "▄": "+",
    "█": "#",
    "▼": "v",
    "▲": "^",
    "━": "=",
    "─": "-",
    "│": "|",
    "…": "...",
    "→": "->",
    "✓": "ok",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "✗": "x",
    **dict.fromkeys("┌┐└┘├┤┬┴┼", "+"),
}


def clean(text: str) -> str:
    """The text with everything that would command a terminal written out, as in \\x1b; line feeds stay."""
    return _UNSAFE.sub(lambda found: " " if found[0] == "\t" else _written_out(found[0]), text)


def clean_file(text: str) -> str:
    """The same for the text of a whole file, which keeps its tabs and its ends of lines."""
    return _UNSAFE_IN_A_FILE.sub(lambda found: _written_out(found[0]), text)


def one_line(text: str, longest: int = LINE_MAX) -> str:
    """The same on one line, of so many characters at most: what comes from a file must not look like a line of the lab's."""
    line = clean(" / ".join(part.strip() for part in text.splitlines() if part.strip()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def readable_streams() -> None:
    """Have standard output and error replace what their encoding lacks, instead of failing; a closed one takes all, and shows nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    codecs.register_error(ENCODING_ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors=ENCODING_ERRORS)


def is_utf8(stream: TextIO) -> bool:
    """Whether a stream takes every character."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def _written_out(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """An error handler as `codecs` wants it: the nearest readable thing in ASCII for what cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end
