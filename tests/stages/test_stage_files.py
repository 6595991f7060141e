"""What holds for every stage file, whatever stages there are."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from itertools import combinations
from pathlib import Path

import pytest

from lab.engine.engine import IMAGE_PREFIX
from lab.errors import UsageError
from lab.model.topology import INTERNET_ROLE, Stage
from lab.spec import stages
from lab.spec.stages import PROJECT_PREFIX, ROOT
from lab.spec.targets import PLACES
from tests.stages.files import (
    DOCUMENTS,
    FILES,
    FIRST,
    SECOND,
    addresses,
    each_service,
    each_stage,
    number_of,
    own_addresses,
    reserved,
    service,
    subnets,
)

BENCHMARKING = ip_network("198.18.0.0/15")
OUTSIDE = "outside"

# What every box has


@each_service
def test_box_says_its_stage_and_role(folder: str, name: str) -> None:
    labels = service(folder, name)["labels"]
    assert labels["lab.stage"] == folder.partition("-")[0]
    assert labels["lab.role"].split()
    if INTERNET_ROLE not in labels["lab.role"].split():
        assert labels["lab.process"]


@each_service
def test_box_may_do_nothing_that_it_does_not_need(folder: str, name: str) -> None:
    body = service(folder, name)
    assert body["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in body["security_opt"]
    assert not body.get("privileged")
    # Only a balancer that shares an address has to put it on its interface, and to speak with its partner about it; and
    # only a router has routes to set.
    about = DOCUMENTS[folder]["x-lab"]
    routes = name == "wan" or (name == INTERNET_ROLE and about.get("announced", False))
    shares = name in about.get("balancers", {}) or routes
    assert bool(body.get("cap_add")) == shares
    assert "SYS_ADMIN" not in body.get("cap_add", [])
    assert (body.get("user") == "root") == shares
    assert body.get("network_mode") is None
    assert body.get("pid") is None


@each_service
def test_box_has_bounds(folder: str, name: str) -> None:
    body = service(folder, name)
    assert re.fullmatch(r"\d+m", body["mem_limit"])
    assert body["pids_limit"] > 0
    assert body["cpus"] > 0
    assert body["logging"]["options"]["max-size"]


@each_service
def test_box_starts_again_only_when_its_process_fails(folder: str, name: str) -> None:
    assert service(folder, name)["restart"] == "on-failure"


@each_service
def test_box_of_the_system_says_when_it_is_ready(folder: str, name: str) -> None:
    body = service(folder, name)
    assert body["labels"]["lab.role"] == INTERNET_ROLE or body["healthcheck"]["test"]


@each_service
def test_image_is_built_here(folder: str, name: str) -> None:
    image = service(folder, name)["image"]
    assert image.startswith(IMAGE_PREFIX)
    assert (ROOT / "compose" / image.removeprefix(IMAGE_PREFIX) / "Dockerfile").is_file()


@each_service
def test_ports_are_published_on_loopback_only_and_by_the_internet_only(folder: str, name: str) -> None:
    ports = service(folder, name).get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert bool(ports) == (service(folder, name)["labels"]["lab.role"] == INTERNET_ROLE)


@each_stage
def test_engine_is_mounted_in_no_box(folder: str) -> None:
    assert "docker.sock" not in FILES[folder].read_text(encoding="utf-8")
    named = set(DOCUMENTS[folder].get("volumes", {}))
    for name, body in DOCUMENTS[folder]["services"].items():
        # Volumes of the stage only: nothing of the machine is mounted.
        assert {volume.partition(":")[0] for volume in body.get("volumes", [])} <= named, name


# Networks


@each_stage
def test_every_network_but_outside_is_internal(folder: str) -> None:
    networks = DOCUMENTS[folder]["networks"]
    open_ones = {name for name, network in networks.items() if not network.get("internal")}
    # A region's network has a way to the other regions, and none out: this machine has no address there, and hides no sender
    # behind its own.
    closed = {"com.docker.network.bridge.inhibit_ipv4": "true", "com.docker.network.bridge.enable_ip_masquerade": "false"}
    closed["com.docker.network.bridge.gateway_mode_ipv4"] = "routed"
    assert {name for name in open_ones if networks[name].get("driver_opts") != closed} == {OUTSIDE}


@each_stage
def test_only_the_internet_is_outside(folder: str) -> None:
    on_it = [body for body in DOCUMENTS[folder]["services"].values() if OUTSIDE in body["networks"]]
    assert [body["labels"]["lab.role"] for body in on_it] == [INTERNET_ROLE]


@each_stage
def test_subnets_are_reserved_ones_and_apart(folder: str) -> None:
    every = [subnet for found in subnets(folder).values() for subnet in found]
    assert every
    assert all(subnet.subnet_of(BENCHMARKING) for subnet in every)
    assert not [(one, other) for one, other in combinations(every, 2) if one.overlaps(other)]


@each_stage
def test_addresses_lie_in_their_network_and_are_used_once(folder: str) -> None:
    used = addresses(folder)
    assert used
    for network, address, name in used:
        assert any(ip_address(address) in subnet for subnet in subnets(folder)[network]), name
    assert len({(network, address) for network, address, _ in used}) == len(used)


@each_stage
def test_no_box_has_the_address_that_docker_takes_for_itself(folder: str) -> None:
    """The first of a network unless the file says another one, also of an internal network."""
    for name, network in DOCUMENTS[folder]["networks"].items():
        for config in network["ipam"]["config"]:
            gateway = config.get("gateway", str(ip_network(config["subnet"])[1]))
            assert gateway not in {address for on, address, _ in addresses(folder) if on == name}, name


@each_stage
def test_addresses_that_boxes_know_exist(folder: str) -> None:
    known = {address for _, address, _ in addresses(folder)}
    about = DOCUMENTS[folder]["x-lab"]
    said = {
        *about["databases"].values(),
        *about.get("balancers", {}).values(),
        *([about["monitor"]] if "monitor" in about else []),
    }
    for body in DOCUMENTS[folder]["services"].values():
        said |= set(body.get("extra_hosts", {}).values())
    assert said <= known


@each_stage
def test_entry_is_the_address_of_a_box_or_moves_between_balancers(folder: str) -> None:
    about = DOCUMENTS[folder]["x-lab"]
    entry = about["entry"].partition(":")[0]
    owners = [name for _, address, name in addresses(folder) if address == entry]
    if "balancers" in about:
        # No box's own, and Docker may give it to no box either.
        assert owners == []
        assert entry in reserved(folder)
        assert len(about["balancers"]) > 1
    else:
        assert len(owners) == 1
        assert reserved(folder) == set()


@each_stage
def test_every_made_thing_carries_the_label_of_its_stage(folder: str) -> None:
    document = DOCUMENTS[folder]
    for made in [*document["networks"].values(), *document.get("volumes", {}).values()]:
        assert made["labels"]["lab.stage"] == folder.partition("-")[0]


# The lesson


@each_stage
def test_file_is_flat(folder: str) -> None:
    document = DOCUMENTS[folder]
    assert len([key for key in document if key.startswith("x-") and key != "x-lab"]) <= 3
    assert not {"include", "secrets"} & set(document)
    assert not [name for name, body in document["services"].items() if {"extends", "env_file", "build", "profiles"} & set(body)]


@each_stage
def test_what_is_said_about_the_stage_is_true(folder: str) -> None:
    about, services = DOCUMENTS[folder]["x-lab"], DOCUMENTS[folder]["services"]
    assert about["stage"] == folder.partition("-")[0]
    labels = [body["labels"] for body in services.values()]
    places = {f"{form}:{each[label]}" for form, label in PLACES.items() for each in labels if label in each}
    assert set(about["spof"]) <= set(services) | places
    assert set(about["databases"]) <= set(services)
    for name, address in about["databases"].items():
        assert address in own_addresses(folder, name)
        assert "db" in services[name]["labels"]["lab.role"].split()
    for name, address in about.get("balancers", {}).items():
        assert address in own_addresses(folder, name)
        assert "lb" in services[name]["labels"]["lab.role"].split()
    monitors = [name for name, body in services.items() if "monitor" in body["labels"]["lab.role"].split()]
    assert [about["monitor"] in own_addresses(folder, name) for name in monitors] == [True] * len(monitors)
    # Without a monitor no standby is promoted by itself.
    assert (about.get("failover", "none") == "automatic") == bool(monitors)


def test_stages_are_numbered_without_a_gap() -> None:
    assert [number_of(folder) for folder in FIRST] == [number + 1 for number in range(len(FIRST))]


# As the lab reads them


@each_stage
def test_lab_reads_the_stage(folder: str) -> None:
    document = DOCUMENTS[folder]
    stage = stages.read(FILES[folder])
    assert stage.folder == folder.partition("/")[0]
    suffix = f"-{stage.failover}" if folder in SECOND else ""
    assert stage.project == document["name"] == f"{PROJECT_PREFIX}{stage.number}{suffix}"
    assert f"{stage.entry[0]}:{stage.entry[1]}" == document["x-lab"]["entry"]
    assert stage.databases == document["x-lab"]["databases"]
    assert stage.balancers == document["x-lab"].get("balancers", {})
    assert {spec.name: list(spec.roles) for spec in stage.services} == {
        name: body["labels"]["lab.role"].split() for name, body in document["services"].items()
    }
    assert stages.find(str(stage.number), stage.failover) == stages.find(stage.folder, stage.failover) == stage
    assert (stages.find(stage.folder) == stage) == (folder in FIRST)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  title: Third\n", "", ":3: 'title' is missing"),
        ("  memory_mib: 400\n", "  memory_mib: much\n", ":7: memory_mib must be a whole number"),
        ("198.18.0.10:8080", "198.18.0.10", ":8: entry must be ADDRESS:PORT"),
        ("services:\n", "service:\n", ":1: 'services' is missing"),
        ("{lab.stage: '3', lab.role: web}", "[web]", ":11: 'labels' must be a mapping"),
    ],
)
def test_error_in_a_stage_file_names_file_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    good = (
        "name: redundancy-lab-3\nx-lab:\n  stage: '3'\n  title: Third\n  new: something\n  spof: [lb]\n  memory_mib: 400\n"
        "  entry: 198.18.0.10:8080\n  databases: {db: 198.18.3.31}\nservices:\n  web: {labels: {lab.stage: '3', lab.role: web}}\n"
    )
    file = tmp_path / "compose.yaml"
    file.write_text(good)
    assert stages.read(file).title == "Third"
    assert old in good
    file.write_text(good.replace(old, new))
    with pytest.raises(UsageError) as caught:
        stages.read(file)
    assert caught.value.message.startswith(f"{file}:")
    assert said in caught.value.message


@pytest.mark.parametrize("stage", stages.all_stages(), ids=lambda stage: stage.project)
def test_every_database_has_the_addresses_by_which_its_primary_knows_it(stage: Stage) -> None:
    """Those of its file, however broken it is; the one at which it is audited is among them, and no two share one."""
    found = {spec.name: spec.addresses for spec in stage.services if spec.is_system}
    every = [address for addresses in found.values() for address in addresses]
    assert len(every) == len(set(every))
    assert all(address in found[name] for name, address in stage.databases.items())
