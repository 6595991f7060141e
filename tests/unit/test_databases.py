"""Who accepts writes, and the operator, against an engine that is only played."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.cluster import database
from lab.engine.engine import ExecResult
from lab.errors import InconclusiveError, UsageError
from lab.model.observation import ClusterView
from lab.model.topology import Box, Stage
from lab.store.undo_log import UndoLog
from tests.unit.helpers import automatic, box, db, replicated, stage, view
from tests.unit.played import PlayedEngine, PlayedObserver

REPLICATED = replicated()
INTERNET = box("internet", ("internet",), stage=4)
MONITOR = box("monitor", ("monitor",), stage=4)
PROMOTE = "SELECT pg_promote(true, 20)"
SWITCH = "SELECT public.change_over('')"


def played(db1: str, db2: str, says: str = "t\n") -> PlayedEngine:
    """Two databases in these states; `says` is the answer to whatever they are told."""
    return PlayedEngine([db("db1"), db("db2"), INTERNET], view(db1, db2), lambda _box, _command: ExecResult(0, says))


def quiet(_: str) -> None:
    """Whoever is told things and does not listen."""


def test_promotion_is_refused_while_the_primary_lives(tmp_path: Path) -> None:
    plays = played("primary", "standby")
    with pytest.raises(UsageError, match="db1 still accepts writes"):
        database.promote(plays.cluster(REPLICATED, UndoLog(tmp_path / "undo")), False, quiet)
    assert plays.done == []


def test_fencing_comes_before_promotion_and_is_on_disk_before_that(tmp_path: Path) -> None:
    ledger, plays = UndoLog(tmp_path / "undo"), played("primary", "standby")
    assert database.promote(plays.cluster(REPLICATED, ledger), True, quiet) == "db2"
    assert plays.done == ["kill db1", f"in db2: {PROMOTE}"]
    assert [entry.undo.service for entry in ledger.entries()] == ["db1"]


def test_no_standby_to_promote(tmp_path: Path) -> None:
    for states in (("primary", "unreachable"), ("unreachable", "unreachable")):
        plays = played(*states)
        with pytest.raises(UsageError, match="no standby to promote"):
            database.promote(plays.cluster(REPLICATED, UndoLog(tmp_path / "undo")), True, quiet)
        assert plays.done == []


def test_a_promotion_that_fails_says_so(tmp_path: Path) -> None:
    plays = played("unreachable", "standby", says="f\n")
    with pytest.raises(InconclusiveError, match="db2 could not be promoted"):
        database.promote(plays.cluster(REPLICATED, UndoLog(tmp_path / "undo")), False, quiet)


def test_a_lost_database_comes_back_behind_the_one_that_took_over() -> None:
    plays = played("unreachable", "primary")
    database.rejoin(plays.cluster(REPLICATED), db("db1"))
    assert plays.done == ["rejoin db2 in db1", "start db1"]


def test_a_lost_primary_that_was_not_replaced_comes_back_as_it_was() -> None:
    plays = played("unreachable", "standby")
    database.rejoin(plays.cluster(REPLICATED), db("db1"))
    assert plays.done == ["start db1"]


def test_only_a_database_without_a_monitor_needs_an_operator() -> None:
    assert database.needs_an_operator(REPLICATED, "db1")
    # Where there is a monitor, it says what a database that comes back is to be.
    assert not database.needs_an_operator(automatic(), "db1")
    assert not database.needs_an_operator(REPLICATED, "web1")
    assert not database.needs_an_operator(stage(), "db")


def timelines(**numbers: int) -> PlayedEngine:
    """Two primaries, each with this many promotions in its history."""

    def answer(asked: Box, _: Sequence[str]) -> ExecResult:
        return ExecResult(0, f"CHECKPOINT\n{numbers[asked.service]}\n")

    return PlayedEngine([db("db1"), db("db2"), INTERNET], view("primary", "primary"), answer)


def test_of_two_primaries_the_one_promoted_last_stays() -> None:
    plays, said = timelines(db1=1, db2=2), list[str]()
    database.end_split_brain(plays.cluster(REPLICATED), ["db1", "db2"], said.append)
    assert plays.done[-3:] == ["kill db1", "rejoin db2 in db1", "start db1"]
    assert "db2 was promoted last and stays" in said[0]


@pytest.mark.parametrize(
    ("seen", "of", "split"),
    [
        (view("primary", "primary"), REPLICATED, True),
        (view("primary", "sync_blocked"), REPLICATED, False),
        # A monitor parts them itself.
        (view("primary", "primary"), automatic(), False),
    ],
)
def test_only_two_primaries_without_a_monitor_are_parted(seen: ClusterView, of: Stage, split: bool) -> None:
    assert database.is_split(of, seen) is split


# The monitor changes them over


def with_monitor(exit_code: int = 0, says: str = "") -> PlayedEngine:
    answer = ExecResult(exit_code, says)
    return PlayedEngine([db("db1"), db("db2"), MONITOR, INTERNET], answer=lambda _box, _command: answer)


def change_over(plays: PlayedEngine, *views: ClusterView, say: Sequence[str] = ()) -> str:
    said = list(say)
    now = database.switchover(plays.cluster(automatic()), PlayedObserver(list(views)), said.append)
    assert said[-1].startswith(f"{now} is the primary now instead of ")
    return now


def test_switchover_waits_until_another_database_is_the_primary() -> None:
    """Not until there is a primary again: for a moment it is still the old one."""
    plays, both = with_monitor(), view("primary", "standby")
    still, neither, waiting = both, view("standby", "standby"), view("standby", "sync_blocked")
    assert change_over(plays, both, still, neither, waiting, view("standby", "primary")) == "db2"
    assert plays.done == [f"in monitor: {SWITCH}"]


def test_switchover_names_the_new_primary_also_where_the_old_one_was_seen_a_moment_ago() -> None:
    assert change_over(with_monitor(), view("primary", "standby"), view("primary", "primary")) == "db2"


def test_switchover_needs_a_monitor() -> None:
    plays = played("primary", "standby")
    with pytest.raises(UsageError, match="stage 4 has no monitor") as caught:
        database.switchover(plays.cluster(REPLICATED), PlayedObserver([view()]), quiet)
    assert "lab promote --fence" in caught.value.hint
    assert plays.done == []


def test_switchover_is_asked_for_again_where_the_monitor_refuses_for_a_moment() -> None:
    answers = iter([ExecResult(3, "ERROR: no primary"), ExecResult(3, "ERROR: no primary"), ExecResult(0, "")])
    boxes = [db("db1"), db("db2"), MONITOR, INTERNET]
    plays = PlayedEngine(boxes, answer=lambda _box, _command: next(answers))
    assert change_over(plays, view("primary", "standby"), view("standby", "primary")) == "db2"
    assert plays.done == [f"in monitor: {SWITCH}"] * 3


def test_switchover_that_the_monitor_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "REFUSAL_TIMEOUT_S", 0.1)
    plays = with_monitor(1, "ERROR: standby node is not in a stable state\n")
    with pytest.raises(InconclusiveError, match="the monitor refused: ERROR: standby node is not in a stable state"):
        database.switchover(plays.cluster(automatic()), PlayedObserver([view()]), quiet)


def test_switchover_that_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PROMOTE_TIMEOUT_S", 0.1)
    with pytest.raises(InconclusiveError, match="no other database became the primary"):
        database.switchover(with_monitor().cluster(automatic()), PlayedObserver([view()]), quiet)
