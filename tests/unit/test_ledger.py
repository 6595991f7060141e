from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.audit import audit_writes
from lab.model.history import DatabaseAudit
from lab.model.result import WritesAudit
from tests.unit.helpers import write

KEYS = st.sampled_from([f"k-{number}" for number in range(8)])
ORDERS = st.dictionaries(KEYS, st.integers(0, 3))
OUTCOMES = st.dictionaries(KEYS, st.sampled_from(["ok", "fail", "info"]))


def test_all_is_well() -> None:
    audit = audit_writes([write("a"), write("b")], {"db": {"a": 1, "b": 1}})
    assert (audit.attempted, audit.acknowledged, audit.complete) == (2, 2, True)
    assert (audit.lost, audit.unexpected, audit.duplicate, audit.indeterminate_committed) == (0, 0, 0, 0)


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
    assert (audit.indeterminate_committed, audit.unexpected, audit.lost) == (1, 0, 0)


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
    assert len(held) == (audit.acknowledged - audit.lost) + audit.indeterminate_committed + audit.unexpected


# Where it is known which database users are served from

SERVED, COPY, BEHIND = (
    DatabaseAudit("primary", 3, "0/60", True),
    DatabaseAudit("standby", 3, "0/60", True),
    DatabaseAudit("standby"),
)
ROLES = {"db1": SERVED, "db2": COPY}


def held(
    outcomes: dict[str, str], db1: dict[str, int], db2: dict[str, int], roles: Mapping[str, DatabaseAudit] = ROLES
) -> WritesAudit:
    return audit_writes([write(key, said) for key, said in outcomes.items()], {"db1": db1, "db2": db2}, {**ROLES, **roles})


def test_acknowledged_and_only_on_the_primary_is_kept_and_differs() -> None:
    audit = held({"a": "ok"}, {"a": 1}, {})
    assert (audit.complete, audit.served_by, audit.lost) == (True, "db1", 0)
    assert (audit.differing, audit.writes_differing) == ({"db2": 1}, 1)


def test_acknowledged_and_only_on_a_standby_is_lost_and_differs() -> None:
    audit = held({"a": "ok", "b": "ok"}, {"b": 1}, {"a": 1, "b": 1})
    assert (audit.lost, audit.lost_keys) == (1, ("a",))
    assert audit.differing == {"db2": 1}


def test_a_key_that_a_standby_has_twice_differs_and_is_no_duplicate() -> None:
    audit = held({"a": "ok"}, {"a": 1}, {"a": 2})
    assert (audit.lost, audit.duplicate, audit.differing) == (0, 0, {"db2": 1})


def test_a_standby_that_has_not_caught_up_is_not_compared_and_that_is_not_good() -> None:
    audit = held({"a": "ok"}, {"a": 1}, {"a": 1}, {"db2": BEHIND})
    assert (audit.complete, audit.lost) == (True, 0)
    assert (audit.differing, audit.not_compared, audit.writes_differing) == ({}, ("db2",), None)


def test_a_difference_is_one_though_another_standby_could_not_be_compared() -> None:
    databases = {**ROLES, "db3": BEHIND}
    audit = audit_writes([write("a")], {"db1": {"a": 1}, "db2": {}, "db3": {"a": 1}}, databases)
    assert (audit.writes_differing, audit.not_compared) == (1, ("db3",))


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ({"db2": SERVED}, "db1 and db2 all accepted writes"),
        ({"db1": COPY}, "no database accepted writes"),
        ({"db1": DatabaseAudit("read-only", 3, "0/60")}, "no database accepted writes"),
    ],
)
def test_without_the_one_primary_nothing_is_called_lost_or_the_same(roles: dict[str, DatabaseAudit], why: str) -> None:
    audit = held({"a": "ok", "b": "ok"}, {"a": 1}, {"a": 1}, roles)
    assert (audit.complete, audit.why_incomplete, audit.served_by) == (False, why, "")
    assert (audit.lost, audit.differing, audit.writes_differing) == (0, {}, None)
    assert audit.not_compared == ("db1", "db2")


def test_a_standby_that_could_not_be_read_might_have_been_a_second_primary() -> None:
    audit = audit_writes(
        [write("a")], {"db1": {"a": 1}, "db2": None}, {"db1": SERVED, "db2": DatabaseAudit("", error="no answer")}
    )
    assert (audit.complete, audit.why_incomplete) == (False, "db2 could not be read")
    assert (audit.not_compared, audit.writes_differing) == (("db2",), None)


def test_a_database_that_stands_alone_is_the_one_whatever_it_says() -> None:
    audit = audit_writes([write("a"), write("b")], {"db": {"a": 1}}, {"db": DatabaseAudit("read-only")})
    assert (audit.complete, audit.served_by, audit.lost_keys, audit.writes_differing) == (True, "db", ("b",), 0)


def test_journals_from_before_are_read_as_before() -> None:
    audit = audit_writes([write("a")], {"db1": {}, "db2": {"a": 1}})
    assert (audit.complete, audit.lost, audit.served_by, audit.writes_differing) == (True, 0, "", None)


@given(OUTCOMES, ORDERS, ORDERS, ORDERS, st.permutations(["db1", "db2", "db3"]))
def test_the_verdict_does_not_depend_on_any_order(
    outcomes: dict[str, str], one: dict[str, int], two: dict[str, int], three: dict[str, int], names: list[str]
) -> None:
    content, roles = {"db1": one, "db2": two, "db3": three}, {**ROLES, "db3": COPY}
    writes = [write(key, said) for key, said in outcomes.items()]
    straight = audit_writes(writes, content, roles)
    mixed = audit_writes(writes, {name: content[name] for name in names}, {name: roles[name] for name in reversed(names)})
    assert mixed == straight
    turned = audit_writes(writes[::-1], content, roles)
    assert set(turned.lost_keys) == set(straight.lost_keys)
    assert (turned.lost, turned.differing) == (straight.lost, straight.differing)


@given(OUTCOMES, ORDERS, ORDERS)
def test_what_a_standby_holds_changes_nothing_but_what_differs(
    outcomes: dict[str, str], primary: dict[str, int], standby: dict[str, int]
) -> None:
    alone = audit_writes([write(key, said) for key, said in outcomes.items()], {"db1": primary}, {"db1": SERVED})
    audit = held(outcomes, primary, standby)
    assert (audit.lost_keys, audit.duplicate, audit.unexpected, audit.indeterminate_committed) == (
        alone.lost_keys,
        alone.duplicate,
        alone.unexpected,
        alone.indeterminate_committed,
    )
    assert set(audit.lost_keys) == {key for key, said in outcomes.items() if said == "ok" and not primary.get(key)}
    assert audit.writes_differing == sum(primary.get(key, 0) != standby.get(key, 0) for key in {*primary, *standby})
