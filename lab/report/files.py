"""Reports as files: which there are, and writing one where it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.analysis.matrix import Matrix
from lab.errors import DISK_ERRORS, DiskError, UsageError
from lab.model.history import TrialRecord
from lab.model.result import RunResult
from lab.plaintext import clean_file, is_utf8
from lab.report import html_page, junit, markdown, strip, table
from lab.report.console import close_output

STANDARD_OUTPUT = "-"
# A CI service gives the steps of a job one file to add to.
APPENDED = ("summary",)
# These say themselves that they are UTF-8, and have a way to write any character in ASCII.
MARKUP = ("html", "junit", "svg")

OF_RUN: dict[str, Callable[[RunResult, Sequence[TrialRecord]], str]] = {
    "html": html_page.run_page,
    "markdown": lambda result, _: markdown.run(result),
    "summary": markdown.summary,
    "junit": junit.run,
    "csv": lambda result, _: table.run(result),
    "svg": strip.run,
}
OF_MATRIX: dict[str, Callable[[Matrix], str]] = {
    "html": html_page.matrix_page,
    "markdown": markdown.comparison,
    "summary": markdown.comparison,
    "junit": junit.comparison,
    "csv": table.comparison,
    "svg": strip.comparison,
}


def write(text: str, path: str, append: bool = False, is_markup: bool = False) -> None:
    """Write a report to a file, or to standard output for "-".

    Raises UsageError for a name that cannot be written to, DiskError for a disk that is full.
    """
    if path == STANDARD_OUTPUT:
        _print(text, is_markup)
        return
    try:
        with Path(path).open("a" if append else "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise DiskError.of(path, error) from error
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder that is there, or - for standard output"
        ) from error


def _print(text: str, is_markup: bool) -> None:
    text = clean_file(text)  # it may end on a terminal
    if is_markup and not is_utf8(sys.stdout):
        text = text.encode("ascii", errors="xmlcharrefreplace").decode()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        close_output()
        raise DiskError.of("standard output", error) from error
