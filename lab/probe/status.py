"""The status of a cluster: each part is asked once, for its map. Unlike the observer, it waits for no part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from lab.errors import InconclusiveError
from lab.model.observation import ClusterStatus, ClusterView, DatabaseState, NodeState, ReplicaStatus
from lab.model.topology import INTERNET_ROLE, Box, Stage
from lab.probe import observer, roles
from lab.probe.system import ObservableSystem

# Each part has 0.5 s to answer, twice at most; the rest is for the command to start.
STATUS_TIMEOUT_S = 2.0
EXAMINATION_TIMEOUT_S = 1.0


def cluster_status(system: ObservableSystem, boxes: Sequence[Box]) -> ClusterStatus:
    """What all parts of a system report now, within 2 s whichever is frozen. `boxes` are its boxes as they are now.

    Raises InconclusiveError when they cannot be asked: the box from which they are does not answer.
    """
    stage = system.stage
    alone = {} if stage.is_replicated else stage.databases
    config = {**observer.redundancy_probe_config(stage), "alone": alone}
    internet = next((box for box in boxes if INTERNET_ROLE in box.roles), None)
    if internet is None or internet.status != "running":
        raise InconclusiveError(
            f"the boxes could not be asked: the internet box is {internet.condition if internet else 'missing'}"
        )
    done = system.run_in(internet, ["python", "-m", "client.status", json.dumps(config)], timeout_s=STATUS_TIMEOUT_S)
    try:
        return _read(stage, boxes, json.loads(done.output))
    except (ValueError, KeyError, TypeError) as error:
        words = (done.output.strip().splitlines() or ["no answer"])[-1]
        raise InconclusiveError(
            f"the boxes could not be asked: {words[:200]}", "'lab heal' brings back what is broken"
        ) from error


def examined(system: ObservableSystem, boxes: Sequence[Box]) -> list[Box]:
    """The boxes as they are within 1 s: Docker's "unhealthy" may be about the past, so those are checked now, all at once."""

    def now(box: Box) -> Box:
        doubtful = box.condition == "unhealthy"
        return replace(box, health="healthy") if doubtful and system.engine.is_healthy(box, EXAMINATION_TIMEOUT_S) else box

    with ThreadPoolExecutor(max_workers=max(len(boxes), 1)) as threads:
        return list(threads.map(now, boxes))


def _read(stage: Stage, boxes: Sequence[Box], found: dict[str, Any]) -> ClusterStatus:
    view = observer.read_view(found["view"]) if stage.is_watched else roles.standing_alone(stage)
    alone = {name: DatabaseState(state) for name, state in found["alone"].items()}
    monitor = found["monitor"]
    return ClusterStatus(
        view=replace(view, databases={**view.databases, **alone}),
        replicas=replicas(view, found["databases"], boxes),
        backends={name: dict(servers) for name, servers in found["backends"].items() if servers is not None},
        node_states={name: _node_state(word) for name, word in monitor["nodes"].items()} if monitor else None,
        acknowledgers=int(monitor["needed"]) if monitor else 0,
    )


def _node_state(word: dict[str, Any]) -> NodeState:
    return NodeState(str(word["state"]), bool(word["healthy"]), bool(word["promotable"]), bool(word["votes"]))


def replicas(view: ClusterView, answers: dict[str, dict[str, Any] | None], boxes: Sequence[Box]) -> dict[str, ReplicaStatus]:
    """How each database follows the one primary, as both of them report."""
    leaders = [*view.named(DatabaseState.PRIMARY), *view.named(DatabaseState.SYNC_BLOCKED)]
    leader = answers.get(leaders[0]) if len(leaders) == 1 else None
    at = {address: box.service for box in boxes for address in box.addresses.values()}
    known = {at[each["address"]]: each for each in (leader or {}).get("followers", []) if each["address"] in at}
    return {name: _copy(leader, answers.get(name), known.get(name)) for name in view.databases if name not in leaders}


def _copy(leader: dict[str, Any] | None, own: dict[str, Any] | None, known: dict[str, Any] | None) -> ReplicaStatus:
    streams, synchronous = bool(known and known["streams"]), bool(known and known["streams"] and known["synchronous"])
    if streams or not (leader and own):
        # The primary's word counts while it sends: both ends of the difference are of one instant.
        behind = int(known["lag_bytes"]) if known else None
    else:
        # One that is ahead of the primary without being sent anything has a log of its own.
        behind = leader["position"] - own["position"] if own["position"] <= leader["position"] else None
    return ReplicaStatus(streams, synchronous, behind, _behind_s(behind, own))


def _behind_s(lag_bytes: int | None, own: dict[str, Any] | None) -> float | None:
    if lag_bytes is None or own is None:
        return None
    if not lag_bytes and not own["unreplayed_bytes"]:
        return 0.0
    return max(float(own["replayed_age_s"]), 0.0) if own["replayed_age_s"] is not None else None
