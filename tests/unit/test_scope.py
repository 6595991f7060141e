"""What the lab may touch: its own; or, on a visit, one project that was named, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from lab.engine.scope import ForeignScope, Scope, is_ours

OURS = {
    "lab.stage": "3",
    "lab.role": "web",
    "com.docker.compose.project": "redundancy-lab-3",
    "com.docker.compose.service": "web1",
}
THEIRS = {"com.docker.compose.project": "shop", "com.docker.compose.service": "app", "com.docker.compose.container-number": "1"}
VISITOR = {
    "lab.stage": "0",
    "lab.role": "internet",
    "lab.guest": "shop",
    "com.docker.compose.project": "redundancy-lab-visit",
    "com.docker.compose.service": "internet",
}
SHOP = ForeignScope("shop", {"app": ("web", "front")})


@pytest.mark.parametrize(
    ("labels", "home", "visit"),
    [
        (OURS, True, False),
        (VISITOR, True, True),
        ({**VISITOR, "lab.guest": "other"}, True, False),
        (THEIRS, False, True),
        ({**THEIRS, "com.docker.compose.project": "shop2"}, False, False),
        ({**THEIRS, "com.docker.compose.oneoff": "True"}, False, False),
        ({**THEIRS, "com.docker.compose.oneoff": "False"}, False, True),
        ({**THEIRS, "lab.stage": "3", "lab.role": "web"}, False, True),
        ({}, False, False),
        (None, False, False),
    ],
)
def test_who_may_be_touched(labels: dict[str, str] | None, home: bool, visit: bool) -> None:
    assert (Scope().owns(labels), SHOP.owns(labels)) == (home, visit)
    assert is_ours(labels) == home


def test_project_without_a_name_owns_no_box() -> None:
    assert not ForeignScope("").owns({})
    assert not ForeignScope("").owns({"com.docker.compose.service": "app"})


def test_what_docker_is_asked() -> None:
    assert Scope().filters() == [["lab.stage", "lab.role"]]
    assert Scope().filters(4) == [["lab.stage=4", "lab.role"]]
    asked = [["com.docker.compose.project=shop"], ["lab.guest=shop", "lab.role"]]
    assert SHOP.filters() == SHOP.filters(0) == asked
    assert SHOP.filters(3) == []


def words(**changes: Any) -> tuple[str, str, str]:
    found = SHOP.labels({**THEIRS, **{key.replace("_", "."): value for key, value in changes.items()}})
    return found["lab.stage"], found["lab.role"], found["com.docker.compose.service"]


def test_box_of_theirs_plays_its_service_and_what_was_said() -> None:
    assert words() == ("0", "app web front", "app")
    # Whatever they call themselves, they are of no stage, and never where the users stand.
    assert words(lab_stage="3", lab_role="internet") == ("0", "app web front", "app")


@pytest.mark.parametrize("name", ["internet", "wan", "watch"])
def test_name_that_means_something_else_here_is_no_role_of_theirs(name: str) -> None:
    theirs = ForeignScope("shop", {name: ("front",)}).labels({**THEIRS, "com.docker.compose.service": name})
    assert (theirs["lab.role"], theirs["com.docker.compose.service"]) == ("front", name)
    assert SHOP.labels({**THEIRS, "com.docker.compose.service": name})["lab.role"] == ""


def test_copies_of_a_service_have_names_of_their_own_and_one_role() -> None:
    number = "com.docker.compose.container-number"
    names = [SHOP.labels({**THEIRS, number: each})["com.docker.compose.service"] for each in ("1", "2", "10")]
    assert names == ["app", "app#2", "app#10"]


def test_visitor_and_boxes_of_the_lab_are_as_they_say() -> None:
    assert SHOP.labels(VISITOR) == VISITOR
    assert Scope().labels(OURS) == OURS
