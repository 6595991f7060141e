"""What holds for a stage whose boxes stand in regions."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

from wan.line import parse_regions

from lab.model.topology import is_system
from tests.stages.files import DOCUMENTS, FILES, addresses, service

FOLDER = "7-multi-region"
SAID = {
    region: IPv4Network(f"0.0.0.{prefix}")
    for prefix, region in re.findall(r"198\.18\.x\.(\d+/\d+) is (\w+)", FILES[FOLDER].read_text(encoding="utf-8"))
}
"""What the head of the file says of the last number of an address."""


def region_of(name: str) -> str:
    region: str = service(FOLDER, name)["labels"].get("lab.region", "")
    return region


def test_ranges_are_said_of_every_region_and_the_monitoring_box_has_the_same() -> None:
    assert SAID.keys() == {region_of(name) for name in DOCUMENTS[FOLDER]["services"]} - {""}
    known = dict(word.split("=") for word in service(FOLDER, "watch")["environment"]["REGIONS"].split())
    assert {region: IPv4Network(f"0.0.0.{prefix}") for region, prefix in known.items()} == SAID


def test_address_says_the_region_on_every_network() -> None:
    for _, address, name in addresses(FOLDER):
        if is_system(service(FOLDER, name)["labels"]["lab.role"].split()):
            number = IPv4Address(int(IPv4Address(address)) & 0xFF)
            assert [region for region, numbers in SAID.items() if number in numbers] == [region_of(name)], name


def test_way_out_of_a_region_is_the_router_between_them() -> None:
    lines = {each.name: each.gateway for each in parse_regions(service(FOLDER, "wan")["command"].split()[1:])}
    assert lines.keys() == SAID.keys()
    for region, gateway in lines.items():
        [config] = DOCUMENTS[FOLDER]["networks"][f"data_{region}"]["ipam"]["config"]
        assert (config["subnet"], config["gateway"]) == (str(gateway.network), str(gateway.ip))


def test_router_can_say_that_it_is_the_way_out() -> None:
    """It looks for the last address of a region so that all boxes there learn its own: neither it nor a box may have that."""
    used = {address for _, address, _ in addresses(FOLDER)}
    for each in parse_regions(service(FOLDER, "wan")["command"].split()[1:]):
        assert str(each.gateway.network[-2]) not in {*used, str(each.gateway.ip)}


def test_marks_of_connections_tell_balancers_apart() -> None:
    numbers = [address.rpartition(".")[2] for address in DOCUMENTS[FOLDER]["x-lab"]["balancers"].values()]
    assert len(set(numbers)) == len(numbers)
    # Tables of the kernel that have a meaning already.
    assert not {"0", "253", "254", "255"} & set(numbers)
