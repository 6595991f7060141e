"""`lab report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lab.analysis import matrix_file, run_document
from lab.cli.options import Output, json_option, model_option, pass_output, verbose_option
from lab.errors import (
    UsageError,
)
from lab.report import comparison_terminal, files, spof_terminal, terminal
from lab.store import runs

REPORTS = {
    "html": "One page that needs nothing else: figures, every trial, each along its time.",
    "markdown": "For a pull request; at most 64 KB.",
    "summary": "Markdown for the summary of a CI step, added to the end of the file.",
    "junit": "JUnit XML: refuted is a failure, invalid or inconclusive an error.",
    "csv": "A line a trial; of a comparison, a line a cell.",
    "svg": "A strip for a README.",
}


def _with_reports(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, what in reversed(REPORTS.items()):
        command = click.option(f"--{name}", metavar="FILE", help=what)(command)
    return command


@dataclass(frozen=True)
class Shown:
    """How a run is shown on standard output."""

    as_json: bool
    verbose: bool
    model: bool


@click.command()
@click.argument("run_name", metavar="RUN", default="latest")
@json_option
@verbose_option
@model_option
@_with_reports
@pass_output
def report(output: Output, /, run_name: str, as_json: bool, verbose: bool, model: bool, **asked: str | None) -> None:
    """Show a run or a comparison again, computed from its journal; needs no Docker.

    RUN is a folder, a path below results/ (3-load-balancer/kill-web/latest), or latest. Without an option it is shown
    here; with one or more, it is written to these files (- is standard output).
    """
    paths = {name: path for name, path in asked.items() if path is not None}
    if as_json + sum(path == files.STANDARD_OUTPUT for path in paths.values()) > 1:
        raise UsageError("only one report fits on standard output", "name a file for the others")
    found = matrix_file.find(run_name)
    if found:
        texts = _matrix_report(output, found, as_json, paths)
    else:
        texts = _run_report(output, run_name, Shown(as_json, verbose, model), paths)
    for name, text in texts.items():
        files.write(text, paths[name], append=name in files.APPENDED, is_markup=name in files.MARKUP)
        if paths[name] != files.STANDARD_OUTPUT:
            output.say(f"{name}: {paths[name]}")


def _run_report(output: Output, run_name: str, shown: Shown, asked: Iterable[str]) -> dict[str, str]:
    """Show a run, where no file was asked for; otherwise the text of each file by its name."""
    result, records = run_document.rebuild(runs.find_run(run_name))
    if shown.as_json:
        output.document(run_document.as_document(result))
    elif not asked:
        terminal.show_run(output.data, result, records, shown.verbose, shown.model)
    return {name: files.OF_RUN[name](result, records) for name in asked}


def _matrix_report(output: Output, file: Path, as_json: bool, asked: Iterable[str]) -> dict[str, str]:
    """The same of a comparison."""
    found = matrix_file.read(file)
    if as_json:
        output.document(found.to_document())
    elif not asked:
        show = spof_terminal.show_sweep if found.is_sweep else comparison_terminal.show_matrix
        show(output.data, found)
    return {name: files.OF_MATRIX[name](found) for name in asked}
