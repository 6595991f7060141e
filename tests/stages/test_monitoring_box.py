"""What holds for the monitoring box of every stage that has one."""

from __future__ import annotations

import re

import pytest
from watch import targets
from watch.targets import Target

from lab.errors import UsageError
from lab.model.topology import INTERNET_ROLE, WATCH_ROLE, is_system
from lab.spec import stages
from lab.spec.targets import PLACES
from tests.stages.files import DOCUMENTS, FILES, FOLDERS, number_of, own_addresses, service

WATCHED = [folder for folder in FOLDERS if number_of(folder) > 1]
each_watched = pytest.mark.parametrize("folder", WATCHED)


def watched(folder: str) -> list[Target]:
    """The boxes that the monitoring box is to watch."""
    return targets.read(service(folder, WATCH_ROLE)["environment"])


@each_watched
def test_monitoring_box_watches_whoever_is_there(folder: str) -> None:
    services = {
        name: body for name, body in DOCUMENTS[folder]["services"].items() if is_system(body["labels"]["lab.role"].split())
    }
    roles = {"web": "web", "balancer": "lb", "database": "db", "monitor": "monitor"}
    for role, word in roles.items():
        here = {name for name, body in services.items() if word in body["labels"]["lab.role"].split()}
        assert {each.name for each in watched(folder) if each.role == role} == here, role
    for each in watched(folder):
        if each.role not in ("door", "lab"):
            assert each.host in own_addresses(folder, each.name)
            places = {
                form: str(services[each.name]["labels"][label])
                for form, label in PLACES.items()
                if label in services[each.name]["labels"]
            }
            assert each.labels == places, each.name


@each_watched
def test_monitoring_box_comes_in_where_users_do(folder: str) -> None:
    about = DOCUMENTS[folder]["x-lab"]
    [door] = [each for each in watched(folder) if each.role == "door"]
    # Where the way to the address is announced to the internet box only, by its front door.
    [internet] = [name for name, body in DOCUMENTS[folder]["services"].items() if body["labels"]["lab.role"] == INTERNET_ROLE]
    by_internet = door.host in own_addresses(folder, internet) and door.port == 8080
    assert by_internet if about.get("announced") else door.address == about["entry"]
    # Several that could have the address, and say whether they do.
    holders = {each.name for each in watched(folder) if each.role == "holder"}
    assert holders == (set() if about.get("announced") else set(about.get("balancers", {})))


@each_watched
def test_nothing_depends_on_the_monitoring_box(folder: str) -> None:
    services = DOCUMENTS[folder]["services"]
    [name] = [name for name, body in services.items() if WATCH_ROLE in body["labels"]["lab.role"].split()]
    assert not [each for each, body in services.items() if "depends_on" in body]
    assert not is_system(services[name]["labels"]["lab.role"].split())
    at = re.compile("|".join(rf"{re.escape(address)}\b" for address in own_addresses(folder, name)))
    # No other box knows where it is, but the one that leads a browser to its pages.
    elsewhere = {each: str({**body, "networks": {}}) for each, body in services.items() if each != name}
    assert [each for each, text in elsewhere.items() if at.search(text)] == [INTERNET_ROLE]
    assert not [key for key, config in DOCUMENTS[folder].get("configs", {}).items() if at.search(str(config))]
    # What it may cost.
    assert int(services[name]["mem_limit"].removesuffix("m")) <= 150


@pytest.mark.parametrize(("value", "there"), [("", True), ("yes", True), ("no", False)])
def test_monitoring_box_can_be_left_out(monkeypatch: pytest.MonkeyPatch, value: str, there: bool) -> None:
    monkeypatch.setenv("LAB_WATCH", value)
    stage = stages.read(FILES["5-redundant-load-balancers"])
    assert ("watch" in [spec.name for spec in stage.services]) == there
    assert stage.left_out == (() if there else ("watch",))
    assert stages.read(FILES["1-single-server"]).left_out == ()


def test_wish_for_the_monitoring_box_is_yes_or_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_WATCH", "maybe")
    with pytest.raises(UsageError, match="LAB_WATCH must be yes or no"):
        stages.read(FILES["5-redundant-load-balancers"])
