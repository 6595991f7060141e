"""What the figures of a stage that is up will stand on, asked of the engine, the stage file and a database."""

from __future__ import annotations

from lab import conditions, databases, yamlfile
from lab.engine import Engine
from lab.model import Conditions, Machine, Stage


def look(engine: Engine, stage: Stage) -> Conditions:
    """The conditions now; of a system that is somebody else's only the machine. Raises LabError where no engine answers."""
    info = engine.info()
    machine = Machine(info.processors, info.memory_mib, info.version, info.kernel, info.system)
    if stage.is_guest:
        return conditions.of(None, machine)
    return conditions.of(yamlfile.load(stage.file), machine, databases.size_bytes(engine, stage))
