"""What users reach and what they do not: figures, statistics and the pages of the monitoring are for those who watch."""

from __future__ import annotations

import re

import pytest
import yaml
from watch import targets

from lab.model.topology import INTERNET_ROLE, WATCH_ROLE
from lab.spec.stages import ROOT
from tests.stages.files import DOCUMENTS, FILES, FOLDERS, each_service, each_stage, number_of, service, subnets

COMPOSE = ROOT / "compose"
PASSWORD = "METRICS_PASSWORD"
# Who has figures, and who asks for them.
HAVE, ASK = ("web", "lb"), (INTERNET_ROLE, WATCH_ROLE)
# Where users are, or what they reach next: with a box of these they share a network.
USERS = "edge"
WATCHED = [folder for folder in FOLDERS if number_of(folder) > 1]
each_watched = pytest.mark.parametrize("folder", WATCHED)


def roles(folder: str, name: str) -> set[str]:
    return set(service(folder, name)["labels"]["lab.role"].split())


# The password


@each_service
def test_who_has_figures_and_who_asks_for_them_have_the_password_and_no_other_box(folder: str, name: str) -> None:
    said = service(folder, name).get("environment", {}).get(PASSWORD, "")
    assert bool(said) == bool(roles(folder, name) & {*HAVE, *ASK})


@each_stage
def test_password_is_one_in_a_stage_and_stands_once_in_its_file(folder: str) -> None:
    boxes = DOCUMENTS[folder]["services"]
    assert len({body["environment"][PASSWORD] for body in boxes.values() if body.get("environment", {}).get(PASSWORD)}) == 1
    assert FILES[folder].read_text(encoding="utf-8").count(f"{PASSWORD}:") == 1


# Balancers


def of_statistics(text: str) -> list[str]:
    """The lines of the frontend that answers those who watch."""
    section = re.split(r"^(?=\w)", text.partition("frontend statistics\n")[2], maxsplit=1, flags=re.M)[0]
    return [line.strip() for line in section.splitlines() if line.startswith("  ") and not line.strip().startswith("#")]


def test_balancer_asks_for_the_password_before_it_gives_figures() -> None:
    text = (COMPOSE / "balancer" / "questions.cfg").read_text(encoding="utf-8")
    rules = of_statistics(text)
    closed = rules.index("http-request deny unless { http_auth(watchers) }")
    assert f'user metrics insecure-password "${{{PASSWORD}}}"' in text
    # An empty one would be known to all.
    assert f'.if streq("${PASSWORD}","")\n.alert ' in text
    before, after = rules[:closed], rules[closed:]
    asked = [re.search(r"if \{ path (\S+) \}(.*)$", rule) for rule in before if "return" in rule]
    # Anybody may know which balancer answers, and whether its region can serve.
    assert {found[1] for found in asked if found and "src 127.0.0.0/8" not in found[2]} == {"/health", "/region"}
    assert not [rule for rule in before if "prometheus-exporter" in rule or rule.startswith("stats")]
    assert [rule for rule in after if "prometheus-exporter" in rule]
    assert "stats enable" in after


@each_stage
def test_stage_file_opens_no_other_way_to_the_statistics(folder: str) -> None:
    said = DOCUMENTS[folder].get("configs", {}).get("haproxy", {}).get("content", "")
    assert [line.strip() for line in said.splitlines() if "bind" in line.split()] == ["bind :8080"] * bool(said)
    assert not re.search(r"^\s*(stats|listen|http-request use-service|monitor-uri)\b", said, re.M)


# The monitoring box


def test_monitoring_box_shows_the_password_and_keeps_it_for_itself() -> None:
    jobs = yaml.safe_load((COMPOSE / "watch" / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    with_password = {job["job_name"] for job in jobs if job.get("basic_auth", {}).get("password_file") == "/run/watch/password"}
    assert with_password == {"balancer", "web"}
    assert all("password" not in job.get("basic_auth", {}) for job in jobs)
    script = (COMPOSE / "watch" / "lab-watch").read_text(encoding="utf-8")
    assert re.search(rf"umask 077 .*\${PASSWORD}. >/run/watch/password", script)


def test_monitoring_box_listens_on_loopback_and_at_its_pages_only() -> None:
    script = (COMPOSE / "watch" / "lab-watch").read_text(encoding="utf-8")
    assert sorted(re.findall(r"listen-address=(\S*)", script)) == ["", '"$PAGES"', "127.0.0.1:9093"]
    assert '"127.0.0.1", port' in (COMPOSE / "watch" / "watch" / "server.py").read_text(encoding="utf-8")


def test_no_page_of_another_site_may_ask_prometheus() -> None:
    script = (COMPOSE / "watch" / "lab-watch").read_text(encoding="utf-8")
    assert re.findall(r"--web\.cors\.origin=(\S+)", script) == ["none"]
    assert "--web.enable-" not in script


@each_watched
def test_pages_are_on_a_network_without_users_and_lead_to_loopback(folder: str) -> None:
    watch, internet = service(folder, WATCH_ROLE), service(folder, INTERNET_ROLE)
    address, _, port = watch["environment"]["PAGES"].partition(":")
    [network] = [name for name, settings in watch["networks"].items() if settings["ipv4_address"] == address]
    assert network == "observe"
    assert address not in {str(each) for subnet in subnets(folder)[USERS] for each in subnet}
    # Over that network users' requests pass to no box, and no balancer or web box but the single server is on it.
    on_it = {name for name, body in DOCUMENTS[folder]["services"].items() if network in body["networks"]}
    assert not {name for name in on_it if roles(folder, name) & {"lb", "web"} and "db" not in roles(folder, name)}
    led = f"{internet['command']} {internet['environment'].get('WATCH', '')}"
    assert f"9090={address}:{port}" in led or address in led.split()
    assert any(each.startswith("127.0.0.1:") and each.endswith(":9090") for each in internet["ports"])


@each_watched
def test_programs_of_the_monitoring_box_read_their_environment(folder: str) -> None:
    """The pages' address is none of the boxes that are watched."""
    environment = service(folder, WATCH_ROLE)["environment"]
    assert environment["PAGES"].partition(":")[0] not in {each.host for each in targets.read(environment)}


# Disks

READ_ONLY = (WATCH_ROLE, "wan")


@each_service
def test_disk_of_a_box_that_writes_to_memory_only_is_read_only(folder: str, name: str) -> None:
    body = service(folder, name)
    assert body.get("read_only", False) == bool(roles(folder, name) & set(READ_ONLY))
    if body.get("read_only"):
        assert [mount.partition(":")[0] for mount in body["tmpfs"]] == ["/run"]
        # Compose copies these into the box, and refuses to where its disk is read-only.
        assert "configs" not in body
