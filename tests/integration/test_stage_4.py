"""Stage 4: a standby that follows, an operator who promotes, and what becomes of the old primary; and a monitor instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.engine.engine import Engine
from lab.errors import EXIT_HELD, EXIT_REFUTED, EXIT_USAGE
from lab.model.observation import DatabaseState
from lab.spec import stages
from tests.integration.clusters import look
from tests.integration.driver import Lab, not_held, until_valid
from tests.integration.likeness import assert_like

pytestmark = pytest.mark.docker
night = pytest.mark.night

OPERATOR = """
title: The primary is lost and an operator comes soon
question: What does a failover by hand cost?
fault: {fault}
target: db.primary
operator: {{delay_s: 3, action: promote}}
fault_duration_s: 3
expect:
  downtime_longest_s: {{at_most: 6.0}}
  split_brain_s: {{at_most: 0}}
"""


def states(engine: Engine) -> dict[str, DatabaseState]:
    return look(engine, stages.find("4")).databases


def assert_redundant(engine: Engine) -> None:
    assert sorted(states(engine).values()) == [DatabaseState.PRIMARY, DatabaseState.STANDBY]


def with_operator(folder: Path, fault: str) -> str:
    file = folder / f"{fault}-and-operator.yaml"
    file.write_text(OPERATOR.format(fault=fault))
    return str(file)


def changed_over(stage_4: Lab, engine: Engine, file: str) -> tuple[tuple[dict[str, DatabaseState], int], dict[str, Any]]:
    """The databases before a run, and its exit code; its document."""
    before = states(engine)
    code, document = stage_4.run(4, file)
    return (before, code), document


@night
def test_without_an_operator_nothing_happens(stage_4: Lab, engine: Engine) -> None:
    code, document = stage_4.valid_run(4, "kill-primary", "--duration", "4s")
    [trial] = document["trials"]
    assert code == EXIT_REFUTED
    assert trial["downtime_censored"]
    assert trial["writable_databases"]["no_writer_s"] > 3
    assert trial["writes_audit"]["lost"] == 0
    assert_redundant(engine)


def test_the_operator_ends_the_outage(stage_4: Lab, engine: Engine, tmp_path: Path) -> None:
    (before, code), document = until_valid(lambda: changed_over(stage_4, engine, with_operator(tmp_path, "kill")))
    [trial] = document["trials"]
    assert code == EXIT_HELD, not_held(trial)
    phases = trial["phases"]
    assert phases["impact_s"] < phases["operator_s"] < phases["promoted_s"]
    # 1.1 to 2.4 s of the outage are the machines' (the lesson of stage 4), the rest is the operator's way.
    assert 0.5 <= phases["recover_s"] - phases["operator_s"] <= 4.8
    assert trial["writable_databases"]["multiple_writers_s"] == 0
    assert_redundant(engine)
    assert {name for name, state in before.items() if state is DatabaseState.PRIMARY} == set(trial["targets"])
    assert states(engine) != before


def test_an_old_primary_that_thaws_makes_two(stage_4: Lab, engine: Engine, tmp_path: Path) -> None:
    code, document = stage_4.valid_run(4, with_operator(tmp_path, "pause"))
    [trial] = document["trials"]
    assert code == EXIT_REFUTED
    assert trial["writable_databases"]["multiple_writers_s"] > 0
    assert any(failure.startswith("split_brain_s") for failure in trial["failed_expectations"])
    assert_redundant(engine)


@night
@pytest.mark.parametrize("experiment", ["kill-standby", "pause-standby"])
def test_an_asynchronous_standby_is_not_missed(stage_4: Lab, engine: Engine, experiment: str) -> None:
    code, document = stage_4.valid_run(4, experiment, "--duration", "3s")
    [trial] = document["trials"]
    assert code == EXIT_HELD, not_held(trial)
    assert trial["writes_audit"]["lost"] == 0
    assert_redundant(engine)


def test_the_operator_is_careful(stage_4: Lab, engine: Engine) -> None:
    before = states(engine)
    refused = stage_4("promote")
    assert refused.code == EXIT_USAGE
    assert "still accepts writes" in refused.error_line
    assert states(engine) == before
    fenced = stage_4.must("promote", "--fence")
    assert "fenced" in fenced.err
    assert "promoted" in fenced.err
    again = stage_4("promote")
    assert again.code == EXIT_USAGE
    assert "no standby" in again.error_line
    stage_4.must("heal")
    assert_redundant(engine)
    assert states(engine) != before


# With a monitor, failover is automatic


def test_with_a_monitor_no_operator_is_needed(stage_4_automatic: Lab) -> None:
    trial = stage_4_automatic.safe_trial(4, "kill-primary", "--failover", "automatic", "--duration", "4s")
    assert_like(trial, "4:automatic/kill-primary", "writes_gap_s")


@night
def test_without_its_monitor_it_does_not_fail_over(stage_4_automatic: Lab) -> None:
    code, document = stage_4_automatic.valid_run(4, "kill-monitor-then-primary", "--failover", "automatic", "--duration", "3s")
    [trial] = document["trials"]
    assert code == EXIT_REFUTED, not_held(trial)
    assert trial["write_outages"][-1]["censored"]
    assert trial["writes_audit"]["lost"] == 0
