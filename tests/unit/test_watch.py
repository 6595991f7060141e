"""The eyes of the monitoring box, without a network. What its rules say is in tests/integration/test_alert_rules.py."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from watch import server, targets
from watch.claims import Claim, holders
from watch.databases import Cluster, Database, State
from watch.door import DEADLINE_S, STARTED_AFTER, Door, Tally, read_head
from watch.exposition import metric
from watch.eyes import Eyes
from watch.receiver import Receiver

from lab.checker.phases import alerts
from lab.model.history import LogLine
from lab.probe.logs import ALERT, RESOLVED, events_in
from lab.spec.stages import ROOT

FOLDER = ROOT / "compose" / "watch"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
TARGETS = {
    "DOOR": "front-door=198.18.0.10:8080",
    "BALANCERS": "lb1=198.18.0.33",
    "DATABASES": "db1=198.18.3.35",
    "ZONES": "a=32/27 b=64/27",
}
LEADS = State(leads=True, acknowledges=True, position=100)
FOLLOWS = State(streams=True, position=100)


# The rules


def rules() -> list[dict[str, object]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def test_every_alert_is_tested_and_described() -> None:
    tests = (FOLDER / "alerts.test.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    names = {str(rule["alert"]) for rule in rules()}
    assert names == {"ServiceDown", "ErrorBudgetBurn", "RedundancyLost", "FailoverHappened", "ReplicationLag", "SplitBrain"}
    assert sorted(name for name in names if f"alertname: {name}" not in tests or f"`{name}`" not in page) == []


def test_every_alert_says_how_urgent_it_is_and_what_it_is() -> None:
    for rule in rules():
        labels, annotations = rule["labels"], rule["annotations"]
        assert isinstance(labels, dict)
        assert isinstance(annotations, dict)
        assert labels["severity"] in ("page", "ticket", "info")
        assert annotations["summary"]


def test_a_probe_cannot_outlast_the_patience_of_who_asks_for_it() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    assert config["global"]["scrape_timeout"] == "800ms"
    assert DEADLINE_S == 1.0  # what a user waits (LoadPlan.deadline_s)


# Which boxes there are


def test_targets_are_read_from_the_environment() -> None:
    door, balancer, database = targets.read({**TARGETS, "PATH": "/usr/bin"})
    assert (door.role, door.name, door.address, door.labels) == ("door", "front-door", "198.18.0.10:8080", {})
    assert (balancer.role, balancer.address, balancer.labels) == ("balancer", "198.18.0.33:8404", {"zone": "a"})
    assert (database.host, database.port, database.labels) == ("198.18.3.35", 5432, {"zone": "a"})


def test_a_region_is_a_range_too_and_the_users_side_is_in_none() -> None:
    found = targets.read(
        {"WEB": "web1=198.18.1.34 web3=198.18.1.130", "LAB": "internet=198.18.0.2", "REGIONS": "eu=0/25 us=128/26"}
    )
    assert [each.labels for each in found] == [{"region": "eu"}, {"region": "us"}, {}]


def test_one_address_in_two_roles_is_two_targets() -> None:
    found = targets.read({"BALANCERS": "lb1=198.18.0.33", "HOLDERS": "lb1=198.18.0.33"})
    assert [(each.role, each.port) for each in found] == [("balancer", 8404), ("holder", 8405)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"WEB": "web1"},
        {"WEB": "=198.18.1.34"},
        {"WEB": "web1="},
        {"WEB": "web1=198.18.1.34:http"},
        {"WEB": "web1=198.18.1"},
        {"ZONES": "a=33/27"},
    ],
)
def test_word_that_is_wrong_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        targets.read({**TARGETS, **wrong})


def test_prometheus_is_given_the_boxes_to_ask(tmp_path: Path) -> None:
    targets.write(targets.read(TARGETS), tmp_path)
    written = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()}
    assert written == {
        "balancer.json": [{"targets": ["198.18.0.33:8404"], "labels": {"box": "lb1", "zone": "a"}}],
        "web.json": [],
        "lab.json": [],
    }


# Claims


def test_two_who_both_go_on_saying_so_are_two() -> None:
    one, other = Claim(), Claim()
    for at in (1.0, 2.0, 3.0):
        one.say(True, at)
        other.say(at > 1.5, at)
    assert holders([one, other]) == 2


def test_heir_of_one_that_died_is_the_only_one() -> None:
    dead, heir = Claim(), Claim()
    dead.say(True, 1.0)
    heir.say(True, 2.0)  # before the dead one has failed to answer
    assert holders([dead, heir]) == 1
    dead.say(False, 2.5)
    assert holders([dead, heir]) == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans())))
def test_who_says_nothing_holds_nothing(said: list[tuple[int, bool]]) -> None:
    claims = [Claim() for _ in range(3)]
    for at, (index, claimed) in enumerate(said, 1):
        claims[index].say(claimed, float(at))
    assert holders(claims) <= sum(bool(claim.since) for claim in claims)
    assert holders(claims) >= bool([claim for claim in claims if claim.since])


# The door


def started() -> Tally:
    """Of a stage that has started, with nothing counted since."""
    tally = Tally()
    for _ in range(STARTED_AFTER):
        tally.count(True, 0.0)
    assert (tally.good, tally.bad) == (1, 0)
    tally.good = 0
    return tally


def test_nothing_counts_before_the_stage_has_started() -> None:
    tally = Tally()
    for good in (False, *[True] * (STARTED_AFTER - 1), False, True):
        tally.count(good, 7.0)
    assert (tally.good, tally.bad, tally.last_good) == (0, 0, None)
    for good in (*[True] * (STARTED_AFTER - 1), False):
        tally.count(good, 8.0)
    assert (tally.good, tally.bad, tally.last_good) == (1, 1, 8.0)


def test_head_of_an_answer() -> None:
    assert read_head("HTTP/1.1 503 Service Unavailable\r\nX-Balancer: lb2\r\n\r\n") == (503, "lb2")
    for wrong in ("", "HTTP/1.1", "SSH-2.0-x", "HTTP/1.1 well\r\n"):
        with pytest.raises(ValueError, match=r"\w"):
            read_head(wrong)


async def knock(door: Door, kind: str, reply: bytes) -> bytes:
    """Knock once at a server that gives this reply; what it was asked."""
    asked = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        writer.write(reply)
        await writer.drain()
        await reader.read()  # until it hangs up
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
        door.host, door.port = listening.sockets[0].getsockname()[:2]
        await door.knock(kind)
    return asked[0]


def answer(status: int, balancer: str) -> bytes:
    return f"HTTP/1.1 {status} x\r\nX-Balancer: {balancer}\r\nContent-Length: 0\r\n\r\n".encode()


def test_door_counts_what_a_user_gets_and_who_let_him_in() -> None:
    door = Door("", 0, {"read": started(), "write": started()}, {"lb1": 0, "lb2": 0})
    assert asyncio.run(knock(door, "read", answer(200, "lb1"))).startswith(b"GET /orders?limit=1 ")
    assert asyncio.run(knock(door, "write", answer(201, "lb1"))).startswith(b"POST /orders ")
    asyncio.run(knock(door, "write", answer(503, "lb2")))
    asyncio.run(knock(door, "read", b"HTTP/1.1 2"))  # no more is coming
    assert [(each.good, each.bad) for each in door.tallies.values()] == [(1, 1), (1, 1)]
    assert (door.balancer, door.changes) == ("lb2", {"lb1": 0, "lb2": 1})


def test_balancers_that_take_turns_while_the_stage_starts_are_no_change() -> None:
    door = Door("", 0, changes={"lb1": 0, "lb2": 0})
    for name in ("lb1", "lb2"):
        asyncio.run(knock(door, "read", answer(503, name)))
    assert (door.balancer, door.changes) == ("lb2", {"lb1": 0, "lb2": 0})
    door.tallies["read"] = started()
    asyncio.run(knock(door, "write", answer(503, "lb1")))
    assert door.changes == {"lb1": 1, "lb2": 0}


def test_door_that_is_shut_is_no_error() -> None:
    door = Door("127.0.0.1", 1, {"read": started()})
    asyncio.run(door.knock("read"))
    assert door.tallies["read"].bad == 1


# The databases


def cluster(*states: State | None, at: float = 1.0) -> Cluster:
    found = Cluster([Database(f"db{number}") for number, _ in enumerate(states, 1)])
    return hear(found, *states, at=at)


def hear(found: Cluster, *states: State | None, at: float) -> Cluster:
    for database, state in zip(found.databases, states, strict=True):
        database.hear(state, at)
    found.judge(at)
    return found


def ready(found: Cluster) -> list[bool]:
    return [found.is_ready(each) for each in found.databases]


def test_who_leads_or_follows_is_ready() -> None:
    assert ready(cluster(LEADS, FOLLOWS)) == [True, True]
    assert ready(cluster(LEADS, State())) == [True, False]
    assert ready(cluster(LEADS, None)) == [True, False]
    # No primary to follow: that is not the fault of the database that is left.
    assert ready(cluster(None, State())) == [False, True]


def test_promotion_is_a_change_and_a_restart_is_none() -> None:
    found = cluster(LEADS, FOLLOWS)
    hear(found, None, State(), at=2.0)
    hear(found, LEADS, State(), at=3.0)
    assert found.changes == {"db1": 0, "db2": 0}
    hear(found, None, LEADS, at=4.0)
    assert (found.changes, found.primary) == ({"db1": 0, "db2": 1}, "db2")
    hear(found, LEADS, None, at=5.0)
    assert (found.changes, found.primary) == ({"db1": 1, "db2": 1}, "db1")


def test_the_first_primary_of_a_start_is_no_failover() -> None:
    found = cluster(State(leads=True), None)
    hear(found, None, LEADS, at=2.0)
    assert (found.changes, found.primary) == ({"db1": 0, "db2": 0}, "db2")


def test_two_that_accept_writes_are_a_split_brain_and_one_that_waits_is_not() -> None:
    found = cluster(LEADS, LEADS)
    hear(found, LEADS, LEADS, at=2.0)
    assert found.writable == 2
    hear(found, State(leads=True), LEADS, at=3.0)
    assert found.writable == 1


def test_standby_is_as_old_as_what_it_shows() -> None:
    found = cluster(State(leads=True, acknowledges=True, position=100), FOLLOWS, at=1.0)
    standby = found.databases[1]
    assert found.behind_s(standby, 1.5) == 0.0
    for at, position in ((2.0, 200), (3.0, 300)):
        hear(found, State(leads=True, acknowledges=True, position=position), FOLLOWS, at=at)
    assert found.behind_s(standby, 3.5) == 1.5  # what was written at 2.0 is not there
    hear(found, None, FOLLOWS, at=9.0)
    assert found.behind_s(found.databases[0], 9.0) is None
    assert found.behind_s(Database("db3"), 9.0) is None


# What is shown


def test_metric_as_prometheus_reads_it() -> None:
    shown = metric("door_requests_total", [({"kind": "read"}, 3), ({}, 0.25)], "Some.")
    assert shown.splitlines()[1:] == [
        "# TYPE door_requests_total counter",
        'door_requests_total{kind="read"} 3',
        "door_requests_total 0.25",
    ]
    assert metric("nothing", [], "None.") == ""
    assert metric("odd", [({"a": 'b"\\\n'}, 1)], "Odd.").splitlines()[2] == 'odd{a="b\\"\\\\\\n"} 1'


def test_stage_that_starts_shows_nothing_to_be_judged() -> None:
    shown = Eyes(
        targets.read({**TARGETS, "DATABASES": "db1=198.18.3.35 db2=198.18.3.67", "MONITOR": "monitor=198.18.3.196"}), "secret"
    ).metrics()
    names = {line.partition(" ")[0].partition("{")[0] for line in shown.splitlines() if not line.startswith("#")}
    assert not names & {"door_seconds_since_good", "database_ready", "monitor_ready", "vip_owners"}
    assert {"door_requests_total", "databases_writable"} <= names
    # Prometheus sees no increase in a counter that begins with its first one.
    assert [line for line in shown.splitlines() if "_changes_total{" in line] == [
        'door_changes_total{to="lb1"} 0',
        'primary_changes_total{to="db1"} 0',
        'primary_changes_total{to="db2"} 0',
    ]


def test_every_metric_of_ours_that_a_rule_asks_for_is_shown() -> None:
    """A rule about a metric that does not exist would never fire."""
    eyes = Eyes(
        targets.read(
            {**TARGETS, "DATABASES": "db1=198.18.3.35 db2=198.18.3.67", "MONITOR": "m=198.18.3.196", "HOLDERS": "lb1=198.18.0.33"}
        ),
        "secret",
    )
    eyes.doors[0].tallies["read"] = started()
    hear(eyes.cluster, LEADS, FOLLOWS, at=1.0)
    eyes.monitors[0].was_ready = True
    shown = {line.split()[2] for line in eyes.metrics().splitlines() if line.startswith("# TYPE")}
    asked = {word for rule in rules() for word in str(rule["expr"]).replace("(", " ").replace("[", " ").split() if "_" in word}
    ours = {
        word.partition("{")[0] for word in asked if word.startswith(("door_", "database", "primary_", "monitor_", "address_"))
    }
    assert len(ours) == 10
    assert ours <= shown


# What is delivered


def message(*alerts_: tuple[str, str]) -> bytes:
    def one(key: str, status: str) -> dict[str, object]:
        labels = {"alertname": "RedundancyLost", "severity": "ticket", "tier": "web", "box": key}
        return {"status": status, "fingerprint": key, "labels": labels, "annotations": {"summary": f"web box {key} is out"}}

    return json.dumps({"alerts": [one(*each) for each in alerts_]}).encode()


def test_an_alert_is_reported_once() -> None:
    receiver = Receiver()
    assert receiver.take(message(("web1", "firing"))) == [
        "alert firing (message 1): RedundancyLost ticket box=web1 tier=web: web box web1 is out"
    ]
    assert receiver.take(message(("web1", "firing"))) == []
    (fresh,) = receiver.take(message(("web1", "firing"), ("web2", "firing")))
    assert "(message 3)" in fresh
    assert "box=web2" in fresh
    assert [line.split()[1] for line in receiver.take(message(("web1", "resolved"), ("web2", "firing")))] == ["resolved"]
    assert receiver.take(message(("web1", "resolved"))) == []


def test_lab_understands_what_the_receiver_says() -> None:
    receiver = Receiver()
    said = [(1.0, message(("web1", "firing"))), (4.0, message(("web1", "resolved"))), (5.0, message(("web2", "firing")))]
    lines = [LogLine("watch", int(at_s * 1e9), line) for at_s, each in said for line in receiver.take(each)]
    events = events_in(lines, 0)
    assert [(event.at_s, event.name) for event in events] == [(1.0, ALERT), (4.0, RESOLVED), (5.0, ALERT)]
    found = alerts(events)
    assert [(each.name, each.fired_s, each.resolved_s) for each in found] == [
        ("RedundancyLost", 1.0, 4.0),
        ("RedundancyLost", 5.0, None),
    ]
    assert found[0].words == "ticket box=web1 tier=web: web box web1 is out"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"alerts": [{}]}'])
def test_message_that_is_none_is_refused_and_the_next_one_heard(body: bytes) -> None:
    receiver = Receiver()

    async def post(port: int, what: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST /alerts HTTP/1.1\r\nContent-Length: {len(what)}\r\n\r\n".encode() + what)
        try:
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()

    async def both() -> tuple[bytes, bytes]:
        async with await server.serve(0, lambda: "", lambda each: lines.extend(receiver.take(each))) as listening:
            port = listening.sockets[0].getsockname()[1]
            return await post(port, body), await post(port, message(("web1", "firing")))

    lines: list[str] = []
    wrong, right = asyncio.run(both())
    assert wrong.startswith(b"HTTP/1.1 400 ")
    assert right.startswith(b"HTTP/1.1 200 ")
    assert len(lines) == 1
