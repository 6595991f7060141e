"""Lost writes by trial: what "0 lost" leaves open, and which trials count."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from lab.model.result import TrialResult
from lab.report import files
from lab.report.terminal import trials_table
from lab.report.words import lost_trials
from tests.unit.helpers import record, result
from tests.unit.reports import a_run, invalid


def trial(lost: int = 0, complete: bool = True, valid: bool = True, writes: bool = True) -> TrialResult:
    whole = result()
    return replace(whole, valid=valid, has_writes=writes, audit=replace(whole.audit, lost=lost, complete=complete))


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([trial()] * 20, "0 of 20 trials lost a write (95 %: at most 14 % of such trials)"),
        ([trial()], "0 of 1 trial lost a write (95 %: at most 95 % of such trials)"),
        ([trial()] * 3, "0 of 3 trials lost a write (95 %: at most 64 % of such trials)"),
        ([trial(lost=5), *[trial()] * 3], "1 of 4 trials lost a write"),
        # What was not looked at, or not measured well, is no evidence of a loss that did not happen.
        ([trial(complete=False), trial(valid=False), trial()], "0 of 1 trial lost a write (95 %: at most 95 % of such trials)"),
        # But that a write is lost does not depend on how well time was kept.
        ([trial(lost=1, valid=False), trial()], "1 of 2 trials lost a write"),
        ([trial(complete=False)], ""),
        ([trial(writes=False)], ""),
        ([], ""),
    ],
)
def test_losses_by_trial(trials: list[TrialResult], said: str) -> None:
    assert lost_trials(trials) == said


@pytest.mark.parametrize("kind", ["html", "markdown", "summary"])
def test_every_report_of_a_run_says_so(kind: str) -> None:
    text = files.OF_RUN[kind](*a_run(record(), record(number=2))).replace("\u00a0", " ")
    assert "0 of 2 trials lost a write (95 %: at most 78 % of such trials)" in text


def test_a_trial_that_is_not_valid_is_grey_and_has_its_figures() -> None:
    run = a_run(record((2.0, 3.0)), invalid(2, (2.0, 4.5)))
    page = files.OF_RUN["html"](*run)
    (row,) = [each for each in page.split("<tr")[1:] if 'class="invalid"' in each.partition(">")[0]]
    assert "2 (not valid)" in row
    assert "2.52 s" in row
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system="standard", no_color=False)
    console.print(trials_table(run[0].trials, 120))
    assert isinstance(console.file, StringIO)
    (dim,) = [line for line in console.file.getvalue().splitlines() if "\x1b[2m" in line]
    assert "2 ?" in dim
    assert "2.52 s" in dim
