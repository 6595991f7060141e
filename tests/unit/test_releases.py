"""The faults that deploy a release with a defect: bad-deploy and poison, and how both are taken back."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.engine.engine import ExecResult
from lab.errors import HealError, LabError, UsageError
from lab.faults import FAULTS, heal, poison, release
from lab.faults.bad_deploy import questions
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.injection import aimed
from lab.faults.release import Answer, ask
from lab.model.fault import BadAnswer, FaultKind, FaultParameters, Step, Undo, UndoAction, Verification
from lab.model.topology import Box
from lab.store.undo_log import UndoLog
from tests.unit.helpers import box, db, stage
from tests.unit.played import PlayedEngine
from tests.unit.test_faults import FakeControl

ERROR, SLOW = FaultParameters(answer=BadAnswer.ERROR), FaultParameters(answer=BadAnswer.SLOW, slow_ms=800.0)
ONCE_A_SECOND = FaultParameters(per_s=1.0)
BAD_DEPLOY, POISON = FAULTS[FaultKind.BAD_DEPLOY], FAULTS[FaultKind.POISON]
WEB = box("web1", addresses={"app": "198.18.1.34"})
WATCH = box("watch", ("watch",), addresses={"app": "198.18.1.3"})
USERS = box("internet", ("internet",), addresses={"edge": "198.18.0.2"})
GOOD, NO_ANSWER, ABSENT = ExecResult(0, "good\n"), ExecResult(3, ""), ExecResult(0, "404 0.003\n")


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo.jsonl")


def victim(how: FaultParameters = ERROR, outside: tuple[Box, ...] = (WATCH, USERS), **changes: Any) -> InjectionTarget:
    web = replace(WEB, **changes)
    return InjectionTarget.of(web, "web", BlastRadius(how, (web,), (), outside, entry=("198.18.0.10", 8080)))


class Asked(FakeControl):
    """Commands in boxes leave these one after the other."""

    def __init__(self, *answers: ExecResult) -> None:
        super().__init__(WEB, *answers)


# What can get a release


def test_a_box_that_asks_it_directly_is_found_before_a_release_is_deployed() -> None:
    control = Asked(GOOD, ABSENT)
    prepared = BAD_DEPLOY.prepare(control, victim())
    assert (prepared.witness, prepared.reached_at) == (WATCH, "198.18.1.34")
    assert control.done[0] == "in web1: lab-release"
    # Not by way of a balancer, and without a question to a database.
    assert control.done[1].startswith("in watch: curl -s -m 2 ")
    assert control.done[1].endswith(f" http://198.18.1.34:8080/orders/{'-' * 101}")
    assert BAD_DEPLOY.undo(prepared).action is UndoAction.REDEPLOY


@pytest.mark.parametrize("answer", [ExecResult(0, "500 0.003\n"), ExecResult(28, "000 2.001\n"), ExecResult(127, "")])
def test_who_gets_no_good_answer_before_is_no_witness(answer: ExecResult) -> None:
    control = Asked(GOOD, answer, answer)
    prepared = BAD_DEPLOY.prepare(control, victim())
    assert prepared.witness is None
    found = BAD_DEPLOY.verify(control, prepared)
    assert (found.proved, found.evidence) == (False, "no other box could ask web1 before either")


@pytest.mark.parametrize("kind", [FaultKind.BAD_DEPLOY, FaultKind.POISON])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (ExecResult(127, "executable file not found"), "web1 has no releases of the order desk"),
        (NO_ANSWER, "web1 does not say which release it runs"),
        (ExecResult(0, "bad answer=error\n"), "web1 runs the release 'bad answer=error' already"),
    ],
)
def test_only_a_box_with_its_own_release_gets_a_worse_one(kind: FaultKind, said: ExecResult, why: str) -> None:
    control = Asked(said)
    with pytest.raises(UsageError, match=why):
        FAULTS[kind].prepare(control, victim())
    assert control.done == ["in web1: lab-release"]


def test_only_a_web_box_has_releases() -> None:
    with pytest.raises(UsageError, match="db1 is no web box"):
        BAD_DEPLOY.prepare(Asked(), InjectionTarget.of(db("db1"), "db"))


# bad-deploy


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (ERROR, "bad answer=error percent=100"),
        (replace(ERROR, percent=25.0), "bad answer=error percent=25"),
        (SLOW, "bad answer=slow slow_ms=800 percent=100"),
    ],
)
def test_the_release_of_the_image_is_deployed_with_its_settings(how: FaultParameters, named: str) -> None:
    control = Asked(ExecResult(0, "good\n"))
    BAD_DEPLOY.inject(control, victim(how))
    assert control.done == [f"in web1: lab-release deploy {named}"]


def test_a_release_that_does_not_come_up_is_an_error() -> None:
    refusal = ExecResult(1, "lab-release: 'bad' does not answer after 30 s\n")
    with pytest.raises(LabError, match="the bad release could not be deployed to web1: lab-release: 'bad' does not answer"):
        BAD_DEPLOY.inject(Asked(refusal), victim())


def verified(how: FaultParameters, *lines: str, code: int = 0) -> Verification:
    target = replace(victim(how), witness=WATCH, reached_at="198.18.1.34", reached_in_ms=3.0)
    return BAD_DEPLOY.verify(Asked(ExecResult(code, "".join(f"{line}\n" for line in lines))), target)


@pytest.mark.parametrize(
    ("how", "lines", "proved"),
    [
        (ERROR, ("200 0.001", "500 0.002"), True),
        # The good release still answers.
        (ERROR, ("200 0.001", "404 0.002"), False),
        # That is the database, or the balancer, and no defect of the release.
        (ERROR, ("200 0.001", "503 0.002"), False),
        # A balancer would notice: that is no bad deploy as this fault means it.
        (ERROR, ("503 0.001", "500 0.002"), False),
        (ERROR, ("000 2.001", "500 0.002"), False),
        (replace(ERROR, percent=20.0), ("200 0.001", "404 0.002", "500 0.002"), True),
        (SLOW, ("200 0.001", "404 0.801"), True),
        (SLOW, ("200 0.001", "404 0.799"), False),
        # Late, and an error: something else is broken.
        (SLOW, ("200 0.001", "500 0.900"), False),
        (SLOW, ("200 0.001", "000 2.801"), False),
        (ERROR, (), False),
        (ERROR, ("curl: not found",), False),
    ],
)
def test_proof_of_a_bad_release_is_a_bad_answer_and_a_good_health_check(
    how: FaultParameters, lines: Sequence[str], proved: bool
) -> None:
    found = verified(how, *lines)
    assert found.proved is proved
    assert "web1" in found.evidence
    assert verified(how, *lines, code=28).proved is proved


def test_evidence_says_what_came() -> None:
    assert verified(ERROR, "200 0.001", "500 0.002").evidence == (
        "watch gets 1 of 1 answers of web1 with status 500, and its health check is green"
    )
    assert verified(SLOW, "000 1.0", "404 0.9").evidence.endswith(
        "1 of 1 answers of web1 800 ms late, and its health check is red"
    )


def test_where_few_answers_are_bad_more_are_asked_for() -> None:
    assert [questions(percent) for percent in (0.0, 100.0, 50.0, 30.0, 1.0)] == [1, 1, 4, 7, 200]
    control = Asked(ExecResult(0, "200 0.001\n"))
    BAD_DEPLOY.verify(control, replace(victim(replace(ERROR, percent=50.0)), witness=WATCH, reached_at="198.18.1.34"))
    assert control.done[0].endswith(f"http://198.18.1.34:8080/healthz http://198.18.1.34:8080/orders/{'-' * 101}[1-4]")


def test_an_answer_is_a_status_and_how_long_it_took() -> None:
    assert ask(Asked(ExecResult(0, "200 0.0015\nnonsense\n404 1.5\n")), WATCH, "198.18.1.34", ["/a", "/b"]) == [
        Answer(200, 1.5),
        Answer(404, 1500.0),
    ]


# poison


def test_the_request_is_sent_by_users_to_the_entry_and_by_one_target_only() -> None:
    boxes = [replace(WEB, service=name, id=name) for name in ("web1", "web2")]
    targets = aimed(Step(FaultKind.POISON, "all:web", how=ONCE_A_SECOND), [*boxes, WATCH, USERS], stage(), Random(1))
    done = []
    for target in targets:
        control = Asked(ExecResult(0, ""), ExecResult(0, ""))
        POISON.inject(control, target)
        done += control.done
    address, port = stage().entry
    assert [text for text in done if "lab-release" in text] == [
        "in web1: lab-release deploy poisonous",
        "in web2: lab-release deploy poisonous",
    ]
    [sent] = [text for text in done if "client.poison" in text]
    assert sent == (f"in internet: bash -c setsid -f python -m client.poison {address} {port} 1 </dev/null >/dev/null 2>&1")


def test_poison_has_to_come_from_somewhere() -> None:
    for outside in ((WATCH,), (WATCH, replace(USERS, status="exited"))):
        with pytest.raises(UsageError, match="no box is up from which a user could send the request"):
            POISON.prepare(Asked(GOOD), victim(ONCE_A_SECOND, outside))


def test_a_request_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(LabError, match="the request could not be sent: no such container"):
        POISON.inject(Asked(GOOD, ExecResult(1, "no such container")), victim(ONCE_A_SECOND))


@pytest.mark.parametrize(
    ("result", "proved", "moot"),
    [
        (ExecResult(0, "workers: 57\n63\n"), True, False),
        (ExecResult(0, "workers: 31 57\n63\n"), True, False),
        # It was dead at first, and has come back since.
        (ExecResult(0, "workers:\n63\n"), True, False),
        (ExecResult(0, "workers: 57\n"), False, True),
        (ExecResult(0, ""), False, False),
        (ExecResult(0, "nonsense\n63\n"), False, False),
        (ExecResult(1, ""), False, False),
        (ExecResult(124, "workers: 57\n63\n"), False, False),
    ],
)
def test_proof_of_poison_is_a_worker_in_the_place_of_a_dead_one(result: ExecResult, proved: bool, moot: bool) -> None:
    found = POISON.verify(Asked(result), victim(ONCE_A_SECOND))
    assert (found.proved, found.moot) == (proved, moot)
    assert "web1" in found.evidence


@pytest.mark.parametrize(
    ("first", "then", "found"),
    [("57", "57 63", ["workers: 57", "63"]), ("57", "57", ["workers: 57"]), ("", "63", ["workers:", "63"])],
)
def test_a_new_worker_is_seen_among_those_of_the_first_process(tmp_path: Path, first: str, then: str, found: list[str]) -> None:
    pgrep = tmp_path / "pgrep"
    listed = f"{{ [ -e {tmp_path}/asked ] && echo {then} || echo {first}; }} | tr ' ' '\\n'; touch {tmp_path}/asked"
    pgrep.write_text(f'#!/bin/bash\n[ "$*" = "-P 7" ] || {{ echo 7; exit; }}\n{listed}\n', encoding="utf-8")
    pgrep.chmod(0o755)
    command = poison.NEW_WORKER.format(seconds=1)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == found


# Taking it back


def open_fault(ledger: UndoLog, fault: str = "bad-deploy") -> None:
    ledger.open(Undo(UndoAction.REDEPLOY, "id-of-web1", "web1", 3), fault)


def playing(deploying: ExecResult, sending: ExecResult) -> PlayedEngine:
    def answer(_: Box, command: Sequence[str]) -> ExecResult:
        return deploying if command[0] == "lab-release" else sending

    return PlayedEngine([box(), USERS], answer=answer)


def test_the_request_ends_before_the_own_release_is_deployed_again(ledger: UndoLog) -> None:
    open_fault(ledger, "poison")
    plays = playing(ExecResult(0, "poisonous\n"), ExecResult(0, "python killed (pid 12)\n"))
    heal.undo_all(plays, ledger)
    assert plays.done == ["in internet: client[.]poison", "in web1: good"]
    assert ledger.entries() == []


@pytest.mark.parametrize(
    ("deploying", "sending", "why"),
    [
        (ExecResult(1, "lab-release: gunicorn does not run"), ExecResult(1, ""), "its own release could not be deployed again"),
        (ExecResult(0, ""), ExecResult(124, "no answer within 30 s"), "the request that kills may still be sent"),
    ],
)
def test_what_cannot_be_taken_back_stays_noted(ledger: UndoLog, deploying: ExecResult, sending: ExecResult, why: str) -> None:
    open_fault(ledger)
    with pytest.raises(HealError, match=f"bad-deploy of web1 could not be undone: {why}"):
        heal.undo_all(playing(deploying, sending), ledger)
    assert len(ledger.entries()) == 1


def test_a_box_that_is_down_is_started_before_its_release_is_set_back(ledger: UndoLog) -> None:
    open_fault(ledger)
    plays = PlayedEngine([box(status="exited")], answer=lambda _box, _command: ExecResult(0, ""))
    heal.undo_all(plays, ledger)
    assert plays.done == ["start web1", "in web1: good"]


def test_healing_finds_another_release_whoever_deployed_it() -> None:
    def sweep(said: ExecResult, of: Box) -> list[str]:
        return release.sweep(PlayedEngine(answer=lambda _box, _command: said).cluster(stage()), of)

    was_bad = ExecResult(0, "bad answer=error\n")
    assert sweep(was_bad, box()) == ["web1 ran the release 'bad answer=error': its own is deployed again"]
    assert sweep(ExecResult(0, ""), box()) == []
    # It has one release only, and no program to say so.
    assert sweep(ExecResult(127, "not found"), box()) == []
    assert sweep(was_bad, db("db1")) == []
    with pytest.raises(HealError, match="the release of web1 could not be set back: it said nothing"):
        sweep(ExecResult(1, ""), box())


def test_healing_ends_a_request_that_is_sent_without_a_note() -> None:
    def end(said: ExecResult) -> list[str]:
        return poison.end(PlayedEngine([WEB, USERS], answer=lambda _box, _command: said).cluster(stage()))

    assert end(ExecResult(0, "python killed (pid 12)\n")) == ["internet was sending a request that kills: ended"]
    assert end(ExecResult(1, "")) == []
