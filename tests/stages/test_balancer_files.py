"""What holds for HAProxy's configuration in every stage that has a balancer."""

from __future__ import annotations

import re

import pytest
from client.status import ROUTES

from tests.stages.files import DOCUMENTS, FOLDERS, each_stage, service


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
    # Whether a region can serve is another question; no request goes to the boxes of that backend.
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


SHARED = [folder for folder in BALANCED if "keepalived" in DOCUMENTS[folder]["configs"]]
each_shared = pytest.mark.parametrize("folder", SHARED)


def test_stages_5_and_6_share_an_address() -> None:
    assert SHARED == ["5-redundant-load-balancers", "6-multi-az"]


@each_shared
def test_partners_know_each_other_on_both_networks(folder: str) -> None:
    balancers = DOCUMENTS[folder]["x-lab"]["balancers"]
    for name, partner in zip(balancers, reversed(balancers), strict=True):
        networks = service(folder, partner)["networks"]
        said = service(folder, name)["environment"]["PARTNER"].split()
        assert said[:2] == [networks[network]["ipv4_address"] for network in ("edge", "app")]
        assert service(folder, name)["environment"]["EDGE"] == balancers[name]


@each_shared
def test_users_side_is_where_users_are_and_enough_is_not_all(folder: str) -> None:
    web = [name for name, body in DOCUMENTS[folder]["services"].items() if "web" in body["labels"]["lab.role"].split()]
    for name in DOCUMENTS[folder]["x-lab"]["balancers"]:
        environment = service(folder, name)["environment"]
        assert environment["USERS"] == service(folder, "internet")["networks"]["edge"]["ipv4_address"]
        assert environment["ENTRY"] == DOCUMENTS[folder]["x-lab"]["entry"].partition(":")[0]
        # The loss of one web box is the same to both, a moment apart: it moves no address.
        assert 0 < int(environment["WEB_ENOUGH"]) < len(web)
        # One answer that is late, or two, move none either.
        assert int(environment["GIVE_AWAY_AFTER"]) >= 3


@each_shared
def test_keepalived_tracks_what_lab_reach_writes(folder: str) -> None:
    said = DOCUMENTS[folder]["configs"]["keepalived"]["content"]
    tracked = re.findall(r"^track_file (\w+) \{[^}]*\bfile (\S+)\n\s*weight (-?\d+)\n\}", said, re.M)
    assert set(tracked) <= {("apart", "/run/apart", "0"), ("minority", "/run/minority", "-20")}
    assert ("apart", "/run/apart", "0") in tracked
    instance = said[said.index("vrrp_instance entry {") :]
    assert re.findall(r"^  track_file \{ (\w+) \}$", instance, re.M) == [name for name, _, _ in tracked]


@each_stage
def test_balancers_send_users_where_the_survey_looks(folder: str) -> None:
    balancers = [name for name, body in DOCUMENTS[folder]["services"].items() if "lb" in body["labels"]["lab.role"].split()]
    for name in balancers:
        sources = {each["target"]: each["source"] for each in service(folder, name)["configs"]}
        config = DOCUMENTS[folder]["configs"][sources["/etc/lab/haproxy.cfg"]]["content"]
        assert set(re.findall(r"(?:use_backend|default_backend) (\w+)", config)) == set(ROUTES)
