"""Reading every database after a trial, past all that could hide what it holds."""

from __future__ import annotations

import json
from typing import Any

from lab.cluster.system import RunningSystem
from lab.errors import InconclusiveError
from lab.model.history import DatabaseAudit
from lab.model.topology import Box

AUDIT_TIMEOUT_S = 60.0


def read_databases(system: RunningSystem, internet: Box, prefix: str) -> dict[str, dict[str, Any]]:
    """What each database holds, and what it was then. Raises InconclusiveError where the audit says nothing."""
    addresses = system.stage.databases
    done = system.run_in(internet, ["python", "-m", "client.audit", prefix, json.dumps(addresses)], AUDIT_TIMEOUT_S)
    try:
        content = json.loads(done.output)
        return {name: dict(content[name]) for name in addresses}
    except (ValueError, KeyError, TypeError) as error:
        raise InconclusiveError(f"the audit failed: {(done.output.strip().splitlines() or ['no output'])[-1]}") from error


def database_audit(content: dict[str, Any]) -> DatabaseAudit:
    """What the audit says of a database, beside its orders."""
    return DatabaseAudit(
        role=str(content.get("role", "")),
        timeline=content.get("timeline"),
        position=str(content.get("position", "")),
        caught_up=bool(content.get("caught_up", False)),
        error=str(content.get("error", "")),
    )
