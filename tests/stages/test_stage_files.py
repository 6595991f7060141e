"""What holds for every stage file, whatever stages there are."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from client.survey import ROUTES
from watch import targets
from watch.targets import Target

from lab.engine.engine import IMAGE_PREFIX
from lab.errors import UsageError
from lab.model.topology import INTERNET_ROLE, WATCH_ROLE, Stage, is_system
from lab.spec import stages
from lab.spec.stages import PROJECT_PREFIX, ROOT, STAGES_FOLDER
from lab.spec.targets import PLACES

BENCHMARKING = ip_network("198.18.0.0/15")
OUTSIDE = "outside"


def number_of(folder: str) -> int:
    return int(folder.partition("-")[0])


# By folder; the second file of a stage by its path, as in 4-database-replication/compose.automatic.yaml.
FILES = {
    str(file.relative_to(STAGES_FOLDER)).removesuffix("/compose.yaml"): file
    for file in sorted([*STAGES_FOLDER.glob("*/compose.yaml"), *STAGES_FOLDER.glob("*/compose.*.yaml")])
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    folder: yaml.safe_load(file.read_text(encoding="utf-8")) for folder, file in FILES.items()
}
FOLDERS = sorted(DOCUMENTS, key=lambda folder: (number_of(folder), folder))
FIRST = [folder for folder in FOLDERS if "/" not in folder]
SECOND = [folder for folder in FOLDERS if "/" in folder]
SERVICES = [(folder, name) for folder in FOLDERS for name in DOCUMENTS[folder]["services"]]
# What differs is said from the first file of the stage before.
STEPS = [(before, after) for before, first in pairwise(FIRST) for after in FOLDERS if number_of(after) == number_of(first)]

each_stage = pytest.mark.parametrize("folder", FOLDERS)
each_service = pytest.mark.parametrize(("folder", "name"), SERVICES, ids=[f"{folder}/{name}" for folder, name in SERVICES])
each_step = pytest.mark.parametrize(("before", "after"), STEPS)


def service(folder: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENTS[folder]["services"][name]
    return found


def own_addresses(folder: str, name: str) -> set[str]:
    """Every fixed address of a box."""
    return {address for _, address, owner in addresses(folder) if owner == name}


def reserved(folder: str) -> set[str]:
    """Addresses that a network gives to no box: one that moves."""
    configs = [config for network in DOCUMENTS[folder]["networks"].values() for config in network["ipam"]["config"]]
    return {address for config in configs for address in config.get("aux_addresses", {}).values()}


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """A service without the number of its stage."""
    return {**body, "labels": {**body["labels"], "lab.stage": ""}}


def addresses(folder: str) -> list[tuple[str, str, str]]:
    """(network, address, service) of every fixed address."""
    return [
        (network, settings["ipv4_address"], name)
        for name, body in DOCUMENTS[folder]["services"].items()
        for network, settings in body["networks"].items()
        if settings and "ipv4_address" in settings
    ]


def subnets(folder: str) -> dict[str, list[Any]]:
    return {
        name: [ip_network(config["subnet"]) for config in network["ipam"]["config"]]
        for name, network in DOCUMENTS[folder]["networks"].items()
    }


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
    # A region's network has a way to the other regions, and none out: this machine has no address there, and hides nobody
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
def test_addresses_that_boxes_are_told_exist(folder: str) -> None:
    known = {address for _, address, _ in addresses(folder)}
    about = DOCUMENTS[folder]["x-lab"]
    told = {
        *about["databases"].values(),
        *about.get("balancers", {}).values(),
        *([about["monitor"]] if "monitor" in about else []),
    }
    for body in DOCUMENTS[folder]["services"].values():
        told |= {host.partition(":")[2] for host in body.get("extra_hosts", [])}
    assert told <= known


@each_stage
def test_entry_is_the_address_of_a_box_or_moves_between_balancers(folder: str) -> None:
    about = DOCUMENTS[folder]["x-lab"]
    entry = about["entry"].partition(":")[0]
    owners = [name for _, address, name in addresses(folder) if address == entry]
    if "balancers" in about:
        # Nobody's own, and Docker may give it to nobody either.
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


@each_stage
def test_balancers_send_users_where_the_survey_looks(folder: str) -> None:
    balancers = [name for name, body in DOCUMENTS[folder]["services"].items() if "lb" in body["labels"]["lab.role"].split()]
    for name in balancers:
        sources = {each["target"]: each["source"] for each in service(folder, name)["configs"]}
        config = DOCUMENTS[folder]["configs"][sources["/etc/lab/haproxy.cfg"]]["content"]
        assert set(re.findall(r"(?:use_backend|default_backend) (\w+)", config)) == set(ROUTES)


# The monitoring box

WATCHED = [folder for folder in FOLDERS if number_of(folder) > 1]
each_watched = pytest.mark.parametrize("folder", WATCHED)


def watched(folder: str) -> list[Target]:
    """Whom the monitoring box is told to watch."""
    return targets.parse(DOCUMENTS[folder]["configs"]["watch"]["content"])


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
    # Nobody is told where it is, but the box that leads a browser to its pages.
    assert [each for each, body in services.items() if at.search(str({**body, "networks": {}}))] == [INTERNET_ROLE]
    assert not [key for key, config in DOCUMENTS[folder]["configs"].items() if key != "watch" and at.search(str(config))]
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
    # Without a monitor nobody promotes by himself.
    assert (about.get("failover", "none") == "automatic") == bool(monitors)


@each_step
def test_box_of_two_stages_is_the_same_unless_said(before: str, after: str) -> None:
    changes = DOCUMENTS[after]["x-lab"]["changes"]
    both = set(DOCUMENTS[before]["services"]) & set(DOCUMENTS[after]["services"])
    assert set(changes) <= both
    for name in both:
        one, other = plain(service(before, name)), plain(service(after, name))
        assert (one != other) == (name in changes), f"{name}: {'is the same' if one == other else 'differs'}"


@pytest.mark.parametrize("folder", SECOND)
def test_files_of_a_stage_differ_in_their_databases_and_the_monitor_only(folder: str) -> None:
    first = folder.partition("/")[0]
    one, other = DOCUMENTS[first], DOCUMENTS[folder]
    assert one["x-lab"]["failover"] != other["x-lab"]["failover"]
    for key in ("title", "entry", "databases", "changes"):
        assert one["x-lab"][key] == other["x-lab"][key]
    roles = {name: body["labels"]["lab.role"] for name, body in (one["services"] | other["services"]).items()}
    assert {name for name, role in roles.items() if role != "monitor"} == set(one["services"])
    for name in (name for name, role in roles.items() if role not in ("db", "monitor")):
        assert service(first, name) == service(folder, name), name
    # Each has networks and disks of its own, so Compose must not take the one for the other.
    assert one["name"] != other["name"]
    assert one["networks"] == other["networks"]
    # The monitoring box is told of the monitor too.
    apart = {name for name in one["configs"] | other["configs"] if one["configs"].get(name) != other["configs"].get(name)}
    assert apart == {"watch"}


@pytest.mark.parametrize("folder", SECOND)
def test_next_stage_goes_on_from_the_second_file_unchanged(folder: str) -> None:
    """Stage 5 says so of the automatic stage 4: what stands in both is the same, so their diff is the lesson too."""
    following = [after for after in FIRST if number_of(after) == number_of(folder) + 1]
    for after in following:
        assert DOCUMENTS[after]["x-lab"]["failover"] == DOCUMENTS[folder]["x-lab"]["failover"]
        for name in set(DOCUMENTS[folder]["services"]) & set(DOCUMENTS[after]["services"]):
            assert plain(service(folder, name)) == plain(service(after, name)), name


def test_first_stage_changes_nothing() -> None:
    assert DOCUMENTS[FIRST[0]]["x-lab"]["changes"] == {}


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


# The balancer's configuration


def haproxy_sections(folder: str) -> dict[str, list[str]]:
    """The lines of each section, without comments."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for raw in DOCUMENTS[folder]["configs"]["haproxy"]["content"].splitlines():
        line = raw.partition("#")[0].rstrip()
        if line and not line.startswith(" "):
            lines = sections.setdefault(line, [])
        elif line:
            lines.append(line.strip())
    return sections


BALANCED = [folder for folder in FOLDERS if "haproxy" in DOCUMENTS[folder].get("configs", {})]
each_balanced = pytest.mark.parametrize("folder", BALANCED)


def test_stage_3_has_a_balancer() -> None:
    assert "3-load-balancer" in BALANCED


@each_balanced
def test_write_that_was_sent_is_never_sent_again(folder: str) -> None:
    sections = haproxy_sections(folder)
    assert [line for line in sections["backend writes"] if line.startswith("retry-on")] == ["retry-on conn-failure"]
    # Nothing but reads is on the other road, whose retries may send a request twice.
    assert [line for line in sections["frontend entry"] if "backend" in line] == [
        "use_backend reads if METH_GET",
        "default_backend writes",
    ]
    assert not [line for line in sections["defaults"] if line.startswith("retry-on")]


@each_balanced
def test_web_boxes_are_not_judged_by_their_database(folder: str) -> None:
    """A database that fails would take every web box out."""
    sections = haproxy_sections(folder)
    assert "option httpchk GET /healthz" in sections["backend reads"]
    # Whether a region can serve is another question; nobody is sent to the boxes of that backend.
    sending = {name: lines for name, lines in sections.items() if name != "backend ready"}
    assert not [
        line for lines in sections.values() for line in lines if "use_backend ready" in line or "default_backend ready" in line
    ]
    assert not [line for lines in sending.values() for line in lines if "readyz" in line or "observe layer7" in line]


@each_balanced
def test_balancer_knows_every_web_box_on_both_roads(folder: str) -> None:
    sections = haproxy_sections(folder)
    web = {
        (name, settings["ipv4_address"])
        for name, body in DOCUMENTS[folder]["services"].items()
        if "web" in body["labels"]["lab.role"].split()
        for network, settings in body["networks"].items()
        if network.partition("_")[0] == "app"
    }
    for backend in ("reads", "writes"):
        servers = [line.split() for line in sections[f"backend {backend}"] if line.startswith("server ")]
        assert {(words[1], words[2].removesuffix(":8080")) for words in servers} == web


@pytest.mark.parametrize("stage", stages.all_stages(), ids=lambda stage: stage.project)
def test_every_database_has_the_addresses_by_which_its_primary_knows_it(stage: Stage) -> None:
    """Those of its file, however broken it is; the one at which it is audited is among them, and no two share one."""
    found = {spec.name: spec.addresses for spec in stage.services if spec.is_system}
    every = [address for addresses in found.values() for address in addresses]
    assert len(every) == len(set(every))
    assert all(address in found[name] for name, address in stage.databases.items())
