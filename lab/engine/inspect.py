"""Docker's answers as the types of the lab."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from lab.engine.scope import PROJECT_LABEL, ROLE_LABEL, SERVICE_LABEL, STAGE_LABEL, Scope
from lab.model.topology import Box, Link

WATCHED = ("die", "oom", "start", "pause", "unpause", "kill", "restart", "connect", "health_status")
"""What is heard of boxes while they are watched. Docker finishes the last one: `health_status: healthy`."""
RESTART_POLICIES = ("always", "unless-stopped", "on-failure")


@dataclass(frozen=True)
class EngineEvent:
    """Something that Docker says happened to a box."""

    service: str
    action: str
    at: float
    """Monotonic seconds of this host, when the lab heard of it."""
    box_id: str = ""
    stamp_ns: int = 0
    """When it was done, on the wall clock of the engine; 0 where it does not say."""


@dataclass(frozen=True)
class MemoryUse:
    """How much memory a box uses, as the kernel counts it; in bytes."""

    limit_bytes: int
    """As the kernel has it."""
    used_bytes: int
    """All of it, page cache too."""
    working_bytes: int
    """Without the page cache that lies idle: the working set."""
    kept_bytes: int
    """Without any page cache: what the kernel cannot take back."""
    hits: int = 0
    """How often the limit was reached; only cgroup v1 counts that."""


def memory_use_of(statistics: dict[str, Any]) -> MemoryUse | None:
    """The memory of a container from its statistics, of cgroup v1 or v2; None where they say nothing of it."""
    memory = statistics.get("memory_stats") or {}
    if not memory.get("usage"):
        return None
    counts, used = memory.get("stats") or {}, int(memory["usage"])
    # Version 1 also says how much it is with all groups below: total_inactive_file.
    idle, busy = (int(counts.get(f"total_{name}", counts.get(name, 0))) for name in ("inactive_file", "active_file"))
    freed = idle + busy + int(counts.get("slab_reclaimable", 0))
    hits = int(memory.get("failcnt") or 0)
    return MemoryUse(int(memory.get("limit") or 0), used, max(used - idle, 0), max(used - freed, 0), hits)


def event_of(event: dict[str, Any], scope: Scope) -> EngineEvent | None:
    """An event of the engine; None for one of what is no box of ours. A helper has no role: it comes and goes, and is no box."""
    actor, action = event.get("Actor", {}), str(event.get("Action", ""))
    labels, stamp_ns = actor.get("Attributes") or {}, int(event.get("timeNano", 0))
    if event.get("Type") == "network":
        return EngineEvent("", action, monotonic(), labels.get("container", ""), stamp_ns)
    named = scope.labels(labels) if scope.owns(labels) else {}
    if action.partition(":")[0] not in WATCHED or ROLE_LABEL not in named:
        return None
    return EngineEvent(named.get(SERVICE_LABEL, ""), action, monotonic(), actor.get("ID", ""), stamp_ns)


def box_of(details: dict[str, Any], scope: Scope) -> Box:
    """A container as Docker describes it, as a box."""
    labels, state = scope.labels(details["Config"]["Labels"]), details["State"]
    return Box(
        id=details["Id"],
        service=labels.get(SERVICE_LABEL, ""),
        stage=int(labels[STAGE_LABEL]) if labels[STAGE_LABEL].isdigit() else -1,
        roles=tuple(labels.get(ROLE_LABEL, "").split()),
        labels=dict(labels),
        project=labels.get(PROJECT_LABEL, ""),
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", "") if state["Status"] in ("running", "paused") else "",
        started_at=state.get("StartedAt", ""),
        ended_at_s=max(nanoseconds(state.get("FinishedAt", "")) / 1e9, 0.0),
        exit_code=state.get("ExitCode"),
        restarts=int(details.get("RestartCount", 0)),
        restarts_itself=(details.get("HostConfig", {}).get("RestartPolicy") or {}).get("Name", "") in RESTART_POLICIES,
        addresses=_addresses(details),
    )


def _addresses(details: dict[str, Any]) -> dict[str, str]:
    networks = details.get("NetworkSettings", {}).get("Networks") or {}
    return {name: each["IPAddress"] for name, each in sorted(networks.items()) if each.get("IPAddress")}


def nanoseconds(stamp: str) -> int:
    """A time as Docker writes it (2026-01-31T12:00:00.123456789Z) in nanoseconds since 1970; 0 for what is none."""
    whole, _, rest = stamp.partition(".")
    try:
        seconds = datetime.fromisoformat(f"{whole.removesuffix('Z')}+00:00").timestamp()
        return int(seconds) * 10**9 + int(rest.removesuffix("Z").ljust(9, "0") or 0)
    except ValueError:
        return 0


def link_of(network: str, details: dict[str, Any]) -> Link:
    """A connection to a network as Docker describes it."""
    fixed = details.get("IPAMConfig") or {}
    address, address6 = fixed.get("IPv4Address", ""), fixed.get("IPv6Address", "")
    # Only an address that the stage file fixes is asked for again; Docker's own choice is left to Docker.
    mac = details.get("MacAddress", "") if address else ""
    return Link(network, address, mac, tuple(details.get("Aliases") or ()), address6)
