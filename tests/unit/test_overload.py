"""What a web box carries, and the limits that are set and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis import design
from lab.campaign import eligible
from lab.checker.trial import measure_trial
from lab.engine.engine import ExecResult
from lab.errors import InconclusiveError, LabError, UsageError
from lab.faults import heal, limits
from lab.model.experiment import Overload
from lab.model.fault import UndoAction
from lab.model.history import Event
from lab.model.measures import Expectation, Outcome
from lab.model.payloads import Capacity
from lab.model.topology import Box
from lab.spec import experiments, stages
from lab.store.undo_log import UndoLog
from lab.trial import capacity
from lab.trial.capacity import Burst, capacity_per_s, next_rate
from tests.unit.helpers import EVENTS, box, record, stage
from tests.unit.played import PlayedEngine


def ramp(carries_per_s: float) -> list[Burst]:
    bursts: list[Burst] = []
    while (rate := next_rate(bursts)) is not None:
        bursts.append(Burst(rate, 1.0 if rate <= carries_per_s else 0.6))
    return bursts


@given(st.floats(8, 380))
def test_the_ramp_finds_what_a_box_carries(carries_per_s: float) -> None:
    bursts = ramp(carries_per_s)
    assert len(bursts) <= capacity.BURSTS_MAX
    assert all(each.rate_per_s <= capacity.RATE_MAX_PER_S for each in bursts)
    found = capacity_per_s(bursts)
    assert found <= carries_per_s <= found * (1 + 3 * capacity.PRECISION_RATIO)


def test_the_ramp_never_goes_beyond_what_the_generator_may_make() -> None:
    bursts = ramp(10_000)
    assert max(each.rate_per_s for each in bursts) == 400
    with pytest.raises(InconclusiveError, match="did not show what one web box carries"):
        capacity_per_s(bursts)
    with pytest.raises(InconclusiveError):
        capacity_per_s(ramp(1))


def test_a_burst_below_the_edge_that_went_well_does_not_count_above_it() -> None:
    bursts = [Burst(50, 1.0), Burst(100, 0.7), Burst(200, 1.0)]
    assert capacity_per_s(bursts) == 50


STATISTICS = """\
# pxname,svname,qcur,qmax,scur,smax,slim,stot
entry,FRONTEND,,,1,2,500,3
ready,web1,0,0,0,0,,0
reads,web1,0,0,0,4,6,100
reads,BACKEND,0,0,0,4,50,100
writes,web1,0,0,0,4,,100
writes,web2,0,0,0,4,,100

"""


def test_the_limits_of_a_balancer_are_read() -> None:
    assert limits.limits(STATISTICS, ["web1", "web2"]) == [("reads/web1", 6), ("writes/web1", 0), ("writes/web2", 0)]


@dataclass
class Played(PlayedEngine):
    users: set[str] = field(default_factory=set)

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30, user: str = "") -> ExecResult:
        self.users.add(user)
        return super().run_in(box, command, timeout_s, user)

    def cpus(self, box: Box) -> float:
        return 1.0

    def resize(self, box: Box, cpus: float) -> None:
        self.done.append(f"{box.service} has {cpus:g}")


def playing() -> Played:
    boxes = [box("lb", ("lb",)), box("web1"), box("web2"), box("db", ("db",)), box("internet", ("internet",))]
    return Played(boxes, answer=lambda _, command: ExecResult(0, STATISTICS if command[-1] == "show stat" else "\n"))


def test_what_is_imposed_is_noted_and_taken_back(tmp_path: Path) -> None:
    ledger, plays = UndoLog(tmp_path / "undo.jsonl"), playing()
    entries = limits.impose(plays.cluster(stage(), ledger), Overload(0.15, 1.5, 9))
    assert [(each.undo.action, each.undo.service, each.undo.setting) for each in entries] == [
        (UndoAction.RESIZE, "web1", "1"),
        (UndoAction.RESIZE, "web2", "1"),
        (UndoAction.READMIT, "lb", "reads/web1=6 writes/web1=0 writes/web2=0"),
    ]
    assert plays.done[:2] == ["web1 has 0.15", "web2 has 0.15"]
    assert "in lb: set maxconn server writes/web2 9" in plays.done
    plays.done.clear()
    heal.undo_all(plays, ledger)
    assert plays.done == [
        *(f"in lb: set maxconn server {words}" for words in ("reads/web1 6", "writes/web1 0", "writes/web2 0")),
        "web2 has 1",
        "web1 has 1",
    ]
    assert ledger.entries() == []
    # Where HAProxy has a herald beside it, the box is root's, and the socket HAProxy's: root without capabilities is refused.
    assert plays.users == {"haproxy"}


def test_without_a_limit_the_balancers_are_left_alone(tmp_path: Path) -> None:
    plays = playing()
    entries = limits.impose(plays.cluster(stage(), UndoLog(tmp_path / "undo.jsonl")), Overload(0.15, 1.5))
    assert {each.undo.action for each in entries} == {UndoAction.RESIZE}


def test_a_balancer_that_refuses_a_limit_is_an_error() -> None:
    plays = Played([box("lb", ("lb",))], answer=lambda *_: ExecResult(0, "No such server.\n"))
    with pytest.raises(LabError, match=r"lb refuses the limit of reads/web1: No such server\."):
        limits.set_limits(plays.cluster(stage()), plays.present[0], "reads/web1=6")


def test_what_was_served_is_held_against_what_one_box_carries() -> None:
    events = (Event(0.0, "capacity", "one web box carries 64.0 requests a second", Capacity(64.0)), *EVENTS)
    least = Expectation("served_of_capacity_ratio", None, 0.9)
    trial = measure_trial(record((3.5, 3.625), events=events), (least,), has_fault=True)
    # 128 a second, from 1 s after the bite (3.05 s) to a deadline before the healing (4 s), without 16 of them.
    assert trial.served["offered_per_s"] == pytest.approx(128, rel=0.02)
    assert trial.served["served_per_s"] == pytest.approx(128 - 16 / 0.95, rel=0.02)
    assert trial.served_ratio == pytest.approx(trial.served["served_per_s"] / 64)
    assert [check.outcome for check in trial.checks] == [Outcome.HOLDS]
    assert [check.outcome for check in measure_trial(record(), (least,), has_fault=True).checks] == [Outcome.UNDECIDED]


def test_an_overload_needs_two_web_boxes_behind_a_balancer() -> None:
    experiment = experiments.find("overload-web")
    for number in ("3", "4", "5"):
        experiments.check_targets(experiment, stages.find(number))
    for number in ("1", "2", "6"):
        with pytest.raises(UsageError, match="needs two web boxes"):
            experiments.check_targets(experiment, stages.find(number))


def test_a_monkey_overloads_nothing() -> None:
    assert not [name for name in eligible.eligible(stages.find("5")) if experiments.find(name).overload]


def test_a_comparison_leaves_an_overload_out() -> None:
    [cell_plan] = design.comparison(stages.find("3"), design.fault_specs("overload-web"), design.CellTerms(6.0, 5.0))
    assert "'lab run'" in cell_plan.missing
