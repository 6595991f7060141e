"""Another process brings back what a trial has broken: that is said, and the outage that it ended is a lower bound."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from lab.errors import EXIT_REFUTED
from lab.process import wait_until
from tests.integration.driver import Lab, container, docker, ended, goes_on, states, until_valid

pytestmark = pytest.mark.docker
night = pytest.mark.night

NOTE = "not by this run: what this ended did not end by itself"


def under_fault(lab: Lab, state: str, *arguments: str) -> subprocess.Popen[str]:
    """A run whose fault is in effect: it has brought the database of stage 2 into that state."""
    run = lab.start("run", *arguments, "--json")
    assert wait_until(lambda: states(2)[container(2, "db")] == state, 30.0), states(2)
    return run


def test_a_strangers_start_is_said_and_its_outage_is_censored(stage_2: Lab) -> None:
    def measure() -> tuple[int, dict[str, Any]]:
        run = under_fault(stage_2, "exited", "2", "kill-db", "--duration", "6s")
        # Longer than an order may wait: users do notice.
        goes_on(run, 1.5)
        docker("start", container(2, "db"))
        document = ended(run)
        return run.returncode, document

    code, document = until_valid(measure)
    [trial] = document["trials"]
    assert [note for note in trial["notes"] if "db: start" in note and note.endswith(NOTE)]
    [outage] = trial["write_outages"]
    assert outage["censored"]
    # It was cut when the stranger came, long before the lab healed.
    assert outage["end_s"] < trial["phases"]["heal_s"] - 3
    # More than a second of outage is known, and how much it would have become is not.
    [check] = [each for each in trial["checks"] if each["measure"] == "downtime_longest_s"]
    assert check["low"] == pytest.approx(outage["end_s"] - outage["start_s"], abs=0.1)
    assert check["high"] is None
    assert (document["verdict"], code) == ("refuted", EXIT_REFUTED)
    # Redundancy (of a stage that has none: that it serves) is dated when it was back, not when the lab looked.
    assert outage["end_s"] < trial["phases"]["redundancy_restored_s"] < trial["phases"]["heal_s"]
    assert trial["writes_audit"]["lost"] == 0
    assert set(states(2).values()) == {"running"}


@night
def test_a_strangers_unpause_is_said_too(stage_2: Lab) -> None:
    run = under_fault(stage_2, "paused", "2", "pause-db", "--duration", "6s")
    # Longer than a request's deadline: users do notice.
    goes_on(run, 2.0)
    docker("unpause", container(2, "db"))
    [trial] = ended(run)["trials"]
    assert [note for note in trial["notes"] if "db: unpause" in note and note.endswith(NOTE)]
    assert [outage["censored"] for outage in trial["write_outages"]] == [True]


@night
def test_a_restart_policy_is_the_systems_own_doing(stage_3: Lab) -> None:
    trial = stage_3.valid_trial(3, "crash-db")
    assert not [note for note in trial["notes"] if NOTE in note]
    assert not any(outage["censored"] for outage in trial["write_outages"])
