"""The example of docs/own-stack.md: measured, healed, and left as it was found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import EXIT_HELD, EXIT_INTERRUPTED, EXIT_PREFLIGHT, EXIT_REFUTED, EXIT_USAGE
from lab.process import wait_until
from lab.spec.stages import ROOT
from lab.store.paths import STATE_FOLDER
from tests.integration.driver import Done, Lab, docker, reach, until_valid

pytestmark = pytest.mark.docker
night = pytest.mark.night

FILE = ROOT / "docs" / "examples" / "own-stack" / "compose.yaml"
PROJECT = "own-stack-test"
LEDGER = STATE_FOLDER / "undo.jsonl"
ENDED_TIMEOUT_S = 60.0


def compose(*arguments: str) -> None:
    command = ["docker", "compose", "-p", PROJECT, "-f", str(FILE), *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def shop(lab: Lab) -> Iterator[Lab]:
    """The example runs, started as a user starts it; beside it a command of the same project, and another project."""
    compose("up", "--detach", "--wait")
    yield lab
    compose("down", "--timeout", "0")


def facts() -> dict[str, Any]:
    """What must be the same before and after: the containers (but for when they were started), their networks, who is in them."""
    ids = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
    found: dict[str, Any] = {}
    for details in json.loads(docker("inspect", *ids)):
        networks = details["NetworkSettings"]["Networks"]
        names = {name: sorted(each["Aliases"] or []) for name, each in networks.items()}
        found[details["Name"]] = (details["Id"], details["State"]["Status"], names, details["Config"], details["HostConfig"])
    for network in ("front", "back"):
        [details] = json.loads(docker("network", "inspect", f"{PROJECT}_{network}"))
        found[network] = (details["Id"], sorted(each["Name"] for each in details["Containers"].values()))
    return found


def started_at(name: str) -> str:
    return docker("inspect", "--format", "{{.State.StartedAt}}", f"{PROJECT}-{name}")


def run(shop: Lab, *options: str) -> Done:
    return shop("run", "--compose", str(FILE), "--project", PROJECT, *options)


def measured(shop: Lab, *options: str) -> tuple[int, dict[str, Any]]:
    """A run with a valid trial: its exit code and its document."""

    def measure() -> tuple[int, dict[str, Any]]:
        done = run(shop, "--json", *options)
        assert done.out, done.err
        return done.code, json.loads(done.out)

    return until_valid(measure)


def test_one_of_two_copies_may_fail(shop: Lab) -> None:
    before, lb_since = facts(), started_at("lb-1")
    code, document = measured(shop, "--kill", "app", "--seed", "7")
    [trial] = document["trials"]
    assert (code, document["verdict"]) == (EXIT_HELD, "held"), trial
    assert trial["targets"][0] in ("app", "app#2")
    assert trial["downtime_longest_s"] < 1.0
    assert trial["reads"]["intended"] == trial["intended"] > 500
    assert len(trial["served_by"]) == 2
    assert (document["stage"], document["stage_folder"], document["url"]) == (None, f"own-{PROJECT}", "http://lb:8080/")
    assert (trial["writes"], trial["writes_audit"], document["summary"]["writes_lost_total"]) == (None, None, None)
    assert facts() == before
    assert started_at("lb-1") == lb_since


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("kill", "connect-"),
        pytest.param("pause", "timeout", marks=night),
        pytest.param("stop", "connect-", marks=night),
        pytest.param("disconnect", "connect-", marks=night),
    ],
)
def test_the_only_balancer_is_a_single_point_of_failure(shop: Lab, fault: str, reason: str) -> None:
    before = facts()
    code, document = measured(shop, f"--{fault}", "lb", "--duration", "3s")
    [trial] = document["trials"]
    assert (code, document["verdict"]) == (EXIT_REFUTED, "refuted"), trial
    assert trial["targets"] == ["lb"]
    assert trial["downtime_censored"]
    lasted_s = trial["phases"]["heal_s"] - trial["phases"]["inject_s"]
    assert trial["downtime_longest_s"] == pytest.approx(lasted_s, abs=0.5)
    assert any(kind.startswith(reason) for kind in trial["errors"])
    assert trial["phases"]["recover_s"] > trial["phases"]["heal_s"]
    assert facts() == before


def test_an_interrupt_heals_and_leaves_nothing(shop: Lab) -> None:
    before = facts()
    assert end(under_fault(shop), signal.SIGTERM) == EXIT_INTERRUPTED
    assert facts() == before
    assert not LEDGER.exists()


def test_after_a_killed_controller_heal_mends(shop: Lab) -> None:
    before = facts()
    end(under_fault(shop), signal.SIGKILL)
    assert docker("inspect", "--format", "{{.State.Status}}", f"{PROJECT}-lb-1") == "exited"
    assert "'lab heal'" in shop("status").err
    assert run(shop, "--kill", "lb").code == EXIT_PREFLIGHT
    healed = shop.must("heal")
    assert "internet box" in healed.err
    assert facts() == before
    assert not LEDGER.exists()


def under_fault(shop: Lab) -> subprocess.Popen[str]:
    """A run whose fault is in effect."""
    process = shop.start("run", "--compose", str(FILE), "--project", PROJECT, "--kill", "lb", "--duration", "30s")
    reach(process, "observe")
    return process


def end(process: subprocess.Popen[str], number: signal.Signals) -> int:
    process.send_signal(number)
    process.communicate(timeout=ENDED_TIMEOUT_S)
    return process.returncode


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--kill", "db"], EXIT_USAGE, f"there is no service 'db' in {PROJECT}"),
        pytest.param(["--kill", "service:app#3"], EXIT_USAGE, "'app#3' has no container", marks=night),
        pytest.param(["--kill", "random"], EXIT_USAGE, "there is no service 'random'", marks=night),
        pytest.param(["--kill", "all:web"], EXIT_USAGE, "'all:web' names no service", marks=night),
        pytest.param(
            ["--url", "http://www:8080/", "--kill", "lb"], EXIT_USAGE, "no service or alias 'www' in this project", marks=night
        ),
        pytest.param(
            ["--url", "http://lb:9999/", "--kill", "lb"],
            EXIT_PREFLIGHT,
            "http://lb:9999/ does not answer as it should: connect-refused",
            marks=night,
        ),
        (["--url", "http://lb:8080/", "--contains", "Bye", "--kill", "lb"], EXIT_PREFLIGHT, "wrong-body"),
        pytest.param(
            ["--project", "nobody-has-this", "--kill", "lb"],
            EXIT_USAGE,
            "no container of the project nobody-has-this is running",
            marks=night,
        ),
    ],
)
def test_bad_input_breaks_nothing(shop: Lab, options: list[str], code: int, says: str) -> None:
    before, since = facts(), started_at("lb-1")
    done = run(shop, *options)
    assert done.code == code, done.err
    assert says in done.error_line
    assert "hint: " in done.err
    assert (facts(), started_at("lb-1")) == (before, since)


def test_a_file_that_is_not_the_one_that_runs_is_refused(shop: Lab, tmp_path: Path) -> None:
    other = tmp_path / "compose.yaml"
    other.write_text(f"name: {PROJECT}\nservices: {{lb: {{image: redundancy-lab/base}}}}\n")
    done = shop("run", "--compose", str(other), "--url", "http://lb:8080/", "--kill", "lb")
    assert done.code == EXIT_USAGE
    assert "was started from" in done.error_line
    other.write_text("services:\n  lb: [\n")
    assert ":2: " in shop("run", "--compose", str(other), "--kill", "lb").error_line


@night
def test_a_service_that_is_down_is_not_started(shop: Lab) -> None:
    try:
        docker("stop", "--time", "1", f"{PROJECT}-lb-1")
        before = facts()
        done = run(shop, "--url", "http://app:8080/", "--kill", "lb")
        assert done.code == EXIT_USAGE
        assert "'lb' is exited, not running" in done.error_line
        assert "up -d" in done.err
        assert facts() == before
    finally:
        docker("start", f"{PROJECT}-lb-1")
        assert wait_until(lambda: run(shop, "--dry-run").code == EXIT_HELD, 30)


def test_other_projects_and_commands_beside_it_are_left_alone(shop: Lab) -> None:
    """As much like the balancer as can be: by its labels a command of the project, and a box of another project."""
    labels = {"com.docker.compose.service": "lb", "com.docker.compose.container-number": "1"}
    decoys = [
        {**labels, "com.docker.compose.project": PROJECT, "com.docker.compose.oneoff": "True"},
        {**labels, "com.docker.compose.project": f"{PROJECT}-2"},
    ]
    ids = [start(each) for each in decoys]
    try:
        code, document = measured(shop, "--kill", "lb", "--duration", "1500ms")
        assert (code, document["trials"][0]["targets"]) == (EXIT_REFUTED, ["lb"])
        for id_ in ids:
            [details] = json.loads(docker("inspect", id_))
            assert (details["State"]["Status"], details["RestartCount"]) == ("running", 0)
            assert details["State"]["FinishedAt"].startswith("0001")
    finally:
        docker("rm", "--force", *ids)


def start(labels: dict[str, str]) -> str:
    flags = [flag for key, value in labels.items() for flag in ("--label", f"{key}={value}")]
    return docker("run", "--detach", *flags, "redundancy-lab/base", "sleep", "600")


def test_the_example_needs_no_option_that_the_guide_does_not_name() -> None:
    guide = (ROOT / "docs" / "own-stack.md").read_text(encoding="utf-8")
    assert "lab run --compose compose.yaml --kill app" in guide
    assert "lab run --compose compose.yaml --kill lb" in guide
    assert os.path.exists(FILE.parent / "lab.yaml")
