"""What the figures of a stage that is up rest on, asked of the engine, the stage file and a database."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import mean

from lab.cluster import database
from lab.cluster.system import RunningSystem
from lab.engine.disk import SIZE_MIB
from lab.engine.engine import Engine
from lab.model.history import Conditions, Machine
from lab.model.topology import CLOCK_LABEL
from lab.spec import conditions, located_yaml

LOOPS = 6
ADDITIONS = 1_000_000
OWN_DISKS = f"own, of {SIZE_MIB / 1024:g} GiB (ext4 in files)"


def machine(engine: Engine) -> Machine:
    """The machine on which the engine runs. Raises LabError where no engine answers."""
    info = engine.info()
    return Machine(info.processors, info.memory_mib, info.version, info.kernel, info.system, loop_ms())


def loop_ms(loops: int = LOOPS) -> float:
    """How long one core takes for ADDITIONS additions, milliseconds: the mean of some times, so that interruptions count."""
    return round(mean(_loop_s() for _ in range(loops)) * 1000, 1)


def _loop_s() -> float:
    begun_s, total = time.perf_counter(), 0
    for each in range(ADDITIONS):
        total += each
    return time.perf_counter() - begun_s


def of_stage(cluster: RunningSystem) -> Conditions:
    """The conditions of a stage of the lab now. Raises LabError where no engine answers."""
    # As the boxes are, not as they would be started now.
    clocks = sorted({box.labels[CLOCK_LABEL] for box in cluster.boxes() if box.has_clock})
    file = located_yaml.load(cluster.stage.file)
    found = conditions.of(file, machine(cluster.engine), database.size_bytes(cluster))
    return replace(found, clock=" ".join(clocks), disks=OWN_DISKS if cluster.stage.own_disks else "")
