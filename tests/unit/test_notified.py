"""Whether a page or a ticket reported a fault: three-valued, and nothing unknown is an answer."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.cell import cell_of
from lab.analysis.matrix import Cell
from lab.checker.notified import COUNTED, LONGEST_WAIT_S, WAITS_S, needs_alert, notified
from lab.checker.trial import measure_trial
from lab.model.history import Event
from lab.model.payloads import AlertNotice, AlertRecord
from lab.model.result import Notified, RequestCount, TierExposure
from lab.spec.stages import ROOT
from tests.unit import matrices
from tests.unit.helpers import EVENTS, alert, alert_record, record
from tests.unit.reports import a_run, invalid

PAGE = "ServiceDown page kind=read: no read has been served for 3.3 s"
TICKET = "RedundancyLost ticket box=web1 tier=web: web box web1 is out: one less may fail"
SLOW_TICKET = "RedundancyLost ticket box=db1 tier=database: database db1 neither leads nor follows: one less may fail"
INFO = "FailoverHappened info tier=database to=db2: db2 has become the primary"
WORDS = (PAGE, TICKET, SLOW_TICKET, INFO)
# The fault of EVENTS is injected at 2 s, and healed at 5 s.
INJECT_S, HEAL_S = 2.0, 5.0
KNOWN = alert_record()


def said(*more: Event, needed: bool | None = True) -> Notified:
    return notified((*EVENTS, *more), needed)


# The rules, as they are


def test_waits_are_those_of_the_rules_and_each_counted_severity_is_one() -> None:
    rules = yaml.safe_load((ROOT / "compose" / "watch" / "alerts.yaml").read_text(encoding="utf-8"))
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    waits = {
        (rule["alert"], rule["labels"].get("tier", "")): float(rule["for"].removesuffix("s")) for rule in every if "for" in rule
    }
    assert waits == WAITS_S
    assert {rule["labels"]["severity"] for rule in every} == {*COUNTED, "info"}


@pytest.mark.parametrize(
    ("words", "severity", "tier"),
    [
        (PAGE, "page", ""),
        (TICKET, "ticket", "web"),
        (INFO, "info", "database"),
        ("X ticket: a tier=web", "ticket:", ""),
        ("X ", "", ""),
    ],
)
def test_severity_and_tier_are_read_from_the_words(words: str, severity: str, tier: str) -> None:
    notice = alert(0.0, words).data
    assert isinstance(notice, AlertNotice)
    assert (notice.severity, notice.tier) == (severity, tier)


# In time, and severe enough


@pytest.mark.parametrize(
    ("at_s", "words", "found"),
    [
        (1.9, TICKET, Notified.UNKNOWN),  # it was firing already, and would not be delivered again
        (2.0, TICKET, Notified.YES),
        (5.0, TICKET, Notified.YES),
        (5.1, TICKET, Notified.NO),
        (3.0, PAGE, Notified.YES),
        (3.0, INFO, Notified.NO),
        (1.9, INFO, Notified.NO),
        (7.0, SLOW_TICKET, Notified.YES),
        (7.1, SLOW_TICKET, Notified.NO),
    ],
)
def test_a_page_or_ticket_counts_that_begins_while_the_fault_lasts(at_s: float, words: str, found: Notified) -> None:
    assert said(KNOWN, alert(at_s, words)) is found


def test_what_is_over_before_the_fault_hides_nothing() -> None:
    assert said(KNOWN, alert(0.5, TICKET), alert(1.5, TICKET, "resolved")) is Notified.NO
    assert said(KNOWN, alert(0.5, TICKET), alert(2.5, TICKET, "resolved")) is Notified.UNKNOWN


def test_what_was_firing_when_the_load_began_may_hide_an_alert() -> None:
    notice = alert(0.0, TICKET).data
    assert isinstance(notice, AlertNotice)
    assert said(alert_record(firing=(notice,))) is Notified.UNKNOWN
    assert said(alert_record(firing=(notice,)), alert(1.0, TICKET, "resolved")) is Notified.NO
    assert said(alert_record(firing=(notice,)), alert(3.0, PAGE)) is Notified.YES


def test_a_log_that_was_read_too_early_says_nothing_of_what_is_missing() -> None:
    assert said(alert_record(until_s=HEAL_S + LONGEST_WAIT_S)) is Notified.NO
    assert said(alert_record(until_s=HEAL_S + LONGEST_WAIT_S - 0.01)) is Notified.UNKNOWN
    assert said(alert_record(until_s=5.5), alert(3.0, PAGE)) is Notified.YES


def test_an_alert_in_other_words_may_be_the_one() -> None:
    assert said(KNOWN, Event(3.0, "alert", "watch: alert firing X")) is Notified.UNKNOWN


def test_without_a_monitoring_box_no_fault_that_does_harm_is_reported() -> None:
    without = alert_record(is_monitored=False)
    assert [said(without, needed=needed) for needed in (True, None, False)] == [
        Notified.NO,
        Notified.UNKNOWN,
        Notified.NOT_NEEDED,
    ]


def test_a_trial_without_a_fault_needs_no_alert() -> None:
    assert measure_trial(record(events=(Event(7.0, "stop"),)), (), has_fault=False).notified is Notified.NOT_NEEDED


# What needs an alert


@pytest.mark.parametrize(
    ("failed", "missing_s", "exposed_s", "needed"),
    [
        (1, 0.0, 0.0, True),
        (1, None, None, True),
        (0, 3.0, 0.0, True),
        (0, 0.0, 3.0, True),
        (0, None, 3.0, True),
        (0, 0.1, 0.1, False),
        (0, 0.0, None, False),
        (0, None, 0.0, None),
        (None, 0.0, 0.0, None),
        (None, 3.0, 0.0, True),
    ],
)
def test_harm_is_a_failed_request_or_missing_redundancy(
    failed: int | None, missing_s: float | None, exposed_s: float | None, needed: bool | None
) -> None:
    during = None if failed is None else RequestCount(100, 100 - failed)
    exposure = [TierExposure("web", 2, 2, 1, exposed_s)]
    assert needs_alert(during, missing_s, exposure) is needed


def test_a_trial_is_judged_by_its_own_events() -> None:
    quiet, loud = (
        measure_trial(record((2.0, 3.0), events=(*EVENTS, KNOWN, *more)), (), True) for more in ((), (alert(3.5, PAGE),))
    )
    assert (quiet.notified, loud.notified) == (Notified.NO, Notified.YES)
    assert measure_trial(record((2.0, 3.0)), (), True).notified is Notified.UNKNOWN


# Properties

ALERTS = st.lists(st.builds(alert, st.floats(0, 12), st.sampled_from(WORDS), st.sampled_from(["alert", "resolved"])), max_size=6)
NEEDED = st.sampled_from([True, False, None])
FIRING = st.lists(st.sampled_from(WORDS), max_size=2).map(lambda words: tuple(notice_of(each) for each in words))
RECORDS = st.builds(alert_record, st.floats(0, 20), FIRING, is_monitored=st.booleans(), is_complete=st.booleans())


def notice_of(words: str) -> AlertNotice:
    notice = alert(0.0, words).data
    assert isinstance(notice, AlertNotice)
    return notice


def the_record(event: Event) -> AlertRecord:
    assert isinstance(event.data, AlertRecord)
    return event.data


def changed(event: Event, **changes: Any) -> Event:
    return replace(event, data=replace(the_record(event), **changes))


def counts(event: Event) -> bool:
    notice = event.data
    if event.name != "alert" or not isinstance(notice, AlertNotice) or notice.severity == "info":
        return False
    return INJECT_S <= event.at_s <= HEAL_S + (2.0 if notice.tier in ("database", "monitor") else 0.0)


@given(ALERTS, NEEDED, st.none() | RECORDS)
def test_an_incomplete_record_never_says_notified_or_not(alerts: list[Event], needed: bool | None, kept: Event | None) -> None:
    incomplete = [changed(kept, is_complete=False)] if kept else []
    found = said(*alerts, *incomplete, needed=needed)
    assert found is (Notified.NOT_NEEDED if needed is False else Notified.UNKNOWN)


@given(ALERTS, NEEDED, RECORDS)
def test_notified_takes_an_alert_that_counts_and_not_notified_that_there_is_none(
    alerts: list[Event], needed: bool | None, kept: Event
) -> None:
    found = said(*alerts, kept, needed=needed)
    has_alert = any(map(counts, alerts))
    if found is Notified.YES:
        assert has_alert
    if found is Notified.NO:
        assert needed
        assert not has_alert or not the_record(kept).is_monitored
    assert (found is Notified.NOT_NEEDED) == (needed is False)


@given(ALERTS, NEEDED, RECORDS)
def test_knowing_less_never_makes_an_answer_of_none(alerts: list[Event], needed: bool | None, kept: Event) -> None:
    """With the harm unknown, it is what it was, or unknown."""
    if needed is not False:
        assert said(*alerts, kept, needed=None) in (said(*alerts, kept, needed=needed), Notified.UNKNOWN)


@given(ALERTS, NEEDED, RECORDS, st.floats(0, 12))
def test_an_info_changes_nothing(alerts: list[Event], needed: bool | None, kept: Event, at_s: float) -> None:
    assert said(*alerts, kept, alert(at_s, INFO), needed=needed) is said(*alerts, kept, needed=needed)


@given(ALERTS, RECORDS, st.floats(INJECT_S, HEAL_S))
def test_a_page_in_time_is_a_report_wherever_alerts_are_known(alerts: list[Event], kept: Event, at_s: float) -> None:
    assert said(*alerts, changed(kept, is_complete=True, is_monitored=True), alert(at_s, PAGE)) is Notified.YES


@given(ALERTS, NEEDED, RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(alerts: list[Event], needed: bool | None, kept: Event, random: Random) -> None:
    every = [*EVENTS, *{each.at_s: each for each in alerts}.values(), kept]
    mixed = list(every)
    random.shuffle(mixed)
    assert notified(mixed, needed) is notified(every, needed)


# Over the trials of a cell


def counted(yes: int, no: int, needless: int, unknown: int) -> Cell:
    cell = matrices.cell("kill-web", *[0.0] * (yes + no + needless + unknown))
    return replace(cell, trials_notified=yes, trials_not_notified=no, trials_no_alert_needed=needless)


FEW = st.integers(0, 3)


@given(FEW, FEW, FEW, FEW)
def test_a_cell_is_not_notified_in_any_trial_and_notified_only_in_all(yes: int, no: int, needless: int, unknown: int) -> None:
    found = counted(yes, no, needless, unknown).notified
    assert (found is Notified.NO) == (no > 0)
    assert (found is Notified.YES) == (yes > 0 and not no and not unknown)
    assert (found is Notified.NOT_NEEDED) == (needless > 0 and not yes and not no and not unknown)


@given(FEW, FEW, FEW, FEW)
def test_a_trial_of_which_nothing_is_known_never_makes_it_better(yes: int, no: int, needless: int, unknown: int) -> None:
    before, after = counted(yes, no, needless, unknown).notified, counted(yes, no, needless, unknown + 1).notified
    assert after is (Notified.NO if before is Notified.NO else Notified.UNKNOWN)


def test_only_valid_trials_count() -> None:
    events = (*EVENTS, KNOWN)
    starved = replace(invalid(2, (2.0, 3.0)), events=(*events, alert(3.0, PAGE)))
    cell = cell_of("kill-web", a_run(record((2.0, 3.0), events=events), starved)[0])
    assert (cell.trials_notified, cell.trials_not_notified, cell.trials_no_alert_needed) == (0, 1, 0)
    assert cell_of("kill-web", a_run(starved)[0]).notified is Notified.UNKNOWN
