from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.ledger import audit_writes
from tests.unit.helpers import write

KEYS = st.sampled_from([f"k-{number}" for number in range(8)])
ORDERS = st.dictionaries(KEYS, st.integers(0, 3))
OUTCOMES = st.dictionaries(KEYS, st.sampled_from(["ok", "fail", "info"]))


def test_all_is_well() -> None:
    audit = audit_writes([write("a"), write("b")], {"db": {"a": 1, "b": 1}})
    assert (audit.attempted, audit.acknowledged, audit.complete) == (2, 2, True)
    assert (audit.lost, audit.unexpected, audit.duplicate, audit.recovered) == (0, 0, 0, 0)


def test_acknowledged_and_in_no_database_is_lost() -> None:
    audit = audit_writes([write("a"), write("b"), write("c")], {"db1": {"a": 1}, "db2": {"b": 0}})
    assert audit.lost == 2
    assert audit.lost_keys == ("b", "c")


def test_acknowledged_and_in_one_of_two_databases_is_not_lost() -> None:
    assert audit_writes([write("a")], {"db1": {}, "db2": {"a": 1}}).lost == 0


def test_failed_for_sure_and_yet_present_is_unexpected() -> None:
    assert audit_writes([write("a", "fail")], {"db": {"a": 1}}).unexpected == 1
    assert audit_writes([write("a", "fail")], {"db": {}}).unexpected == 0


def test_never_attempted_and_yet_present_is_unexpected() -> None:
    assert audit_writes([], {"db": {"stranger": 1}}).unexpected == 1


def test_executed_twice_is_duplicate() -> None:
    assert audit_writes([write("a")], {"db": {"a": 2}}).duplicate == 1


def test_copies_on_replicas_are_no_duplicates() -> None:
    assert audit_writes([write("a")], {"db1": {"a": 1}, "db2": {"a": 1}}).duplicate == 0


def test_unknown_and_found_is_recovered() -> None:
    audit = audit_writes([write("a", "info"), write("b", "info")], {"db1": {"a": 1}, "db2": {"a": 1}})
    assert (audit.recovered, audit.unexpected, audit.lost) == (1, 0, 0)


def test_unreadable_database_leaves_the_audit_open() -> None:
    audit = audit_writes([write("a"), write("b", "fail")], {"db1": {"b": 1}, "db2": None})
    assert not audit.complete
    assert (audit.lost, audit.lost_keys) == (0, ())
    assert audit.unexpected == 1


def test_no_database_at_all_is_no_audit() -> None:
    assert not audit_writes([write("a")], {}).complete


@given(OUTCOMES, st.lists(ORDERS, min_size=1, max_size=3))
def test_what_was_acknowledged_is_either_found_or_lost(outcomes: dict[str, str], databases: list[dict[str, int]]) -> None:
    audit = audit_writes(
        [write(key, outcome) for key, outcome in outcomes.items()], {f"db{n}": orders for n, orders in enumerate(databases)}
    )
    held = {key for orders in databases for key, count in orders.items() if count}
    acknowledged = {key for key, outcome in outcomes.items() if outcome == "ok"}
    assert set(audit.lost_keys) == acknowledged - held
    assert audit.lost + len(acknowledged & held) == audit.acknowledged == len(acknowledged)
    assert audit.attempted == len(outcomes)


@given(OUTCOMES, st.lists(ORDERS, min_size=1, max_size=3))
def test_what_is_held_is_acknowledged_recovered_or_unexpected(outcomes: dict[str, str], databases: list[dict[str, int]]) -> None:
    audit = audit_writes(
        [write(key, outcome) for key, outcome in outcomes.items()], {f"db{n}": orders for n, orders in enumerate(databases)}
    )
    held = {key for orders in databases for key, count in orders.items() if count}
    assert len(held) == (audit.acknowledged - audit.lost) + audit.recovered + audit.unexpected
