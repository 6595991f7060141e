"""What a cell keeps of its trials: medians with their bounds, reads and writes apart, and what is not known."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.analysis import budget, compare, design, reliability, spof
from lab.analysis.cell import cell_of, split_brain, worst_of
from lab.analysis.conclusion import Gate, of_comparison
from lab.analysis.matrix import Cell, Matrix, Member
from lab.analysis.matrix_file import from_document
from lab.analysis.run_document import rebuild
from lab.analysis.spof import Fate
from lab.analysis.summary import sample_median
from lab.checker.outages import at_least
from lab.errors import UsageError
from lab.model.measures import Verdict
from lab.report import comparison_terminal, csv_table, heat, html_page, markdown, matrix_words
from lab.spec import stages
from tests.unit import matrices
from tests.unit.helpers import EVENTS, record, result
from tests.unit.matrices import matrix, row
from tests.unit.reports import WATCHED, a_run, invalid

STAGE = stages.find("3")
OUTAGES = st.lists(st.tuples(st.floats(0, 9), st.booleans()), min_size=1, max_size=9)
Outages = list[tuple[float, bool]]


def sampled(column: str, found: Outages) -> Cell:
    """A cell of trials that measured these outages; True: a lower bound."""
    known = sample_median([at_least(*each) for each in found])
    return matrices.cell(
        column,
        *(seconds for seconds, _ in found),
        downtimes_censored=tuple(bound for _, bound in found),
        downtime_censored=known.is_bound,
    )


def member(target: str, found: Outages) -> Member:
    return matrices.member(target, *(each for each, _ in found), censored=tuple(bound for _, bound in found))


def nineteen(seconds: float = 1.01, cut_s: float = 3.0) -> Cell:
    """Nineteen trials that ended by themselves, and one that was healed."""
    return sampled("kill-primary", [(seconds, False)] * 19 + [(cut_s, True)])


# Whose figure is a bound


def test_one_trial_of_twenty_that_is_a_bound_leaves_the_median_as_it_is() -> None:
    found = nineteen()
    assert (found.downtime_censored, found.median_at_least_s, found.median_at_most_s) == (False, 1.01, 1.01)
    assert matrix_words.cell_downtime(found) == "1.01 s"
    assert heat.level(found) == 2
    (allowed,) = compare.allowed_incidents(matrix(row("5-x", found)))
    assert (allowed.faults[0], allowed.censored) == (2566, False)
    # What was seen of it is no more than was seen: the worst is a bound, and it is none that was survived.
    assert found.is_cut
    assert not matrix_words.survived(found)
    assert matrix_words.survived(nineteen(cut_s=0.5)) is False
    assert matrix_words.survived(sampled("kill-primary", [(1.01, False)] * 20))


def test_bounds_that_could_move_the_median_are_shown_and_darken_the_cell() -> None:
    found = sampled("kill-primary", [(1.0, False), (1.2, False), (0.5, True)])
    assert (found.median_at_least_s, found.median_at_most_s) == (1.0, 1.2)
    assert (matrix_words.cell_downtime(found), heat.level(found)) == ("≥ 1.00 s", 2)
    most = sampled("kill-primary", [(0.4, True), (0.4, True), (0.3, False)])
    assert (matrix_words.cell_downtime(most), heat.level(most)) == ("≥ 0.40 s", 4)


def test_cell_of_a_run_has_reads_writes_and_the_gap_apart() -> None:
    run, _ = a_run(record((2.0, 3.0), events=WATCHED), record((2.0, 5.25), number=2), invalid(3, (2.0, 4.0)))
    found = cell_of("kill-web", run)
    first, second = run.trials[:2]
    assert first.reads.gap
    assert second.writes.gap
    assert found.reads_downtime_median_s == pytest.approx(
        median(max(o.length_s for o in t.read_outages) for t in (first, second))
    )
    assert found.writes_downtime_median_s == pytest.approx(
        median(max(o.length_s for o in t.write_outages) for t in (first, second))
    )
    assert found.gap_median_s == pytest.approx(median(t.total.gap.length_s for t in (first, second) if t.total.gap))
    assert found.reads_downtime_median_censored is found.writes_downtime_median_censored is found.gap_median_censored is True
    assert found.downtime_worst_s == pytest.approx(3.0)
    assert found.downtime_worst_censored
    # Of three, with the one that is not valid, the middle is one that ended by itself.
    assert found.downtime_median_all_s == run.trials[2].downtime_longest_s
    assert not found.downtime_median_all_censored
    assert f"invalid trials included {run.trials[2].downtime_longest_s:.2f} s" in matrix_words.cell_sentence(found)


def test_trials_in_which_redundancy_was_not_seen_to_be_restored_are_counted() -> None:
    without = tuple(each for each in EVENTS if each.name != "recovered")
    found = cell_of("kill-web", a_run(record((2.0, 3.0)), record((2.0, 3.0), number=2, events=without))[0])
    assert found.time_without_redundancy_s == pytest.approx(2.5, abs=0.02)
    assert found.time_without_redundancy_unknown == 1
    assert "(1 unknown)" in matrix_words.cell_sentence(found)


def test_a_cell_of_no_valid_trial_knows_nothing() -> None:
    found = cell_of("kill-web", a_run(invalid())[0])
    assert {found.downtime_worst_s, found.reads_downtime_median_s, found.writes_downtime_median_s, found.gap_median_s} == {None}
    assert found.downtime_median_all_s == 0.0
    assert (found.median, found.longest, found.median_at_most_s) == (None, None, math.inf)


@pytest.mark.parametrize(
    ("whole_s", "reads_s", "writes_s", "said"),
    [
        (1.44, 0.0, 1.44, "reads 0 · writes 1.44"),
        (1.44, 1.40, 1.44, ""),
        (1.44, None, 1.44, ""),
        (12.34, 0.33, 12.34, "reads 0.33 · writes 12.3"),
    ],
)
def test_reads_and_writes_stand_apart_where_they_differ(
    whole_s: float, reads_s: float | None, writes_s: float, said: str
) -> None:
    found = matrices.cell("kill-web", whole_s, reads_downtime_median_s=reads_s, writes_downtime_median_s=writes_s)
    assert matrix_words.cell_apart(found) == said
    assert matrix_words.cell_gap(replace(found, gap_median_s=0.82)) == "gap 0.82"
    assert matrix_words.cell_gap(replace(found, gap_median_s=6.0, gap_median_censored=True)) == "gap ≥ 6.00"
    assert matrix_words.cell_gap(found) == ""


def test_a_bound_of_one_of_the_two_is_shown() -> None:
    found = matrices.cell("kill-web", 3.0, reads_downtime_median_s=3.0, writes_downtime_median_s=3.0)
    assert matrix_words.cell_apart(replace(found, writes_downtime_median_censored=True)) == "reads 3.00 · writes ≥ 3.00"


# Properties


@given(st.lists(OUTAGES, min_size=1, max_size=4))
def test_figure_of_a_cell_is_that_of_its_worst_member(samples: list[Outages]) -> None:
    members = tuple(member(f"zone:{at}", each) for at, each in enumerate(samples))
    worst = worst_of(members)
    assert worst
    assert worst.median_at_most_s == max(each.median_at_most_s for each in members)
    cell = matrices.cell("kill-zone", *worst.downtimes_s, downtimes_censored=worst.downtimes_censored, members=members)
    assert cell.median_at_most_s == worst.median_at_most_s
    assert cell.median_at_least_s == max(each.median_at_least_s for each in members)
    longest = cell.longest
    assert longest
    assert longest.low == max(seconds for each in samples for seconds, _ in each)
    assert longest.is_exact == (not any(bound for each in samples for _, bound in each))


def judged(found: Cell, limit_s: float) -> tuple[Verdict, Verdict, Fate]:
    """By a budget for the longest, one for the median, and as a part of a sweep."""
    limits = [
        budget.Limit(STAGE, design.fault_specs("kill-web")[0], {key: limit_s}, 1)
        for key in ("downtime_longest_s", "downtime_median_s")
    ]
    longest, middle = budget.check(budget.Budget(tuple(limits)), matrix(row(STAGE.name, found)))
    return longest.verdict, middle.verdict, spof.fate(found, limit_s)


@given(OUTAGES, st.floats(0, 9), st.floats(0, 9))
def test_adding_a_trial_that_was_cut_never_makes_held_of_refuted(found: Outages, cut_s: float, limit_s: float) -> None:
    before = judged(sampled("kill-web", found), limit_s)
    after = judged(sampled("kill-web", [*found, (cut_s, True)]), limit_s)
    assert (before[0], after[0]) != (Verdict.REFUTED, Verdict.HELD)
    assert (before[1], after[1]) != (Verdict.REFUTED, Verdict.HELD)
    assert (before[2], after[2]) != (Fate.FAILED, Fate.SURVIVED)
    # The longest of some that include one that was cut is never known to keep within anything.
    assert after[0] is not Verdict.HELD


@given(OUTAGES, st.floats(0, 9), st.integers(0, 8))
def test_longer_censoring_never_shortens_a_figure(found: Outages, more_s: float, at: int) -> None:
    at %= len(found)
    cut = [(seconds, bound or place == at) for place, (seconds, bound) in enumerate(found)]
    longer = [(seconds + (more_s if place == at else 0.0), bound) for place, (seconds, bound) in enumerate(cut)]
    short, long = sampled("kill-web", cut), sampled("kill-web", longer)
    assert long.median_at_least_s >= short.median_at_least_s
    assert long.median_at_most_s >= short.median_at_most_s
    assert short.longest
    assert long.longest
    assert long.longest.low >= short.longest.low
    assert (heat.level(long) or 0) >= (heat.level(short) or 0)


# Two writable databases


def test_split_brain_that_was_not_watched_is_not_none() -> None:
    seen, unseen = result(writable={"no_writer_s": 0.0, "multiple_writers_s": 0.0}), result()
    assert split_brain([seen]) == 0.0
    assert split_brain([seen, unseen]) is None
    assert split_brain([]) is None
    # What was seen was, whatever was not; and a single database cannot.
    assert split_brain([unseen, replace(seen, writable={"multiple_writers_s": 0.4})]) == 0.4
    assert split_brain([unseen], is_replicated=False) == 0.0


def test_what_was_not_watched_is_not_survived_and_is_said() -> None:
    run, _ = a_run(record())
    unseen, alone = cell_of("kill-web", run), cell_of("kill-web", run, is_replicated=False)
    assert (unseen.split_brain_s, alone.split_brain_s) == (None, 0.0)
    assert (matrix_words.survived(unseen), matrix_words.survived(alone)) == (False, True)
    assert "split brain not observed" in matrix_words.cell_sentence(unseen)
    assert "split brain" not in matrix_words.cell_sentence(alone)


# Files


def test_a_file_of_another_version_or_with_a_figure_missing_is_refused() -> None:
    whole = json.loads(json.dumps(matrix(row("5-x", nineteen())).to_document()))
    with pytest.raises(UsageError, match="schema_version is 1, not 2"):
        from_document(whole | {"schema_version": 1})
    for name in ("split_brain_s", "writes_lost", "downtimes_censored", "audits_incomplete", "time_without_redundancy_unknown"):
        raw = json.loads(json.dumps(whole))
        del raw["rows"][0]["cells"][0][name]
        with pytest.raises(UsageError, match=f"{name} is missing"):
            from_document(raw)


def test_what_a_trial_missed_is_kept_as_data_and_said_in_words() -> None:
    found = cell_of("kill-web", a_run(record((2.0, 5.25)), record((2.0, 5.5), number=2))[0])
    assert {(check.measure, check.at_most, check.high) for check in found.checks} == {("downtime_longest_s", 1.0, None)}
    assert matrix_words.cell_why(found) == ["longest outage at most 1 s: was at least 3 s"]
    whole = matrix(row("5-x", found))
    assert from_document(json.loads(json.dumps(whole.to_document(), allow_nan=False))) == whole


# As it is shown

JOURNALS = Path(__file__).parents[1] / "journals"


def replayed(column: str, folder: str) -> Cell:
    """The cell of a real run."""
    (run, *_) = sorted((JOURNALS / folder).glob("*/run.json"))
    return cell_of(column, rebuild(run.parent)[0])


def real() -> Matrix:
    """Three real runs, beside a fault that the lab healed each time."""
    zone = replayed("kill-zone", "6-multi-az/disconnect-zone-a")
    frozen, cut = (replayed(f"{each}-primary", f"5-redundant-load-balancers/{each}-primary") for each in ("pause", "disconnect"))
    healed: dict[str, Any] = {
        f"{name}_censored": True for name in ("gap_median", "reads_downtime_median", "writes_downtime_median")
    }
    healed |= {"gap_median_s": 6.3, "reads_downtime_median_s": 6.1, "writes_downtime_median_s": 6.05}
    away = matrices.cell("kill-lb", 6.1, 6.2, 6.0, censored=True, split_brain_s=None, **healed)
    return matrix(row("5-redundant-load-balancers", frozen, cut, away), row("6-multi-az", zone))


def test_in_a_real_failover_writes_stand_beside_reads_that_went_on() -> None:
    frozen = replayed("pause-primary", "5-redundant-load-balancers/pause-primary")
    assert matrix_words.cell_beside(frozen) == ["reads 0", "writes 1.36", "gap 1.45"]
    assert matrix_words.cell_downtime(frozen) == "1.36 s"
    assert frozen.split_brain_s == 0.0
    zone = replayed("kill-zone", "6-multi-az/disconnect-zone-a")
    assert matrix_words.cell_apart(zone) == "reads 0.39 · writes 3.76"


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_figure_is_cut_in_a_narrow_terminal(width: int) -> None:
    found = real()
    concluded = of_comparison(found, [stages.find("5"), stages.find("6")], reliability.read(), Gate(), {})
    out = StringIO()
    comparison_terminal.show_comparison(Console(file=out, width=width), concluded)
    text = out.getvalue()
    assert "…" not in text
    for said in ("reads 0", "writes 1.36", "gap 1.45", "1.18-1.42", "≥ 6.10 s", "gap ≥ 6.30", "split brain not observed"):
        assert said in text
    assert "split brain: none, as far as is known" in " ".join(text.split())


def test_every_rendering_has_reads_writes_and_the_gap() -> None:
    found, out = real(), StringIO()
    comparison_terminal.show_matrix(Console(file=out, width=160), found)
    page = " ".join(re.sub(r"<[^>]+>", " ", html_page.matrix_page(found)).split())
    for text in (" ".join(out.getvalue().split()), page):
        for said in ("reads 0", "writes 1.36", "gap 1.45", "gap ≥ 6.30"):
            assert said in text
    assert "1.36 s ✓, reads 0 · writes 1.36, gap 1.45" in markdown.comparison(found)
    lines = list(csv.DictReader(StringIO(csv_table.comparison(found))))
    frozen = next(line for line in lines if line["column"] == "pause-primary")
    assert (frozen["reads_downtime_median_s"], frozen["writes_downtime_median_censored"]) == ("0", "false")
    assert float(frozen["writes_downtime_median_s"]) == pytest.approx(1.356, abs=0.001)
    away = next(line for line in lines if line["column"] == "kill-lb")
    assert (away["gap_median_s"], away["gap_median_censored"], away["split_brain_s"]) == ("6.3", "true", "")
    assert from_document(json.loads(json.dumps(found.to_document()))) == found
