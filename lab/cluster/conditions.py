"""What the figures of a stage that is up rest on, asked of the engine, the stage file and a database."""

from __future__ import annotations

from lab.cluster import database
from lab.cluster.system import RunningSystem
from lab.engine.engine import Engine
from lab.model.history import Conditions, Machine
from lab.spec import conditions, located_yaml


def machine(engine: Engine) -> Machine:
    """The machine on which the engine runs. Raises LabError where no engine answers."""
    info = engine.info()
    return Machine(info.processors, info.memory_mib, info.version, info.kernel, info.system)


def of_stage(cluster: RunningSystem) -> Conditions:
    """The conditions of a stage of the lab now. Raises LabError where no engine answers."""
    return conditions.of(located_yaml.load(cluster.stage.file), machine(cluster.engine), database.size_bytes(cluster))
