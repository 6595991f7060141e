"""The database that acknowledged alone is lost with its disk: no other one goes on until an operator has decided."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.engine.engine import Engine
from lab.errors import EXIT_HEAL_FAILED, EXIT_REFUTED, EXIT_USAGE
from lab.model.observation import DatabaseState
from lab.process import wait_until
from lab.spec import stages
from tests.integration.clusters import await_recovered, look
from tests.integration.driver import Lab, asked_of_monitor, container, docker, orders_in, primary

pytestmark = pytest.mark.docker

STAGE_5, STAGE_6 = stages.find("5"), stages.find("6")
EXPERIMENT = "kill-then-wipe-primary"
SETTLED_WITHIN_S = 60
TAKEN_OVER_WITHIN_S = 20
LIFTED = "SET lab.loss_is_accepted = 'yes'"
REMOVED = "SELECT pgautofailover.remove_node(nodeid, true) FROM pgautofailover.node WHERE nodename = '%s'"
WELL = "SELECT count(*) FROM pgautofailover.node WHERE reportedstate = goalstate AND goalstate IN ('primary', 'secondary') AND health = 1"


@pytest.fixture
def whole(stage_5: Lab, engine: Engine) -> Iterator[Lab]:
    """Stage 5, and whatever was decided: nothing is missing in the end."""
    yield stage_5
    if stage_5("heal").code:
        stage_5("promote", "--accept-loss")
        stage_5.must("heal")
    await_recovered(engine, STAGE_5)


def test_what_only_one_database_had_is_counted_as_lost(whole: Lab) -> None:
    code, document = whole.valid_run(5, EXPERIMENT)
    [trial] = document["trials"]
    assert code == EXIT_REFUTED
    audit = trial["writes_audit"]
    assert audit["complete"]
    assert 0 < audit["lost"] < audit["acknowledged"]
    assert trial["writable_databases"]["multiple_writers_s"] == 0
    # All databases show the same when the empty one has copied what is left.
    assert set(audit["differing"].values()) <= {0}


@pytest.mark.night
def test_the_older_database_serves_no_write_until_an_operator_decides(whole: Lab, engine: Engine) -> None:
    old = primary(engine, STAGE_5)
    heir = "db1" if old == "db2" else "db2"
    whole.must("chaos", "kill", f"service:{old}")
    assert wait_until(lambda: look(engine, STAGE_5).named(DatabaseState.PRIMARY) == [heir], TAKEN_OVER_WITHIN_S)
    # The watch box places two orders a second.
    before = orders_in(5, heir)
    assert wait_until(lambda: orders_in(5, heir) > before, TAKEN_OVER_WITHIN_S)
    whole.must("chaos", "wipe", f"service:{heir}")
    for _ in range(2):  # a second look finds the same
        healed = whole("heal")
        assert healed.code == EXIT_HEAL_FAILED
        assert f"stage 5 waits for an operator's decision: {heir} is lost with its disk" in healed.error_line
        assert "lab promote --accept-loss" in healed.err
        assert look(engine, STAGE_5).named(DatabaseState.PRIMARY) == []
    accepted = whole.must("promote", "--accept-loss")
    assert "bytes are lost" in accepted.err
    whole.must("heal")
    await_recovered(engine, STAGE_5)
    assert primary(engine, STAGE_5) == old
    # Web boxes have seen a higher timeline, and accept the lower one all the same.
    before = orders_in(5, old)
    assert wait_until(lambda: orders_in(5, old) > before, TAKEN_OVER_WITHIN_S)
    again = whole("promote", "--accept-loss")
    assert again.code == EXIT_USAGE
    assert "there is nothing to decide" in again.error_line


@pytest.mark.night
def test_a_second_standby_has_what_the_first_one_acknowledged(stage_6: Lab, engine: Engine) -> None:
    """Zone c's database has all of it, and is the primary only because an operator says so; afterwards it never is, as before."""
    old = primary(engine, STAGE_6)
    heir = "db1" if old == "db2" else "db2"
    priorities = "SELECT string_agg(candidatepriority::text, ' ' ORDER BY nodename) FROM pgautofailover.node"
    quorum = "SELECT number_sync_standbys FROM pgautofailover.formation"
    before = asked_of_monitor(6, priorities), asked_of_monitor(6, quorum)
    together = f"SELECT count(*) FROM pgautofailover.node WHERE nodename IN ('{heir}', 'db3') AND reportedstate = goalstate AND goalstate IN ('primary', 'secondary')"
    stage_6.must("chaos", "kill", f"service:{old}")
    assert wait_until(lambda: asked_of_monitor(6, together) == "2", TAKEN_OVER_WITHIN_S)
    stage_6.must("chaos", "wipe", f"service:{heir}")
    healed = stage_6("heal", timeout_s=240)
    assert healed.code == EXIT_HEAL_FAILED
    assert "no database may become the primary by itself" in healed.error_line
    assert "nothing is known to be lost" in stage_6.must("promote", "--accept-loss").err
    stage_6.must("heal", timeout_s=240)
    await_recovered(engine, STAGE_6)
    assert (asked_of_monitor(6, priorities), asked_of_monitor(6, quorum)) == before
    stage_6.must("promote")
    await_recovered(engine, STAGE_6)


# What the monitor refuses, with the tables of a real one: nothing of it remains


@pytest.fixture
def well(stage_6: Lab) -> Lab:
    assert wait_until(lambda: asked_of_monitor(6, WELL) == "3", SETTLED_WITHIN_S)
    return stage_6


def tried(*steps: str) -> str:
    """What the monitor says to these, of which nothing remains; the last line of it, errors too."""
    psql = "psql -X -qAt -h /run/postgresql -d pg_auto_failover 2>&1"
    script = "; ".join(("BEGIN", *steps, "ROLLBACK"))
    return docker(
        "exec", container(6, "monitor"), "bash", "-c", f'{psql} <<"SQL" | grep -v "^WARNING" | head -n 1\n{script};\nSQL'
    )


def set_to(name: str, **columns: object) -> str:
    assignments = ", ".join(f"{column} = '{value}'" for column, value in columns.items())
    return f"UPDATE pgautofailover.node SET {assignments} WHERE nodename = '{name}'"


@pytest.mark.parametrize(
    ("reported", "goal", "is_refused"),
    [
        ("wait_primary", "wait_primary", True),
        ("stop_replication", "wait_primary", True),
        ("primary", "wait_primary", True),
        ("single", "single", True),
        ("primary", "primary", False),
        ("demoted", "demoted", False),
        ("wait_standby", "wait_standby", False),
    ],
)
def test_who_acknowledged_alone_is_not_forgotten(well: Lab, engine: Engine, reported: str, goal: str, is_refused: bool) -> None:
    leader = primary(engine, STAGE_6)
    said = tried(set_to(leader, reportedstate=reported, goalstate=goal), REMOVED % leader)
    assert ("it may have acknowledged writes that no other database has" in said) is is_refused, said
    assert (
        tried(LIFTED.replace("SET", "SET LOCAL"), set_to(leader, reportedstate=reported, goalstate=goal), REMOVED % leader) == "t"
    )


def test_the_primary_of_a_change_that_is_not_settled_is_not_forgotten(well: Lab, engine: Engine) -> None:
    leader = primary(engine, STAGE_6)
    assert "it may have acknowledged writes" in tried("UPDATE public.durability SET settled = false", REMOVED % leader)


def test_a_voter_is_not_forgotten_while_there_is_no_primary(well: Lab, engine: Engine) -> None:
    leader = primary(engine, STAGE_6)
    assert tried(REMOVED % "db3") == "t"
    assert "it may be the only one that had the last writes" in tried(set_to(leader, health=0), REMOVED % "db3")
    # A primary that has stopped gracefully has everything.
    assert tried(set_to(leader, reportedstate="demoted", goalstate="demoted", reporttime="now"), REMOVED % "db3") == "t"


def test_nothing_is_given_up_while_a_primary_answers(well: Lab, engine: Engine) -> None:
    assert f"there is nothing to decide: {primary(engine, STAGE_6)} is the primary" in tried("SELECT public.accept_loss()")
