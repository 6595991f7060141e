"""For whom a commit waits, and the faults of a line: decided without a database and without a router."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from durability import __main__ as program
from durability.policy import Durability, Node, changes, is_given_up, lost_region, quorum, read_regions
from hypothesis import given
from hypothesis import strategies as st

from lab.engine.engine import ExecResult
from lab.errors import LabError, UsageError
from lab.faults import fault_of
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.wan import setting
from lab.model.fault import FaultKind, FaultParameters, Step, UndoAction
from lab.model.topology import Box
from lab.spec.stages import ROOT, find
from tests.unit.helpers import box

NAMES = ("db1", "db2", "db3", "db4")
REGIONS = {"db1": "eu", "db2": "eu", "db3": "us", "db4": "us"}


def node(name: str, state: str = "secondary", healthy: bool = True, in_quorum: bool = True) -> Node:
    return Node(name, REGIONS[name], state, state, healthy, in_quorum)


STANDBYS = st.tuples(
    *(
        st.builds(node, st.just(name), st.sampled_from(["secondary", "catchingup"]), st.booleans(), st.booleans())
        for name in NAMES[1:]
    )
)
STREAMING = st.frozensets(st.sampled_from(NAMES[1:]))


def wanted(durability: Durability, standbys: Sequence[Node], streaming: frozenset[str]) -> frozenset[str] | None:
    return quorum(durability, node("db1", "primary"), standbys, streaming, frozenset())


@given(STANDBYS, STREAMING)
def test_with_region_a_commit_waits_abroad_whenever_a_standby_there_is_in_reach(
    standbys: tuple[Node, ...], streaming: frozenset[str]
) -> None:
    in_reach = {each.name for each in standbys if each.is_secondary and each.name in streaming}
    found = wanted(Durability.REGION, standbys, streaming)
    if in_reach & {"db3", "db4"}:
        assert found == frozenset(in_reach - {"db2"})
    elif in_reach:
        assert found == frozenset({"db2"})
    else:
        assert found is None


def test_who_is_on_the_way_is_waited_for_before_anything_is_changed() -> None:
    coming = Node("db3", "us", "join_secondary", "secondary", True, True)
    near = node("db2")
    assert wanted(Durability.REGION, [near, coming], frozenset({"db2"})) is None
    assert wanted(Durability.REGION, [near, replace(coming, healthy=False)], frozenset({"db2"})) == frozenset({"db2"})
    assert wanted(Durability.LOCAL, [near, coming], frozenset({"db2"})) == frozenset({"db2"})


def test_who_was_lost_a_moment_ago_remains_as_long_as_another_one_does() -> None:
    primary, near, far = node("db1", "primary"), node("db2", in_quorum=False), [node("db3"), node("db4", healthy=False)]
    for lingering, expected in ((frozenset({"db4"}), {"db3", "db4"}), (frozenset(), {"db3"})):
        found = quorum(Durability.REGION, primary, [near, *far], frozenset({"db2", "db3"}), lingering)
        assert found == frozenset(expected)
    lost = [replace(each, healthy=False) for each in far]
    assert quorum(Durability.REGION, primary, [near, *lost], frozenset({"db2"}), frozenset({"db4"})) == frozenset({"db2"})


@given(STANDBYS, STREAMING)
def test_local_prefers_the_other_order(standbys: tuple[Node, ...], streaming: frozenset[str]) -> None:
    found = wanted(Durability.LOCAL, standbys, streaming)
    near = next(each for each in standbys if each.name == "db2")
    assert (found == frozenset({"db2"})) == (near.is_secondary and "db2" in streaming)


@given(st.sampled_from(list(Durability)), STANDBYS, STREAMING)
def test_no_commit_waits_for_a_standby_that_does_not_stream(
    durability: Durability, standbys: tuple[Node, ...], streaming: frozenset[str]
) -> None:
    found = wanted(durability, standbys, streaming)
    assert found is None or all(each.is_secondary and each.name in streaming for each in standbys if each.name in found)
    assert found != frozenset()


@given(STANDBYS, STREAMING)
def test_after_the_changes_the_flags_are_what_was_wanted(standbys: tuple[Node, ...], streaming: frozenset[str]) -> None:
    found = wanted(Durability.REGION, standbys, streaming) or frozenset()
    flags = {each.name: each.in_quorum for each in standbys} | dict(changes(standbys, found))
    assert {name for name, value in flags.items() if value} == found
    # In between, there is a replica to wait for: what is set comes before what is taken away.
    values = list(changes(standbys, found).values())
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("healthy", list(product([True, False], repeat=4)))
def test_a_region_is_lost_when_all_of_it_is_and_another_one_is_not(healthy: tuple[bool, ...]) -> None:
    nodes = [node(name, healthy=well) for name, well in zip(NAMES, healthy, strict=True)]
    assert lost_region("eu", nodes) == (not healthy[0] and not healthy[1] and (healthy[2] or healthy[3]))


def test_a_region_is_given_up_once_nothing_waits_for_it() -> None:
    gone = [node("db1", "primary", in_quorum=False), node("db2", in_quorum=False)]
    us = [node("db3"), node("db4")]
    assert is_given_up("eu", [*gone, *us], settled=True)
    # The neighbour still counts; the other region does not yet; the flags were moved, and not all the way.
    assert not is_given_up("eu", [gone[0], node("db2"), *us], settled=True)
    assert not is_given_up("eu", [*gone, node("db3"), node("db4", in_quorum=False)], settled=True)
    assert not is_given_up("eu", [*gone, *us], settled=False)
    # Told to go on alone, and dead before it said that it did.
    assert not is_given_up("eu", [replace(gone[0], goal="wait_primary"), gone[1], *us], settled=True)


class Table:
    """The monitor's table of databases, and what is done to it."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.changed: list[Any] = []

    def execute(self, query: str, parameters: Any = ()) -> Any:
        answer: list[tuple[Any, ...]] = [(True,)]
        if query == program.NODES:
            answer = [
                (each.name, each.reported, each.goal, each.healthy, each.in_quorum, number, each.name)
                for number, each in enumerate(self.nodes)
            ]
        elif "replicationquorum" in query:
            self.changed.append(parameters)
        return SimpleNamespace(fetchall=lambda: answer, fetchone=lambda: answer[0])

    def transaction(self) -> Any:
        return nullcontext()


def test_who_looks_for_the_first_time_gives_up_a_region_that_is_lost_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that fails as the primary dies ends the connection to the monitor: the next one knows nothing of before."""
    lost = [node("db1", "primary", healthy=False, in_quorum=False), node("db2", healthy=False)]
    table = Table([*lost, node("db3", in_quorum=False), node("db4", in_quorum=False)])
    now = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(program, "time", now)
    keeper = program.Keeper(Durability.LOCAL, REGIONS, cast(Any, table))
    keeper.look()
    assert table.changed == []
    now.monotonic = lambda: 100.0 + program.LOST_AFTER_S
    keeper.look()
    assert table.changed == [(["db1", "db2"],)]


class Monitor:
    """A monitor that notes what it is asked; `notified`: whether it has a primary to notify of a change."""

    def __init__(self, notified: bool) -> None:
        self.notified = notified
        self.said: list[str] = []
        self.kept: list[str] = []

    def execute(self, query: str, _: Any = ()) -> Any:
        self.said.append(query)
        answer = self.notified if query == program.NOTIFIED else False
        return SimpleNamespace(fetchone=lambda: (answer,))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        begun = len(self.said)
        with suppress(psycopg.Rollback):
            yield
            self.kept += self.said[begun:]


@pytest.mark.parametrize("notified", [True, False])
def test_a_change_without_a_primary_is_rolled_back(notified: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """It would never be settled, and no election would be allowed."""
    monitor = Monitor(notified)
    keeper = program.Keeper(Durability.REGION, REGIONS, cast(Any, monitor))
    keeper._change(node("db1", "primary"), {"db3": True}, frozenset({"db3"}))
    assert ("UPDATE public.durability SET settled = false" in monitor.kept) is notified
    assert ("a commit on db1 waits for one of db3" in capsys.readouterr().out) is notified


def test_a_change_is_settled_from_the_second_look_on_that_finds_it_in_force() -> None:
    """A process of the primary may read a setting a moment after the one that was asked."""
    monitor = Monitor(notified=True)
    keeper = program.Keeper(Durability.REGION, REGIONS, cast(Any, monitor))
    settled = "UPDATE public.durability SET settled = true"
    for position, in_force in (("0/10", True), ("0/20", False), ("0/30", True), ("0/40", True)):
        keeper._settle(program.Followers(position, frozenset(), frozenset(), caught_up=True), in_force)
        assert settled not in monitor.said
    keeper._settle(program.Followers("0/50", frozenset(), frozenset(), caught_up=False), in_force=True)
    assert keeper._settling_from == "0/40"
    assert settled not in monitor.said
    keeper._settle(program.Followers("0/60", frozenset(), frozenset(), caught_up=True), in_force=True)
    assert settled in monitor.said


def test_each_look_is_seen_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The box's health check asks how old the last one is: a program that hangs is no better than one that has died."""
    looked = tmp_path / "durability"
    seen: list[bool] = []

    def look(_: program.Keeper) -> None:
        seen.append(looked.exists())
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setenv("DURABILITY", "region")
    monkeypatch.setenv("REGIONS", "eu=db1,db2 us=db3,db4")
    monkeypatch.setattr(program, "LOOKED", looked)
    monkeypatch.setattr(program, "PERIOD_S", 0.0)
    monkeypatch.setattr(program.Keeper, "look", look)
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: nullcontext())
    with pytest.raises(KeyboardInterrupt):
        program.main()
    assert seen == [False, True]


def test_the_health_check_of_the_monitor_asks_how_old_the_last_look_is() -> None:
    assert f"find {program.LOOKED} -newermt '-10 sec' | grep -q ." in find("7").file.read_text(encoding="utf-8")


def test_programs_beside_the_monitor_are_started_again() -> None:
    text = (ROOT / "compose" / "monitor" / "lab-monitor").read_text(encoding="utf-8")
    started = [line for line in text.splitlines() if "python3 -m" in line]
    assert len(started) == 2
    assert all("while :; do python3 -m " in line and line.endswith("done &") for line in started)


def test_regions_are_read() -> None:
    assert read_regions("eu=db1,db2 us=db3,db4") == REGIONS


@pytest.mark.parametrize("text", ["", "eu", "eu=", "eu=db1,db2", "eu=db1, us=db2", "eu=db1 us=db1", "=db1 us=db2"])
def test_regions_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not REGION|fewer than two"):
        read_regions(text)


class Router:
    """A router with the two lines of a lab, and boxes that hear each other over them."""

    def __init__(self, delay_ms: float = 20.0, dropped: int = 0, refuses: str = "") -> None:
        self.lines = {name: {"delay_ms": delay_ms, "loss_percent": 0.0, "dropped": dropped} for name in ("eu", "us")}
        self.refuses = refuses
        self.told: list[str] = []

    def run_in(self, where: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        if command[:2] == ["lab-wan", "show"]:
            return ExecResult(0, json.dumps({"lines": self.lines}))
        if command[0] == "lab-wan":
            self.told.append(" ".join(command[1:]))
            if self.refuses:
                return ExecResult(2, self.refuses)
            words = dict(word.split("=") for word in command[3:])
            line = self.lines[command[2]]
            line["delay_ms"] = float(words["delay"].removesuffix("ms"))
            line["loss_percent"] = float(words["loss"].removesuffix("%"))
            return ExecResult(0, "{}")
        # From eu to us and back takes both lines; the question answers in microseconds.
        return ExecResult(0, f"{(self.lines['eu']['delay_ms'] + self.lines['us']['delay_ms']) * 1000:.0f}\n")

    def box(self, box: Box) -> Box:
        return box


WAN = box("wan", ("wan",), addresses={"data_eu": "198.18.32.2", "data_us": "198.18.64.2"})
NEAR = box("db1", ("db",), labels={"lab.region": "eu"}, addresses={"data_eu": "198.18.32.31"})
FAR = box("db3", ("db",), labels={"lab.region": "us"}, addresses={"data_us": "198.18.64.31", "observe": "198.18.3.65"})


def victim(how: FaultParameters) -> InjectionTarget:
    return InjectionTarget.of(WAN, "line:us", BlastRadius(how, (WAN,), (), (NEAR, FAR)))


def test_a_line_gets_longer_and_a_box_at_its_other_end_notices() -> None:
    router, fault = Router(), fault_of(Step(FaultKind.DELAY, "line:us"))
    prepared = fault.prepare(router, victim(FaultParameters(delay_ms=60.0)))  # type: ignore[arg-type]
    undo = fault.undo(prepared)
    assert (undo.action, undo.setting) == (UndoAction.RETUNE, "us delay=20ms loss=0%")
    assert not fault.verify(router, prepared).proved  # type: ignore[arg-type]
    fault.inject(router, prepared)  # type: ignore[arg-type]
    assert router.told == ["set us delay=80ms loss=0%"]
    assert fault.verify(router, prepared).proved  # type: ignore[arg-type]


def test_a_line_loses_packets_and_the_router_counts_them() -> None:
    router, fault = Router(dropped=2), fault_of(Step(FaultKind.LOSS, "line:us"))
    prepared = fault.prepare(router, victim(FaultParameters(loss_percent=30.0)))  # type: ignore[arg-type]
    fault.inject(router, prepared)  # type: ignore[arg-type]
    assert router.told == ["set us delay=20ms loss=30%"]
    assert not fault.verify(router, prepared).proved  # type: ignore[arg-type]
    router.lines["us"]["dropped"] = 3
    assert fault.verify(router, prepared).proved  # type: ignore[arg-type]


def test_what_no_line_does_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing that happens to a line"):
        fault_of(Step(FaultKind.KILL, "line:us"))
    with pytest.raises(UsageError, match="no line to 'mars'"):
        setting(Router(), WAN, "mars")  # type: ignore[arg-type]


def test_a_router_that_refuses_is_quoted() -> None:
    router, fault = Router(refuses="lab-wan: no"), fault_of(Step(FaultKind.DELAY, "line:us"))
    prepared = fault.prepare(router, victim(FaultParameters(delay_ms=60.0)))  # type: ignore[arg-type]
    with pytest.raises(LabError, match="wan refuses: lab-wan: no"):
        fault.inject(router, prepared)  # type: ignore[arg-type]
