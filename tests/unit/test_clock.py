"""The fault that sets the wall clock of a box, the flavour of the images that it needs, and what is known of a run with them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import images, readiness
from lab.engine.compose import other_images
from lab.engine.engine import ExecResult
from lab.errors import HealError, LabError, UsageError
from lab.faults import FAULTS, clock, heal
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.clock import Apart
from lab.model.fault import FaultKind, FaultParameters, Undo, UndoAction
from lab.model.history import Conditions
from lab.model.topology import CLOCK_LABEL, Box, Stage
from lab.process import wait_until
from lab.report.conditions import line
from lab.spec import experiments, stages
from lab.spec.stages import ROOT
from lab.store.undo_log import UndoLog
from tests.unit.helpers import automatic, box, db, stage, started
from tests.unit.played import PlayedEngine
from tests.unit.test_faults import FakeControl

LAB_CLOCK = ROOT / "compose" / "clock" / "lab-clock"
LABELS = {"lab.stage": "3", "lab.role": "web", "lab.process": "gunicorn", CLOCK_LABEL: "libfaketime"}
INTERNET = box("internet", ("internet",))
FAULT = FAULTS[FaultKind.CLOCK]


def flavoured(service: str = "web1", roles: tuple[str, ...] = ("web",), **changes: Any) -> Box:
    return box(service, roles, **{"labels": {**LABELS, "lab.role": " ".join(roles)}, **changes})


def aimed(how: FaultParameters, at: Box | None = None, outside: tuple[Box, ...] = (INTERNET,)) -> InjectionTarget:
    return InjectionTarget.of(at or flavoured(), "web", BlastRadius(how, outside=outside))


BACK = FaultParameters(step_s=-60.0)
FAST = FaultParameters(drift_percent=10.0)


def said(text: str) -> ExecResult:
    return ExecResult(0, f"{text}\n")


# Before it


def test_a_clock_that_is_right_and_can_be_set_is_set() -> None:
    control = FakeControl(flavoured(), said("42"), said(""), said("+0"), said(""))
    prepared = FAULT.prepare(control, aimed(BACK))
    FAULT.inject(control, prepared)
    assert control.done == [
        "in web1: pgrep -x gunicorn",
        "in web1: grep -lq libfaketime /proc/42/maps",
        "in web1: lab-clock show",
        "in web1: lab-clock set -60.000",
    ]
    assert FAULT.undo(prepared) == Undo(UndoAction.SET_RIGHT, "id-of-web1", "web1", 3)


def test_a_drift_is_asked_for_in_percent() -> None:
    control = FakeControl(flavoured(), said(""))
    FAULT.inject(control, aimed(FAST))
    assert control.done == ["in web1: lab-clock drift +10.000"]


@pytest.mark.parametrize(
    ("at", "answers", "why"),
    [
        (box(), (), "the clock of web1 cannot be set: its image is the ordinary one"),
        (flavoured(status="paused"), (), "web1 is paused, not running"),
        (flavoured(), (ExecResult(1, ""),), "no process 'gunicorn' runs in web1"),
        (flavoured(), (said("42"), ExecResult(1, "")), "'gunicorn' in web1 does not go by the clock that can be set"),
        (flavoured(), (said("42"), said(""), said("-3600.000")), r"the clock of web1 is off already: -3600\.000 s"),
        (flavoured(), (said("42"), said(""), said("+0 drift")), r"the clock of web1 is off already: \+0 drift s"),
        (
            flavoured(),
            (said("42"), said(""), ExecResult(127, "lab-clock: not found")),
            "the clock of web1 is off already: unknown",
        ),
    ],
)
def test_nothing_is_set_where_that_would_be_no_fault_or_another_one(at: Box, answers: Sequence[ExecResult], why: str) -> None:
    control = FakeControl(at, *answers)
    with pytest.raises(UsageError, match=why) as caught:
        FAULT.prepare(control, aimed(BACK, at))
    assert caught.value.hint
    assert not [each for each in control.done if "lab-clock set" in each]


def test_the_hint_for_an_ordinary_box_says_what_to_do() -> None:
    with pytest.raises(UsageError) as caught:
        FAULT.prepare(FakeControl(box()), aimed(BACK, box()))
    assert "LAB_CLOCK=yes" in caught.value.hint


def test_a_box_that_does_not_let_its_clock_be_set_is_an_error() -> None:
    with pytest.raises(LabError, match="the clock of web1 could not be set: usage: lab-clock set SECONDS"):
        FAULT.inject(FakeControl(flavoured(), ExecResult(2, "usage: lab-clock set SECONDS")), aimed(BACK))


# Its proof

NOON_S = 1_764_590_400.0


def readings(box_s: float, before_s: float = 0.0, after_s: float = 0.05) -> list[ExecResult]:
    return [said(f"{NOON_S + each:.6f}") for each in (before_s, box_s, after_s)]


@pytest.mark.parametrize(
    ("box_s", "after_s", "proved"),
    [
        (-59.98, 0.05, True),
        # Still right.
        (0.02, 0.05, False),
        # Off by something else: that is no proof of what was asked.
        (-58.0, 0.05, False),
        (60.02, 0.05, False),
        # So slow that it could be anything.
        (0.0, 70.0, False),
    ],
)
def test_proof_of_a_step_is_the_difference_to_a_clock_that_is_right(box_s: float, after_s: float, proved: bool) -> None:
    control = FakeControl(flavoured(), *readings(box_s, after_s=after_s))
    found = FAULT.verify(control, aimed(BACK))
    assert found.proved is proved
    assert control.done == [f"in {name}: date +%s.%N" for name in ("internet", "web1", "internet")]
    assert found.evidence.startswith("the clock of web1 is ")
    assert "off that of internet" in found.evidence


@pytest.mark.parametrize("silent", range(3))
def test_a_clock_that_says_nothing_proves_nothing(silent: int) -> None:
    for answer in (ExecResult(124, "no answer within 5 s"), said("date: not found"), ExecResult(0, "")):
        answers = readings(-60.0)
        answers[silent] = answer
        assert not FAULT.verify(FakeControl(flavoured(), *answers), aimed(BACK)).proved


def test_without_a_clock_that_is_right_nothing_is_proved() -> None:
    control = FakeControl(flavoured())
    assert not FAULT.verify(control, aimed(BACK, outside=(flavoured("web2"), box("lb", ("lb",))))).proved
    assert control.done == []


@pytest.mark.parametrize("roles", [("db",), ("monitor",)])
def test_a_database_is_asked_itself(roles: tuple[str, ...]) -> None:
    at = flavoured("monitor", roles)
    control = FakeControl(at, *readings(-60.0))
    assert FAULT.verify(control, aimed(BACK, at)).proved
    assert control.done[1].startswith("in monitor: psql ")
    assert control.done[1].endswith("SELECT extract(epoch FROM clock_timestamp())")


def drifting(*looks: tuple[str, float]) -> Iterator[ExecResult]:
    """At each look, how far off the box is and then says that it is set."""
    for setting, box_s in looks:
        yield from readings(box_s)
        yield said(setting)


@pytest.mark.parametrize(
    ("looks", "proved"),
    [
        ([("+0.900 drift", 0.9)], True),
        # A second of drift later than it is set: a program looks once a second.
        ([("+0.900 drift", 0.8)], True),
        # Not more yet than the two clocks are known to.
        ([("+0.010 drift", 0.02), ("+0.900 drift", 0.9)], True),
        ([("+0.900 drift", 0.02)], False),
        ([("-0.900 drift", -0.9)], False),
        ([("", 0.9)], False),
    ],
)
def test_proof_of_a_drift_is_waited_for(looks: list[tuple[str, float]], proved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "DRIFT_PROOF_S", 0.2 if len(looks) > 1 else 0.0)
    assert FAULT.verify(FakeControl(flavoured(), *drifting(*looks)), aimed(FAST)).proved is proved


def test_two_clocks_are_apart_by_what_the_readings_allow() -> None:
    found = clock.compared(FakeControl(None, *readings(-59.9, before_s=0.0, after_s=0.2)), flavoured(), INTERNET)
    assert found is not None
    assert found.low_s == pytest.approx(-60.1)
    assert found.high_s == pytest.approx(-59.9)
    assert found.middle_s == pytest.approx(-60.0)
    assert found.error_s == pytest.approx(0.1)
    assert Apart(-1.0, 1.0).has(1.0)
    assert not Apart(-1.0, 1.0).has(1.1)
    assert Apart(-1.0, 1.0).has(1.1, 0.2)


# Its undo

LOG = Undo(UndoAction.SET_RIGHT, "id-of-web1", "web1", 3)


@pytest.fixture
def ledger(tmp_path: Path) -> UndoLog:
    found = UndoLog(tmp_path / "undo.jsonl")
    found.open(LOG, "clock")
    return found


def answering(**by_word: ExecResult) -> Callable[[Box, Sequence[str]], ExecResult]:
    return lambda _box, command: by_word.get(command[1], ExecResult(0, ""))


@pytest.mark.parametrize(
    ("now", "done"),
    [
        (flavoured(), ["in web1: +0"]),
        # A frozen box keeps what it was set to.
        (flavoured(status="paused"), ["unpause web1", "in web1: +0"]),
        # A box that was started again has an empty /run.
        (flavoured(status="exited"), ["start web1"]),
        # One that was made again, of the ordinary images.
        (box(), []),
    ],
)
def test_the_clock_of_a_box_is_set_right(ledger: UndoLog, now: Box, done: list[str]) -> None:
    plays = PlayedEngine([now])
    assert heal.undo_all(plays, ledger) == 1
    assert plays.done == done
    assert ledger.entries() == []


def test_a_clock_that_cannot_be_set_right_stays_noted(ledger: UndoLog) -> None:
    plays = PlayedEngine([flavoured()], answer=answering(set=ExecResult(1, "No space left on device")))
    with pytest.raises(HealError, match="clock of web1 could not be undone: the clock of web1 could not be set right: No space"):
        heal.undo_all(plays, ledger)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("found", ["-60", "+0.000 drift", "+0 drift", "?"])
def test_healing_finds_a_clock_that_is_off_whoever_set_it(found: str) -> None:
    plays = PlayedEngine(answer=answering(show=said(found)))
    assert clock.sweep(plays.cluster(stage()), flavoured()) == [f"the clock of web1 was off ({found}): set right"]
    assert plays.done == ["in web1: show", "in web1: +0"]


def test_healing_leaves_clocks_alone_that_are_right_or_cannot_be_set() -> None:
    plays = PlayedEngine(answer=answering(show=said("+0")))
    assert clock.sweep(plays.cluster(stage()), flavoured()) == []
    assert plays.done == ["in web1: show"]
    assert clock.sweep(plays.cluster(stage()), box()) == []
    assert plays.done == ["in web1: show"]


def test_a_clock_of_which_nothing_is_known_is_not_taken_for_right() -> None:
    silent = ExecResult(124, "no answer within 30 s")
    plays = PlayedEngine(answer=answering(show=silent))
    assert clock.sweep(plays.cluster(stage()), flavoured()) == ["the clock of web1 was off (no answer within 30 s): set right"]
    with pytest.raises(HealError, match="the clock of web1 could not be set right: no answer within 30 s"):
        clock.sweep(PlayedEngine(answer=answering(show=silent, set=silent)).cluster(stage()), flavoured())


# The program in the box


def lab_clock(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FAKETIME_TIMESTAMP_FILE": str(folder / "lab-clock")}
    return subprocess.run([str(LAB_CLOCK), *words], env=environment, capture_output=True, text=True, check=False, timeout=20)


def test_a_clock_is_right_until_it_is_set_and_says_how_far_off_it_is(tmp_path: Path) -> None:
    assert lab_clock(tmp_path, "show").stdout == "+0\n"
    assert lab_clock(tmp_path, "set", "-86400.000").returncode == 0
    assert (tmp_path / "lab-clock").read_text(encoding="utf-8") == "-86400.000\n"
    assert lab_clock(tmp_path, "show").stdout == "-86400.000\n"
    assert lab_clock(tmp_path, "set", "+0").returncode == 0
    assert lab_clock(tmp_path, "show").stdout == "+0\n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("set",),
        ("set", "60"),
        ("set", ""),
        ("set", "+1 x2"),
        ("set", "+1d"),
        ("set", "@2026-01-01"),
        ("drift", "fast"),
        ("stop", "+1"),
    ],
)
def test_what_the_library_would_take_for_something_else_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A line that libfaketime does not understand ends every program that reads it."""
    done = lab_clock(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert not (tmp_path / "lab-clock").exists()


def offset_s(folder: Path) -> float:
    return float(lab_clock(folder, "show").stdout.split()[0])


def test_a_drift_goes_on_until_the_clock_is_set(tmp_path: Path) -> None:
    assert lab_clock(tmp_path, "drift", "+50.000").returncode == 0
    assert lab_clock(tmp_path, "show").stdout.endswith(" drift\n")
    assert wait_until(lambda: offset_s(tmp_path) > 0.4, 10)
    first = offset_s(tmp_path)
    assert wait_until(lambda: offset_s(tmp_path) > first, 10)
    assert lab_clock(tmp_path, "set", "+0").returncode == 0
    # Longer than it sleeps: what was under way has ended, and has not written again.
    time.sleep(1.5)
    assert lab_clock(tmp_path, "show").stdout == "+0\n"


def test_of_two_drifts_the_last_one_goes_on(tmp_path: Path) -> None:
    assert lab_clock(tmp_path, "drift", "-50.000").returncode == 0
    assert lab_clock(tmp_path, "drift", "+50.000").returncode == 0
    assert wait_until(lambda: offset_s(tmp_path) > 0.4, 10)
    assert lab_clock(tmp_path, "set", "+0").returncode == 0


def test_the_flavour_leaves_files_deadlines_and_other_processes_alone() -> None:
    text = (ROOT / "compose" / "clock" / "Dockerfile").read_text(encoding="utf-8")
    for setting in ("FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", "FAKE_UTIME=0", "FAKETIME_DISABLE_SHM=1"):
        assert setting in text
    assert f"LABEL {CLOCK_LABEL}=" in text
    # Threads wait for each other as without the library.
    assert "sed 's/pthread_cond_/pthread_conX_/g'" in text
    # In memory: a box that starts again is right.
    assert "FAKETIME_TIMESTAMP_FILE=/run/" in text
    assert all('tmpfs: ["/run:' in each.file.read_text(encoding="utf-8") for each in stages.all_stages())


# The flavour of the images


def of_flavour(number: str) -> Stage:
    return stages.with_clocks(stages.find(number), True)


def test_a_stage_is_of_the_flavour_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    file = stages.find("3").file
    assert not stages.read(file).has_clocks
    monkeypatch.setenv("LAB_CLOCK", "yes")
    assert stages.read(file) == of_flavour("3")
    assert images.wanted() == images.EVERY == (*images.SOURCES, *images.FLAVOURS)


def test_without_the_flavour_nothing_of_a_stage_is_another_image() -> None:
    for each in stages.all_stages():
        assert not each.has_clocks
        assert other_images(each) == ""
        assert not [name for name in images.needed_by(each) if ":" in name]
    assert images.wanted() == tuple(images.SOURCES)


def test_with_it_compose_reads_the_other_images_and_nothing_else() -> None:
    found = of_flavour("5")
    services = json.loads(other_images(found))["services"]
    assert {name: about["image"] for name, about in services.items()} == {
        **dict.fromkeys(("web1", "web2"), "redundancy-lab/web:clock"),
        **dict.fromkeys(("db1", "db2"), "redundancy-lab/postgres:clock"),
        "monitor": "redundancy-lab/monitor:clock",
    }
    assert all(list(about) == ["image"] for about in services.values())
    assert not of_flavour("1").has_clocks


def test_a_flavour_is_built_after_the_ordinary_image_and_does_not_replace_it() -> None:
    names = images.needed_by(of_flavour("5"))
    for plain in ("web", "postgres", "monitor"):
        assert names.index(plain) < names.index(f"{plain}:clock")
        assert images.bases_of(f"{plain}:clock") == {*images.bases_of(plain), f"{plain}:clock"}
        assert images.source_digest(plain) != images.source_digest(f"{plain}:clock")


def test_a_stage_of_the_other_flavour_is_started_from_scratch() -> None:
    assert images.fingerprint(of_flavour("3")) != images.fingerprint(stages.find("3"))


@pytest.mark.parametrize("value", ["maybe", "1", "YES"])
def test_what_is_neither_yes_nor_no_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_CLOCK", value)
    with pytest.raises(UsageError, match=f"LAB_CLOCK must be yes or no, not '{value}'"):
        stages.clock_is_wanted()


def test_boxes_that_run_say_of_which_flavour_their_stage_is() -> None:
    """Whatever LAB_CLOCK says to the command that heals them: else it would make them anew, of the other images."""
    plain = started(stage())
    assert not stages.of_boxes(plain).has_clocks
    mixed = [replace(each, labels={**each.labels, CLOCK_LABEL: "x"}) if each.service == "web2" else each for each in plain]
    found = stages.of_boxes(mixed)
    assert found.has_clocks
    assert stages.with_clocks(found, False) == stages.with_clocks(stage(), False)
    [up] = readiness.stages_up(PlayedEngine(mixed))
    assert up.has_clocks


# In an experiment

CLOCKS = [name for name in experiments.names() if name.startswith("clock-")]


@pytest.mark.parametrize("name", CLOCKS)
def test_an_experiment_with_a_clock_is_refused_before_anything_is_started(name: str) -> None:
    found = experiments.find(name)
    for of in (stages.with_clocks(automatic(), False), stages.find("1")):
        with pytest.raises(UsageError, match=f"{name} sets the clock of a box, and no box of stage {of.number}") as caught:
            experiments.check_targets(found, of)
        assert "LAB_CLOCK=yes" in caught.value.hint
    experiments.check_targets(found, stages.with_clocks(automatic(), True))


def test_there_is_one_for_each_box_that_has_a_clock() -> None:
    assert CLOCKS == ["clock-monitor", "clock-primary", "clock-web"]


# What is known of a run


def with_labels(of: Stage, **labels: str) -> list[Box]:
    return [replace(each, labels={**each.labels, **labels}) for each in started(of)]


def test_conditions_say_that_figures_of_the_flavour_are_no_others() -> None:
    clocks = PlayedEngine([*with_labels(stage()), flavoured("web9")]).cluster(stage()).conditions()
    assert (clocks.clock, clocks.disks) == ("libfaketime", "")
    assert "every question for the time goes through libfaketime (LAB_CLOCK): not to be compared" in line(clocks)
    ordinary = PlayedEngine(started(stage())).cluster(stage()).conditions()
    assert ordinary.clock == ""
    assert "LAB_CLOCK" not in line(ordinary)
    assert "LAB_CLOCK" not in line(Conditions())


def test_databases_of_the_flavour_are_databases_all_the_same() -> None:
    at = db("db1", labels={**LABELS, "lab.process": "postgres"})
    control = FakeControl(at, said("7"), said(""), said("+0"))
    assert FAULT.prepare(control, InjectionTarget.of(at, "db.primary", BlastRadius(BACK))).pids == {"7"}
