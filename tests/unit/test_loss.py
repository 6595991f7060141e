"""What was acknowledged alone and is lost: the stage waits for an operator, against an engine that is only played."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from lab.cluster import loss, readiness
from lab.engine.engine import ExecResult
from lab.errors import HealError, InconclusiveError, UsageError
from lab.model.topology import Box
from tests.unit.helpers import automatic, box, db, replicated, view
from tests.unit.played import PlayedEngine, PlayedObserver

MONITOR = box("monitor", ("monitor",), stage=4)
WEB = box("web1", ("web",), stage=4)
LOST = "db2 is lost with its disk, and it may have acknowledged writes that no other database has"
QUESTION = "SELECT public.question(false)"
AT_LAST = "SELECT public.question(true)"
ACCEPT = "SELECT public.accept_loss()"
NO_PRIMARY = view("standby", "unreachable")


def plays(answer: Callable[[str], ExecResult], *boxes: Box) -> PlayedEngine:
    """Two databases; `answer` is what the monitor says to a statement."""

    def said(_: Box, command: Sequence[str]) -> ExecResult:
        return answer(command[-1])

    return PlayedEngine([db("db1"), db("db2"), *(boxes or (MONITOR, WEB))], answer=said)


def saying(*answers: ExecResult) -> tuple[PlayedEngine, list[str]]:
    """A monitor that says one thing after the other, the last one for ever; and what it was asked."""
    left, asked = list(answers), list[str]()

    def answer(statement: str) -> ExecResult:
        if not statement.startswith("SELECT"):
            return ExecResult(0, "")
        asked.append(statement)
        return left.pop(0) if len(left) > 1 else left[0]

    return plays(answer), asked


def quiet(_: str) -> None:
    """Nothing is to be seen of it."""


# The question


@pytest.mark.parametrize(
    ("boxes", "answer", "expected"),
    [
        ((MONITOR,), ExecResult(0, f"{LOST}\n"), LOST),
        ((MONITOR,), ExecResult(0, "\n"), ""),
        ((MONITOR,), ExecResult(1, "could not connect"), ""),
        ((box("monitor", ("monitor",), stage=4, status="exited"),), ExecResult(0, LOST), ""),
        ((WEB,), ExecResult(0, LOST), ""),
    ],
)
def test_the_monitor_is_asked_and_silence_is_no_question(boxes: tuple[Box, ...], answer: ExecResult, expected: str) -> None:
    assert loss.question(plays(lambda _: answer, *boxes).cluster(automatic())) == expected


def test_where_an_operator_promotes_nothing_is_asked() -> None:
    engine = plays(lambda _: ExecResult(0, LOST))
    assert loss.question(engine.cluster(replicated())) == ""
    assert engine.done == []


def test_healing_ends_at_once_where_an_operator_has_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "ASK_EVERY_S", 0.0)
    engine, asked = saying(ExecResult(0, ""), ExecResult(0, LOST))
    with pytest.raises(HealError, match=f"stage 4 waits for an operator's decision: {LOST}") as caught:
        readiness.await_view(engine.cluster(automatic()), PlayedObserver([NO_PRIMARY]), timeout_s=30)
    assert caught.value.hint == "'lab promote --accept-loss' goes on without what is lost"
    # What often passes by itself is not asked before the time is over.
    assert asked == [QUESTION, QUESTION]


def test_what_did_not_pass_by_itself_is_a_question_when_the_time_is_over() -> None:
    engine, asked = saying(ExecResult(0, "there is no primary, and for whom a commit waits had just changed"))
    with pytest.raises(HealError, match="waits for an operator's decision: there is no primary") as caught:
        readiness.await_view(engine.cluster(automatic()), PlayedObserver([NO_PRIMARY]), timeout_s=0.1)
    assert "--accept-loss" in caught.value.hint
    assert asked == [AT_LAST]


def test_a_box_that_waits_for_an_operator_is_no_box_that_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "ASK_EVERY_S", 0.0)
    engine, _ = saying(ExecResult(0, LOST))
    engine.present[1] = db("db2", health="unhealthy")
    with pytest.raises(HealError, match="waits for an operator's decision"):
        readiness.await_healthy(engine.cluster(automatic()), ["db2"], timeout_s=30)


def test_a_stage_that_asks_nothing_says_what_is_missing() -> None:
    engine, _ = saying(ExecResult(0, ""))
    with pytest.raises(HealError, match="is not redundant after"):
        readiness.await_view(engine.cluster(automatic()), PlayedObserver([NO_PRIMARY]), timeout_s=0.1)


# The decision


def test_what_is_lost_is_said_and_web_boxes_forget_the_timeline_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "RETRY_S", 0.0)
    refused = ExecResult(3, "ERROR:  db3 is on its way to another state\nCONTEXT:  PL/pgSQL function accept_loss() line 15\n")
    engine, asked = saying(refused, ExecResult(0, "db2 had last reported its log up to 0/3000: about 4096 bytes are lost\n"))
    said = list[str]()
    observer = PlayedObserver([NO_PRIMARY, NO_PRIMARY, view("primary", "unreachable")])
    assert loss.accept(engine.cluster(automatic()), observer, said.append) == "db1"
    assert asked == [ACCEPT, ACCEPT]
    assert "about 4096 bytes are lost" in said[0]
    assert said[1].startswith("db1 is the primary")
    # A web box refuses a primary on a lower timeline than it has seen.
    assert engine.done[-1] == f"in web1: {loss.FORGET_TIMELINES}"


def test_nothing_is_given_up_while_there_is_a_primary() -> None:
    engine, asked = saying(ExecResult(0, ""))
    with pytest.raises(UsageError, match="there is nothing to decide: db1 is the primary"):
        loss.accept(engine.cluster(automatic()), PlayedObserver([view()]), quiet)
    assert asked == []


def test_a_monitor_that_knows_a_primary_is_not_asked_again() -> None:
    engine, asked = saying(ExecResult(3, "ERROR:  there is nothing to decide: db1 is the primary\n"))
    with pytest.raises(UsageError, match=r"^there is nothing to decide: db1 is the primary$"):
        loss.accept(engine.cluster(automatic()), PlayedObserver([NO_PRIMARY]), quiet)
    assert asked == [ACCEPT]


def test_a_disk_that_may_come_back_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "ACCEPT_TIMEOUT_S", 0.05)
    engine, _ = saying(
        ExecResult(3, "psql:1: ERROR:  db2 may have acknowledged writes, and is not known to have lost its disk\n")
    )
    with pytest.raises(InconclusiveError, match="the monitor refused: db2 may have acknowledged writes") as caught:
        loss.accept(engine.cluster(automatic()), PlayedObserver([NO_PRIMARY]), quiet)
    assert "lab heal" in caught.value.hint


def test_a_monitor_that_does_not_run_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "ACCEPT_TIMEOUT_S", 0.05)
    with pytest.raises(InconclusiveError, match="the monitor refused: it has no box that runs"):
        loss.accept(plays(lambda _: ExecResult(0, ""), WEB).cluster(automatic()), PlayedObserver([NO_PRIMARY]), quiet)


def test_a_decision_after_which_no_database_leads_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "ELECTION_TIMEOUT_S", 0.05)
    engine, _ = saying(ExecResult(0, "nothing is known to be lost\n"))
    with pytest.raises(InconclusiveError, match="no database became the primary"):
        loss.accept(engine.cluster(automatic()), PlayedObserver([NO_PRIMARY]), quiet)


def test_a_stage_without_a_monitor_has_nothing_to_decide() -> None:
    with pytest.raises(UsageError, match="stage 4 has no monitor that waits for a decision") as caught:
        loss.accept(plays(lambda _: ExecResult(0, "")).cluster(replicated()), PlayedObserver([NO_PRIMARY]), quiet)
    assert "'lab promote'" in caught.value.hint
