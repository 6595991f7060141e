"""The faults of the network, and strikes at many boxes, against boxes that are only played."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.engine.disk import Disk
from lab.engine.engine import ExecResult
from lab.engine.inspect import MemoryUse
from lab.engine.sidecar import Reply
from lab.errors import LabError, PreflightError, UsageError
from lab.faults import FAULTS, OF_THE_NETWORK
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.injection import Injection, aimed
from lab.faults.network import ask, ways
from lab.host_clock import HOST_CLOCK, HostClock
from lab.model.fault import Direction, FaultKind, FaultParameters, Step, Undo, UndoAction
from lab.model.topology import Box, Link, MemoryLimit, Stage
from lab.store.undo_log import UndoLog
from tests.unit.helpers import box, stage

ADDRESSES = {"web1": 21, "web2": 22, "db": 31, "lb": 11, "internet": 2}
NETWORKS = {"web1": "ad", "web2": "ad", "db": "d", "lb": "ea", "internet": "e"}
SUBNETS = {"e": "198.18.0", "a": "198.18.1", "d": "198.18.2"}
WORKING = {
    FaultKind.ISOLATE: FaultParameters(),
    FaultKind.PARTITION: FaultParameters("service:db"),
    FaultKind.DELAY: FaultParameters(delay_ms=50.0, jitter_ms=10.0),
    FaultKind.LOSS: FaultParameters(loss_percent=30.0),
    FaultKind.BANDWIDTH: FaultParameters(rate_kbit=1000.0),
    FaultKind.POWER: FaultParameters(),
}
OTHER_UNDO = {FaultKind.DELAY: UndoAction.UNSHAPE, FaultKind.BANDWIDTH: UndoAction.UNSHAPE, FaultKind.POWER: UndoAction.POWER_ON}


def played(service: str, **changes: Any) -> Box:
    role = service.rstrip("12")
    addresses = {network: f"{SUBNETS[network]}.{ADDRESSES[service]}" for network in NETWORKS[service]}
    labels = {"lab.zone": "b" if service == "web2" else "a", "lab.process": "gunicorn"}
    return box(service, (role,), **{"addresses": addresses, "labels": labels, **changes})


BOXES = [played(service) for service in ADDRESSES]
ANSWERED, UNREACHABLE, MUTE = ExecResult(0, "400\n300\n500\n"), ExecResult(0, "silence\n"), ExecResult(137, "")


@dataclass
class FakeHelper:
    """Says what it is told to say to the first command that holds a word; is well otherwise."""

    box: Box | None
    control: FakeControl

    def ask(self, command: str) -> Reply:
        self.control.note(f"{self.box.service if self.box else 'nowhere'}: {command}")
        for word, reply in self.control.replies.items():
            if word in command:
                return reply
        return Reply(0, self.control.clock(), "")

    def close(self) -> None:
        self.control.note(f"{self.box.service if self.box else 'nowhere'}: closed")


@dataclass
class FakeControl:
    """Boxes that stay as they are."""

    answers: Callable[[Box, str], ExecResult] = lambda _witness, _command: ANSWERED
    replies: dict[str, Reply] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    ticks: int = 0
    impact: Callable[[Box], None] = lambda _box: None

    def note(self, text: str) -> None:
        self.done.append(text)

    def clock(self) -> float:
        self.ticks += 1
        return 1000.0 + self.ticks / 1000

    def box(self, box: Box) -> Box | None:
        return replace(box, status="exited", exit_code=137)

    def kill(self, box: Box) -> None:
        self.impact(box)
        self.note(f"kill {box.service}")

    def stop(self, box: Box) -> None:
        self.note(f"stop {box.service}")

    def restart(self, box: Box) -> None:
        self.note(f"restart {box.service}")

    def pause(self, box: Box) -> None:
        self.note(f"pause {box.service}")

    def links(self, box: Box) -> tuple[Link, ...]:
        return ()

    def disconnect(self, box: Box) -> None:
        self.note(f"disconnect {box.service}")

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        self.note(f"reconnect {box.service}")

    def remove(self, box: Box) -> None:
        self.note(f"remove {box.service}")

    def cpus(self, box: Box) -> float:
        return 1.0

    def resize(self, box: Box, cpus: float) -> None:
        self.note(f"resize {box.service} {cpus:g}")

    def memory_limit(self, box: Box) -> MemoryLimit:
        return MemoryLimit()

    def limit_memory(self, box: Box, limit: MemoryLimit) -> None:
        self.note(f"limit {box.service} {limit}")

    def memory_use(self, box: Box) -> MemoryUse | None:
        return None

    def last_oom_ns(self, box: Box) -> int:
        return 0

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = 30) -> ExecResult:
        self.note(f"in {box.service}: {command[-1]}")
        return self.answers(box, command[-1])

    def beside(self, box: Box | None) -> FakeHelper:
        return FakeHelper(box, self)

    def own_disk(self, box: Box) -> Disk | None:
        return None

    def at_disk(self, disk: Disk) -> FakeHelper:
        raise AssertionError("these faults need no disk")

    def slow_disk(self, disk: Disk, held_s: float) -> None:
        raise AssertionError("these faults need no disk")

    def told(self, service: str) -> list[str]:
        """What the helper beside a box was told."""
        return [text.removeprefix(f"{service}: ") for text in self.done if text.startswith(f"{service}: ")]


@dataclass(frozen=True)
class Ground:
    """A system of these boxes."""

    engine: FakeControl
    stage: Stage
    undo_log: UndoLog
    host_clock: HostClock = HOST_CLOCK

    def undo_of(self, undo: Undo, box: Box) -> Undo:
        return undo


def prepare(
    control: FakeControl,
    kind: FaultKind,
    target: str = "service:web1",
    of: Stage | None = None,
    undo_log: UndoLog | None = None,
    host_clock: HostClock = HOST_CLOCK,
    **how: Any,
) -> Injection:
    step = Step(kind, target, how=FaultParameters(**how) if how else WORKING.get(kind, FaultParameters()))
    ground = Ground(control, of or stage(), undo_log or UndoLog(Path("/nowhere")), host_clock)
    return Injection.prepare(ground, step, BOXES, Random(1))


def ledger_in(folder: Path) -> UndoLog:
    return UndoLog(folder / "undo.jsonl")


# Each fault


@pytest.mark.parametrize("kind", WORKING)
def test_nothing_is_changed_before_the_blow(kind: FaultKind) -> None:
    control = FakeControl()
    with prepare(control, kind):
        for text in control.told("web1"):
            assert "--check" in text or text.startswith('[ -n "$devices" ]')
    assert control.done[-1].endswith(": closed")


@pytest.mark.parametrize("fault", OF_THE_NETWORK, ids=lambda fault: fault.kind.value)
def test_undo_says_what_to_take_away(fault: Any) -> None:
    with prepare(FakeControl(), fault.kind) as injection:
        undo = injection.fault.undo(injection.targets[0])
    assert undo.service == "web1"
    assert undo.action is OTHER_UNDO.get(fault.kind, UndoAction.UNFILTER)
    assert undo.table == ("" if undo.action is UndoAction.UNSHAPE else injection.targets[0].blast_radius.table)


def test_rules_of_a_strike_have_one_name_and_strikes_have_different_ones() -> None:
    strikes = [prepare(FakeControl(), FaultKind.PARTITION, "all:web") for _ in range(2)]
    tables = [{victim.blast_radius.table for victim in injection.targets} for injection in strikes]
    assert [len(each) for each in tables] == [1, 1]
    assert tables[0] != tables[1]
    assert all(table.startswith("lab_fault_") for each in tables for table in each)


@pytest.mark.parametrize("kind", WORKING)
def test_kernel_that_cannot_is_a_reason_in_one_line(kind: FaultKind) -> None:
    word = "tc qdisc add dev lo" if kind in (FaultKind.DELAY, FaultKind.BANDWIDTH) else "--check"
    words = "/dev/stdin:1:1-9: Error: Could not process rule: No such file\ntable netdev x {}\n^^^^^^^^"
    control = FakeControl(replies={word: Reply(1, 0.0, words)})
    with pytest.raises(
        PreflightError, match=r"^this machine's kernel cannot [^\n]*Could not process rule: No such file\)( \(and 1 more\))?$"
    ) as caught:
        prepare(control, kind)
    assert caught.value.hint
    assert [text for text in control.done if "closed" in text]
    assert not [text for text in control.done if 'tc qdisc add dev "' in text or text.startswith('web1: nft "')]


def test_queue_that_is_there_already_is_not_replaced() -> None:
    words = "qdisc tbf fa17: dev eth0 root refcnt 2 rate 1Mbit"
    control = FakeControl(replies={"qdisc show": Reply(1, 0.0, words)})
    with pytest.raises(UsageError, match="what web1 sends is queued already"):
        prepare(control, FaultKind.BANDWIDTH)


@pytest.mark.parametrize("kind", WORKING)
def test_box_on_no_network_is_a_reason(kind: FaultKind) -> None:
    word = "qdisc show" if kind in (FaultKind.DELAY, FaultKind.BANDWIDTH) else "--check"
    with pytest.raises(PreflightError, match="web1 is on no network"):
        prepare(FakeControl(replies={word: Reply(1, 0.0, "")}), kind)


def test_both_sides_of_a_partition_lose_the_other_one() -> None:
    control = FakeControl()
    with prepare(control, FaultKind.PARTITION, "all:web", source="service:db", direction=Direction.OUT) as injection:
        injection.inject()
    assert injection.names == "web1, web2, db"
    [web1], [db] = ([text for text in control.told(name) if text.startswith('nft "')] for name in ("web1", "db"))
    # web sends nothing to db any more, and db takes nothing from web, on any network.
    assert "ip daddr { 198.18.2.31 }" in web1
    assert "incoming" not in web1
    assert "ip saddr { 198.18.1.21, 198.18.1.22, 198.18.2.21, 198.18.2.22 } counter drop" in db
    assert "outgoing" not in db


def test_isolated_boxes_share_their_addresses_on_every_network() -> None:
    control = FakeControl()
    with prepare(control, FaultKind.ISOLATE, "all:web") as injection:
        injection.inject()
    commands = {text for name in ("web1", "web2") for text in control.told(name) if text.startswith('nft "')}
    assert len(commands) == 1
    assert "ip saddr { 198.18.1.21, 198.18.1.22, 198.18.2.21, 198.18.2.22 } accept" in commands.pop()


@pytest.mark.parametrize(("target", "theirs"), [("all:web", True), ("service:web1", False)])
def test_shared_address_is_the_members_own_where_all_who_share_it_are_members(target: str, theirs: bool) -> None:
    of = stage(entry=("198.18.0.10", 8080), balancers={"web1": "x", "web2": "y"})
    victims = aimed(Step(FaultKind.ISOLATE, target), BOXES, of, Random(1))
    assert {victim.blast_radius.shared for victim in victims} == {"198.18.0.10" if theirs else ""}
    rules = FAULTS[FaultKind.ISOLATE].rules(victims[0])  # type: ignore[attr-defined]
    assert ("198.18.0.10," in rules) == theirs


def test_without_balancers_no_address_is_shared() -> None:
    assert aimed(Step(FaultKind.ISOLATE, "service:lb"), BOXES, stage(), Random(1))[0].blast_radius.shared == ""


def verify(kind: FaultKind, control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    monkeypatch.setattr("lab.faults.base.VERIFICATION_TIMEOUT_S", 0.0)
    with prepare(FakeControl(), kind) as injection:
        victim = replace(injection.targets[0], helper=control.beside(injection.targets[0].box))
        verification = injection.fault.verify(control, victim)
    assert "\n" not in verification.evidence
    assert "web1" in verification.evidence
    return verification.proved, verification.evidence


LOST = {"list table": Reply(0, 0.0, "counter packets 3 bytes 9 drop\ncounter packets 4 bytes 2 ether daddr set")}
NO_RULES = {"list table": Reply(1, 0.0, "Error: No such file or directory")}


@pytest.mark.parametrize("kind", [FaultKind.ISOLATE, FaultKind.PARTITION])
def test_proof_is_that_the_witness_is_not_answered_any_more(kind: FaultKind, monkeypatch: pytest.MonkeyPatch) -> None:
    proved, evidence = verify(kind, FakeControl(lambda _w, _c: UNREACHABLE, LOST), monkeypatch)
    assert proved
    assert "gets no answer any more from web1" in evidence
    assert "7 packets lost" in evidence
    assert not verify(kind, FakeControl(lambda _w, _c: ANSWERED, LOST), monkeypatch)[0]
    # Silence without rules has another reason, and who could not ask has heard no silence.
    assert not verify(kind, FakeControl(lambda _w, _c: UNREACHABLE, NO_RULES), monkeypatch)[0]
    assert not verify(kind, FakeControl(lambda _w, _c: MUTE, LOST), monkeypatch)[0]


def test_who_was_not_answered_before_is_no_witness() -> None:
    with prepare(FakeControl(lambda _w, _c: UNREACHABLE, LOST), FaultKind.ISOLATE) as injection:
        [victim] = injection.targets
        verification = injection.fault.verify(injection.system.engine, victim)
    assert victim.witness is None
    assert verification.proved
    assert "no box could reach web1 before either; 7 packets lost there" in verification.evidence


@pytest.mark.parametrize("others_bit", [True, False])
def test_a_box_without_a_way_to_the_other_side_counts_as_cut_off_where_another_was(others_bit: bool, impatient: None) -> None:
    """A balancer and the failover manager never spoke: between them there is nothing to break."""

    def told(witness: Box, command: str) -> ExecResult:
        to_lb = any(address in command for address in BOXES[3].addresses.values())
        return UNREACHABLE if to_lb or witness.service == "lb" else ANSWERED

    control = FakeControl(told, LOST if others_bit else NO_RULES)
    with prepare(control, FaultKind.PARTITION, "zone:a", source="zone:b") as injection:
        control.answers = lambda _w, _c: UNREACHABLE
        lb = next(victim for victim in injection.targets if victim.box.service == "lb")
        assert lb.witness is None
        control.replies = {"list table": Reply(0, 0.0, "")} if others_bit else NO_RULES
        assert injection.fault.verify(control, lb).moot
        assert {verification.proved for verification in injection.verify()} == {others_bit}


def test_the_next_witness_is_asked_where_the_first_is_not_answered() -> None:
    control = FakeControl(lambda witness, _command: ANSWERED if witness.service == "web2" else UNREACHABLE)
    with prepare(control, FaultKind.LOSS) as injection:
        assert injection.targets[0].witness == BOXES[1]
        assert injection.targets[0].reached_at.startswith("198.18.1.")


@pytest.mark.parametrize(
    "answer", [ExecResult(137, "300\n"), ExecResult(0, ""), ExecResult(0, "what?\n"), ExecResult(124, "late")]
)
def test_what_is_no_answer_and_no_silence_says_nothing(answer: ExecResult) -> None:
    assert ask(FakeControl(lambda _w, _c: answer), BOXES[4], "198.18.0.11") is None


def test_first_silence_after_answers_does_not_undo_them() -> None:
    """Three questions, the shortest counts; the last may have been met by the next fault."""
    assert ask(FakeControl(lambda _w, _c: ExecResult(0, "700\nsilence\n")), BOXES[4], "198.18.0.11") == 0.7


@pytest.mark.parametrize(("answer", "proved"), [("90300\n45400\n", True), ("300\n90400\n", False), ("31000\n32000\n", False)])
def test_proof_of_a_delay_is_the_shortest_way(answer: str, proved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 ms give or take 10, four fifths of which must show beyond the 0.3 ms of before."""
    control = FakeControl(lambda _w, _c: ExecResult(0, answer))
    found, evidence = verify(FaultKind.DELAY, control, monkeypatch)
    assert found == proved
    assert "before: 0.3 ms" in evidence


def test_witness_of_a_long_delay_waits_long_enough() -> None:
    asked: list[str] = []

    def answer(_witness: Box, command: str) -> ExecResult:
        asked.append(command)
        return ANSWERED

    with prepare(FakeControl(answer), FaultKind.DELAY, delay_ms=4000.0, jitter_ms=1000.0) as injection:
        injection.fault.verify(injection.system.engine, injection.targets[0])
    assert "timeout 0.5 bash" in asked[0]
    assert "timeout 10.5 bash" in asked[-1]


def test_silence_is_no_proof_of_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not verify(FaultKind.DELAY, FakeControl(lambda _w, _c: UNREACHABLE), monkeypatch)[0]
    assert not verify(FaultKind.DELAY, FakeControl(lambda _w, _c: MUTE), monkeypatch)[0]


@pytest.mark.parametrize(
    ("listing", "proved"),
    [("counter packets 118\ncounter packets 12", True), ("counter packets 118\ncounter packets 0", False), ("no table", False)],
)
def test_proof_of_a_loss_is_a_lost_packet(listing: str, proved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    control = FakeControl(replies={"list table": Reply(0, 0.0, listing)})
    assert verify(FaultKind.LOSS, control, monkeypatch)[0] == proved


@pytest.mark.parametrize(("passed", "proved"), [("990.1", True), ("1990.0", False), ("10.0", False)])
def test_proof_of_a_bandwidth_is_that_just_as_much_gets_through(
    passed: str, proved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = FakeControl(replies={"lab-flood": Reply(0, 0.0, passed)})
    assert verify(FaultKind.BANDWIDTH, control, monkeypatch)[0] == proved


def test_flood_that_could_not_be_sent_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    control = FakeControl(replies={"lab-flood": Reply(1, 0.0, "Network is unreachable")})
    assert verify(FaultKind.BANDWIDTH, control, monkeypatch) == (False, "web1 could not send: Network is unreachable")


def test_witness_shares_a_network_and_users_come_first() -> None:
    lb, internet, db = BOXES[3], BOXES[4], BOXES[2]
    blast_radius = BlastRadius(members=(lb,), outside=(db, played("web1"), internet))
    assert ways(InjectionTarget(lb, blast_radius=blast_radius))[:2] == [
        (internet, "198.18.0.11"),
        (played("web1"), "198.18.1.11"),
    ]
    # Who is on no network with it may still find a way.
    assert {way[0].service for way in ways(InjectionTarget(lb, blast_radius=blast_radius))} == {"internet", "web1", "db"}


def test_witness_of_a_partition_is_from_the_other_side() -> None:
    web1, db, internet = BOXES[0], BOXES[2], BOXES[4]
    blast_radius = BlastRadius(members=(web1,), others=(db,), outside=(internet,))
    assert {way[0].service for way in ways(InjectionTarget(web1, blast_radius=blast_radius))} == {"db"}
    assert {way[0].service for way in ways(InjectionTarget(db, blast_radius=blast_radius))} == {"web1"}


def test_a_box_that_does_not_run_is_no_witness_and_none_is_its_own() -> None:
    frozen = played("internet", status="paused")
    blast_radius = BlastRadius(members=(BOXES[0],), outside=(frozen,))
    assert ways(InjectionTarget(BOXES[0], blast_radius=blast_radius)) == []
    alone = BlastRadius(members=(BOXES[0], BOXES[1]))
    assert {way[0].service for way in ways(InjectionTarget(BOXES[0], blast_radius=alone))} == {"web2"}


# Strikes


def test_every_undo_is_on_the_disk_before_the_first_blow(tmp_path: Path) -> None:
    ledger, open_at_the_blow = ledger_in(tmp_path), []
    control = FakeControl(impact=lambda _box: open_at_the_blow.append(len(ledger_in(tmp_path).entries())))
    with prepare(control, FaultKind.KILL, "zone:a", undo_log=ledger) as injection:
        assert injection.names == "db, lb, web1"
        injection.note()
        assert control.done == []
        injection.inject()
    assert open_at_the_blow == [3, 3, 3]
    assert [entry.undo.service for entry in ledger.entries()] == ["db", "lb", "web1"]


def test_all_boxes_are_hit_at_once() -> None:
    together = threading.Barrier(3, timeout=5)

    def waits_for_the_others(_box: Box) -> None:
        together.wait()

    control = FakeControl(impact=waits_for_the_others)
    with prepare(control, FaultKind.KILL, "zone:a") as injection:
        injection.inject()
        found = injection.verify()
    assert sorted(control.done) == ["kill db", "kill lb", "kill web1"]
    assert [verification.evidence.split()[0] for verification in found] == ["db", "lb", "web1"]
    assert all(verification.proved and "(one of 3 hit within" in verification.evidence for verification in found)


def test_one_blow_that_fails_does_not_keep_the_others_from_falling() -> None:
    def fails(box: Box) -> None:
        if box.service != "lb":
            raise LabError(f"Docker could not kill {box.service}")

    control = FakeControl(impact=fails)
    with prepare(control, FaultKind.KILL, "zone:a") as injection, pytest.raises(LabError, match=r"kill db \(and 1 more\)"):
        injection.inject()
    assert control.done == ["kill lb"]


def test_one_box_has_nothing_to_be_apart_from() -> None:
    with prepare(FakeControl(), FaultKind.KILL) as injection:
        injection.inject()
        [verification] = injection.verify()
    assert "one of" not in verification.evidence


def test_spread_is_that_of_the_instants_where_they_are_known() -> None:
    with prepare(FakeControl(), FaultKind.ISOLATE, "zone:a") as injection:
        injection.inject()
    # The helpers' clocks tick by a millisecond.
    assert 0.0019 < injection.spread_s < 0.02


def test_kill_says_when_docker_saw_the_end() -> None:
    class Ended(FakeControl):
        def box(self, box: Box) -> Box | None:
            return replace(box, status="exited", exit_code=137, ended_at_s=2000.0 + len(box.service) / 10)

    with prepare(Ended(), FaultKind.KILL, "zone:a") as injection:
        injection.inject()
    assert injection.spread_s == pytest.approx(0.2)


def test_helpers_of_the_others_end_where_one_cannot_get_ready() -> None:
    class Picky(FakeControl):
        def beside(self, box: Box | None) -> FakeHelper:
            if box and box.service == "lb":
                raise LabError("the helper beside lb could not be started")
            return super().beside(box)

    control = Picky()
    with pytest.raises(LabError, match="beside lb could not be started"):
        prepare(control, FaultKind.ISOLATE, "zone:a")
    assert {text for text in control.done if "closed" in text} == {"db: closed", "web1: closed"}
    assert not [text for text in control.done if ': nft "' in text]


def test_helpers_end_with_the_strike_whatever_happens(tmp_path: Path) -> None:
    control = FakeControl()
    injection = prepare(control, FaultKind.ISOLATE, "zone:a")
    with pytest.raises(RuntimeError), injection:
        raise RuntimeError
    assert {text for text in control.done if "closed" in text} == {"db: closed", "lb: closed", "web1: closed"}


def test_box_is_on_one_side_only() -> None:
    with pytest.raises(UsageError, match="matches no box apart from web1"):
        prepare(FakeControl(), FaultKind.PARTITION, "service:web1", source="service:web1")
    with prepare(FakeControl(), FaultKind.PARTITION, "zone:a", source="all:web") as injection:
        assert injection.names == "db, lb, web1, web2"
        assert [box.service for box in injection.targets[0].blast_radius.others] == ["web2"]


def test_users_are_never_hit_and_always_outside() -> None:
    for kind in WORKING:
        for target in ("zone:a", "random", "all:web"):
            if kind is FaultKind.PARTITION and target == "zone:a":
                continue
            victims = aimed(
                Step(kind, target, how=FaultParameters("service:db") if kind is FaultKind.PARTITION else FaultParameters()),
                BOXES,
                stage(),
                Random(1),
            )
            assert "internet" not in {victim.box.service for victim in victims}
            assert "internet" in {box.service for box in victims[0].blast_radius.outside}
