"""Runs and comparisons for the tests of reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lab.analysis.cell import not_applicable
from lab.analysis.matrix import Cell, Column, Matrix, Row
from lab.analysis.summary import summarise
from lab.checker.trial import measure_trial
from lab.checker.validity import generator_report
from lab.checker.verdict import decide
from lab.model.history import Event, RunInfo, TrialRecord
from lab.model.measures import Verdict
from lab.model.result import RunResult
from tests.unit.helpers import EVENTS, alert, arrival, bad, databases_seen, record, redundancy_seen, run_info, traffic, vip_seen

# Every sign that means something in HTML, SVG, Markdown, XML or a spreadsheet.
HOSTILE = "</title></svg><script>alert(1)</script><img src=x onerror=alert(2)>\"'|`*_[x](javascript:1)&amp;\x00\x1b]]>@all"
WATCHED = (
    *EVENTS,
    Event(2.2, "detect", "monitor: unhealthy"),
    Event(2.4, "elect", "monitor: prepare_promotion"),
    databases_seen(0.0, 1, db1="primary", db2="standby"),
    databases_seen(2.1, db1="unreachable", db2="standby"),
    databases_seen(2.9, db1="unreachable", db2="primary"),
    vip_seen(0.0, "lb1"),
    vip_seen(2.5, "lb1", "lb2"),
    redundancy_seen(-0.2, balancer=(1, 2), web=(1, 2), database=(1, 2), monitor=(1, 1)),
    redundancy_seen(2.1, "db1", balancer=(1, 2), web=(1, 2), database=(0, 1), monitor=(1, 1)),
    redundancy_seen(5.35, balancer=(1, 2), web=(1, 2), database=(1, 2), monitor=(1, 1)),
)


def a_run(*records: TrialRecord, info: RunInfo | None = None) -> tuple[RunResult, tuple[TrialRecord, ...]]:
    """A run of these trials, measured."""
    asked = info or run_info()
    trials = tuple(measure_trial(each, asked.expectations, asked.has_fault) for each in records)
    return RunResult(asked, decide(trials), trials, summarise(trials)), records


def invalid(number: int = 1, *gone: tuple[float, float]) -> TrialRecord:
    """A trial whose load was starved."""
    whole = record(*gone, number=number)
    return replace(whole, generator=replace(whole.generator, cpu_ratio=0.9))


def writes_only(*gone: tuple[float, float], **changes: Any) -> TrialRecord:
    """A trial in which no order was placed in these stretches, and every read was answered."""
    arrivals = [each if each.kind == "write" else arrival(each.at_s, number=each.number) for each in traffic(7.0, *gone)]
    kept = {each.key: 1 for each in arrivals if each.key and each.effect == "ok"}
    return record(arrivals=tuple(arrivals), final_orders={"db": kept}, **changes)


def stalled(since_s: float, until_s: float, **changes: Any) -> TrialRecord:
    """A trial in which everything waited for a while, and was answered in time."""
    waits = {each.number: until_s + 0.01 - each.at_s for each in traffic(7.0) if since_s <= each.at_s < until_s}
    arrivals = tuple(replace(each, done_s=each.at_s + waits.get(each.number, 0.01)) for each in traffic(7.0))
    return record(arrivals=arrivals, **changes)


def silent() -> TrialRecord:
    """A trial in which nothing was asked for, and nothing said."""
    return record(arrivals=(), events=(), targets=(), generator=generator_report([], 0, 0, 0.1), final_orders={"db": {}})


def hostile() -> tuple[RunResult, tuple[TrialRecord, ...]]:
    """A run in which every text that comes from outside is written by an enemy."""
    arrivals = [arrival(at / 16, number=at, by=HOSTILE, via=HOSTILE) for at in range(100)]
    arrivals += [bad(7 + at / 16, number=100 + at, error_class=HOSTILE) for at in range(20)]
    events = (
        Event(2.0, "inject", HOSTILE),
        Event(2.1, "fault-verified", HOSTILE),
        Event(5.0, "note", HOSTILE),
        databases_seen(0.0, 0, **{HOSTILE: "primary"}),
        vip_seen(0.0, HOSTILE, owner="lb1"),
        redundancy_seen(0.0, HOSTILE, web=(1, 2)),
        alert(3.0, f"{HOSTILE} {HOSTILE}"),
        redundancy_seen(3.0, period_s=9e9, web=(0, 1)),
    )
    whole = record(
        arrivals=tuple(arrivals), events=events, targets=(HOSTILE, HOSTILE), generator=generator_report(arrivals, 120, 120, 0.1)
    )
    texts: dict[str, Any] = dict.fromkeys(("stage_folder", "failover", "experiment", "title", "question", "started_at"), HOSTILE)
    return a_run(whole, info=run_info(**texts))


def cell(column: str, downtimes_s: Sequence[float], **changes: Any) -> Cell:
    """A cell of these trials."""
    ordered = sorted(downtimes_s)
    found = Cell(
        column=column,
        experiment=column,
        applicable=True,
        verdict=Verdict.HELD,
        trials=len(ordered),
        trials_valid=len(ordered),
        downtimes_s=tuple(downtimes_s),
        downtimes_censored=(False,) * len(ordered),
        downtime_median_s=ordered[len(ordered) // 2] if ordered else None,
        downtime_low_s=ordered[0] if ordered else None,
        downtime_high_s=ordered[-1] if ordered else None,
        downtime_coverage_ratio=0.75 if ordered else None,
        availability_ratio=0.9 if ordered else None,
        time_without_redundancy_s=4.0,
    )
    return replace(found, **changes)


def a_matrix(**changes: Any) -> Matrix:
    """Two stages against three faults: something of everything."""
    one = Row(
        stage=1,
        name="1-single-server",
        failover="none",
        boxes=1,
        memory_mib=300,
        cells=(
            cell(
                "kill-web",
                (6.1, 6.2, 6.3),
                verdict=Verdict.REFUTED,
                downtime_censored=True,
                downtimes_censored=(True, True, True),
                why=("downtime_longest_s at most 1: was 6.2",),
            ),
            not_applicable("kill-lb", "there is no balancer"),
            cell("pause-db", (), verdict=Verdict.INCONCLUSIVE, trials=2, why=("the fault was not verified",)),
        ),
    )
    many = Row(
        stage=5,
        name="5-redundant-load-balancers",
        failover="automatic",
        boxes=8,
        memory_mib=2048,
        cells=(
            cell("kill-web", (0.0, 0.02, 0.0)),
            cell(
                "kill-lb",
                (0.3,),
                verdict=Verdict.REFUTED,
                writes_lost=3,
                split_brain_s=1.5,
                why=("writes_lost at most 0: was 3",),
            ),
        ),
    )
    whole = Matrix(
        title="Which fault does which stage survive?",
        started_at="2026-01-31T12:00:00Z",
        seed=7,
        rate_per_s=100.0,
        deadline_s=1.0,
        columns=(
            Column("kill-web", "a web box is lost"),
            Column("kill-lb", "the balancer is lost"),
            Column("pause-db", "the database freezes"),
        ),
        rows=(one, many),
    )
    return replace(whole, **changes)


def hostile_matrix() -> Matrix:
    """A comparison whose every text is written by an enemy."""
    whole = cell(HOSTILE, (0.1, 7.0), verdict=Verdict.REFUTED, experiment=HOSTILE, why=(HOSTILE, HOSTILE), folder=HOSTILE)
    row = Row(3, HOSTILE, HOSTILE, 4, 400, (whole, not_applicable("other", HOSTILE)))
    return a_matrix(title=HOSTILE, started_at=HOSTILE, columns=(Column(HOSTILE, HOSTILE), Column("other", HOSTILE)), rows=(row,))
