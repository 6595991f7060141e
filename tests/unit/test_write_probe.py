"""A primary that takes no writes: what counts as that, when it asks to be replaced, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from write_probe import __main__ as program
from write_probe.policy import HUNG_COUNTS, REFUSALS, WRITTEN_BEFORE, Act, Judge, Look, look_of_error

from lab.spec.stages import ROOT, all_stages

FAILURES = 3
LOOKS = st.lists(st.sampled_from(Look), max_size=8)


# When it asks


def asks(judge: Judge, look: Look) -> bool:
    """Whether a primary asks to be replaced after this look."""
    return judge.note(look) is Act.STAND_DOWN


def judged(*looks: Look, failures: int = FAILURES) -> list[bool]:
    judge = Judge(failures)
    return [asks(judge, look) for look in looks]


def armed(failures: int = FAILURES) -> Judge:
    """A judge of a primary that has taken writes for long enough."""
    judge = Judge(failures)
    assert not any(asks(judge, Look.WRITTEN) for _ in range(WRITTEN_BEFORE))
    return judge


@pytest.mark.parametrize("failures", [1, 2, 3, 5])
def test_it_asks_after_so_many_refused_writes_in_a_row(failures: int) -> None:
    judge = armed(failures)
    assert [asks(judge, Look.REFUSED) for _ in range(failures)] == [False] * (failures - 1) + [True]
    assert judge.refused == failures


@pytest.mark.parametrize("between", [Look.WRITTEN, Look.ALONE])
def test_one_write_or_nobody_who_could_take_over_begins_the_count_anew(between: Look) -> None:
    judge = armed()
    looks = [Look.REFUSED, Look.REFUSED, between, Look.REFUSED, Look.REFUSED]
    assert not any(asks(judge, look) for look in looks)
    assert asks(judge, Look.REFUSED)


def test_silence_neither_counts_nor_takes_back() -> None:
    judge = armed()
    assert not any(asks(judge, look) for look in (Look.REFUSED, Look.UNKNOWN, Look.REFUSED, Look.UNKNOWN))
    assert asks(judge, Look.REFUSED)


@pytest.mark.parametrize("before", [Look.STANDBY, Look.GONE])
def test_who_has_just_become_the_primary_or_started_does_not_ask(before: Look) -> None:
    """A database that is promoted refuses writes for a moment; and one that never took any is not better off replaced."""
    judge = armed()
    judge.note(before)
    assert not any(asks(judge, Look.REFUSED) for _ in range(100))
    assert not any(asks(judge, Look.WRITTEN) for _ in range(WRITTEN_BEFORE - 1))
    assert not any(asks(judge, Look.REFUSED) for _ in range(100))


def test_it_asks_once_and_where_it_was_refused_again_a_second_later() -> None:
    judge = armed()
    assert [asks(judge, Look.REFUSED) for _ in range(FAILURES)][-1]
    judge.asked(agreed=False)
    assert [asks(judge, Look.REFUSED) for _ in range(2)] == [False, True]
    judge.asked(agreed=True)
    assert not any(asks(judge, Look.REFUSED) for _ in range(100))


@given(LOOKS, st.integers(1, 4))
def test_it_never_asks_without_refused_writes_and_written_ones_before(looks: list[Look], failures: int) -> None:
    past = [Look.WRITTEN] * WRITTEN_BEFORE + looks
    for number, has_asked in enumerate(judged(*past, failures=failures), start=1):
        said = [look for look in past[:number] if look not in (Look.UNKNOWN, Look.STUCK)]
        since = max((at for at, look in enumerate(said) if look in (Look.STANDBY, Look.GONE)), default=-1)
        good = max((at for at, look in enumerate(said) if look not in (Look.REFUSED, Look.HUNG)), default=-1)
        weight = sum(HUNG_COUNTS if look is Look.HUNG else 1 for look in said[good + 1 :])
        assert has_asked == (weight >= failures and said[since + 1 :].count(Look.WRITTEN) >= WRITTEN_BEFORE)


def test_a_write_that_hangs_took_as_long_as_two_looks() -> None:
    judge = armed()
    assert [asks(judge, Look.HUNG) for _ in range(2)] == [False, True]


# When a standby leaves


def followed() -> Judge:
    judge = Judge(FAILURES)
    assert {judge.note(Look.STANDBY) for _ in range(WRITTEN_BEFORE)} == {Act.STAY}
    return judge


def test_a_standby_whose_disk_hangs_while_its_primary_sends_more_leaves() -> None:
    judge = followed()
    looks = [Look.UNKNOWN, *[Look.STUCK] * FAILURES]
    assert [judge.note(look) for look in looks] == [Act.STAY] * FAILURES + [Act.LEAVE]


@pytest.mark.parametrize("between", [Look.STANDBY, Look.GONE, Look.WRITTEN, Look.ALONE, Look.REFUSED, Look.HUNG])
def test_a_standby_that_writes_again_or_is_none_stays(between: Look) -> None:
    judge = followed()
    looks = [*[Look.STUCK] * (FAILURES - 1), between, *[Look.STUCK] * (FAILURES - 1)]
    assert Act.LEAVE not in [judge.note(look) for look in looks]


def test_a_standby_that_has_just_joined_stays() -> None:
    judge = Judge(FAILURES)
    judge.note(Look.STANDBY)
    assert {judge.note(Look.STUCK) for _ in range(100)} == {Act.STAY}


@pytest.mark.parametrize(
    ("sqlstate", "look"),
    [
        *((each, Look.REFUSED) for each in REFUSALS),
        # It ends, or starts; the connection broke.
        ("57P01", Look.GONE),
        ("57P03", Look.GONE),
        (None, Look.GONE),
        # Too many connections; no such table; a row that somebody holds.
        ("53300", Look.UNKNOWN),
        ("42P01", Look.UNKNOWN),
        ("55P03", Look.UNKNOWN),
    ],
)
def test_only_an_error_of_writing_is_a_refused_write(sqlstate: str | None, look: Look) -> None:
    assert look_of_error(sqlstate, was_asked_to_write=True) is look
    assert look_of_error(sqlstate, was_asked_to_write=False) is not Look.REFUSED


# One look

HANGS = "hangs"
Answer = str | Exception


class Played:
    """A connection: what it answers to each statement, in order; the last answer to all further ones."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.statements: list[str] = []
        self.closed = False

    async def execute(self, statement: str, parameters: Any = ()) -> Played:
        self.statements.append(statement)
        self._answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self._answer == HANGS:
            await asyncio.sleep(60)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self

    async def fetchone(self) -> tuple[Answer]:
        return (self._answer,)

    async def close(self) -> None:
        self.closed = True


class PlayedServer:
    """What connections it gives, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *connections: Sequence[Answer] | Exception) -> None:
        self.left = list(connections)
        self.given: list[Played] = []
        monkeypatch.setattr(program.Connection, "connect", self.connect)
        monkeypatch.setattr(program, "DEADLINE_S", 0.05)

    async def connect(self, _address: str, **_: Any) -> Played:
        answers = self.left.pop(0)
        if isinstance(answers, Exception):
            raise answers
        self.given.append(Played(answers))
        return self.given[-1]


def looks(count: int) -> list[Look]:
    async def look() -> list[Look]:
        database = program.Database("")
        return [await database.look() for _ in range(count)]

    return asyncio.run(look())


def test_a_primary_that_somebody_follows_writes_to_log_and_disk_on_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    server = PlayedServer(monkeypatch, ["written"])
    assert looks(2) == [Look.WRITTEN, Look.WRITTEN]
    [connection] = server.given
    assert connection.statements == [program.STATE, *program.WRITES[Look.WRITTEN]] * 2
    assert program.TO_LOG in connection.statements


def test_a_standby_writes_to_its_disk_and_nothing_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    server = PlayedServer(monkeypatch, ["standby"])
    assert looks(1) == [Look.STANDBY]
    assert server.given[0].statements == [program.STATE, *program.TO_DISK]


def test_a_write_of_a_standby_that_hangs_says_nothing_until_the_primary_has_sent_more(monkeypatch: pytest.MonkeyPatch) -> None:
    PlayedServer(monkeypatch, ["standby", HANGS], ["stuck"])
    assert looks(2) == [Look.UNKNOWN, Look.STUCK]
    assert "latest_end_lsn > flushed_lsn" in program.STATE


@pytest.mark.parametrize("state", ["stuck", "alone", "refused"])
def test_who_is_not_to_write_is_not_asked_to(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    server = PlayedServer(monkeypatch, [state])
    assert looks(1) == [Look(state)]
    assert server.given[0].statements == [program.STATE]


def test_a_full_disk_is_a_refused_write_and_the_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    server = PlayedServer(monkeypatch, ["written", "", psycopg.errors.DiskFull("no space"), "written"])
    assert looks(2) == [Look.REFUSED, Look.WRITTEN]
    assert len(server.given) == 1


def test_after_a_write_that_hangs_the_next_look_has_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    server = PlayedServer(monkeypatch, ["written", HANGS], ["written"])
    assert looks(2) == [Look.HUNG, Look.WRITTEN]
    assert [each.closed for each in server.given] == [True, False]


def test_who_does_not_even_say_what_it_is_says_nothing_of_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    PlayedServer(monkeypatch, [HANGS], ["written"])
    assert looks(2) == [Look.UNKNOWN, Look.WRITTEN]


def test_a_look_that_this_box_had_no_time_for_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    PlayedServer(monkeypatch, ["written", HANGS])
    monkeypatch.setattr(program, "LATE_S", -1.0)
    assert looks(1) == [Look.UNKNOWN]


def test_a_database_that_does_not_run_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = psycopg.errors.AdminShutdown("terminating")
    PlayedServer(monkeypatch, psycopg.OperationalError("refused"), OSError("no socket"), ["written", ending], ["standby"])
    assert looks(3) == [Look.GONE] * 3


# How it ends


@pytest.fixture
def postmaster(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that the file of the data directory names."""
    # Who started the tests in the background may have had them ignore SIGQUIT.
    process = subprocess.Popen(["env", "--default-signal=QUIT", "sleep", "60"])
    (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n{tmp_path}\n", encoding="ascii")
    yield process
    process.kill()
    process.wait()


def stand_down(data: Path) -> bool:
    return asyncio.run(program.Exit("", data).stand_down("db1"))


def test_who_was_agreed_with_is_left_to_its_keeper(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postmaster: subprocess.Popen[bytes]
) -> None:
    server = PlayedServer(monkeypatch, [""])
    monkeypatch.setattr(program, "END_S", 60.0)

    async def stopped_in_order(_: float) -> None:
        (tmp_path / "postmaster.pid").unlink(missing_ok=True)

    monkeypatch.setattr(asyncio, "sleep", stopped_in_order)
    assert stand_down(tmp_path)
    assert (server.given[0].statements, server.given[0].closed) == ([program.STAND_DOWN], True)
    assert postmaster.poll() is None


def test_who_does_not_stop_in_order_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postmaster: subprocess.Popen[bytes]
) -> None:
    PlayedServer(monkeypatch, [""])
    monkeypatch.setattr(program, "END_S", 0.05)
    assert stand_down(tmp_path)
    assert postmaster.wait(timeout=10) == -signal.SIGQUIT


def test_a_standby_that_leaves_is_ended_at_once(tmp_path: Path, postmaster: subprocess.Popen[bytes]) -> None:
    way_out = program.Exit("", tmp_path)
    way_out.leave()
    assert postmaster.wait(timeout=10) == -signal.SIGKILL
    way_out.leave()
    program.Exit("", tmp_path / "none").leave()


@pytest.mark.parametrize(
    "refusal", [psycopg.errors.RaiseException("no standby could take over"), psycopg.OperationalError("unreachable")]
)
def test_where_no_other_takes_over_it_stays_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postmaster: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
    refusal: Exception,
) -> None:
    server = PlayedServer(monkeypatch, [refusal], [refusal])
    monkeypatch.setattr(program, "END_S", 0.0)
    way_out = program.Exit("", tmp_path)
    assert [asyncio.run(way_out.stand_down("db1")) for _ in range(2)] == [False, False]
    assert postmaster.poll() is None
    assert [each.closed for each in server.given] == [True, True]
    assert capsys.readouterr().err == f"write-probe: no other database takes over: {refusal}\n"


def test_a_database_that_is_down_already_need_not_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    PlayedServer(monkeypatch, [""], [""])
    assert stand_down(tmp_path)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "postmaster.pid").write_text(f"{gone.pid}\n", encoding="ascii")
    assert stand_down(tmp_path)


def test_it_asks_when_the_judge_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Database:
        found = [Look.WRITTEN] * WRITTEN_BEFORE + [Look.REFUSED] * 5

        async def look(self) -> Look:
            if not self.found:
                raise InterruptedError
            return self.found.pop(0)

    class Way:
        async def stand_down(self, name: str) -> bool:
            asked.append(name)
            return True

    monkeypatch.setattr(program, "PERIOD_S", 0.0)
    with pytest.raises(InterruptedError):
        asyncio.run(program.watch(Database(), Judge(FAILURES), Way(), "db1"))  # type: ignore[arg-type]
    assert asked == ["db1"]


def test_a_standby_that_is_stuck_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Database:
        found = [Look.STANDBY] * WRITTEN_BEFORE + [Look.STUCK] * FAILURES

        async def look(self) -> Look:
            if not self.found:
                raise InterruptedError
            return self.found.pop(0)

    class Way:
        def leave(self) -> None:
            done.append("left")

    monkeypatch.setattr(program, "PERIOD_S", 0.0)
    with pytest.raises(InterruptedError):
        asyncio.run(program.watch(Database(), Judge(FAILURES), Way(), "db2"))  # type: ignore[arg-type]
    assert done == ["left"]


# In the boxes


def test_every_keeper_is_told_how_many_failures_are_too_many() -> None:
    stages = [each for each in all_stages() if each.monitor]
    assert stages
    for stage in stages:
        assert stage.file.read_text(encoding="utf-8").count('WRITE_FAILURES: "3"') == 1
    keeper = (ROOT / "compose" / "postgres" / "lab-keeper").read_text(encoding="utf-8")
    assert '[ "$WRITE_FAILURES" = 0 ] || probe_writes &' in keeper
    assert '"${WRITE_FAILURES:=0}"' in keeper


def test_a_commit_of_the_probe_waits_for_no_standby() -> None:
    assert "synchronous_commit=local" in program.DATABASE
    assert os.path.dirname(program.SPACE) == "/var/lib/lab"
