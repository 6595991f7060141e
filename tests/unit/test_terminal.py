from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lab.analysis.summary import summarise
from lab.checker.trial import measure_trial
from lab.checker.verdict import decide
from lab.model.history import Event, TrialRecord
from lab.model.result import Outage, RunResult
from lab.report.bins import Bin
from lab.report.figures import figures
from lab.report.remarks import remarks
from lab.report.terminal import show_run
from lab.report.text_strip import BAD, GOOD, NOTHING, SLOW, STRIP_MARGIN, character, show_strip, strip
from lab.report.words import longest_text
from tests.unit.helpers import EVENTS, alert, record, redundancy_seen, result, run_info
from tests.unit.reports import WATCHED, a_run


def shown(*gone: tuple[float, float], folder: Path | None = None) -> str:
    """What a run of one trial looks like without colours."""
    trials = (result(*gone),)
    return printed(RunResult(run_info(), decide(trials), trials, summarise(trials), folder), [record(*gone)])


def printed(run: RunResult, records: Sequence[TrialRecord], verbose: bool = True, model: bool = True) -> str:
    """What a run looks like without colours, with all that is known unless less is asked for."""
    console = Console(file=StringIO(), width=100)
    show_run(console, run, records, verbose, model)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (Bin(0.0, good=9, slow=0, bad=0), GOOD),
        (Bin(0.0, good=9, slow=1, bad=0), SLOW),
        (Bin(0.0, good=9, slow=9, bad=1), BAD),
        (Bin(0.0, good=0, slow=0, bad=0), NOTHING),
    ],
)
def test_worst_arrival_decides(cell: Bin, expected: str) -> None:
    assert character(cell) == expected


def test_characters_differ_without_colour() -> None:
    assert len({GOOD, SLOW, BAD, NOTHING}) == 4


def test_strip_is_one_character_an_interval() -> None:
    cells = [Bin(0.0, 5, 0, 0), Bin(0.1, 4, 1, 0), Bin(0.2, 0, 0, 5), Bin(0.3, 0, 0, 0)]
    assert strip(cells).plain == GOOD + SLOW + BAD + NOTHING


@pytest.mark.parametrize(
    ("outages", "text"),
    [
        ((), "0 s"),
        ((Outage(2.0, 3.5, censored=False),), "1.50 s"),
        ((Outage(2.0, 8.0, censored=True),), "≥ 6.00 s"),
        ((Outage(1.0, 1.2, censored=False), Outage(4.0, 6.0, censored=True)), "≥ 2.00 s (+1)"),
        # The second was cut short, and could have become the longest.
        ((Outage(1.0, 4.0, censored=False), Outage(6.0, 6.5, censored=True)), "≥ 3.00 s (+1)"),
        ((Outage(1.0, 4.0, censored=False), Outage(6.0, 6.5, censored=False)), "3.00 s (+1)"),
    ],
)
def test_downtime_is_a_bound_where_it_did_not_end(outages: tuple[Outage, ...], text: str) -> None:
    assert longest_text(outages) == text


def test_run_shows_strip_figures_and_verdict() -> None:
    text = shown((2.0, 3.0), folder=Path("results/3-load-balancer/kill-web/latest"))
    lines = text.splitlines()
    (row,) = [line for line in lines if line.startswith("   0.0 s ")]
    assert row.removeprefix("   0.0 s ") == GOOD * 20 + BAD * 10 + GOOD * 40
    marks = lines[lines.index(row) - 1]
    assert marks.index("▼") == row.index(BAD)
    assert marks.index("▲") == len("   0.0 s ") + 50
    assert "32 of 224" in text
    assert "96 of 672" in text
    assert "128 reset" in text
    assert "REFUTED  expected: longest outage at most 1 s; lost writes at most 0" in text
    assert "longest outage at most 1 s: was 1.02 s" in text
    assert "kept in results/3-load-balancer/kill-web/latest" in text


def test_band_under_the_strip_and_a_row_for_each_tier() -> None:
    run, records = a_run(record((2.0, 3.0), events=WATCHED))
    text = printed(run, records)
    lines = text.splitlines()
    below = lines[[line.startswith("   0.0 s ") for line in lines].index(True) + 1]
    assert below == "database" + " " * 22 + "━" * 33
    [row] = [line for line in lines if line.startswith("database  ") and "at work" in line]
    assert row.split() == ["database", "1", "1", "of", "2", "at", "work", "3.2", "s"]
    modelled = [line for line in lines if line.startswith("database  ")][-1]
    assert modelled.split() == ["database", "1.1", "s", "0.00097", "s", "4.3", "s"]
    note = " ".join(text.split())
    assert "0.33 a month" in note
    assert "observed every 100 ms" in note


def test_tier_that_never_had_anything_in_reserve_says_so_and_is_no_band() -> None:
    bare = redundancy_seen(0.0, balancer=(0, 1), web=(1, 2), database=(0, 1))
    text = printed(*a_run(record((2.0, 3.0), events=(*EVENTS, bare))))
    assert len([line for line in text.splitlines() if "never had any" in line]) == 2
    assert not [line for line in text.splitlines() if line.startswith("balancer ━") or "  ━━" in line]


def test_run_that_only_healing_ended_is_shown_as_a_bound() -> None:
    text = shown((2.0, 5.25))
    assert "≥ 3.00 s" in text
    assert "the outage lasted until the lab healed the fault; service restored 0.27 s after that" in " ".join(text.split())


def test_run_without_a_failed_request() -> None:
    assert "HELD" in shown()
    assert "1 of 1 trials valid · longest outage 0 s\n" in shown()
    assert "outage of reads 0 s, of writes 0 s · longest gap 0.03 s · availability 100% · lost writes 0" in shown()


def test_folder_with_brackets_is_shown_as_it_is() -> None:
    assert "kept in results/[old]/latest" in shown(folder=Path("results/[old]/latest"))


def test_alerts_are_shown_with_their_delay() -> None:
    delivered = [
        alert(4.5, "ErrorBudgetBurn page kind=read: reads fail"),
        alert(5.25, "RedundancyLost ticket box=web1 tier=web: web1 is out"),
    ]
    trial = measure_trial(record(events=(*EVENTS, *delivered)), (), has_fault=True)
    assert "alerts: ErrorBudgetBurn after 2.50 s, RedundancyLost after 3.25 s" in remarks(run_info(), trial)
    assert not [line for line in remarks(run_info(), result()) if line.startswith("alerts")]
    both = (trial, result())
    told_figure = figures(RunResult(run_info(), decide(both), both, summarise(both)))[-1]
    assert (told_figure.name, told_figure.value) == ("time to alert", "2.50 s")
    assert told_figure.detail == "1 alert a trial, in the median; none in 1 trial"
    assert "time to alert" not in [
        each.name for each in figures(RunResult(run_info(), decide(both[1:]), both[1:], summarise(both[1:])))
    ]


@pytest.mark.parametrize(("operator_s", "said"), [(4.0, True), (1.0, False)])
def test_waiting_for_the_operator_is_reported_where_users_waited(operator_s: float, said: bool) -> None:
    trial = result((2.0, 5.25))
    trial = replace(trial, phases={**trial.phases, "operator_s": operator_s})
    assert any("waiting for the operator" in line for line in remarks(run_info(), trial)) is said


def test_a_standby_that_differs_is_reported_and_so_is_one_that_is_not_known() -> None:
    audit = replace(result().audit, served_by="db1", differing={"db2": 3, "db3": 0}, not_compared=("db4",))
    lines = remarks(run_info(), result(audit=audit))
    assert "db2 differs from db1 in 3 orders" in lines
    assert "db4 had not caught up when it was read: whether its orders differ is not known" in lines
    assert not [line for line in lines if line.startswith("db3")]
    assert not [line for line in remarks(run_info(), result()) if "differ" in line]


@pytest.mark.parametrize("at_s", [4.3, 2.1, 0.3, 5.0])
def test_fault_is_marked_above_the_interval_that_it_is_in(at_s: float) -> None:
    """4.3 / 0.1 is a little less than 43."""
    shown = record(events=(Event(at_s, "inject"), Event(7.0, "stop")))
    console = Console(file=StringIO(), width=160)
    show_strip(console, shown, measure_trial(shown, [], has_fault=True))
    assert isinstance(console.file, StringIO)
    above = next(line for line in console.file.getvalue().splitlines() if "\u25bc" in line)
    assert above.index("\u25bc") - STRIP_MARGIN == round(at_s * 10)
