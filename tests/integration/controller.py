"""A controller for tests to kill: `python -m tests.integration.controller LEDGER INSTANT` gets a partition ready, and makes it.

It says "now" and waits: when all is prepared and nothing noted, or when the fault is in effect.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

from lab.cluster.cluster import Cluster
from lab.engine.docker_engine import DockerEngine
from lab.faults.injection import Injection
from lab.model.fault import FaultKind, FaultParameters, Step
from lab.store.undo_log import UndoLog
from tests.integration.test_network_faults import STAGE

WAITS_S = 60.0


def say_now_and_wait() -> None:
    """The instant at which it may be killed."""
    print("now", flush=True)
    time.sleep(WAITS_S)


def main(ledger: Path, instant: str) -> None:
    """Come to an instant: prepared, or injected."""
    engine = DockerEngine()
    step = Step(FaultKind.PARTITION, "zone:a", how=FaultParameters(source="zone:b"))
    system = Cluster(engine, STAGE, UndoLog(ledger))
    with Injection.prepare(system, step, system.boxes(), Random(1)) as injection:
        if instant == "prepared":
            say_now_and_wait()
        injection.note()
        injection.inject()
        say_now_and_wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
