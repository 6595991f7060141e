"""What the logs of a stage prove, in the words that its parts really use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model.history import Event, LogLine
from lab.model.payloads import AlertNotice
from lab.probe.logs import ALERT, DETECT, ELECT, REROUTE, RESOLVED, events_in

START_NS = 1_800_000_000_000_000_000

UNHEALTHY = '02:10:39 107 INFO  Node node 1 "db1" (db1:5432) is marked as unhealthy by the monitor'
CHOSEN = (
    '02:10:39 107 INFO  Setting goal state of node 1 "db1" (db1:5432) to draining and node 2 "db2" (db2:5432) '
    'to prepare_promotion after node 1 "db1" (db1:5432) became unhealthy.'
)
CHOSEN_OF_SEVERAL = (
    '02:10:39 107 INFO  Setting goal state of node 2 "db2" (db2:5432) to prepare_promotion after node 1 "db1" (db1:5432) '
    "became unhealthy and 2 nodes reported their LSN position."
)
CHANGED_OVER = (
    '02:10:39 107 INFO  Setting goal state of node 1 "db1" (db1:5432) to draining and node 2 "db2" (db2:5432) '
    "to prepare_promotion after a user-initiated failover."
)
LEFT_OUT = "[WARNING]  (8) : Server reads/web1 is DOWN, reason: Layer4 timeout, check duration: 150ms. 1 active and 0 backup servers left."
NOT_READY = "[WARNING]  (19) : Server ready/web1 is DOWN, reason: Layer7 wrong status, code: 503, check duration: 2ms."
ROUTER_LOST = "2026-01-31 12:00:00.467878 <TRACE> lb1: BGP session closed"
LAST_RESORT = "lab-announce: announced as the last resort: 503 Service Unavailable: 0 web boxes are ready, 2 serve"
ROUTED = "2026-01-31T12:00:00.468504Z entry 198.18.0.10: lb2 (198.18.0.34) from now on"
TAKEN_OVER = "Sat Jan 31 12:00:00 2026: (entry) Entering MASTER STATE"


def proved(text: str) -> list[str]:
    return [event.name for event in events_in([LogLine("box", START_NS, text)], START_NS)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (UNHEALTHY, [DETECT]),
        (CHOSEN, [ELECT]),
        (CHOSEN_OF_SEVERAL, [ELECT]),
        (CHANGED_OVER, [ELECT]),
        (LEFT_OUT, [DETECT, REROUTE]),
        (TAKEN_OVER, [DETECT, ELECT]),
        (NOT_READY, [DETECT]),
        (ROUTER_LOST, [DETECT]),
        (LAST_RESORT, [DETECT]),
        (ROUTED, [REROUTE]),
        ("alert firing (message 1): SplitBrain page tier=database: 2 databases accept writes", [ALERT]),
        ("alert resolved (message 2): SplitBrain page tier=database: 2 databases accept writes", [RESOLVED]),
    ],
)
def test_what_a_line_proves(text: str, names: list[str]) -> None:
    assert proved(text) == names


@pytest.mark.parametrize(
    "text",
    [
        UNHEALTHY.replace("unhealthy", "healthy"),
        # What follows the choice, and speaks of it.
        '02:10:39 107 INFO  Setting goal state of node 1 "db1" (db1:5432) to demote_timeout and node 2 "db2" (db2:5432) '
        'to stop_replication after node 2 "db2" (db2:5432) converged to prepare_promotion.',
        '02:10:39 107 INFO  New state for node 2 "db2" (db2:5432): secondary ➜ prepare_promotion',
        # A lost standby is given up; no primary is elected.
        '02:10:39 107 INFO  Setting goal state of node 1 "db1" (db1:5432) to wait_primary and node 2 "db2" (db2:5432) '
        "to catchingup after it became unhealthy.",
        LEFT_OUT.replace("is DOWN, reason: Layer4 timeout", "is UP, reason: Layer7 check passed"),
        "[WARNING]  (8) : Server reads/web1 is going DOWN for maintenance.",
        TAKEN_OVER.replace("MASTER STATE", "BACKUP STATE (init)"),
        # The balancer's own side of it.
        ROUTER_LOST.replace("lb1", "internet"),
        LAST_RESORT.replace("the last resort", "a way in"),
        "2026-01-31T12:00:00.468504Z entry 198.18.0.10: no balancer from now on",
        "",
    ],
)
def test_what_proves_nothing(text: str) -> None:
    assert proved(text) == []


def test_event_says_who_said_what_and_when() -> None:
    line = LogLine("monitor", START_NS + 3_209_511_499, UNHEALTHY + "  \n")
    assert events_in([line], START_NS) == [Event(3.209511, DETECT, f"monitor: {UNHEALTHY}")]


@pytest.mark.parametrize(("verb", "name"), [("firing", "alert"), ("resolved", "resolved")])
def test_alert_is_read_where_it_is_heard(verb: str, name: str) -> None:
    text = f"alert {verb} (message 3): ServiceDown page kind=read: no read for 3.4 s (since 2): gone"
    [event] = events_in([LogLine("watch", START_NS, text)], START_NS)
    assert (event.name, event.data) == (name, AlertNotice("ServiceDown", "page kind=read: no read for 3.4 s (since 2): gone"))


def test_alert_in_other_words_is_an_alert_without_data() -> None:
    [event] = events_in([LogLine("watch", START_NS, "alert firing ServiceDown")], START_NS)
    assert (event.name, event.data) == ("alert", None)


def test_a_long_line_is_cut() -> None:
    (event,) = events_in([LogLine("monitor", START_NS, UNHEALTHY + "." * 5000)], START_NS)
    assert len(event.detail) < 250


def test_what_was_said_before_the_load_began_is_left_out() -> None:
    lines = [LogLine("lb2", START_NS + at_ns, TAKEN_OVER) for at_ns in (-1_000_000_000, -1000, 0)]
    assert {event.at_s for event in events_in(lines, START_NS)} == {0.0}


SAID = st.tuples(st.sampled_from([UNHEALTHY, CHOSEN, LEFT_OUT, TAKEN_OVER, "nothing of note"]), st.integers(-(10**10), 10**11))


@given(st.lists(SAID, max_size=20))
def test_events_are_in_the_order_of_time_whatever_the_order_of_boxes(said: list[tuple[str, int]]) -> None:
    found = events_in([LogLine("box", START_NS + at_ns, text) for text, at_ns in said], START_NS)
    assert [event.at_s for event in found] == sorted(event.at_s for event in found)
    expected = {"nothing of note": 0, UNHEALTHY: 1, CHOSEN: 1, LEFT_OUT: 2, TAKEN_OVER: 2}
    assert len(found) == sum(expected[text] for text, at_ns in said if round(at_ns / 1e9, 6) >= 0)
