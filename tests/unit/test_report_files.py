"""Reports as text: Markdown, JUnit, CSV, and what the command line makes of them."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import matrix, matrix_file
from lab.analysis.cell import cell_of, not_applicable, worst_of
from lab.analysis.summary import summarise
from lab.cli.main import main
from lab.cli.report import REPORTS
from lab.errors import EXIT_HELD, EXIT_USAGE, UsageError
from lab.model.history import Event
from lab.model.measures import MEASURES, Check, Expectation, Measured, Outcome, Verdict
from lab.model.result import RunResult
from lab.report import csv_table, files, html_page, junit, markdown, matrix_words, remarks, run_words, words
from lab.report.heat import level, mark
from lab.store.runs import RunJournal
from tests.unit.helpers import EVENTS, NONE_LOST, record, result, run_info
from tests.unit.matrices import member
from tests.unit.reports import HOSTILE, WATCHED, a_matrix, a_run, cell, hostile, hostile_matrix, invalid, silent

# After the schema that CI services share (testsuites > testsuite > testcase): what each element may have, and must.
JUNIT = {
    "testsuites": ({"name", "time", "tests", "failures", "errors", "disabled"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"name", "classname", "time", "assertions", "status"},
        {"name", "classname"},
        {"properties", "skipped", "error", "failure", "system-out"},
    ),
    "failure": ({"type", "message"}, set(), set()),
    "error": ({"type", "message"}, set(), set()),
    "skipped": ({"message"}, set(), set()),
    "system-out": (set(), set(), set()),
}


def tree(text: str) -> ElementTree.Element:
    """JUnit XML, held against the schema."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        may, must, children = JUNIT[element.tag]
        assert must <= set(element.attrib) <= may
        assert {child.tag for child in element} <= children
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[key]) == sum(case.find(tag) is not None for case in cases)
    return root


def outcomes(root: ElementTree.Element) -> list[str]:
    """Of each case: what it says beside its output."""
    beside = ("properties", "system-out")
    return [next((child.tag for child in case if child.tag not in beside), "") for case in root.iter("testcase")]


# JUnit


def test_refuted_is_a_failure_and_invalid_an_error() -> None:
    root = tree(junit.run(*a_run(record(), record((2.0, 4.0), number=2), invalid(3), record(number=4))))
    assert outcomes(root) == ["", "failure", "error", ""]
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == "longest outage at most 1 s: was 2.02 s"
    (error,) = root.iter("error")
    assert "used 90% of a processor" in error.attrib["message"]
    assert {key: root.attrib[key] for key in ("tests", "failures", "errors")} == {"tests": "4", "failures": "1", "errors": "1"}
    (suite,) = root
    assert (suite.attrib["name"], suite.attrib["timestamp"]) == ("3-load-balancer.kill-web", "2026-01-31T12:00:00")


def test_trial_that_is_not_valid_refutes_only_by_a_lost_write() -> None:
    slow = result((2.0, 4.0), valid=False, reasons=("late",))
    assert junit.trial_outcome(slow) == ("error", ("late",))
    missed = Check(NONE_LOST, Measured.exactly(3), Outcome.FAILS)
    lost = replace(slow, checks=(slow.checks[0], missed))
    assert junit.trial_outcome(lost) == ("failure", ("lost writes at most 0: was 3", "late"))


@pytest.mark.parametrize("number", range(5))
def test_junit_fails_exactly_where_the_verdict_does(number: int) -> None:
    trials = [record(number=1), record((2.0, 4.0), number=1), invalid(1), invalid(1, (2.0, 4.0)), silent()]
    run, records = a_run(trials[number])
    found = outcomes(tree(junit.run(run, records)))
    assert found == [{Verdict.HELD: "", Verdict.REFUTED: "failure", Verdict.INCONCLUSIVE: "error"}[run.verdict]]


def test_run_without_a_trial_is_an_error() -> None:
    assert outcomes(tree(junit.run(*a_run()))) == ["error"]


def test_comparison_has_a_suite_a_stage_and_skips_what_does_not_apply() -> None:
    root = tree(junit.comparison(a_matrix()))
    assert [suite.attrib["name"] for suite in root] == ["1-single-server", "5-redundant-load-balancers"]
    assert outcomes(root) == ["failure", "skipped", "error", "", "failure"]
    (skipped,) = root.iter("skipped")
    assert skipped.attrib == {"message": "there is no balancer"}


def test_junit_holds_whatever_was_said() -> None:
    for text in (junit.run(*hostile()), junit.comparison(hostile_matrix())):
        assert "<img" not in text
        assert "alert(1)" in "".join(tree(text).itertext())


@given(st.text(max_size=50))
def test_junit_is_well_formed_for_any_text(text: str) -> None:
    # Surrogates cannot be written at all; the journal, which is UTF-8, has none.
    trial = result(valid=False, reasons=(text,), targets=(text,))
    run, records = a_run(record())
    tree(junit.run(replace(run, info=run_info(experiment=text), trials=(trial,)), records).encode("utf-8", "replace").decode())


# CSV


def test_csv_has_a_line_a_trial() -> None:
    rows = list(csv.DictReader(StringIO(csv_table.run(*a_run(record((2.0, 3.0), events=WATCHED), invalid(2))[:1]))))
    assert list(rows[0]) == list(csv_table.TRIAL_COLUMNS)
    first, second = rows
    assert (first["trial"], first["valid"], first["targets"], first["downtime_longest_s"]) == ("1", "true", "web1", "1.017812")
    assert (first["inject_s"], first["elect_s"], first["operator_s"]) == ("2", "2.4", "")
    assert (first["writes_lost"], first["split_brain_s"], first["multiple_vip_owners_s"]) == ("0", "0", "4.5")
    assert (second["valid"], second["split_brain_s"]) == ("false", "")
    assert second["reasons"].startswith("the generator used 90%")


def test_csv_has_the_measures_that_expectations_are_about() -> None:
    # Counts of failures are there as what was intended and what was good; shares of reads and writes likewise.
    derived = {"requests_failed", "reads_failed", "writes_failed", "reads_availability_ratio", "writes_availability_ratio"}
    assert set(MEASURES) - derived <= set(csv_table.TRIAL_COLUMNS)


def test_csv_of_a_comparison_has_a_line_a_cell() -> None:
    rows = list(csv.DictReader(StringIO(csv_table.comparison(a_matrix()))))
    assert list(rows[0]) == list(csv_table.CELL_COLUMNS)
    assert [(row["stage"], row["column"], row["verdict"]) for row in rows] == [
        ("1", "kill-web", "refuted"),
        ("1", "kill-lb", ""),
        ("1", "pause-db", "inconclusive"),
        ("5", "kill-web", "held"),
        ("5", "kill-lb", "refuted"),
    ]
    assert (rows[0]["downtime_median_s"], rows[0]["downtime_censored"], rows[0]["memory_mib"]) == ("6.2", "true", "300")
    assert (rows[1]["applicable"], rows[1]["downtime_median_s"], rows[1]["trials"]) == ("false", "", "")
    assert (rows[4]["writes_lost"], rows[4]["split_brain_s"]) == ("3", "1.5")


def test_csv_is_no_formula_and_has_a_first_line_even_of_nothing() -> None:
    rows = list(csv.DictReader(StringIO(csv_table.run(a_run(record(), info=run_info(experiment="=cmd|' /C calc'!A0"))[0]))))
    assert rows[0]["experiment"] == "'=cmd|' /C calc'!A0"
    assert csv_table.run(a_run()[0]) == ",".join(csv_table.TRIAL_COLUMNS) + "\n"
    assert len(list(csv.DictReader(StringIO(csv_table.run(hostile()[0]))))) == 1


# Markdown


def test_markdown_says_verdict_sentence_and_figures() -> None:
    text = markdown.run(a_run(record((2.0, 3.0)))[0])
    assert text.startswith("### ✗ refuted: kill-web on stage 3\n")
    assert (
        "the longest outage was 1.02 s, the longest gap between two successes 1.03 s and no acknowledged write was lost." in text
    )
    assert (
        "| 1 | web1 | 1.02 s | 1.03 s | 96 of 672 | 32 of 224 | 0 of 192 | 10 ms | longest outage at most 1 s: was 1.02 s |"
        in text
    )
    assert "left out" not in text


def test_markdown_has_a_row_for_each_tier_and_a_band_where_nothing_is_left() -> None:
    run, records = a_run(record((2.0, 3.0), events=WATCHED))
    text = markdown.summary(run, records)
    assert "| tier | failures tolerated | during the fault | time without redundancy |" in text
    assert "| database | 1 | 1 of 2 at work | 3.2 s |" in text
    assert "| web | 1 | all at work | 0.0 s |" in text
    _, _, modelled = text.partition("**Model, not measured: ")
    assert "| tier | exposure per month | downtime per month | with your MTTR |" in modelled
    assert "| database | 1.1 s | 0.00097 s | 4.3 s |" in modelled
    assert "| web |" not in modelled
    [band] = [line for line in text.splitlines() if "━" in line and line.startswith(" ")]
    assert band == " database " + " " * 21 + "━" * 33
    assert "| tier |" not in markdown.run(a_run(record((2.0, 3.0)))[0])


def test_each_fault_of_several_and_the_repair_are_in_every_report() -> None:
    twice = (*EVENTS, Event(4.0, "inject", "kill web2"))
    info = run_info(repair="restart", repair_delay_s=2.0, expected_verdict="held")
    run, records = a_run(record((2.0, 3.0), (4.0, 4.5), events=twice), info=info)
    [first, second] = ["fault 1 (kill web1): longest outage 1.0", "fault 2 (kill web2): longest outage 0.5"]
    for text in (markdown.run(run), html_page.run_page(run, records), junit.run(run, records)):
        assert first in spaced(text)
        assert second in spaced(text)
    for text in (markdown.run(run), html_page.run_page(run, records)):
        assert "restart after 2 s, by the lab in place of an orchestrator" in spaced(text)
        assert "refuted, held was expected" in text


def test_what_a_write_costs_stands_beside_the_lost_ones_where_there_is_a_choice() -> None:
    run, records = a_run(record((2.0, 3.0)), info=run_info(durability="local"))
    # 32 writes a second, and the fault came at 2 s.
    said = "durability 'local': 64 writes before the fault: p50 10.0 ms, p99 10.0 ms; no acknowledged write was lost"
    for text in (plain_words(run), spaced(markdown.run(run)), spaced(html_page.run_page(run, records)).replace("&#39;", "'")):
        assert said in text
    assert "durability" not in plain_words(a_run(record((2.0, 3.0)))[0])


@pytest.mark.parametrize(
    ("orders", "said"), [({}, "192 of 192 acknowledged writes were lost"), (None, "whether a write was lost is not known")]
)
def test_writes_that_a_trial_lost_are_said_though_it_is_not_valid(orders: dict[str, int] | None, said: str) -> None:
    late = replace(record().generator, lag_max_ms=900.0)
    run, _ = a_run(record((2.0, 3.0), final_orders={"db": orders}, generator=late), info=run_info(durability="local"))
    assert not run.trials[0].valid
    assert f"durability 'local': {said}" in plain_words(run)


def plain_words(run: RunResult) -> str:
    """What closes a run in the terminal."""
    return "\n".join(remarks.conditions(run))


def spaced(text: str) -> str:
    """Without the spaces that hold a number to its unit."""
    return text.replace("\u00a0", " ")


def test_markdown_of_a_comparison_is_its_table() -> None:
    text = markdown.comparison(a_matrix())
    assert "| stage | a web box is lost | the balancer is lost | the database freezes | costs |" in text
    assert "| 1-single-server | ≥ 6.20 s ✗ | n/a | ? ? | 1 box and 300 MiB |" in text
    assert "| 5-redundant-load-balancers | 0 s ✓ | 0.30 s ✗, 3 lost, split brain 1.50 s |  | 8 boxes and 2.0 GiB |" in text


@pytest.mark.parametrize(
    "text", [markdown.run(hostile()[0]), markdown.summary(*hostile()), markdown.comparison(hostile_matrix())]
)
def test_markdown_from_outside_stays_text(text: str) -> None:
    assert not re.search(r"[<>\[\]]", text)
    assert "@all" not in text
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("| 1 ")}
    assert len(columns) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a&#124;b"),
        ("two\nlines", "two lines"),
        ("- no list", "&#45; no list"),
        ("12. no list", "1\u20602. no list"),
        ("0.20 s", "0.20 s"),
        ("see #12, @you", "see #\u206012, @\u2060you"),
        ("https://a.b", "https:\u2060//a.b"),
        ("`x` _y_ *z*", "&#96;x&#96; &#95;y&#95; &#42;z&#42;"),
    ],
)
def test_what_means_something_is_spelled(text: str, shown: str) -> None:
    assert markdown.plain(text) == shown


@given(st.integers(0, 900), st.integers(5_000, 100_000), st.text(max_size=3000))
def test_markdown_keeps_to_its_room_and_counts_what_it_leaves_out(trials: int, limit_bytes: int, text: str) -> None:
    one = result((2.0, 3.0), targets=(text,), reasons=(text, text))
    many = tuple(replace(one, number=number) for number in range(trials))
    run = replace(a_run(record())[0], info=run_info(question=text, title=text), trials=many, summary=summarise(many))
    found = markdown.run(run, max(limit_bytes, 40_000))
    assert len(found.encode("utf-8", "replace")) <= max(limit_bytes, 40_000)
    shown = len(re.findall(r"^\| \d+ \|", found, re.MULTILINE))
    left_out = re.search(r"_(\d+) more are left out", found)
    assert shown + (int(left_out[1]) if left_out else 0) == trials


def test_summary_shows_each_trial_along_its_time() -> None:
    text = markdown.summary(*a_run(record((2.0, 3.0)), record(number=2)))
    first, second = re.findall(r"```text\n(.*?)\n```", text, re.DOTALL)
    assert first == f"{0.0:7.1f} s " + "▁" * 20 + "█" * 10 + "▁" * 40
    assert set(second.removeprefix("    0.0 s ")) == {"▁"}
    assert len(markdown.summary(*a_run(*(record(number=number) for number in range(1, 9))), limit_bytes=4000).encode()) <= 4000


# Comparisons as data


def test_comparison_survives_its_json(tmp_path: Path) -> None:
    file = tmp_path / matrix_file.FILE_NAME
    for whole in (a_matrix(), hostile_matrix(), a_matrix(columns=(), rows=())):
        matrix_file.write(whole, file)
        assert matrix_file.read(file) == whole


def test_unknown_fields_are_passed_over() -> None:
    raw = json.loads(json.dumps(a_matrix().to_document()))
    raw["new"] = raw["rows"][0]["new"] = raw["rows"][0]["cells"][0]["new"] = 1
    assert matrix_file.from_document(raw).rows[1] == a_matrix().rows[1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema_version": 1}, "schema_version is 1, not 2"),
        ({"rows": None}, "this is no comparison"),
        ({"rate_per_s": "fast"}, "rate_per_s should be a valid number, not 'fast'"),
        ({"deadline_s": -1}, "no measured value"),
        ({"columns": [{"name": "kill-web", "title": "a"}] * 2}, "two columns have the same name"),
        ({"columns": []}, "cells of no column"),
        ({"columns": [{"name": f"{at}", "title": ""} for at in range(3000)]}, "more than 2000 cells"),
    ],
)
def test_what_is_no_comparison(change: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        matrix_file.from_document({**json.loads(json.dumps(a_matrix().to_document())), **change})


def test_cell_of_a_run() -> None:
    run, _ = a_run(record((2.0, 3.0), events=WATCHED), record((2.0, 5.25), number=2), invalid(3))
    found = cell_of("kill-web", run)
    assert (found.verdict, found.trials, found.trials_valid) == (Verdict.REFUTED, 3, 2)
    assert found.downtimes_s == pytest.approx((1.0178125, 3.0))
    assert found.downtimes_censored == (False, True)
    # How long the second would have lasted, had it not been healed, is unknown.
    assert (found.downtime_low_s, found.downtime_high_s, found.downtime_coverage_ratio) == (found.downtimes_s[0], None, 0.5)
    assert found.downtime_censored
    assert matrix_words.cell_why(found)[0].startswith("longest outage at most 1 s: was 1.0")
    assert cell_of("kill-web", a_run(invalid())[0]).downtime_median_s is None


@pytest.mark.parametrize(
    ("downtimes_s", "censored", "expected"),
    [
        ((0.0,), False, 0),
        ((0.5,), False, 1),
        ((0.51,), False, 2),
        ((5.0,), False, 3),
        ((6.0,), False, 4),
        ((1.0,), True, 4),
        ((), False, None),
    ],
)
def test_heat(downtimes_s: tuple[float, ...], censored: bool, expected: int | None) -> None:
    bounds = (censored,) * len(downtimes_s)
    assert level(cell("kill-web", downtimes_s, downtime_censored=censored, downtimes_censored=bounds)) == expected


def test_cell_that_does_not_apply_has_no_heat_and_no_mark() -> None:
    gone = not_applicable("kill-lb", "there is none")
    assert (level(gone), mark(gone), matrix_words.cell_downtime(gone)) == (None, "", "n/a")


def test_survivor_cheaper_of_equals() -> None:
    base = a_matrix()
    rows = [replace(base.rows[1], name=name, boxes=boxes, cells=base.rows[1].cells[:1]) for name, boxes in (("a", 9), ("b", 4))]
    assert "b 1 of 1 with 4 boxes" in matrix_words.matrix_headline(replace(base, rows=(base.rows[0], *rows)))


def titled(number: int, title: str, **changes: Any) -> matrix.Row:
    """A stage that survives as many faults as its number says."""
    cells = [cell(f"kill-{at}", (0.1,), verdict=Verdict.HELD if at < number else Verdict.REFUTED) for at in range(4)]
    return replace(matrix.Row(number, f"{number}-x", "none", number, 100 * number, tuple(cells), title), **changes)


def test_headline_names_the_first_the_best_and_the_last_stage_by_title() -> None:
    rows = (titled(1, "Single server"), titled(4, "Redundant"), titled(2, "Between"), titled(3, "Last"))
    whole = replace(a_matrix(), rows=rows, columns=())
    assert matrix_words.matrix_headline(whole) == (
        "Single server survives 1 of 4 faults with 1 box and 100 MiB, Redundant 4 of 4 with 4 boxes and 400 MiB, "
        "Last 3 of 4 with 3 boxes and 300 MiB; no acknowledged write was lost."
    )
    two = replace(whole, rows=(titled(1, "One"), titled(2, "Two", name="2-x (automatic)", failover="automatic")))
    assert matrix_words.matrix_headline(two).startswith(
        "One survives 1 of 4 faults with 1 box and 100 MiB, Two (automatic) 2 of 4 with"
    )
    older = replace(whole, rows=(titled(1, ""),))
    assert matrix_words.matrix_headline(older).startswith("1-x survives")


@pytest.mark.parametrize(
    ("unknown", "lost", "said"),
    [
        ((0, 0), 0, "no acknowledged write was lost."),
        ((0, 0), 2, "2 acknowledged writes lost in all."),
        ((0, 1), 0, "whether an acknowledged write was lost is not known for kill-1 of A."),
        ((1, 1), 0, "whether an acknowledged write was lost is not known for kill-0 of A and kill-1 of A."),
        ((0, 1), 2, "2 acknowledged writes lost, and not known for kill-1 of A."),
        ((1,) * 9, 0, "whether an acknowledged write was lost is not known for kill-0 of A, kill-1 of A and 7 other cells."),
    ],
)
def test_headline_says_no_write_was_lost_only_where_every_audit_was_complete(
    unknown: tuple[int | None, ...], lost: int, said: str
) -> None:
    cells = tuple(cell(f"kill-{at}", (0.1,), audits_incomplete=each) for at, each in enumerate(unknown))
    row = titled(1, "A", cells=(replace(cells[0], writes_lost=lost), *cells[1:]))
    assert matrix_words.matrix_headline(replace(a_matrix(), rows=(row,), columns=())).endswith(f"; {said}")


@pytest.mark.parametrize(
    "members",
    [
        [{"target": "zone:a"}],
        [asdict(member("zone:a")), asdict(member("zone:a"))],
        [asdict(member("zone:a", 1.0, downtimes_censored=()))],
        "zone:a",
    ],
)
def test_what_is_no_target_of_a_cell(members: object) -> None:
    raw = json.loads(json.dumps(a_matrix().to_document()))
    raw["rows"][0]["cells"][0]["members"] = members
    with pytest.raises(UsageError, match="this is no comparison"):
        matrix_file.from_document(raw)


@given(st.lists(st.tuples(st.lists(st.floats(0, 9), max_size=5), st.booleans()), min_size=1, max_size=4))
def test_the_worst_target_is_the_one_with_the_longest_median(members: list[tuple[list[float], bool]]) -> None:
    each_one = [member(f"zone:{at}", *s, censored=bound) for at, (s, bound) in enumerate(members)]
    found = worst_of(each_one)
    measured = [each for each in each_one if each.downtime_median_s is not None]
    assert (found is None) == (not measured)
    if found:
        # What only the lab ended may have been longer than any that ended by itself.
        stayed = [each for each in measured if each.downtimes_censored[0]]
        assert found.downtime_median_s == max(each.downtime_median_s or 0.0 for each in stayed or measured)


# Words


@given(st.floats(0, 1), st.integers(0, 5))
def test_what_was_not_all_of_it_is_not_said_to_be(ratio: float, digits: int) -> None:
    said = words.percent(ratio, digits)
    assert said.startswith("100") == (ratio >= 1)
    assert float(said.removesuffix("%")) == pytest.approx(ratio * 100, abs=1.01 * 10**-digits)


@pytest.mark.parametrize(
    ("value", "censored", "text"),
    [
        (0.0, False, "0 s"),
        (0.034, False, "0.03 s"),
        (12.34, False, "12.3 s"),
        (123.4, False, "123 s"),
        (6.1, True, "≥ 6.10 s"),
        (None, False, "unknown"),
    ],
)
def test_seconds(value: float | None, censored: bool, text: str) -> None:
    assert words.seconds(value, censored) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.0, "100%"), (0.999999, "99.99%"), (0.5, "50.00%"), (0.0, "0.00%"), (None, "unknown")]
)
def test_percent_never_rounds_up_to_all(ratio: float | None, text: str) -> None:
    assert words.percent(ratio) == text


def test_every_measure_and_phase_has_words() -> None:
    assert set(run_words.MEASURES) == {*MEASURES, "downtime_median_s"}
    assert set(result((2.0, 3.0)).phases) <= set(words.PHASE_WORDS)
    assert run_words.expectation_text(NONE_LOST) == "lost writes at most 0"


def test_lost_writes_and_split_brain_are_in_the_sentence() -> None:
    whole = record((2.0, 3.0), final_orders={"db": {}})
    run, _ = a_run(whole)
    assert "192 of 192 acknowledged writes were lost" in run_words.headline(run)
    split = replace(run.trials[0], writable={"no_writer_s": 0.0, "multiple_writers_s": 1.25})
    assert "two databases accepted writes for 1.25 s" in run_words.headline(replace(run, trials=(split,)))
    unread, _ = a_run(record(final_orders={"db": None}), record(number=2))
    assert "whether a write was lost is not known" in run_words.headline(unread)


def test_expectations_missed_are_said_once_with_their_range() -> None:
    expected = Expectation("downtime_longest_s", at_most=1.0, at_least=None)
    checks = [Check(expected, Measured.exactly(each), Outcome.FAILS) for each in (12.0, 6.1)]
    assert run_words.grouped_checks(checks) == ["longest outage at most 1 s: was 6.10 to 12 s"]
    assert run_words.grouped_checks([]) == []


# The command line


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Lab = Callable[..., Done]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    """Run a command within this process."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lab", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The folder of a run of one trial."""
    run, whole = RunJournal(run_info(), tmp_path), record((2.0, 4.0))
    trial = run.trial(1)
    trial.arrivals(whole.arrivals)
    for event in whole.events:
        trial.event(event)
    trial.close(whole)
    return run.folder


def test_reports_are_written_where_asked(lab: Lab, kept: Path, tmp_path: Path) -> None:
    asked = [part for name in REPORTS for part in (f"--{name}", str(tmp_path / f"report.{name}"))]
    done = lab("report", str(kept), *asked)
    assert (done.code, done.out) == (EXIT_HELD, "")
    texts = {name: (tmp_path / f"report.{name}").read_text(encoding="utf-8") for name in REPORTS}
    assert texts["html"].startswith("<!doctype html>")
    assert texts["svg"].startswith("<svg ")
    assert texts["csv"].startswith("stage,")
    assert texts["markdown"].startswith("### ✗ refuted")
    assert texts["summary"].startswith(texts["markdown"])
    assert outcomes(tree(texts["junit"])) == ["failure"]


def test_summary_is_added_and_the_others_replaced(lab: Lab, kept: Path, tmp_path: Path) -> None:
    for _ in range(2):
        lab("report", str(kept), "--summary", str(tmp_path / "s.md"), "--markdown", str(tmp_path / "m.md"))
    assert (tmp_path / "s.md").read_text(encoding="utf-8").count("### ") == 2
    assert (tmp_path / "m.md").read_text(encoding="utf-8").count("### ") == 1


def test_one_report_fits_on_standard_output(lab: Lab, kept: Path) -> None:
    done = lab("report", str(kept), "--csv", "-")
    assert (done.code, len(done.out.splitlines())) == (EXIT_HELD, 2)
    for more in (("--junit", "-"), ("--json",)):
        both = lab("report", str(kept), "--csv", "-", *more)
        assert (both.code, both.out) == (EXIT_USAGE, "")
        assert "error: only one report fits on standard output" in both.err


@pytest.mark.parametrize("where", ["nosuch/report.html", "."])
def test_report_that_cannot_be_written_is_one_line(lab: Lab, kept: Path, tmp_path: Path, where: str) -> None:
    done = lab("report", str(kept), "--html", str(tmp_path / where))
    assert done.code == EXIT_USAGE
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert "cannot be written" in done.err
    assert "hint: " in done.err


def test_comparison_is_found_by_its_folder_or_file(lab: Lab, tmp_path: Path) -> None:
    matrix_file.write(a_matrix(), tmp_path / matrix_file.FILE_NAME)
    for name in (str(tmp_path), str(tmp_path / matrix_file.FILE_NAME)):
        assert json.loads(lab("report", name, "--json").out)["title"] == "Which fault does which stage survive?"
    shown = lab("report", str(tmp_path))
    assert "≥ 6.20 s" in shown.out
    assert "3 lost" in shown.out
    asked = [part for name in REPORTS for part in (f"--{name}", str(tmp_path / f"report.{name}"))]
    assert lab("report", str(tmp_path), *asked).code == EXIT_HELD
    assert (tmp_path / "report.csv").read_text(encoding="utf-8").startswith("stage,name,")


def test_file_that_is_no_comparison(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / matrix_file.FILE_NAME).write_text("[", encoding="utf-8")
    done = lab("report", str(tmp_path))
    assert done.code == EXIT_USAGE
    assert "is no comparison" in done.err


def test_every_report_is_made_of_both() -> None:
    assert set(REPORTS) == set(files.OF_RUN) == set(files.OF_MATRIX)
    assert HOSTILE not in files.OF_RUN["html"](*hostile())
