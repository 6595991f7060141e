"""A project of one's own as a stage and an experiment."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.errors import UsageError
from lab.model.fault import FaultKind, Step
from lab.model.measures import Expectation
from lab.model.topology import Box, Page
from lab.spec.own_stack import (
    HAPPENS,
    Project,
    Settings,
    check_runs,
    check_target,
    experiment_of,
    page_of,
    project_of,
    read_settings,
    stage_of,
)
from lab.spec.targets import resolve
from tests.unit.helpers import box

SHOP = Project("shop", Path("compose.yaml"), ("app", "job", "lb"), {"front": "shop_front", "back": "shop_back"})
PAGE = Page("lb", 8080, "/", "Welcome")


def foreign(service: str, *roles: str, **changes: Any) -> Box:
    """A box of the shop as a visit finds it."""
    return box(service, (service.partition("#")[0], *roles), **{"stage": 0, "project": "shop", "labels": {}, **changes})


BOXES = [foreign("app", "web"), foreign("app#2", "web"), foreign("lb", "entry"), foreign("job", status="exited")]


def refused(message: str, work: Any, *arguments: Any) -> UsageError:
    with pytest.raises(UsageError, match=message) as caught:
        work(*arguments)
    assert caught.value.hint
    return caught.value


# The Compose file


def test_project_is_what_compose_says() -> None:
    said = {
        "name": "shop",
        "services": {"lb": {}, "job": {}, "app": None},
        "networks": {"front": {"name": "shop_front"}, "back": {"name": "shop_back"}},
    }
    assert project_of(Path("compose.yaml"), said) == SHOP
    assert project_of(Path("c"), {"name": "shop", "services": {"a": {}}, "networks": {"default": None}}).networks == {
        "default": "default"
    }


@pytest.mark.parametrize("said", [{}, {"name": "shop"}, {"name": "shop", "services": {}}, {"services": {"a": {}}}])
def test_file_without_services_is_no_project(said: dict[str, Any]) -> None:
    refused("has no services", project_of, Path("c.yaml"), said)


def test_stage_of_the_lab_is_not_visited() -> None:
    refused("is a stage of the lab", project_of, Path("c.yaml"), {"name": "redundancy-lab-3", "services": {"web1": {}}})


# lab.yaml


def settings(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "lab.yaml").write_text(text)
    return read_settings(tmp_path / "lab.yaml", SHOP)


def test_no_file_is_what_is_usual(tmp_path: Path) -> None:
    found = read_settings(tmp_path / "lab.yaml", SHOP)
    assert found == Settings()
    assert [str(each) for each in found.expectations] == ["downtime_longest_s at most 1"]


def test_everything_may_be_said_and_everything_left_out(tmp_path: Path) -> None:
    text = (
        "url: http://lb/\ncontains: Welcome\nnetwork: front\nroles: {web: [app], all-of-it: [app, lb]}\n"
        "baseline_s: 1\nfault_duration_s: 2\ncooldown_s: 3\nexpect: {reads_failed: {at_most: 3}}\n"
    )
    found = settings(tmp_path, text)
    assert (found.url, found.contains, found.network) == ("http://lb/", "Welcome", "front")
    assert (found.baseline_s, found.fault_duration_s, found.cooldown_s) == (1, 2, 3)
    assert found.expectations == (Expectation("reads_failed", 3, None),)
    assert found.roles_of == {"app": ("web", "all-of-it"), "lb": ("all-of-it",)}
    assert settings(tmp_path, "url: http://lb/\n") == Settings(url="http://lb/")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("ulr: x\n", 1, "'ulr' is not known here"),
        ("url: 3\n", 1, "url must be a line of text"),
        ("url:\n", 1, "'url' is empty"),
        ("roles: [web]\n", 1, "roles must be a mapping"),
        ("roles:\n  web: app\n", 2, "web must be a list of services"),
        ("roles:\n  web: []\n", 2, "web must be a list of services"),
        ("roles:\n  web: [web1]\n", 2, "there is no service 'web1' in shop"),
        ("roles:\n  app: [lb]\n", 2, "'app' cannot be a role"),
        ("roles:\n  internet: [lb]\n", 2, "'internet' cannot be a role"),
        ("roles:\n  'zone:a': [lb]\n", 2, "'zone:a' cannot be a role"),
        ("fault_duration_s: long\n", 1, "fault_duration_s must be a number"),
        ("expect:\n  writes_lost: {at_most: 0}\n", 2, "'writes_lost' is not measured"),
        ("expect:\n  split_brain_s: {at_most: 0}\n", 2, "'split_brain_s' is not measured"),
        ("expect:\n  downtime_longest_s: {at_most: soon}\n", 2, "at_most must be a number"),
        ("expect: {}\n", 1, "expect must name at least one measure"),
        ("url: [\n", 2, "this is not YAML"),
    ],
)
def test_what_is_malformed_is_named_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, text)
    assert f"lab.yaml:{line}: {says}" in caught.value.message


# The URL


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("http://lb:8080/", Page("lb", 8080, "/")),
        ("http://lb", Page("lb", 80, "/")),
        ("http://lb/a/b?c=d&e=%20#f", Page("lb", 80, "/a/b?c=d&e=%20")),
        ("http://172.18.0.5:81/x", Page("172.18.0.5", 81, "/x")),
    ],
)
def test_url_is_taken_apart_and_put_together(url: str, page: Page) -> None:
    assert page_of(url, "") == page
    assert page_of(page.url, "") == page


@pytest.mark.parametrize(
    "url", ["", "lb:8080", "https://lb/", "http://", "http://lb:port/", "http://lb:99999/", "http://a:b@lb/", "http://lb/ü", "http://lb/a b", "file:///etc"]
)  # fmt: skip
def test_what_is_no_plain_http_url(url: str) -> None:
    refused("URL", page_of, url, "")


def test_port_that_goes_without_saying_is_not_said_to_the_server() -> None:
    assert page_of("http://lb:80/", "").authority == "lb"
    assert page_of("http://lb:81/", "").authority == "lb:81"


# As a stage


def test_stage_has_the_boxes_that_run() -> None:
    stage = stage_of(SHOP, PAGE, [*BOXES, box("internet", ("internet",), stage=0)])
    assert [spec.name for spec in stage.services] == ["app", "app#2", "lb"]
    assert (stage.number, stage.folder, stage.place, stage.entry) == (0, "own-shop", "own-shop", ("lb", 8080))
    assert stage.is_foreign
    assert not stage.is_watched
    assert stage.page == PAGE


@pytest.mark.parametrize("target", ["app", "web", "entry", "lb", "service:lb", "service:app,lb", "service:app#2"])
def test_target_that_is_named(target: str) -> None:
    check_target(target, SHOP, Settings(roles={"web": ("app",), "entry": ("lb",)}))
    check_runs(target, SHOP, BOXES)
    assert resolve(target, BOXES, Random(1))


@pytest.mark.parametrize(
    "target", ["random", "all:web", "label:a=b", "zone:a", "service:", "db", "service:db", "service:web", ""]
)
def test_nothing_is_meant_without_being_named(target: str) -> None:
    refused("names no service|there is no service", check_target, target, SHOP, Settings(roles={"web": ("app",)}))


def test_box_that_is_not_there_or_not_running_is_not_started() -> None:
    hint = "docker compose -p shop -f compose.yaml up -d"
    assert refused("'job' is exited, not running", check_runs, "job", SHOP, BOXES).hint == hint
    assert refused("'job' has no container", check_runs, "service:job", SHOP, BOXES[:3]).hint == hint
    refused("'app#3' has no container", check_runs, "service:app#3", SHOP, BOXES)


def test_of_several_copies_only_those_that_run_are_meant_by_their_role() -> None:
    replicas = [box("app", ("app",)), box("app#2", ("app",), status="exited"), box("app#3", ("app",))]
    check_runs("app", SHOP, replicas)
    assert {each.service for seed in range(20) for each in resolve("app", replicas, Random(seed))} == {"app", "app#3"}
    refused("'app#2' is exited, not running", check_runs, "service:app#2", SHOP, replicas)
    refused(
        "'app' has no container in the project shop; its copies that run are app#3", check_runs, "service:app", SHOP, replicas[1:]
    )
    refused("'app#2' is exited, not running", check_runs, "app", SHOP, replicas[1:2])


def test_experiment_is_one_fault_and_what_lab_yaml_expects() -> None:
    found = experiment_of(Step(FaultKind.KILL, "service:app#2,lb"), Settings(fault_duration_s=3))
    assert (found.name, found.title) == ("kill-app-2-lb", "app#2 and lb are killed")
    assert (found.fault_duration_s, len(found.faults)) == (3, 1)
    assert found.expectations == Settings().expectations
    assert {kind.value for kind in HAPPENS} == {"kill", "stop", "pause", "disconnect"}


def test_without_a_fault_nothing_is_broken() -> None:
    found = experiment_of(None, Settings())
    assert (found.name, found.breaks) == ("baseline", False)


@pytest.mark.parametrize("name", ["random", "internet", "wan"])
def test_a_service_is_not_called_what_means_another_box_to_the_lab(name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be called '{name}'"):
        project_of(Path("compose.yaml"), {"name": "shop", "services": {"app": {}, name: {}}})


def test_a_service_may_be_called_as_the_monitoring_box_is_which_is_not_there_on_a_visit() -> None:
    found = project_of(Path("compose.yaml"), {"name": "shop", "services": {"app": {}, "watch": {}}})
    assert found.services == ("app", "watch")
