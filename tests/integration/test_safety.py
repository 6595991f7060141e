"""Bad input and bad circumstances: one clear line, the right exit code, nothing left behind. Foreign containers are safe."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine.engine import Engine
from lab.errors import EXIT_PREFLIGHT, EXIT_USAGE
from lab.spec import stages
from tests.integration.driver import Lab, container, docker, reach, states

pytestmark = pytest.mark.docker
night = pytest.mark.night

DECOY = "decoy-web1"


@pytest.fixture
def decoy() -> Iterator[str]:
    """A container that looks as much like one of ours as it can without being one."""
    labels = {"com.docker.compose.project": "redundancy-lab-3", "com.docker.compose.service": "web1", "lab.role": "web"}
    flags = [flag for key, value in labels.items() for flag in ("--label", f"{key}={value}")]
    other = docker(
        "run",
        "--detach",
        "--name",
        "decoy-other",
        "--label",
        "lab.stage=3",
        "--label",
        "lab.role=web",
        "redundancy-lab/base",
        "sleep",
        "600",
    )
    ours = docker("run", "--detach", "--name", DECOY, *flags, "redundancy-lab/base", "sleep", "600")
    before = _facts(ours), _facts(other)
    yield DECOY
    after = _facts(ours), _facts(other)
    docker("rm", "--force", ours, other)
    assert before == after


def _facts(container_id: str) -> tuple[str, ...]:
    [details] = json.loads(docker("inspect", container_id))
    state = details["State"]
    return state["Status"], state["StartedAt"], str(state["Pid"]), str(details["RestartCount"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", "9"], "there is no stage '9'"),
        (["run", "3", "nonsense"], "there is no experiment 'nonsense'"),
        (["run", "3", "kill-box"], "matches no box"),
        (["run", "3", "kill-web", "--failover", "automatic"], "no failover"),
        (["chaos", "kill", "web"], "no stage is up"),
        (["down"], "which stage?"),
    ],
)
def test_bad_arguments_start_nothing(nothing_up: Lab, engine: Engine, arguments: list[str], says: str) -> None:
    done = nothing_up(*arguments)
    assert done.code == EXIT_USAGE
    assert says in done.error_line
    assert "hint: " in done.err
    assert engine.leftovers() == []


def test_bad_yaml_names_its_line(nothing_up: Lab, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("title: mine\nquestion: what?\nfault: explode\ntarget: web\nexpect: {writes_lost: {at_most: 0}}\n")
    done = nothing_up("run", "3", str(file))
    assert done.code == EXIT_USAGE
    assert "mine.yaml:3: " in done.error_line
    assert engine.leftovers() == []


def test_a_target_that_matches_nothing_breaks_nothing(stage_3: Lab) -> None:
    for target in (
        "nobody",
        "service:nobody",
        "label:lab.zone=a",
        "all:nobody",
        "random:nobody",
        "internet",
        "service:internet",
        "what:ever",
    ):
        done = stage_3("chaos", "kill", target)
        assert done.code == EXIT_USAGE, target
        assert done.error_line
    assert set(states(3).values()) == {"running"}


def test_another_stage_is_up(stage_3: Lab) -> None:
    done = stage_3("up", "2")
    assert done.code == EXIT_PREFLIGHT
    assert "stage 3 is up" in done.error_line
    assert "--stop-others" in done.err
    assert states(2) == {}
    assert set(states(3).values()) == {"running"}


def test_a_port_that_is_taken(nothing_up: Lab, engine: Engine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = nothing_up("up", "3", LAB_PORT=port)
    assert done.code == EXIT_PREFLIGHT
    assert f"port {port} on 127.0.0.1 is taken" in done.error_line
    assert "LAB_PORT=" in done.err
    assert engine.leftovers() == []


def test_not_enough_memory(nothing_up: Lab, engine: Engine) -> None:
    done = nothing_up("run", "3", "kill-web", LAB_MEMORY_MAX_MIB="100")
    assert done.code == EXIT_PREFLIGHT
    assert "not enough memory" in done.error_line
    assert engine.leftovers() == []


def test_an_engine_that_is_stopped(nothing_up: Lab) -> None:
    for command in (
        ["up", "3"],
        ["run", "3", "kill-web"],
        ["status"],
        ["heal"],
        ["down", "3"],
        ["chaos", "kill", "web"],
        ["selftest"],
    ):
        done = nothing_up(*command, DOCKER_HOST="unix:///nonexistent.sock")
        assert done.code == EXIT_PREFLIGHT, command
        assert "no Docker Engine answers" in done.error_line
    assert nothing_up("doctor", DOCKER_HOST="unix:///nonexistent.sock").code == EXIT_PREFLIGHT


@night
def test_a_project_name_in_the_environment_changes_nothing(stage_3: Lab, decoy: str) -> None:
    assert stage_3("up", "3", COMPOSE_PROJECT_NAME="decoys").code == 0
    assert stage_3("down", "3", COMPOSE_PROJECT_NAME="decoys").code == 0
    assert stage_3("up", "3", COMPOSE_PROJECT_NAME="decoys").code == 0
    assert len(states(3)) == len(stages.find("3").services) + 1
    assert docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=decoys") == ""


def test_two_controllers_at_once(stage_3: Lab) -> None:
    first = stage_3.start("run", "3", "baseline", "--duration", "3s")
    reach(first, "baseline")
    second = stage_3("run", "3", "kill-web")
    assert second.code == EXIT_PREFLIGHT
    assert "busy" in second.error_line
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_boxes_may_do_nothing_they_need_not(stage_3: Lab, engine: Engine) -> None:
    for box in engine.boxes(3):
        [details] = json.loads(docker("inspect", box.id))
        assert details["HostConfig"]["CapDrop"] == ["ALL"], box.service
        assert details["HostConfig"]["Memory"] > 0
        assert not any("docker.sock" in mount.get("Source", "") for mount in details["Mounts"])
        for bindings in (details["HostConfig"]["PortBindings"] or {}).values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
        assert docker("exec", box.id, "id", "-u") != "0"


def test_a_database_asks_for_a_password(stage_3: Lab) -> None:
    for user in ("postgres", "orderdesk", "auditor"):
        code = f"import psycopg; psycopg.connect('host=198.18.3.35 dbname=postgres user={user} connect_timeout=3')"
        done = docker("exec", container(3, "internet"), "sh", "-c", f'python -c "{code}" 2>&1 || true')
        assert "password" in done


# Last: afterwards no stage is up.
def test_foreign_containers_are_never_touched(stage_3: Lab, decoy: str) -> None:
    for target in ("service:web1", "all:web", "random:web", "web", "label:lab.role=web"):
        stage_3.must("chaos", "kill", target, "--for", "100ms")
    for target in (decoy, "decoy-other"):
        assert stage_3("chaos", "kill", target).code == EXIT_USAGE
    stage_3.must("heal")
    stage_3.must("down", "--all")
    assert states(3) == {"decoy-other": "running"}
