"""Outages of each operation, gaps, bounds and what is undecided: the same in every report."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from lab.analysis.matrix import cell_of
from lab.analysis.run_document import as_document
from lab.analysis.summary import sample_median
from lab.checker.validity import generator_report
from lab.model.experiment import LoadPlan
from lab.model.history import TrialRecord
from lab.model.measures import Expectation, Measured, Outcome, Verdict
from lab.model.result import RunResult
from lab.report import html_page, junit, markdown, strip, table, terminal, words
from lab.report.figures import figures
from tests.unit.helpers import NONE_LOST, SHORT, record, run_info
from tests.unit.reports import a_run, cell, invalid, silent, stalled, writes_only

LOOSE = Expectation("downtime_longest_s", at_most=5.0, at_least=None)
LONG = Expectation("downtime_longest_s", at_most=None, at_least=2.0)
LATER = run_info(expectations=(LOOSE, NONE_LOST))
# Broken at 2 s, healed at 5 s: what lasts for longer is cut there.
UNTIL_HEALED = (2.0, 5.25)


def printed(run: RunResult, records: Sequence[TrialRecord], width: int = 160) -> str:
    """A run in a terminal, with the signs for styles, of so many characters."""
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system="standard")
    terminal.show(console, run, records)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def plainly(run: RunResult, records: Sequence[TrialRecord], width: int = 160) -> str:
    """The same without the signs."""
    console = Console(file=StringIO(), width=width)
    terminal.show(console, run, records)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def paged(run: RunResult, records: Sequence[TrialRecord]) -> str:
    return html_page.run_page(run, records).replace("\u00a0", " ")


def document(run: RunResult) -> dict[str, Any]:
    """The document, which has to be JSON as every program reads it."""
    content: dict[str, Any] = json.loads(json.dumps(as_document(run), allow_nan=False))
    return content


def lines(run: RunResult) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(table.run(run))))


def figure(run: RunResult, name: str) -> tuple[str, str]:
    [found] = [each for each in figures(run) if each.name == name]
    return found.value, found.detail


# Writes only


def test_outage_of_writes_is_an_outage_though_every_read_is_answered() -> None:
    run, records = a_run(writes_only((2.0, 3.0)))
    sentence = (
        "the longest outage of writes was 1.01 s while no read failed, the longest gap between two successful writes 1.03 s"
    )
    assert sentence in words.headline(run)
    assert run.verdict is Verdict.REFUTED
    assert [figure(run, name)[0] for name in ("longest outage", "longest outage of reads", "longest outage of writes")] == [
        "1.01 s",
        "0 s",
        "1.01 s",
    ]
    shown = plainly(run, records)
    assert "longest outage 1.01 s" in shown
    assert "outage of reads 0 s, of writes 1.01 s" in shown
    [row] = [line.split() for line in shown.splitlines() if "web1" in line and " of " in line]
    assert row[:6] == ["1", "web1", "1.01", "s", "1.03", "s"]
    page = paged(run, records)
    assert sentence in page
    assert "<td>1.01 s</td><td>0 s</td><td>1.01 s</td><td>1.03 s</td><td>0 of 672</td><td>32 of 224</td>" in page
    assert sentence in strip.run(run, records).replace("\n", " ")
    text = markdown.run(run)
    assert sentence in text
    assert "| 1 | web1 | 1.01 s | 1.03 s | 0 of 672 | 32 of 224 |" in text
    [said] = ElementTree.fromstring(junit.run(run, records)).iter("system-out")
    assert said.text is not None
    assert said.text.startswith("longest outage 1.01 s (reads 0 s, writes 1.01 s), longest gap 1.03 s")
    [line] = lines(run)
    assert (line["downtime_longest_s"], line["reads_downtime_longest_s"], line["writes_downtime_longest_s"]) == (
        "1.01",
        "0",
        "1.01",
    )
    [trial] = document(run)["trials"]
    assert (trial["downtime_longest_s"], trial["read_outages"]) == (1.01, [])
    assert trial["outages"] == trial["write_outages"]


def test_outage_of_reads_only_is_called_that() -> None:
    gone = record((2.0, 3.0)).arrivals
    whole = record()
    arrivals = tuple(old if old.kind == "write" else new for old, new in zip(whole.arrivals, gone, strict=True))
    run, _ = a_run(record(arrivals=arrivals, final_orders=whole.final_orders))
    assert "the longest outage of reads was 1.01 s while no write failed" in words.headline(run)


def test_where_only_one_operation_was_tried_nothing_is_said_of_the_other() -> None:
    reads = tuple(each for each in record((2.0, 3.0)).arrivals if each.kind == "read")
    run, _ = a_run(
        record(arrivals=reads, generator=generator_report(reads, len(reads), len(reads), 0.1), final_orders={"db": {}})
    )
    assert run.trials[0].valid
    assert ": the longest outage was 1.01 s, the longest gap between two successes" in words.headline(run)


def test_one_outage_among_many_trials_is_not_that_of_most() -> None:
    run, records = a_run(*(record(number=number) for number in (1, 2)), writes_only((2.0, 2.5), number=3))
    assert "most of 3 trials saw no outage, the worst one was 0.51 s of writes" in words.headline(run)
    assert "worst of 3: 0.51 s" in plainly(run, records)


# Gaps


def test_gap_without_a_failed_request_stands_beside_no_user_noticed() -> None:
    run, records = a_run(stalled(2.0, 2.75))
    sentence = "no user noticed, the longest gap between two successes 0.78 s"
    assert run.verdict is Verdict.HELD
    assert figure(run, "longest outage")[0] == "0 s"
    assert figure(run, "longest gap between successes")[0] == "0.78 s"
    for text in (words.headline(run), paged(run, records), markdown.run(run), strip.run(run, records)):
        assert sentence in text
    assert "| 1 | web1 | 0 s | 0.78 s | 0 of 672 | 0 of 224 |" in markdown.run(run)
    assert "longest gap 0.78 s" in plainly(run, records)
    assert "longest outage 0 s (reads 0 s, writes 0 s), longest gap 0.78 s" in junit.run(run, records)
    [trial] = document(run)["trials"]
    assert (trial["outages"], trial["service"]["failed"], trial["service"]["unserved_s"]) == ([], 0, 0.0)
    assert (trial["gap_s"], trial["gap_censored"]) == (pytest.approx(0.78125), False)
    assert lines(run)[0]["gap_s"].startswith("0.78125")


# Bounds


def test_one_censored_trial_of_nineteen_leaves_the_median_known_and_the_worst_a_bound() -> None:
    records = [record((2.0, 2.25 + 0.125 * number / 16), number=number) for number in range(1, 19)]
    run, records_of = a_run(*records, record(UNTIL_HEALED, number=19), info=LATER)
    value, detail = figure(run, "longest outage")
    assert (value, detail[:7], detail[-21:]) == ("0.35 s", "median;", "; worst of 19: ≥ 3.00 s"[-21:])
    assert " or longer" not in detail  # the interval ends below the one that is a bound
    assert "the longest outage was 0.35 s (median of 19 trials)" in words.headline(run)
    shown = plainly(run, records_of)
    assert "19 of 19 trials valid, 1 undecided · longest outage 0.35 s (median; " in shown
    assert "worst of 19: ≥ 3.00 s)" in shown
    for text in (paged(run, records_of), markdown.run(run)):
        assert "worst of 19: ≥ 3.00 s" in text
    summary = document(run)["summary"]
    assert (summary["downtime_censored"], summary["downtime_worst_censored"], summary["downtime_worst_s"]) == (False, True, 3.0)
    assert summary["operations"]["service"]["outage"]["median_is_bound"] is False
    assert summary["operations"]["writes"]["outage"]["worst_is_bound"] is True
    assert run.verdict is Verdict.HELD
    assert words.verdict_line(run).endswith("That is what happened (19 of 19 trials valid, 1 undecided).")


def test_median_of_bounds_is_a_bound_and_its_interval_open() -> None:
    run, records = a_run(*(record(UNTIL_HEALED, number=number) for number in (1, 2, 3)), info=LATER)
    assert figure(run, "longest outage") == ("≥ 3.00 s", "median; 75% interval 3.00 s or longer; worst of 3: ≥ 3.00 s")
    assert "the longest outage was at least 3.00 s (median of 3 trials)" in words.headline(run)
    content = document(run)
    assert content["summary"]["downtime_ci_s"] == [3.0, None]
    assert content["summary"]["operations"]["service"]["outage"]["ci_s"] == [3.0, None]
    assert "3.00 s or longer" in paged(run, records)
    assert words.cell_interval(cell_of("kill-web", run)) == "3.00 s or longer"


def test_stage_of_which_one_trial_had_to_be_healed_did_not_survive() -> None:
    whole = cell("kill-web", (0.1, 0.2, 3.0))
    assert words.survived(whole)
    assert not words.survived(cell("kill-web", (0.1, 0.2, 3.0), downtimes_censored=(False, False, True)))


def test_infinite_bounds_are_null_and_nothing_known_is_null_twice() -> None:
    run, _ = a_run(record(UNTIL_HEALED, final_orders={"db": None}), info=run_info(expectations=(LOOSE, LONG, NONE_LOST)))
    [trial] = document(run)["trials"]
    assert [(each["low"], each["high"], each["outcome"]) for each in trial["checks"]] == [
        (3.0, None, "undecided"),
        (3.0, None, "holds"),
        (None, None, "undecided"),
    ]


def test_sample_of_one_has_no_interval_to_speak_of() -> None:
    assert words.spread_text(sample_median([Measured.exactly(1.0)])) == "one trial"


# Undecided


def test_undecided_is_said_and_is_neither_a_failure_nor_invalid() -> None:
    run, records = a_run(record(UNTIL_HEALED), info=LATER)
    said = "downtime_longest_s at most 5: was at least 3"
    assert run.trials[0].valid
    assert run.verdict is Verdict.INCONCLUSIVE
    assert words.verdict_line(run).endswith("Inconclusive: 1 of 1 trial valid, 1 undecided.")
    assert f"trial 1: undecided: {said}" in plainly(run, records)
    assert "1 of 1 trials valid, 1 undecided" in plainly(run, records)
    in_words = words.measure_text(said)
    assert f"undecided: {in_words}" in markdown.run(run)
    page = paged(run, records)
    assert "<td>1 (undecided)</td>" in page
    assert f"undecided: {in_words}" in page
    [error] = ElementTree.fromstring(junit.run(run, records)).iter("error")
    assert error.attrib["message"] == f"undecided: {said}"
    [trial] = document(run)["trials"]
    assert (trial["valid"], trial["reasons"], trial["failed_expectations"]) == (True, [], [])
    assert trial["undecided_expectations"] == [said]
    assert trial["checks"][0] == {
        "measure": "downtime_longest_s",
        "at_most": 5.0,
        "at_least": None,
        "low": 3.0,
        "high": None,
        "outcome": "undecided",
    }
    [line] = lines(run)
    assert (line["valid"], line["undecided_expectations"], line["failed_expectations"]) == ("true", said, "")


@pytest.mark.parametrize(("decided", "verdict"), [(0, Verdict.INCONCLUSIVE), (1, Verdict.HELD)])
def test_held_needs_half_of_the_trials_decided(decided: int, verdict: Verdict) -> None:
    trials = [record(number=number) for number in range(1, 1 + decided)]
    run, _ = a_run(*trials, record(UNTIL_HEALED, number=9), info=LATER)
    assert run.verdict is verdict


# Unknown


def test_what_is_unknown_is_never_shown_as_zero() -> None:
    unread = record((2.0, 3.0), final_orders={"db": None})
    run, records = a_run(unread)
    assert not run.trials[0].valid
    assert figure(run, "acknowledged writes lost")[0] == "unknown"
    assert figure(run, "longest outage") == ("unknown", "no valid trial")
    assert figure(run, "longest outage of writes") == ("unknown", "no valid trial with writes")
    assert figure(run, "split brain")[0] == "not measured"
    assert "unknown" in plainly(run, records)
    [line] = lines(run)
    assert (line["writes_lost"], line["split_brain_s"], line["served_of_capacity_ratio"]) == ("", "", "")
    [trial] = document(run)["trials"]
    assert "writes_lost at most 0: was unknown" in trial["undecided_expectations"]
    assert document(run)["summary"]["operations"] == {"service": None, "reads": None, "writes": None}


def test_trial_in_which_nothing_was_asked_has_no_outage_of_zero_seconds() -> None:
    run, records = a_run(silent())
    [row] = [line for line in plainly(run, records).splitlines() if line.strip().startswith("1 ?")]
    assert row.split()[:6] == ["1", "?", "-", "unknown", "unknown", "none"]
    assert "| *1 (not valid)* | *&#45;* | *unknown* | *unknown* | *none made* |" in markdown.run(run)
    [trial] = document(run)["trials"]
    assert (trial["availability_ratio"], trial["reads"]["availability_ratio"], trial["gap_s"]) == (None, None, None)
    [line] = lines(run)
    assert (line["availability_ratio"], line["reads_downtime_longest_s"], line["gap_s"]) == ("", "", "")


def test_outages_of_a_page_that_is_only_read_say_nothing_of_writes() -> None:
    reads = tuple(each for each in record((2.0, 3.0)).arrivals if each.kind == "read")
    info = run_info(stage=0, stage_folder="own-shop", plan=LoadPlan(write_share=0.0), expectations=(SHORT,), url="http://lb/")
    run, records = a_run(record(arrivals=reads, plan=info.plan, final_orders={}), info=info)
    assert "of reads" not in plainly(run, records)
    assert "writes" not in ElementTree.tostring(ElementTree.fromstring(junit.run(run, records)), encoding="unicode")
    [line] = lines(run)
    assert {line[name] for name in line if name.startswith("writes_")} == {""}


# Trials that are not valid


def test_trials_that_are_not_valid_are_grey_in_every_table_and_keep_their_figures() -> None:
    run, records = a_run(record((2.0, 2.5)), invalid(2, (2.0, 4.0)))
    dim = "\x1b[2m"
    rows = [line for line in printed(run, records).splitlines() if "web1" in line and " of " in line]
    assert [dim in row for row in rows] == [False, True]
    assert "2.02 s" in rows[1]
    assert paged(run, records).count('<tr class="invalid">') == 1
    assert "| *2 (not valid)* | *web1* | *2.02 s* | *2.03 s* |" in markdown.run(run)
    assert "| 1 | web1 | 0.52 s |" in markdown.run(run)
    assert figure(run, "longest outage, all trials")[1] == "median of all 2 trials, also the 1 that is not valid"
    assert "with the trials that are not valid: longest outage 1.27 s" in plainly(run, records)
    assert document(run)["summary"]["downtime_median_all_s"] == pytest.approx(1.2678, abs=0.001)


# In little room


@pytest.mark.parametrize("width", [80, 100, 160])
def test_table_fits_its_terminal_and_no_figure_is_cut(width: int) -> None:
    boxes = tuple(f"database-of-region-{number}" for number in range(3))
    run, records = a_run(record((2.0, 3.0), UNTIL_HEALED, targets=boxes), record(number=2), invalid(3, UNTIL_HEALED))
    shown = plainly(run, records, width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown
    for title in ("fault target", "gap", "failed", "lost"):
        assert title in shown
    for said in ("≥ 3.00 s", "≥ 104 of 224", "served by" if width < terminal.WIDEST else "web1 "):
        assert said in shown


def test_outcomes_are_three() -> None:
    assert {outcome.value for outcome in Outcome} == {"holds", "fails", "undecided"}
