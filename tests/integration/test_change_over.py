"""A planned change-over of the primary among several databases: without an election where one is not needed, with one where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.engine.engine import Engine
from lab.process import wait_until
from lab.spec import stages
from tests.integration.driver import REPEATS, TRIES, Lab, asked_of_monitor, primary

pytestmark = pytest.mark.docker

STAGE = 6
STAGE_6 = stages.find("6")
SETTLED_WITHIN_S = 60
ASKED_TO_VOTE = "SELECT count(*) FROM pgautofailover.event WHERE goalstate = 'report_lsn'"
PRIORITIES = "SELECT string_agg(candidatepriority::text, ' ' ORDER BY nodename) FROM pgautofailover.node"
WELL = "SELECT count(*) FROM pgautofailover.node WHERE reportedstate = goalstate AND goalstate IN ('primary', 'secondary') AND health = 1"
MAY_SAY = "ON FUNCTION public.stopped_at(text, int, pg_lsn)"


@pytest.fixture
def well(stage_6: Lab) -> Iterator[Lab]:
    """Stage 6 with three databases that the monitor finds well, before and after."""
    assert settled()
    yield stage_6
    assert settled()


def settled() -> bool:
    return wait_until(lambda: asked_of_monitor(STAGE, WELL) == "3", SETTLED_WITHIN_S)


def heir_of(leader: str) -> str:
    """Zone c's never leads."""
    return "db1" if leader == "db2" else "db2"


def changed_over(lab: Lab, engine: Engine) -> int:
    """How many databases were asked to vote when the primary was changed over; all else is as it was."""
    leader, votes, priorities = (
        primary(engine, STAGE_6),
        asked_of_monitor(STAGE, ASKED_TO_VOTE),
        asked_of_monitor(STAGE, PRIORITIES),
    )
    lab.must("promote")
    assert settled()
    assert primary(engine, STAGE_6) == heir_of(leader)
    assert asked_of_monitor(STAGE, PRIORITIES) == priorities
    assert asked_of_monitor(STAGE, "SELECT count(*) FROM public.change_over") == "0"
    return int(asked_of_monitor(STAGE, ASKED_TO_VOTE)) - int(votes)


def test_who_lacks_nothing_takes_over_without_an_election(well: Lab, engine: Engine) -> None:
    # Where a busy machine takes a second to tell that there is none to be held, one is held.
    for _ in range(TRIES):
        votes = changed_over(well, engine)
        REPEATS.count(f"{votes} databases were asked to vote, though one lacked nothing" if votes else "")
        if not votes:
            return
    pytest.fail(f"an election was held each time of {TRIES}")


@pytest.mark.night
def test_who_is_not_known_to_lack_nothing_takes_part_in_an_election(well: Lab, engine: Engine) -> None:
    # The old primary's box cannot say where its log ended.
    asked_of_monitor(STAGE, f"REVOKE EXECUTE {MAY_SAY} FROM autoctl_node")
    try:
        assert changed_over(well, engine) >= 3
    finally:
        asked_of_monitor(STAGE, f"GRANT EXECUTE {MAY_SAY} TO autoctl_node")


def tried(*steps: str) -> str:
    """What the monitor says to these, of which nothing remains."""
    return asked_of_monitor(STAGE, "BEGIN", *steps, "ROLLBACK")


def set_to(name: str, **columns: object) -> str:
    assignments = ", ".join(f"{column} = '{value}'" for column, value in columns.items())
    return f"UPDATE pgautofailover.node SET {assignments} WHERE nodename = '{name}'"


@pytest.mark.parametrize("stepped_down", [False, True])
def test_who_returns_into_an_election_takes_part_once_there_is_no_primary(well: Lab, engine: Engine, stepped_down: bool) -> None:
    leader = primary(engine, STAGE_6)
    # Its PostgreSQL does not run: it is started after the answer.
    back = set_to(heir_of(leader), reportedpgisrunning="false", health=0, reporttime="2000-01-01")
    asked = set_to(heir_of(leader), goalstate="report_lsn")
    now = f"SELECT goalstate FROM pgautofailover.node WHERE nodename = '{heir_of(leader)}'"
    steps = [set_to(leader, reportedstate="draining")] * stepped_down + [back, asked, now]
    # Refused, it says nothing more.
    assert tried(*steps) == ("report_lsn" if stepped_down else "")


def test_others_are_asked_when_who_was_chosen_has_lost_its_disk(well: Lab, engine: Engine) -> None:
    leader = primary(engine, STAGE_6)
    heir = heir_of(leader)
    gone = f"SELECT pgautofailover.remove_node(nodehost, nodeport, true) FROM pgautofailover.node WHERE nodename = '{heir}'"
    said = tried(
        set_to(leader, reportedstate="demoted", goalstate="demoted", reportedpgisrunning="false"),
        set_to(heir, reportedstate="report_lsn", goalstate="prepare_promotion"),
        gone,
        "SELECT string_agg(goalstate::text, ' ') FROM pgautofailover.node",
    )
    assert said.split() == ["t", "report_lsn", "report_lsn"]


@pytest.mark.night
def test_the_last_word_on_the_end_of_a_log_counts_until_its_primary_runs_again(well: Lab, engine: Engine) -> None:
    leader = primary(engine, STAGE_6)
    word = "SELECT coalesce(stopped_at::text, 'none') FROM public.change_over"
    said = tried(
        "DELETE FROM public.change_over",
        f"INSERT INTO public.change_over (target, from_whom) VALUES ('{heir_of(leader)}', '{leader}')",
        f"SELECT public.stopped_at('{leader}', 1, '0/10')",
        f"SELECT public.stopped_at('{leader}', 1, '0/20')",
        word,
        set_to(heir_of(leader), reportedpgisrunning="true"),
        word,
        set_to(leader, reportedpgisrunning="true"),
        word,
    )
    assert said.split() == ["0/20", "0/20", "none"]
