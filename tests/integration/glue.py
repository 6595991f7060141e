"""What a piece of the glue is worth: `python -m tests.integration.glue rule-1 durability --trials 2`.

A piece (docs/glue.md) is switched off inside a running stage, one trial runs, and it is switched on again. Trials with it and without
it take turns, so that whatever else changes on the machine meanwhile falls on both. A line a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from lab.engine.docker_engine import DockerEngine
from lab.spec import stages
from scripts.measured import READERS
from tests.integration.clusters import await_recovered
from tests.integration.driver import Lab, asked_of_monitor, container, docker, loaded

FIGURES = (
    "reads_gap_s",
    "writes_gap_s",
    "reads_outage_s",
    "writes_outage_s",
    "failed_reads",
    "failed_writes",
    "time_to_redundancy_s",
)
TRIAL_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Piece:
    """What is switched off, and the experiment that shows what it is worth."""

    stage: int
    experiment: str
    """A name, or the text of an experiment's file."""
    off: Callable[[int], None]
    on: Callable[[int], None]
    meanwhile: tuple[tuple[float, str, str], ...] = ()
    """What plain Docker does beside it: seconds after the load has begun, a command, a service."""


def trigger(name: str) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """A rule of guard.sql."""

    def alter(word: str) -> Callable[[int], None]:
        def of(stage: int) -> None:
            asked_of_monitor(stage, f"ALTER TABLE pgautofailover.node {word} TRIGGER {name}")

        return of

    return alter("DISABLE"), alter("ENABLE")


def process(pattern: str, *services: str) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """A program that stands still meanwhile, in these boxes."""

    def signal(word: str) -> Callable[[int], None]:
        def to_all(stage: int) -> None:
            for each in services:
                docker("exec", container(stage, each), "pkill", f"-{word}", "-f", pattern)

        return to_all

    return signal("STOP"), signal("CONT")


def _in_box(stage: int, service: str, command: str) -> None:
    docker("exec", container(stage, service), "bash", "-c", command)


def _no_durability(stage: int) -> None:
    """Every standby counts for a commit, as pg_auto_failover has it by itself."""
    process("python3 -m durability", "monitor")[0](stage)
    names = asked_of_monitor(stage, "SELECT nodename FROM pgautofailover.node WHERE NOT replicationquorum").split()
    for name in names:
        asked_of_monitor(stage, f"SELECT pgautofailover.set_node_replication_quorum('default', '{name}', true)")
        await_recovered(DockerEngine(), stages.find(str(stage)))


def _partner(stage: int, command: str) -> None:
    """On both balancers, with the partner's address, MAC address and the interface that leads to it."""
    known = 'read -r address rest <<<"$PARTNER"; mac=${rest##* }; dev=$(ip -o route get "$address" | grep -oP "dev \\K\\S+")'
    for each in ("lb1", "lb2"):
        _in_box(stage, each, f"{known}; {command}")


STANDSTILL = "for each in $(pgrep -x sleep); do kill -{word} $(ps -o ppid= -p $each); done"
"""Only the shell that watches for a standstill waits by `sleep` for seconds."""
PIECES: dict[str, Piece] = {
    "notifications-6": Piece(6, "kill-primary", *process("psql -q -X -At -h /run/postgresql", "monitor")),
    "notifications-7": Piece(7, "kill-primary", *process("psql -q -X -At -h /run/postgresql", "monitor")),
    # Who took over acknowledges alone, for its standbys cannot follow it; and it is lost.
    "rule-1": Piece(
        7,
        """title: Who takes over is cut off from its standbys, acknowledges alone, and is lost
question: Does another database take over without what only that one has?
preconditions: {db.primary: service:db1}
steps:
  - {fault: partition, target: service:db2, from: "service:db3,db4"}
  - {fault: kill, target: service:db1, delay_s: 0.5}
  - {fault: kill, target: service:db2, wait_for: served, timeout_s: 20, delay_s: 1}
fault_duration_s: 8
expect:
  writes_lost: {at_most: 0}
""",
        *trigger("refuse_promotion_that_could_lose"),
    ),
    # A standby is dead, so an election cannot end; the primary is not heard for a second.
    "rule-3": Piece(
        6,
        """title: A standby is dead, and the primary stands still for a second
question: Does the primary step down for an election that cannot end?
preconditions: {db.primary: service:db1}
initial_faults:
  - {fault: kill, target: service:db3}
fault: none
fault_duration_s: 14
expect:
  writes_lost: {at_most: 0}
""",
        *trigger("refuse_election_that_could_not_end"),
        meanwhile=((3.0, "pause", "db1"), (4.5, "unpause", "db1")),
    ),
    "standstill": Piece(
        7,
        "disconnect-region-eu",
        lambda stage: _in_box(stage, "db2", STANDSTILL.format(word="STOP")),
        lambda stage: _in_box(stage, "db2", STANDSTILL.format(word="CONT")),
    ),
    "durability": Piece(7, "kill-region-eu", _no_durability, process("python3 -m durability", "monitor")[1]),
    "partner": Piece(
        6,
        """title: Two zones lose each other for half a minute
question: For how long do both balancers own the address when the line is back?
preconditions: {lb.active: zone:a, db.primary: zone:a}
fault: partition
target: zone:a
from: zone:b
fault_duration_s: 30
expect:
  writes_lost: {at_most: 0}
""",
        lambda stage: _partner(stage, 'ip neighbour del "$address" dev "$dev"'),
        lambda stage: _partner(stage, 'ip neighbour replace "$address" lladdr "$mac" nud permanent dev "$dev"'),
    ),
    "lab-announce": Piece(
        7,
        """title: A region loses all of its web boxes
question: Do users get to the other region?
preconditions: {db.primary: service:db1}
fault: kill
target: service:web1,web2
fault_duration_s: 8
expect:
  writes_lost: {at_most: 0}
""",
        *process("lab-announce", "lb1", "lb2"),
    ),
}


@contextmanager
def switched_off(piece: Piece) -> Iterator[None]:
    """The piece is off, and on again at the end, whatever happens."""
    piece.off(piece.stage)
    try:
        yield
    finally:
        piece.on(piece.stage)


def trial(lab: Lab, piece: Piece, experiment: str) -> dict[str, Any]:
    """One trial's part of the document."""
    run = lab.start("run", str(piece.stage), experiment, "--json")
    if piece.meanwhile:
        loaded(run, piece.stage)
    timers = [Timer(at_s, docker, (word, container(piece.stage, service))) for at_s, word, service in piece.meanwhile]
    for each in timers:
        each.start()
    out, err = run.communicate(timeout=TRIAL_TIMEOUT_S)
    for each in timers:
        each.join()
    assert out, err
    [found] = json.loads(out)["trials"]
    return dict(found)


def line(name: str, found: dict[str, Any]) -> str:
    """A trial's figures; a bound (≥) where the outage was healed."""
    figures = {key: READERS[key](found) for key in FIGURES}
    said = [f"{key} {'≥' * each[1]}{each[0]:.2f}" for key, each in figures.items() if each]
    audit = found.get("writes_audit") or {}
    owners = (found.get("vip_owners") or {}).get("multiple_owners_s")
    said += [f"lost {audit.get('lost')} of {audit.get('acknowledged')}", f"two owners {owners}"]
    valid = "" if found["valid"] else f"  not valid: {'; '.join(found['reasons'])}"
    return f"{name}: {', '.join(said)}{valid}"


def measure(lab: Lab, name: str, trials: int) -> None:
    """Some trials with a piece and as many without it, by turns."""
    piece = PIECES[name]
    stage = stages.find(str(piece.stage))
    lab.must("up", str(piece.stage), "--stop-others", timeout_s=300)
    with tempfile.TemporaryDirectory() as folder:
        experiment = piece.experiment
        if "\n" in experiment:
            file = Path(folder) / f"{name}.yaml"
            file.write_text(experiment, encoding="utf-8")
            experiment = str(file)
        for _ in range(trials):
            await_recovered(DockerEngine(), stage)
            print(line(f"{name}, with", trial(lab, piece, experiment)), flush=True)
            await_recovered(DockerEngine(), stage)
            with switched_off(piece):
                print(line(f"{name}, without", trial(lab, piece, experiment)), flush=True)


def main() -> None:
    """Measure some pieces, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", nargs="+", choices=list(PIECES))
    parser.add_argument("--trials", type=int, default=5, help="of each, with the piece and without it")
    asked = parser.parse_args()
    lab = Lab({**os.environ, "LAB_RESULTS": tempfile.mkdtemp(prefix="glue-")})
    for name in asked.pieces:
        measure(lab, name, asked.trials)
    lab.must("down", "--all")


if __name__ == "__main__":
    main()
