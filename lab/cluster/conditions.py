"""What the figures of a stage that is up will stand on, asked of the engine, the stage file and a database."""

from __future__ import annotations

from lab.cluster import database
from lab.engine.engine import Engine
from lab.model.history import Conditions, Machine
from lab.model.topology import Stage
from lab.spec import conditions, located_yaml


def look(engine: Engine, stage: Stage) -> Conditions:
    """The conditions now; of a system that is somebody else's only the machine. Raises LabError where no engine answers."""
    info = engine.info()
    machine = Machine(info.processors, info.memory_mib, info.version, info.kernel, info.system)
    if stage.is_foreign:
        return conditions.of(None, machine)
    return conditions.of(located_yaml.load(stage.file), machine, database.size_bytes(engine, stage))
