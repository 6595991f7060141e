from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UsageError
from lab.spec.targets import check, resolve, resolve_sides
from tests.unit.helpers import box, stage

BOXES = [
    box("web2", labels={"lab.zone": "b"}),
    box("web1", labels={"lab.zone": "a", "lab.region": "eu"}),
    box("lb", roles=("lb", "lb.active"), labels={"lab.zone": "a"}),
    box("db", roles=("db", "db.primary"), labels={}),
    box("internet", roles=("internet",), labels={"lab.zone": "a"}),
]


def names(target: str, seed: int = 1) -> list[str]:
    return [each.service for each in resolve(target, BOXES, Random(seed))]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("lb", ["lb"]),
        ("db.primary", ["db"]),
        ("web1", ["web1"]),
        ("service:web2", ["web2"]),
        ("label:lab.zone=a", ["lb", "web1"]),
        ("zone:a", ["lb", "web1"]),
        ("zone:b", ["web2"]),
        ("region:eu", ["web1"]),
        ("all:web", ["web1", "web2"]),
        ("random:db,nothing", ["db"]),
    ],
)
def test_what_a_target_means(target: str, expected: list[str]) -> None:
    assert names(target) == expected


def test_role_is_one_box_by_a_seeded_chance() -> None:
    found = [names("web", seed) for seed in range(20)]
    assert {tuple(each) for each in found} == {("web1",), ("web2",)}
    assert found == [names("web", seed) for seed in range(20)]


def test_chance_does_not_depend_on_the_order_of_boxes() -> None:
    for seed in range(10):
        assert resolve("random", BOXES, Random(seed)) == resolve("random", BOXES[::-1], Random(seed))


def test_random_is_any_box_of_the_system() -> None:
    assert {name for seed in range(60) for name in names("random", seed)} == {"web1", "web2", "lb", "db"}
    assert {name for seed in range(60) for name in names("random:web,lb", seed)} == {"web1", "web2", "lb"}


@pytest.mark.parametrize(
    "target",
    [
        "internet",
        "service:internet",
        "all:internet",
        "random:internet",
        "web3",
        "service:",
        "all:",
        "label:",
        "",
        "zone:c",
        "zone:",
        "region:us",
        "web*",
        "random:",
        "random:,",
        "random:web,",
    ],
)
def test_target_that_matches_nothing_is_an_error(target: str) -> None:
    with pytest.raises(UsageError):
        names(target)


def test_error_names_roles_and_boxes() -> None:
    with pytest.raises(UsageError, match="'cache' matches no box") as caught:
        names("cache")
    assert "db, db.primary, lb, lb.active, web" in caught.value.hint
    assert "db, lb, web1, web2; places: region:eu, zone:a, zone:b" in caught.value.hint


def test_no_box_is_an_error_too() -> None:
    with pytest.raises(UsageError):
        resolve("random", [], Random(1))


def sides(target: str, source: str) -> tuple[list[str], list[str]]:
    members, others = resolve_sides(target, source, BOXES, Random(1))
    return [each.service for each in members], [each.service for each in others]


def test_other_side_is_apart_from_the_target() -> None:
    assert sides("zone:a", "zone:b") == (["lb", "web1"], ["web2"])
    assert sides("zone:a", "all:web") == (["lb", "web1"], ["web2"])
    assert sides("web1", "web") == (["web1"], ["web2"])
    assert sides("db", "") == (["db"], [])


@pytest.mark.parametrize("source", ["web1", "zone:c", "internet", "lb.passive"])
def test_empty_other_side_is_an_error(source: str) -> None:
    with pytest.raises(UsageError, match=f"from: the target '{source}' matches no box apart from lb, web1"):
        sides("zone:a", source)


def found_with(down: str, status: str, target: str) -> set[str]:
    boxes = [replace(each, status=status) if each.service == down else each for each in BOXES]
    return {each.service for seed in range(20) for each in resolve(target, boxes, Random(seed))}


DOWN = pytest.mark.parametrize("status", ["exited", "created", "paused", "restarting", "dead"])


@DOWN
def test_a_box_that_is_down_plays_no_role(status: str) -> None:
    assert found_with("web1", status, "web") == {"web2"}
    assert found_with("web1", status, "all:web") == {"web2"}
    assert found_with("web1", status, "random:web") == {"web2"}
    assert found_with("web1", status, "random") == {"web2", "lb", "db"}


@DOWN
def test_a_box_that_is_down_is_still_meant_by_its_name(status: str) -> None:
    assert found_with("web1", status, "web1") == found_with("web1", status, "service:web1") == {"web1"}
    assert found_with("web1", status, "zone:a") == {"lb", "web1"}


@pytest.mark.parametrize("target", ["db.primary", "all:db.primary", "random:db.primary", "random:monitor,db.primary"])
def test_a_role_whose_only_box_is_down_matches_no_box_and_says_why(target: str) -> None:
    with pytest.raises(UsageError, match=f"the target '{target}' matches no box that runs: db is exited"):
        found_with("db", "exited", target)


@given(st.data(), st.sampled_from(["web", "all:web", "random", "random:web,lb", "random:db"]), st.integers())
def test_no_role_ever_means_a_box_that_is_down(data: st.DataObject, target: str, seed: int) -> None:
    states = st.sampled_from(["running", "exited", "paused"])
    boxes = [replace(each, status=data.draw(states)) for each in BOXES]
    try:
        found = resolve(target, boxes, Random(seed))
    except UsageError:
        return
    assert {each.status for each in found} == {"running"}


@given(st.text(max_size=20) | st.sampled_from(["random:", "label:lab.zone=", "all:web", "service:web1"]), st.integers())
def test_some_box_of_the_system_or_an_error(target: str, seed: int) -> None:
    try:
        found = resolve(target, BOXES, Random(seed))
    except UsageError:
        return
    assert found
    assert all(each.is_system for each in found)


def test_check_needs_no_running_stage() -> None:
    check("web", stage().services, 3)
    check("label:lab.role=lb", stage().services, 3)
    check("all:web", stage().services, 3, source="db")
    with pytest.raises(UsageError, match="matches no box"):
        check("monitor", stage().services, 3)
