"""The lab's figures held against an independent look: `python -m tests.integration.beside 5:kill-primary 6:kill-zone-a --trials 5`.

The lab measures a run in which it breaks nothing. Plain Docker breaks the boxes, and two probers of their own, for reads and for
writes, ask where users stand. A line a trial: what either says of the longest outage of reads, of writes, and of both together, and of the gap. An order waits in the
web box for 0.8 s: where a failover takes about as long, it is luck whether one of either's requests fails, and an outage of one request
is 0.8 s long. The gap does not depend on that luck.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.checker.outages import union
from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine
from lab.model.topology import Stage, is_system
from lab.spec import experiments, stages
from lab.trial import preconditions
from tests.integration.clusters import await_recovered, cluster
from tests.integration.driver import Lab, container, docker, ended, goes_on, loaded, primary
from tests.integration.prober import ProberAmongUsers, windows

BEFORE_S = 2.5
AFTER_S = 15.0
"""From when what was broken is brought back to the end of the run: its audit reads every database, and a region starts six boxes."""
AGREEMENT_S = 0.1
MOST_PER_VALID = 3
"""A busy machine makes trials that are not valid: so many are tried for each that is to be."""


@dataclass(frozen=True)
class Breakage:
    """What is done to a stage with plain Docker, and how it is taken back."""

    do: Callable[[], None]
    undo: Callable[[], None]


def killed(names: Sequence[str]) -> Breakage:
    """Boxes that are killed at once."""
    return Breakage(lambda: _discard(docker("kill", *names)), lambda: _discard(docker("start", *names)))


def cut_off(name: str) -> Breakage:
    """A box that is taken off all of its networks."""
    settings: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name))

    def disconnect() -> None:
        for network in settings:
            docker("network", "disconnect", network, name)

    def connect() -> None:
        for network, link in settings.items():
            aliases = [word for alias in link["Aliases"] or () for word in ("--alias", alias)]
            docker("network", "connect", "--ip", link["IPAMConfig"]["IPv4Address"], *aliases, network, name)

    return Breakage(disconnect, connect)


def breakage(engine: Engine, stage: Stage, experiment: str) -> Breakage:
    """What an experiment does, by plain Docker."""
    what, _, where = experiment.partition("-")
    if where == "primary":
        name = container(stage.number, primary(engine, stage))
        return killed([name]) if what == "kill" else cut_off(name)
    kind, _, place = where.partition("-")
    boxes = [spec.name for spec in stage.services if spec.labels.get(f"lab.{kind}") == place and is_system(spec.roles)]
    if what != "kill" or not boxes:
        raise SystemExit(f"{experiment}: not known here; kill-primary, disconnect-primary, kill-zone-a, kill-region-eu are")
    return killed([container(stage.number, name) for name in boxes])


def _discard(_: str) -> None:
    return None


@dataclass(frozen=True)
class Agreement:
    """The longest outages of a trial as the lab and as the probers saw them, seconds: of reads, of writes, of the service."""

    valid: bool
    lab_s: tuple[float, float, float]
    prober_s: tuple[float, float, float]
    gaps_s: tuple[float, float]
    """The longest time without a success, as the lab and as the probers saw it: also where hardly a request failed."""
    lag_s: float
    """How late a prober itself was at most."""
    lost: int

    @property
    def apart_s(self) -> float:
        """By how much the two differ on the service."""
        return abs(self.lab_s[2] - self.prober_s[2])

    def __str__(self) -> str:
        figures = [" ".join(f"{each:6.2f}" for each in of) for of in (self.lab_s, self.prober_s)]
        valid = "" if self.valid else "  not valid"
        gaps = f"gap {self.gaps_s[0]:.2f} {self.gaps_s[1]:.2f} apart {abs(self.gaps_s[0] - self.gaps_s[1]):.3f} s"
        return f"lab {figures[0]}   prober {figures[1]}   apart {self.apart_s:.3f} s   {gaps}   prober late {self.lag_s:.3f} s   lost {self.lost}{valid}"


def trial(lab: Lab, stage: Stage, breaking: Breakage, for_s: float) -> Agreement:
    """Break a stage beside a run of the lab that breaks nothing."""
    run = lab.start("run", str(stage.number), "baseline", "--json", "--duration", f"{BEFORE_S + for_s + AFTER_S:g}s")
    internet = container(stage.number, "internet")
    with ProberAmongUsers(internet, stage.entry) as reads, ProberAmongUsers(internet, stage.entry, writes=True) as writes:
        # Its load takes some seconds to begin: what is broken before that, only the probers would see from its begin.
        loaded(run, stage.number)
        goes_on(run, BEFORE_S)
        breaking.do()
        undo = threading.Timer(for_s, breaking.undo)
        undo.start()
        document = ended(run)
        undo.join()
    [found] = document["trials"]
    return Agreement(
        valid=found["valid"],
        lab_s=tuple(_longest_s(found[kind]) for kind in ("read_outages", "write_outages", "outages")),  # type: ignore[arg-type]
        prober_s=(
            reads.outage_s(),
            writes.outage_s(),
            max((each.length_s for each in union(windows(reads), windows(writes))), default=0.0),
        ),
        gaps_s=(found["gap_s"], max(reads.gap_s(), writes.gap_s())),
        lag_s=max(reads.lag_s(), writes.lag_s()),
        lost=found["writes_audit"]["lost"],
    )


def _longest_s(outages: Sequence[dict[str, Any]]) -> float:
    return max((each["end_s"] - each["start_s"] for each in outages), default=0.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Measure each pair of a stage and an experiment, some valid trials each; ends with 1 where the two looks differ or too few are valid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", help="a stage and an experiment: 5:kill-primary")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--for", dest="for_s", type=float, default=8.0, help="seconds until what was broken is brought back")
    asked = parser.parse_args()
    engine, far = DockerEngine(), 0
    ports = {name: str(_free_port()) for name in ("LAB_PORT", "LAB_LOCUST_PORT", "LAB_WATCH_PORT")}
    lab = Lab({**os.environ, **ports, "LAB_RESULTS": tempfile.mkdtemp(prefix="beside-")})
    for each in asked.what:
        number, _, experiment = each.partition(":")
        stage = stages.find(number)
        lab.must("up", number, "--stop-others", timeout_s=300)
        valid, tried = 0, 0
        while valid < asked.trials and tried < MOST_PER_VALID * asked.trials:
            await_recovered(engine, stage)
            # As the experiment has it: a failover leaves the primary where it went.
            preconditions.bring_about(
                cluster(engine, stage), experiments.find(experiment).preconditions, lambda text: print(f"  {text}", flush=True)
            )
            found = trial(lab, stage, breakage(engine, stage, experiment), asked.for_s)
            # What the lab itself calls not valid is shown, and says nothing of its figures.
            valid, tried = valid + found.valid, tried + 1
            far += found.valid and found.apart_s > AGREEMENT_S
            print(f"{each}: {found}", flush=True)
        far += valid < asked.trials
        lab.must("down", number)
    sys.exit(1 if far else 0)


if __name__ == "__main__":
    main()
