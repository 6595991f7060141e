"""What one stage has and the one before has not: of small files, and as the command line says it of the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.cli.diff import compare as compare_stages
from lab.errors import EXIT_HELD, EXIT_USAGE, UsageError
from lab.report.stage_diff import WIDTH, lines
from lab.spec import conditions
from lab.spec.stage_diff import Added, Became, Changed, Moved, Setting, StageDiff, compare, joined_reasons
from lab.spec.stages import all_stages, find
from tests.unit.test_cli import Lab, lab  # noqa: F401 - the fixture

HAPROXY = """
# a comment
defaults
  timeout connect 100ms # another one
backend reads
  option httpchk GET /healthz
  default-server check inter 150ms fall 2
  server web1 198.18.1.34:8080
"""
KEEPALIVED = """
vrrp_instance entry {
  advert_int 0.05
  nopreempt
  track_file {
    minority
  }
  @lb1 priority 100
}
"""
BEFORE: dict[str, Any] = yaml.safe_load("""
x-lab: {new: one of each, spof: [lb, db], changes: {}}
services:
  lb:
    labels: {lab.stage: "1", lab.role: lb}
    configs: [{source: haproxy, target: /etc/lab/haproxy.cfg}]
    networks: {edge: {ipv4_address: 198.18.0.10}}
  web1:
    image: redundancy-lab/web
    labels: {lab.stage: "1", lab.role: web}
    environment: {DEADLINE_S: "0.4", OLD: "1"}
    extra_hosts: {db: 198.18.2.35}
    networks: {data: {ipv4_address: 198.18.2.34}, edge: {ipv4_address: 198.18.0.11}}
    healthcheck: {test: curl -f http://127.0.0.1/healthz, interval: 30s}
  db:
    labels: {lab.stage: "1", lab.role: db}
    command: lab-postgres -c fsync=off -c max_connections=60
    networks: {data: {ipv4_address: 198.18.2.35}}
configs: {haproxy: {content: ""}}
networks: {edge: {}, data: {}}
""")
BEFORE["configs"]["haproxy"]["content"] = HAPROXY


def later(**changes: Any) -> dict[str, Any]:
    """The next stage: the same, with some services otherwise (None: gone)."""
    after = deepcopy(BEFORE)
    for name, change in changes.items():
        if change is None:
            del after["services"][name]
        else:
            after["services"][name] = {**after["services"].get(name, {}), **change}
    for body in after["services"].values():
        body["labels"] = {**body["labels"], "lab.stage": "2"}
    return after


def difference(after: Mapping[str, Any], **reasons: str) -> StageDiff:
    return compare(BEFORE, after, reasons, conditions.timers)


def settings(after: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    found = difference(after).changed
    return {f"{each.part} {each.name}".strip(): (each.old, each.new) for group in found for each in group.settings}


# Boxes and networks


def test_a_stage_adds_nothing_to_itself() -> None:
    found = difference(later())
    assert found == StageDiff("one of each", (("lb", "db"), ("lb", "db")), (), (), (), (), (), (), ())
    assert lines(found) == ["new: one of each"]


def test_boxes_of_one_role_and_place_are_added_together() -> None:
    labels = {"lab.role": "web", "lab.zone": "a"}
    found = difference(later(web2={"labels": labels}, web3={"labels": labels}, job={"labels": {"lab.role": "job"}}))
    assert found.added == (Added(("web2", "web3"), "web", "zone a"), Added(("job",), "job", ""))
    assert "added: web2, web3 (web, zone a); job (job)" in lines(found)


def test_an_added_box_with_the_address_of_one_that_is_gone_is_what_became_of_it() -> None:
    moved = {**BEFORE["services"]["db"], "command": "lab-postgres -c fsync=off -c max_connections=80"}
    found = difference(later(db=None, db1=moved), db1="was db")
    assert found.became == (Became("db", ("db1",)),)
    assert (found.added, found.gone) == ((), ())
    assert found.changed == (Changed(("db1",), "was db", (Setting("", "max_connections", "60", "80"),)),)
    assert "became: db -> db1" in lines(found)


def test_a_box_may_become_several_and_those_are_added() -> None:
    one = {"labels": {"lab.role": "web"}, "networks": {"data": {"ipv4_address": "198.18.2.34"}}}
    other = {"labels": {"lab.role": "door"}, "networks": {"edge": {"ipv4_address": "198.18.0.11"}}}
    found = difference(later(web1=None, web=one, door=other))
    assert found.became == (Became("web1", ("web", "door")),)
    assert [each.boxes for each in found.added] == [("web",), ("door",)]


def test_a_box_that_is_gone_for_good_is_said_to_be() -> None:
    found = difference(later(lb=None))
    assert found.gone == ("lb",)
    assert "gone: lb" in lines(found)


def test_networks_and_single_points_of_failure_are_compared() -> None:
    after = later()
    after["networks"] = {"edge": {}, "app": {}, "observe": {}}
    after["x-lab"]["spof"] = []
    found = difference(after)
    assert (found.networks_added, found.networks_gone) == (("app", "observe"), ("data",))
    assert lines(found)[1:] == ["single points of failure: lb, db -> none", "added: networks app, observe", "gone: network data"]


def test_boxes_that_stand_somewhere_else_have_moved() -> None:
    zone = {"labels": {"lab.role": "web", "lab.zone": "a"}}
    found = difference(later(web1=zone))
    assert found.moved == (Moved(("web1",), "", "zone a"),)
    assert "moved: web1 no place -> zone a" in lines(found)


def test_timers_of_a_role_that_is_new_are_said_and_of_a_known_one_are_not() -> None:
    command = {"labels": {"lab.role": "monitor"}, "command": "lab-monitor -c pgautofailover.health_check_period=150"}
    known = {**BEFORE["services"]["lb"], "networks": {}}
    monitor, balancer = difference(later(monitor=command, lb2=known)).added
    assert monitor.timers == (Setting("", "health_check_period", "", "150 ms"),)
    assert balancer.timers == ()
    assert "  detection timers of monitor: health_check_period 150 ms" in lines(difference(later(monitor=command)))


# Settings


@pytest.mark.parametrize(
    ("box", "change", "name", "values"),
    [
        ("web1", {"environment": {"DEADLINE_S": "0.8", "OLD": "1"}}, "DEADLINE_S", ("0.4", "0.8")),
        ("web1", {"environment": {"DEADLINE_S": "0.4"}}, "OLD", ("1", "")),
        ("web1", {"image": "redundancy-lab/box"}, "image", ("redundancy-lab/web", "redundancy-lab/box")),
        ("web1", {"mem_limit": "128m"}, "memory", ("", "128m")),
        ("web1", {"cpus": 0.5}, "cpus", ("", "0.5")),
        ("web1", {"cap_add": ["KILL", "NET_ADMIN"]}, "capabilities", ("", "KILL NET_ADMIN")),
        ("web1", {"sysctls": {"net.ipv4.ip_forward": "1"}}, "net.ipv4.ip_forward", ("", "1")),
        ("web1", {"extra_hosts": {"db1": "198.18.2.35"}}, "hosts", ("db", "db1")),
        ("web1", {"networks": {"data": {}}}, "networks", ("data edge", "data")),
        (
            "web1",
            {"healthcheck": {"test": "true", "interval": "30s"}},
            "health check",
            ("curl -f http://127.0.0.1/healthz", "true"),
        ),
        ("db", {"command": "lab-keeper -c fsync=off -c max_connections=60"}, "command", ("lab-postgres", "lab-keeper")),
        ("db", {"command": "lab-postgres -c fsync=on -c max_connections=60"}, "fsync", ("off", "on")),
        (
            "db",
            {"command": "lab-postgres -c fsync=off -c max_connections=60 -c wal_sender_timeout=2s"},
            "wal_sender_timeout",
            ("", "2 s"),
        ),
    ],
)
def test_a_setting_is_compared_under_its_own_name(box: str, change: dict[str, Any], name: str, values: tuple[str, str]) -> None:
    assert settings(later(**{box: change})) == {name: values}


@pytest.mark.parametrize("key", ["hostname", "volumes", "pull_policy"])
def test_what_follows_from_the_rest_is_not_repeated(key: str) -> None:
    assert settings(later(web1={key: "something"})) == {}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("inter 150ms", "inter 300ms", {"HAProxy reads inter": ("150 ms", "300 ms")}),
        ("fall 2", "fall 5", {"HAProxy reads fall": ("2", "5")}),
        ("fall 2", "fall 2 rise 3", {"haproxy.cfg backend reads default-server": ("check", "check rise 3")}),
        ("connect 100ms", "connect 1s", {"haproxy.cfg defaults timeout connect": ("100ms", "1s")}),
        (
            "198.18.1.34:8080\n",
            "198.18.1.34:8080\n  server web2 198.18.1.66:8080\n",
            {"haproxy.cfg backend reads server": ("web1", "web1, web2")},
        ),
        ("# a comment", "# other words", {}),
        ("198.18.1.34", "198.18.1.35", {}),
    ],
)
def test_a_file_is_compared_by_section_and_keyword(old: str, new: str, said: dict[str, tuple[str, str]]) -> None:
    after = later()
    after["configs"]["haproxy"]["content"] = HAPROXY.replace(old, new)
    assert after["configs"]["haproxy"]["content"] != HAPROXY
    assert settings(after) == said


def test_a_section_that_is_new_is_one_setting_and_so_is_a_file_but_for_its_timers() -> None:
    both = [{"source": "haproxy", "target": "/etc/lab/haproxy.cfg"}, {"source": "k", "target": "/etc/lab/keepalived.conf"}]
    after = later(lb={"configs": both})
    after["configs"]["haproxy"]["content"] += "backend writes\n  retry-on conn-failure\n  option http-server-close\n"
    after["configs"]["k"] = {"content": KEEPALIVED}
    assert settings(after) == {
        "haproxy.cfg backend writes": ("", "2 settings"),
        "keepalived.conf": ("", "3 settings"),
        "keepalived entry advert_int": ("", "50 ms"),
    }


def test_words_in_a_block_belong_to_it_and_those_after_it_do_not() -> None:
    both = [{"source": "k", "target": "/etc/lab/keepalived.conf"}]
    before, after = later(lb={"configs": both}), later(lb={"configs": both})
    before["configs"]["k"] = {"content": KEEPALIVED.replace("    minority\n", "")}
    after["configs"]["k"] = {"content": KEEPALIVED.replace("  }\n", "  }\n  timer_expired_backup\n")}
    [changed] = compare(before, after, {}, conditions.timers).changed
    found = {each.name: (each.old, each.new) for each in changed.settings}
    assert found == {"track_file": ("", "minority"), "timer_expired_backup": ("", "on")}


def test_boxes_of_one_role_share_what_they_have_in_common() -> None:
    before, after = deepcopy(BEFORE), later(web1={"environment": {"DEADLINE_S": "0.8", "ME": "1"}})
    before["services"]["web2"] = BEFORE["services"]["web1"]
    after["services"]["web2"] = {**after["services"]["web1"], "environment": {"DEADLINE_S": "0.8", "ME": "2"}}
    reasons = {"web1": "is farther away", "web2": "the same"}
    [changed] = compare(before, after, reasons, conditions.timers).changed
    assert (changed.boxes, changed.reason) == (("web1", "web2"), "is farther away")
    own = {each.name: each.own for each in changed.settings}
    assert own == {"DEADLINE_S": False, "ME": True, "OLD": False}
    assert (
        lines(compare(before, after, reasons, conditions.timers))[-1]
        == "  DEADLINE_S 0.4 -> 0.8; new: ME (each its own); gone: OLD"
    )


# Reasons


def test_a_box_without_a_reason_is_unexplained() -> None:
    after = later(web1={"cpus": 2}, db={"cpus": 2})
    assert difference(after, web1="busy").unexplained == ("db",)
    assert "db: no reason is given" in lines(difference(after, web1="busy"))


def test_reasons_of_several_stages_are_joined() -> None:
    chain: list[dict[str, Any]] = [
        {"x-lab": {"changes": {"db": "has a standby"}}},
        {"x-lab": {}},
        {"x-lab": {"changes": {"db": "waits for it", "lb": "two"}}},
    ]
    assert joined_reasons(chain) == {"db": "has a standby; then waits for it", "lb": "two"}


# In words


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("edge, app", "edge, app_eu", "-app +app_eu"),
        ("host=db1,db2 user=x", "host=db1,db2,db3 user=x", "+db3"),
        ("KILL NET_RAW", "KILL", "-NET_RAW"),
        ("one", "two", "one -> two"),
        ("150 ms", "300 ms", "150 ms -> 300 ms"),
        ("a b", "c d", "a b -> c d"),
    ],
)
def test_of_a_list_what_comes_and_what_goes_is_said(old: str, new: str, said: str) -> None:
    found = StageDiff("x", ((), ()), (), (), (), (), (), (), (Changed(("web1",), "why", (Setting("", "s", old, new),)),))
    assert lines(found)[-1] == f"  s {said}"


@given(st.lists(st.text("abc ", min_size=1, max_size=40), min_size=1, max_size=30))
def test_no_line_is_wider_than_a_terminal(words: list[str]) -> None:
    found = tuple(Setting("", f"name_{index}", "", word) for index, word in enumerate(words))
    said = lines(StageDiff("x", ((), ()), (), (), (), (), (), (), (Changed(("web1",), "why", found),)))
    assert all(len(line) <= WIDTH for line in said)
    assert all(f"name_{index}" in " ".join(said) for index in range(len(words)))


# The command


def test_command_compares_with_the_stage_before(lab: Lab) -> None:  # noqa: F811 - the fixture
    done = lab("diff", "6")
    assert done.code == EXIT_HELD
    assert done.out.splitlines()[0] == "stage 5 (Redundant load balancers) -> stage 6 (Multi availability zone)"
    assert done.out == lab("diff", "5", "6").out == lab("diff", "6", "5").out
    assert "node_considered_unhealthy_timeout 1 ms -> 500 ms" in done.out


def test_stage_5_goes_on_from_the_automatic_stage_4(lab: Lab) -> None:  # noqa: F811 - the fixture
    assert lab("diff", "5").out.startswith("stage 4 (Database replication, automatic) -> stage 5")
    assert lab("diff", "4:automatic").out.startswith(
        "stage 4 (Database replication) -> stage 4 (Database replication, automatic)"
    )


def test_reasons_come_from_every_stage_between_two(lab: Lab) -> None:  # noqa: F811 - the fixture
    out = lab("diff", "4", "5").out
    assert "a commit waits for the standby" in out
    assert "no reason is given" not in out


@pytest.mark.parametrize("stage", all_stages()[1:], ids=lambda stage: stage.project)
def test_json_is_one_document_with_all_of_it(lab: Lab, stage: Any) -> None:  # noqa: F811 - the fixture
    name = f"{stage.number}:{stage.failover}" if stage.number == 4 else str(stage.number)
    document = json.loads(lab("diff", name, "--json").out)
    before = all_stages()[all_stages().index(stage) - 1]
    assert document["before"] == {
        "stage": before.number,
        "folder": before.folder,
        "file": before.file.name,
        "title": before.title,
    }
    assert document["after"]["file"] == stage.file.name
    found = compare_stages(before, [stage])
    assert [tuple(each["boxes"]) for each in document["changed"]] == [each.boxes for each in found.changed]
    assert all(each["reason"] for each in document["changed"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("9",), "there is no stage '9'"),
        (("2", "nowhere"), "there is no stage 'nowhere'"),
        (("1",), "stage 1 is the first"),
        (("5", "5"), "5 and 5 are the same stage"),
        (("4:manual",), "stage 4 has no failover 'manual'"),
    ],
)
def test_what_cannot_be_compared_is_an_error_of_usage(lab: Lab, arguments: tuple[str, ...], message: str) -> None:  # noqa: F811 - the fixture
    done = lab("diff", *arguments)
    assert (done.code, done.out) == (EXIT_USAGE, "")
    assert message in done.err


def test_a_file_that_cannot_be_read_any_more_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text("services: [", encoding="utf-8")
    with pytest.raises(UsageError, match=r"compose\.yaml:1"):
        compare_stages(find("2"), [replace(find("3"), file=broken)])
