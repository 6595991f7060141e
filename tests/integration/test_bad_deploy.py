"""Releases with a defect: users notice, health checks do not; whatever becomes of the controller, heal sets the boxes back."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from lab.errors import EXIT_REFUTED, EXIT_USAGE
from lab.process import wait_until
from lab.store.undo_log import UndoLog
from tests.integration.condition import UNDONE_TIMEOUT_S
from tests.integration.driver import Lab, container, docker, kill_after_note
from tests.integration.test_gray_faults import ask

pytestmark = pytest.mark.docker
night = pytest.mark.night

KILLS = 3
WEB = ("web1", "web2")
ADDRESS = "198.18.1.34"
CANARY = ("bad-deploy", "service:web1", "--answer", "error")
EVERYWHERE = ("bad-deploy", "all:web", "--answer", "error")
SLOW = ("bad-deploy", "service:web2", "--answer", "slow", "--slow-ms", "700")
SOME = ("bad-deploy", "service:web1", "--answer", "error", "--percent", "30")
POISON = ("poison", "all:web", "--per-s", "2")
DEPLOYED = (CANARY, EVERYWHERE, SLOW, SOME, POISON)


def condition(number: int) -> dict[str, Any]:
    """The release of each web box, as it says itself and as its disk does, and how many senders of poison there are."""
    asked = ("lab-release || true", "ls /var/lib/orderdesk")
    found = {web: [docker("exec", container(number, web), "sh", "-c", each) for each in asked] for web in WEB}
    return {**found, "senders": senders(number)}


def senders(number: int) -> int:
    return docker("top", container(number, "internet"), "-eo", "pid,args").count("client.poison")


def is_healed(number: int) -> bool:
    return condition(number) == {"web1": ["good", ""], "web2": ["good", ""], "senders": 0}


def workers(number: int, service: str) -> set[str]:
    top = docker("top", container(number, service), "-eo", "pid,comm")
    return {line.split()[0] for line in top.splitlines()[1:] if line.split()[1] == "gunicorn"}


def directly(path: str) -> str:
    """What the balancer's box gets from web1 itself: the status; 000 where no answer comes."""
    ask_it = f"curl -s -m 2 -o /dev/null -w '%{{http_code}}' http://{ADDRESS}:8080{path} || true"
    return docker("exec", container(3, "lb"), "sh", "-c", ask_it)


def test_a_canary_answers_500_its_health_check_is_green_and_a_restart_does_not_help(stage_3: Lab) -> None:
    stage_3.must("chaos", *CANARY)
    assert [directly(path) for path in ("/orders", "/healthz", "/readyz")] == ["500", "200", "200"]
    # The balancer still sends users to both.
    assert {ask(stage_3) for _ in range(20)} == {200, 500}
    refused = stage_3("chaos", *CANARY)
    assert refused.code == EXIT_USAGE
    assert "web1 runs the release 'bad answer=error percent=100' already" in refused.error_line
    docker("restart", container(3, "web1"))
    assert wait_until(lambda: directly("/healthz") == "200", 20)
    assert directly("/orders") == "500"
    stage_3.must("heal")
    assert is_healed(3)
    assert {ask(stage_3) for _ in range(20)} == {200}


@night
def test_the_same_defect_everywhere_leaves_no_one_to_answer(stage_3: Lab) -> None:
    stage_3.must("chaos", *EVERYWHERE)
    assert {ask(stage_3, order) for order in (True, False) for _ in range(5)} == {500}
    stage_3.must("heal")
    assert is_healed(3)
    assert ask(stage_3, order=True) == 201


def test_a_request_that_kills_is_carried_from_box_to_box_until_it_is_healed(stage_3: Lab) -> None:
    stage_3.must("chaos", *POISON)
    assert senders(3) == 1
    before = {web: workers(3, web) for web in WEB}
    assert wait_until(lambda: all(workers(3, web) - before[web] for web in WEB), 20)
    stage_3.must("heal")
    assert is_healed(3)
    before = {web: workers(3, web) for web in WEB}
    # The ordinary stage has no such hole.
    assert docker("exec", container(3, "lb"), "curl", "-sg", f"http://{ADDRESS}:8080/orders?limit={'(' * 64}")
    assert {web: workers(3, web) for web in WEB} == before


@night
def test_heal_sets_back_what_no_note_is_of(stage_3: Lab) -> None:
    docker("exec", container(3, "web2"), "lab-release", "deploy", "bad", "answer=error")
    docker(
        "exec",
        "--user",
        "lab",
        container(3, "internet"),
        "setsid",
        "-f",
        "python",
        "-m",
        "client.poison",
        "198.18.0.10",
        "8080",
        "1",
    )
    done = stage_3.must("heal")
    assert "web2 ran the release 'bad answer=error': its own is deployed again" in done.out + done.err
    assert "internet was sending a request that kills: ended" in done.out + done.err
    assert is_healed(3)


@night
@pytest.mark.parametrize("fault", DEPLOYED, ids=" ".join)
def test_a_bad_release_is_set_back_by_itself(stage_3: Lab, fault: tuple[str, ...]) -> None:
    stage_3.must("chaos", *fault, "--for", "500ms")
    assert is_healed(3)
    assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("fault", DEPLOYED, ids=" ".join)
def test_heal_sets_back_however_early_the_controller_was_killed(stage_3: Lab, fault: tuple[str, ...]) -> None:
    random = Random(" ".join(fault))
    for _ in range(KILLS):
        kill_after_note(stage_3, ("chaos", *fault, "--for", "30s"), random.uniform(0, 2))
        assert UndoLog().entries()
        stage_3.must("heal")
        assert wait_until(lambda: is_healed(3), UNDONE_TIMEOUT_S), json.dumps(condition(3))
        assert UndoLog().entries() == []


@night
@pytest.mark.parametrize("experiment", ["bad-deploy-everywhere", "poison-everywhere"])
def test_no_stage_survives_a_defect_that_is_everywhere(stage_3: Lab, experiment: str) -> None:
    code, document = stage_3.valid_run(3, experiment, "--duration", "3s")
    assert (code, document["verdict"], document["expected_verdict"]) == (EXIT_REFUTED, "refuted", "refuted")
    [trial] = document["trials"]
    assert trial["downtime_longest_s"] > 2
    assert trial["writes_audit"]["lost"] == 0
    assert is_healed(3)


@night
def test_the_single_server_can_get_a_bad_release_too(stage_1: Lab) -> None:
    stage_1.must("chaos", "bad-deploy", "web", "--answer", "error")
    assert ask(stage_1) == 500
    stage_1.must("heal")
    assert ask(stage_1) == 200
