"""Reports as files: which there are, and writing one where it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.errors import UsageError
from lab.model import RunResult, TrialRecord
from lab.report import html, junit, markdown, strip, table
from lab.report.matrix import Matrix

STANDARD_OUTPUT = "-"
# A CI service gives the steps of a job one file to add to.
APPENDED = ("summary",)

OF_RUN: dict[str, Callable[[RunResult, Sequence[TrialRecord]], str]] = {
    "html": html.run_page,
    "markdown": lambda result, _: markdown.run(result),
    "summary": markdown.summary,
    "junit": junit.run,
    "csv": lambda result, _: table.run(result),
    "svg": strip.run,
}
OF_MATRIX: dict[str, Callable[[Matrix], str]] = {
    "html": html.matrix_page,
    "markdown": markdown.comparison,
    "summary": markdown.comparison,
    "junit": junit.comparison,
    "csv": table.comparison,
    "svg": strip.comparison,
}


def write(text: str, path: str, append: bool = False) -> None:
    """Write a report to a file, or to standard output for "-". Raises UsageError where that cannot be."""
    if path == STANDARD_OUTPUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        with Path(path).open("a" if append else "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder that is there, or - for standard output"
        ) from error
