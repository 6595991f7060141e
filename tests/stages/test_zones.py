"""What holds for a stage whose boxes stand in zones."""

from __future__ import annotations

import re
from ipaddress import IPv4Network

import pytest
from arbiter.__main__ import PORT
from arbiter.policy import read_balancers

from lab.model.topology import is_system
from lab.spec.stages import STAGES_FOLDER
from tests.stages.files import DOCUMENTS, addresses, service

# Of the last number of an address; the first 32 are of no zone.
RANGES = {"": range(32), "a": range(32, 64), "b": range(64, 96), "c": range(128, 256)}


def zone_of(folder: str, name: str) -> str:
    zone: str = service(folder, name)["labels"].get("lab.zone", "")
    return zone


def in_role(folder: str, role: str, without: str | None = None) -> list[str]:
    """The boxes that play a role, without those of a zone."""
    return [
        name
        for name, body in DOCUMENTS[folder]["services"].items()
        if role in body["labels"]["lab.role"].split() and (without is None or zone_of(folder, name) != without)
    ]


ZONED = [folder for folder in DOCUMENTS if any(zone_of(folder, name) for name in DOCUMENTS[folder]["services"])]
ZONES = [
    (folder, zone)
    for folder in ZONED
    for zone in sorted({zone_of(folder, name) for name in DOCUMENTS[folder]["services"]} - {""})
]
each_zoned = pytest.mark.parametrize("folder", ZONED)
each_zone = pytest.mark.parametrize(("folder", "zone"), ZONES)


def test_stage_6_has_three_zones() -> None:
    assert [zone for folder, zone in ZONES if folder == "6-multi-az"] == ["a", "b", "c"]


@each_zoned
def test_whole_system_stands_in_zones_and_users_and_who_watches_in_none(folder: str) -> None:
    for name, body in DOCUMENTS[folder]["services"].items():
        assert bool(zone_of(folder, name)) == is_system(body["labels"]["lab.role"].split()), name


@each_zoned
def test_address_says_the_zone_on_every_network(folder: str) -> None:
    for _, address, name in addresses(folder):
        assert int(address.rpartition(".")[2]) in RANGES[zone_of(folder, name)], name


def test_partners_of_stage_6_know_where_the_other_one_is() -> None:
    lb1, lb2 = (service("6-multi-az", name) for name in ("lb1", "lb2"))
    for balancer, partner in ((lb1, lb2), (lb2, lb1)):
        edge, app = (partner["networks"][name] for name in ("edge", "app"))
        assert balancer["environment"]["PARTNER"] == f"{edge['ipv4_address']} {app['ipv4_address']} {edge['mac_address']}"


def test_who_decides_between_the_balancers_of_stage_6_stands_with_neither() -> None:
    folder = "6-multi-az"
    balancers = read_balancers(service(folder, "monitor")["environment"]["BALANCERS"])
    assert set(balancers) == set(in_role(folder, "lb"))
    for name, balancer in balancers.items():
        environment = service(folder, name)["environment"]
        assert environment["ARBITER"] == f"{service(folder, 'monitor')['networks']['app']['ipv4_address']}:{PORT}"
        assert environment["ENTRY"] == DOCUMENTS[folder]["x-lab"]["entry"].partition(":")[0]
        assert balancer.address == service(folder, name)["networks"]["app"]["ipv4_address"]
        assert zone_of(folder, balancer.database) == zone_of(folder, name) != zone_of(folder, "monitor")


@each_zoned
def test_prefixes_that_the_stage_file_names_are_the_zones(folder: str) -> None:
    said = re.findall(
        r"198\.18\.x\.(\d+/\d+) is zone (\w)", (STAGES_FOLDER / folder / "compose.yaml").read_text(encoding="utf-8")
    )
    assert {zone: prefix for prefix, zone in said}.keys() == RANGES.keys() - {""}
    for prefix, zone in said:
        assert [int(address) & 0xFF for address in IPv4Network(f"198.18.0.{prefix}")] == list(RANGES[zone])


@each_zone
def test_what_is_left_without_a_zone_is_enough(folder: str, zone: str) -> None:
    assert in_role(folder, "lb", without=zone)
    # Two thirds of the web boxes, and of the databases a majority: one to take writes, one to acknowledge them.
    for role in ("web", "db"):
        assert 3 * len(in_role(folder, role, without=zone)) >= 2 * len(in_role(folder, role))


@each_zoned
def test_zone_of_the_monitor_never_has_the_primary(folder: str) -> None:
    [home] = {zone_of(folder, name) for name in in_role(folder, "monitor")}
    candidates = [
        name for name in in_role(folder, "db") if service(folder, name)["environment"].get("PG_AUTOCTL_CANDIDATE_PRIORITY") != "0"
    ]
    zones = [zone_of(folder, name) for name in candidates]
    assert home not in zones
    assert len(zones) == len(set(zones)) > 1
