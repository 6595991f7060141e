"""A stage as a map: a block for each region, within it one for each zone, and in them the boxes as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from lab.checker import redundancy
from lab.model.observation import ClusterStatus, DatabaseState, NodeState
from lab.model.topology import Box, Stage, Tier
from lab.probe.bgp import LAST_RESORT_MED

WIDTH = 80
# From the users inwards: what a request meets first stands first.
TIERS = ("lb", "web", "db", "monitor")
UNHEALTHY_STYLE = "bold red"
SPENT_STYLE = "yellow"
GONE = "missing"
# What takes no time is on its way, and no lag.
AGE_MIN_S = 0.1
UNITS = ("B", "KiB", "MiB", "GiB")


@dataclass(frozen=True)
class Chart:
    """What there is to draw."""

    stage: Stage
    boxes: tuple[Box, ...]
    """In the roles that they play now."""
    cluster_status: ClusterStatus | None
    unasked: str = ""
    """Why it could not be observed."""
    announced: Mapping[str, int] | None = None
    """The MED with which each balancer announces the users' address; None where that is not how it is found, or unknown."""

    @property
    def evidence(self) -> redundancy.SystemState | None:
        """What is observed to work; None where nothing is."""
        return redundancy.system_state(self.stage, self.boxes, self.cluster_status) if self.cluster_status else None


def show(console: Console, chart: Chart) -> None:
    """Print the map: at most 80 columns wide, and as clear without colours."""
    for line in lines(chart):
        console.print(line, soft_wrap=True)


def lines(chart: Chart) -> list[Text]:
    """The map, line by line."""
    boxes = (*chart.boxes, *_missing(chart))
    system = [box for box in boxes if box.is_system]
    outside = [box for box in boxes if not box.is_system]
    header = [Text(f"stage {chart.stage.number} · {chart.stage.title}", style="bold"), Text(_address(chart)), Text()]
    columns = _columns(boxes)
    return [*header, *_places(chart, system, WIDTH, columns), *_rows(chart, outside, WIDTH, columns), Text(), *_margins(chart)]


def _margins(chart: Chart) -> list[Text]:
    """How many more may fail, tier by tier."""
    evidence = chart.evidence
    if evidence is None:
        return [Text(f"{chart.unasked}: roles, replicas and failures tolerated are unknown", style=UNHEALTHY_STYLE)]
    if not redundancy.outcomes(evidence):
        reads = "; reads are answered" if redundancy.serves_reads(evidence) else ""
        return [Text(f"no writes, and no failover that would restore them{reads}", style=UNHEALTHY_STYLE)]
    return [_margin(tier, count) for tier, count in redundancy.failures_tolerated(evidence).items()]


def _margin(tier: Tier, count: int) -> Text:
    return Text(f"{tier}: failures tolerated {count or 'none'}", style="" if count else SPENT_STYLE)


def _missing(chart: Chart) -> list[Box]:
    """The boxes of the stage's file that are not there at all."""
    present = {box.service for box in chart.boxes}
    missing = [spec for spec in chart.stage.services if spec.name not in present]
    return [Box("", spec.name, chart.stage.number, spec.roles, spec.labels, GONE, "") for spec in missing]


def _address(chart: Chart) -> str:
    """Which box owns the address that users know."""
    entry = chart.stage.entry[0]
    if not chart.stage.balancers:
        found = [box.service for box in chart.boxes if entry in box.addresses.values()]
    elif chart.cluster_status:
        view = chart.cluster_status.view
        found = [name if name in view.vip_claimants else f"{name}, which does not answer" for name in view.vip_holders]
    else:
        return f"VIP {entry}"
    name = "VIP" if chart.stage.balancers else "entry"
    return f"{name} {entry}: {' and '.join(found) or 'no owner'}"


# Places


def _places(chart: Chart, boxes: Sequence[Box], width: int, columns: tuple[int, int, int]) -> list[Text]:
    """Regions, zones within them, boxes within those; what stands in none comes as it is."""
    found: list[Text] = []
    for region in _in_order(box.region for box in boxes):
        inner = width - 4 if region else width
        blocks: list[Text] = []
        for zone in _in_order(box.zone for box in boxes if box.region == region):
            here = [box for box in boxes if (box.region, box.zone) == (region, zone)]
            rows = _rows(chart, here, inner - 4 if zone else inner, columns)
            blocks += _framed(f"zone {zone}", rows, inner) if zone else rows
        found += _framed(f"region {region}", blocks, width) if region else blocks
    return found


def _in_order(names: Iterable[str]) -> list[str]:
    """Each name once; the empty one last."""
    return sorted(set(names), key=lambda name: (not name, name))


def _framed(title: str, inside: Sequence[Text], width: int) -> list[Text]:
    top = Text(f"┌─ {title} ".ljust(width - 1, "─") + "┐")
    rows = [Text.assemble("│ ", line, " " * (width - 4 - line.cell_len), " │") for line in inside]
    return [top, *rows, Text("└".ljust(width - 1, "─") + "┘")]


# Boxes


def role(box: Box) -> str:
    """What a box is now: of its roles those that say most (db.primary says that it is a db)."""
    return " ".join(name for name in box.roles if not any(other.startswith(f"{name}.") for other in box.roles))


def _columns(boxes: Sequence[Box]) -> tuple[int, int, int]:
    """How wide names, roles and conditions are."""
    return (
        max(len(box.service) for box in boxes),
        max(len(role(box)) for box in boxes),
        max(len(box.condition) for box in boxes),
    )


def _rows(chart: Chart, boxes: Sequence[Box], width: int, columns: tuple[int, int, int]) -> list[Text]:
    return [_row(chart, box, width, columns) for box in sorted(boxes, key=lambda box: (_tier(box), box.service))]


def _tier(box: Box) -> int:
    return min((TIERS.index(name) for name in box.roles if name in TIERS), default=len(TIERS))


def _row(chart: Chart, box: Box, width: int, columns: tuple[int, int, int]) -> Text:
    name, played, condition = columns
    words = f"{' ' if box.is_healthy else '!'} {box.service:<{name}}  {role(box):<{played}} {box.condition:<{condition}}  {note(chart, box)}"
    row = Text(words.rstrip(), style="" if box.is_healthy else UNHEALTHY_STYLE)
    row.truncate(width, overflow="ellipsis")
    return row


def note(chart: Chart, box: Box) -> str:
    """What else there is to say of a box: of a database its replication, of a balancer its backends."""
    cluster_status, roles = chart.cluster_status, set(box.roles)
    if cluster_status is None or not box.is_system:
        return ""
    state = cluster_status.view.databases.get(box.service)
    if state is not None and (chart.stage.is_replicated or state is DatabaseState.READ_ONLY):
        return _of_database(cluster_status, box.service)
    if "lb" in roles:
        return _of_balancer(chart, cluster_status, box.service)
    if "monitor" in roles:
        return _of_monitor(cluster_status.node_states)
    unused = sorted(name for name, known in cluster_status.backends.items() if known.get(box.service) is False)
    return f"down for {', '.join(unused)}" if unused else ""


def _of_database(cluster_status: ClusterStatus, name: str) -> str:
    state, copy = cluster_status.view.databases[name], cluster_status.replicas.get(name)
    if state is DatabaseState.PRIMARY:
        return f"primary; {_replicas(cluster_status)}"
    if state is DatabaseState.SYNC_BLOCKED:
        return "primary; sync-blocked, acknowledges none"
    if state is DatabaseState.READ_ONLY:
        return "primary; read-only, refuses writes"
    words = ["does not answer"] if state is DatabaseState.UNREACHABLE else []
    if copy:
        follows = "synchronous" if copy.synchronous else "streaming" if copy.streams else "not streaming"
        words += [] if words else [follows]
        words += [lag(copy.lag_bytes, copy.replay_lag_s)] if copy.lag_bytes is not None else []
    return ", ".join(words)


def _replicas(cluster_status: ClusterStatus) -> str:
    replicas = cluster_status.replicas.values()
    streaming, synchronous = sum(each.streams for each in replicas), sum(each.synchronous for each in replicas)
    return f"{streaming} {'replica' if streaming == 1 else 'replicas'} streaming, {synchronous} synchronous"


def lag(count: int, age_s: float | None) -> str:
    """How far a replica is behind: lag 0 B; lag 1.5 MiB, 12 s."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    age = f", {age_s:.{0 if age_s >= 10 else 1}f} s" if age_s and age_s >= AGE_MIN_S else ""
    return f"lag {size:.{1 if unit and size < 100 else 0}f} {UNITS[unit]}{age}"


def _of_balancer(chart: Chart, cluster_status: ClusterStatus, name: str) -> str:
    known, view = cluster_status.backends.get(name), cluster_status.view
    if known is None:
        return "VIP owner, does not answer" if chart.announced is None and name in view.vip_holders else "does not answer"
    used = f"{sum(known.values())}/{len(known)} backends up"
    if not chart.stage.balancers:
        return used
    if chart.announced is not None:
        here = name in view.vip_claimants
        return f"{_announcement(chart.announced.get(name), here)}; {used}"
    if name in view.vip_holders:
        return f"VIP owner; {used}"
    return f"{'passive' if name in view.serving else 'passive, not ready'}; {used}"


def _announcement(med: int | None, here: bool) -> str:
    if med is None:
        return "VIP owner" if here else "announces nothing"
    called = "last resort" if med > LAST_RESORT_MED else "" if here else "announces"
    return f"{', '.join(filter(None, ('VIP owner' if here else '', called)))}, MED {med}"


def _of_monitor(node_states: dict[str, NodeState] | None) -> str:
    if node_states is None:
        return "does not answer"
    return f"reports {sum(each.is_healthy for each in node_states.values())}/{len(node_states)} databases healthy"


# JSON


def as_document(chart: Chart) -> dict[str, Any]:
    """The map as JSON-ready data, beside the rows of its boxes."""
    view, evidence = chart.cluster_status.view if chart.cluster_status else None, chart.evidence
    return {
        "stage": chart.stage.number,
        "stage_folder": chart.stage.folder,
        "failover": chart.stage.failover,
        "title": chart.stage.title,
        "entry": chart.stage.entry[0],
        "vip_claimants": list(view.vip_claimants) if view else [],
        "vip_owner": view.vip_owner if view else "",
        "vip_leads_to": view.vip_leads_to if view else "",
        "missing": [box.service for box in _missing(chart)],
        "serves": bool(redundancy.outcomes(evidence)) if evidence else None,
        "serves_reads": redundancy.serves_reads(evidence) if evidence else None,
        "failures_tolerated": {tier.value: count for tier, count in redundancy.failures_tolerated(evidence).items()}
        if evidence
        else None,
        "unasked": chart.unasked or None,
    }


def box_document(box: Box, chart: Chart | None = None) -> dict[str, Any]:
    """A box as JSON-ready data; what only some boxes have is null for the others, and where it could not be observed."""
    cluster_status = chart.cluster_status if chart else None
    copy = cluster_status.replicas.get(box.service) if cluster_status else None
    judged = (cluster_status.node_states or {}).get(box.service) if cluster_status else None
    known = cluster_status.backends.get(box.service) if cluster_status else None
    return {
        "stage": box.stage,
        "box": box.service,
        "region": box.region or None,
        "zone": box.zone or None,
        "roles": list(box.roles),
        "status": box.status,
        "health": box.health,
        "healthy": box.is_healthy,
        "condition": box.condition,
        "database": cluster_status.view.databases.get(box.service) if cluster_status else None,
        "replica": asdict(copy) if copy else None,
        "node_state": _node_state(judged) if judged else None,
        "backends": known,
        "announces": chart.announced.get(box.service) if chart and chart.announced else None,
    }


def _node_state(found: NodeState) -> dict[str, Any]:
    """The monitor's view of a database."""
    return {
        "state": found.state,
        "healthy": found.is_healthy,
        "promotable": found.is_promotable,
        "votes": found.votes,
    }
