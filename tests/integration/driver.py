"""Drives the lab as a user action: through its command line, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Timer
from typing import Any, ClassVar, TypeVar

import pytest

from lab.engine.engine import Engine
from lab.model.observation import DatabaseState
from lab.model.topology import Stage
from lab.process import wait_until
from lab.spec.stages import ROOT
from lab.store.undo_log import UndoLog
from tests.integration.clusters import look

RUN_TIMEOUT_S = 150.0
PHASE_TIMEOUT_S = 60.0
NOTED_TIMEOUT_S = 30.0
TRIES = 3
LOAD = "client.generator"
BYTECODE = ROOT / ".pytest_cache" / "bytecode"
"""The lab is started some hundreds of times: it is compiled once, also where Python is told to keep nothing."""
ROUNDING_S = 0.001
"""A difference of two instants of a document, which are rounded to the microsecond, is not off by more."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line that says what went wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


class Lab:
    """The command `lab`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    @property
    def front_door(self) -> str:
        """URL of the front door."""
        return f"http://127.0.0.1:{self.environment['LAB_PORT']}"

    def __call__(self, *arguments: str, timeout_s: float = RUN_TIMEOUT_S, **environment: str) -> Done:
        """Run a command to its end, within a deadline."""
        done = subprocess.run(
            self._command(arguments),
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def must(self, *arguments: str, timeout_s: float = RUN_TIMEOUT_S) -> Done:
        """Run a command that has to succeed."""
        done = self(*arguments, timeout_s=timeout_s)
        assert done.code == 0, f"lab {' '.join(arguments)}: exit {done.code}\n{done.out}\n{done.err}"
        return done

    def run(self, stage: int, experiment: str, *options: str, timeout_s: float = RUN_TIMEOUT_S) -> tuple[int, dict[str, Any]]:
        """Run an experiment; its exit code and its JSON document."""
        done = self("run", str(stage), experiment, "--json", *options, timeout_s=timeout_s)
        assert done.out, done.err
        document: dict[str, Any] = json.loads(done.out)
        return done.code, document

    def valid_run(self, stage: int, experiment: str, *options: str) -> tuple[int, dict[str, Any]]:
        """Run an experiment until its trials are valid; its exit code and its JSON document."""
        return until_valid(lambda: self.run(stage, experiment, *options))

    def valid_trial(self, stage: int, experiment: str, *options: str) -> dict[str, Any]:
        """The one trial of such a run."""
        _, document = self.valid_run(stage, experiment, *options)
        [trial] = document["trials"]
        return trial  # type: ignore[no-any-return]

    def safe_trial(self, stage: int, experiment: str, *options: str) -> dict[str, Any]:
        """The same, and nothing that was acknowledged is lost, and no two databases accepted writes."""
        trial = self.valid_trial(stage, experiment, *options)
        assert trial["writes_audit"]["lost"] == 0
        assert trial["writable_databases"]["multiple_writers_s"] == 0
        return trial

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            self._command(arguments),
            env=self._environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "lab", *arguments]

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PYTHONPYCACHEPREFIX": str(BYTECODE), **self.environment, **more}


@dataclass
class Repeats:
    """How often this session had to measure again, since a trial was not valid. A change that spoils trials is seen by that."""

    measured: int = 0
    again: list[str] = field(default_factory=list)
    """Why, one line for each measurement that was thrown away."""

    SHARE_MAX: ClassVar[float] = 0.2
    FEW: ClassVar[int] = 3
    """So few are no share of anything: a machine stalls now and then."""

    def count(self, spoilt: str = "") -> None:
        """Count a measurement, and where it was spoilt, by what."""
        self.measured += 1
        self.again += [spoilt] if spoilt else []

    @property
    def are_too_many(self) -> bool:
        """Whether more was thrown away than a busy machine explains."""
        return len(self.again) > max(self.FEW, self.SHARE_MAX * self.measured)

    def __str__(self) -> str:
        return "\n".join([f"{len(self.again)} of {self.measured} measurements were not valid and were repeated", *self.again])


REPEATS = Repeats()


def until_valid(measure: Callable[[], tuple[Found, dict[str, Any]]]) -> tuple[Found, dict[str, Any]]:
    """What was found beside a run, and the run's document: where this machine was too busy to measure, both are done again.

    At most TRIES times, and each repetition is counted in REPEATS, which the session bounds.
    """
    for _ in range(TRIES):
        found, document = measure()
        reasons = [
            reason for trial in document["trials"] if not trial["valid"] for reason in trial["reasons"] or ["no reason given"]
        ]
        spoilt = f"{document['stage_folder']}, {document['experiment']}: {'; '.join(reasons)}" if reasons else ""
        REPEATS.count(spoilt)
        if not spoilt:
            return found, document
    raise AssertionError(f"not one valid measurement of {TRIES}: {REPEATS.again[-TRIES:]}")


def reach(run: subprocess.Popen[str], phase: str, within_s: float = PHASE_TIMEOUT_S) -> None:
    """Read what a run says until it enters a phase. Fails where it ends, or takes longer, before that: it is killed then."""
    assert run.stderr is not None
    said: list[str] = []
    guard = Timer(within_s, run.kill)
    guard.start()
    try:
        while line := run.stderr.readline():
            said.append(line)
            if line.split()[:1] == [phase]:
                return
    finally:
        guard.cancel()
    raise AssertionError(f"the run ended, or {within_s:g} s went by, before the phase '{phase}': {''.join(said)}")


def goes_on(run: subprocess.Popen[str], for_s: float) -> None:
    """Let a run go on for so many seconds; it must not end meanwhile."""
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(for_s)


def loaded(run: subprocess.Popen[str], stage: int, within_s: float = PHASE_TIMEOUT_S) -> None:
    """Wait until the load of a run has begun. Fails where the run ends, or takes longer, before that."""

    def has_begun() -> bool:
        assert run.poll() is None, run.communicate()
        return LOAD in docker("top", container(stage, "internet"))

    assert wait_until(has_begun, within_s), f"no load within {within_s:g} s"


def ended(run: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a run to end; its JSON document."""
    out, err = run.communicate(timeout=60)
    assert out, err
    document: dict[str, Any] = json.loads(out)
    return document


def longest(trial: dict[str, Any], kind: str) -> float:
    """Seconds of the longest of a trial's `outages` (the service's), `read_outages` or `write_outages`; 0 where there was none."""
    return max((outage["end_s"] - outage["start_s"] for outage in trial[kind]), default=0.0)


def not_held(trial: dict[str, Any]) -> list[str]:
    """The expectations of which a trial's document does not say that they hold: missed, and undecided."""
    return [*trial["failed_expectations"], *trial["undecided_expectations"]]


def docker(*arguments: str) -> str:
    """Plain Docker, past the lab."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def container(stage: int, service: str) -> str:
    """The container of a service, as Compose names it."""
    return f"redundancy-lab-{stage}-{service}-1"


def primary(engine: Engine, stage: Stage) -> str:
    """The one database that accepts writes."""
    [name] = look(engine, stage).named(DatabaseState.PRIMARY)
    return name


def asked_of_monitor(stage: int, *statements: str) -> str:
    """What the monitor's database answers to these, one after the other in one session."""
    psql = ("psql", "-X", "-qAt", "-h", "/run/postgresql", "-d", "pg_auto_failover")
    return docker("exec", container(stage, "monitor"), *psql, *(word for each in statements for word in ("-c", each)))


def orders_in(stage: int, service: str) -> int:
    """How many orders a database has, as it says itself."""
    psql = ["psql", "-X", "-qAt", "-h", "/run/postgresql", "-U", "postgres", "-d", "postgres", "-c"]
    return int(docker("exec", container(stage, service), *psql, "SELECT count(*) FROM orders"))


def kill_after_note(lab: Lab, arguments: Sequence[str], after_s: float) -> None:
    """Start a command of the lab, and kill it (SIGKILL) so long after the first fault is noted."""
    process = lab.start(*arguments)
    assert wait_until(lambda: bool(UndoLog().entries()), NOTED_TIMEOUT_S, 0.002)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def states(stage: int) -> dict[str, str]:
    """What plain Docker says of each container of a stage."""
    lines = docker("ps", "--all", "--filter", f"label=lab.stage={stage}", "--format", "{{.Names}} {{.State}}").splitlines()
    return dict(line.split() for line in lines)


def look_beside(name: str, look: str) -> str:
    """What a look at a container's network finds, in a container of its own that shares nothing else with it or with the lab."""
    options = ["--rm", "--network", f"container:{name}", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN"]
    return docker("run", *options, "redundancy-lab/network", "bash", "-c", look)


def left_over(name: str) -> str:
    """What is left of a fault in a container's network."""
    return look_beside(name, "nft list tables netdev; tc qdisc show | grep -v ' 0: ' || true")
