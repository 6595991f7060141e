"""The map of a stage: where everything stands, and how it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from lab.model.observation import ClusterStatus, DatabaseState, ReplicaStatus
from lab.model.topology import Box, ServiceSpec, Stage, Tier
from lab.probe import roles
from lab.report.topology_map import GONE, WIDTH, Chart, as_document, box_document, lag, lines, show
from lab.spec.stages import ROOT, all_stages, find
from tests.unit.helpers import COPY, cluster_status_of, stage, started

ZONES = find("6")


def chart(of: Stage, seen: ClusterStatus | None, boxes: Sequence[Box] | None = None, unasked: str = "") -> Chart:
    boxes = started(of) if boxes is None else boxes
    live = roles.with_live_roles(boxes, of, seen.view) if seen else boxes
    return Chart(of, tuple(live), seen, unasked)


def drawn(of: Stage, seen: ClusterStatus | None = None, boxes: Sequence[Box] | None = None, unasked: str = "") -> list[str]:
    return [line.plain for line in lines(chart(of, seen, boxes, unasked))]


def row(name: str, found: Sequence[str]) -> str:
    """The words of a box's line, without frames and columns."""
    [line] = [line for line in found if f" {name} " in line and not line.startswith(("VIP", "entry")) and "down for" not in line]
    return " ".join(line.strip("│ ").split())


def test_zones_are_blocks_with_their_boxes_in_them() -> None:
    found = drawn(ZONES, cluster_status_of(ZONES))
    assert found[:3] == ["stage 6 · Multi availability zone", "VIP 198.18.0.10: lb1", ""]
    tops = [number for number, line in enumerate(found) if line.startswith("┌")]
    assert [found[number].strip("┌─┐ ") for number in tops] == ["zone a", "zone b", "zone c"]
    blocks = [found[start:end] for start, end in zip(tops, [*tops[1:], None], strict=True)]
    # From the users inwards.
    assert [line.split()[1] for line in blocks[0][1:4]] == ["lb1", "web1", "db1"]
    assert [line.split()[1] for line in blocks[2][1:4]] == ["web3", "db3", "monitor"]
    # Users stand in no zone.
    assert row("internet", found) == "internet internet running"
    assert next(line for line in found if "internet" in line).startswith("  internet")


def test_every_line_of_a_box_says_role_condition_and_what_else_there_is() -> None:
    found = drawn(ZONES, cluster_status_of(ZONES))
    assert row("lb1", found) == "lb1 lb.active running VIP owner; 3/3 backends up"
    assert row("lb2", found) == "lb2 lb.passive running passive; 3/3 backends up"
    assert row("web1", found) == "web1 web running"
    assert row("db1", found) == "db1 db.primary running primary; 2 replicas streaming, 2 synchronous"
    assert row("db2", found) == "db2 db.standby running synchronous, lag 0 B"
    assert row("monitor", found) == "monitor monitor running reports 3/3 databases healthy"


def test_regions_hold_zones_and_the_witness_has_none() -> None:
    """A stage that does not exist yet: where a box stands is what its labels say, and nothing else."""
    places = {
        "lb1": ("eu", "a"),
        "web1": ("eu", "b"),
        "db1": ("eu", ""),
        "lb2": ("us", "a"),
        "db2": ("us", "a"),
        "monitor": ("witness", ""),
    }
    roles_of = {"lb1": "lb", "lb2": "lb", "web1": "web", "db1": "db", "db2": "db", "monitor": "monitor"}
    specs = [
        ServiceSpec(name, (roles_of[name],), {"lab.region": region, **({"lab.zone": zone} if zone else {})})
        for name, (region, zone) in places.items()
    ]
    world = replace(find("5"), number=7, title="Multi region", services=tuple(specs))
    found = drawn(world, cluster_status_of(world))
    titles = [(line.index("┌"), line.strip("│┌─┐ ")) for line in found if "┌" in line]
    assert titles == [(0, "region eu"), (2, "zone a"), (2, "zone b"), (0, "region us"), (2, "zone a"), (0, "region witness")]
    eu = found[
        next(n for n, line in enumerate(found) if "region eu" in line) : next(
            n for n, line in enumerate(found) if "region us" in line
        )
    ]
    assert [name for name in places if any(f" {name} " in line for line in eu)] == ["lb1", "web1", "db1"]
    # Both zones a are drawn, each with its own boxes.
    assert row("lb2", found).startswith("lb2 lb.passive")
    assert {len(line) for line in found if line.startswith(("┌", "│", "└"))} == {WIDTH}


def test_stage_without_zones_is_a_list_from_the_users_inwards() -> None:
    found = drawn(stage(), cluster_status_of(stage()))
    assert not any("─" in line for line in found)
    assert [line.split()[0] for line in found[3:8]] == ["lb", "web1", "web2", "db", "internet"]
    assert row("lb", found) == "lb lb running 2/2 backends up"
    assert row("db", found) == "db db.primary running"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"status": "paused"}, "paused"),
        ({"status": "exited", "health": ""}, "dead"),
        ({"status": "created", "health": ""}, "dead"),
        ({"health": "unhealthy"}, "unhealthy"),
        ({"health": "starting"}, "starting"),
        ({"status": "restarting", "health": ""}, "restarting"),
    ],
)
def test_box_that_is_not_well_is_marked_without_colour(state: dict[str, Any], word: str) -> None:
    found = drawn(ZONES, cluster_status_of(ZONES), started(ZONES, web2=state))
    [line] = [line for line in found if " web2 " in line]
    assert line.startswith("│ ! web2")
    assert row("web2", found) == f"! web2 web {word}"
    assert sum("!" in line for line in found) == 1


def test_box_that_is_not_there_at_all_keeps_its_place() -> None:
    whole = started(ZONES)
    found = drawn(ZONES, cluster_status_of(ZONES), [box for box in whole if box.service != "db3"])
    assert row("db3", found).startswith(f"! db3 db {GONE}")
    assert found.index(next(line for line in found if " db3 " in line)) > found.index(
        next(line for line in found if "zone c" in line)
    )


def of_databases(*states: str, **replicas: ReplicaStatus) -> list[str]:
    seen = cluster_status_of(ZONES).view
    databases = {f"db{number}": DatabaseState(state) for number, state in enumerate(states, start=1)}
    return drawn(ZONES, cluster_status_of(ZONES, view=replace(seen, databases=databases), replicas=replicas))


def test_databases_say_what_they_are_and_how_far_they_are_behind() -> None:
    lost = ReplicaStatus(streams=False, synchronous=False, lag_bytes=3 * 2**20, replay_lag_s=42.2)
    frozen = ReplicaStatus(streams=True, synchronous=True, lag_bytes=2048, replay_lag_s=None)
    found = of_databases("primary", "standby", "unreachable", db2=lost, db3=frozen)
    assert row("db1", found).endswith("primary; 1 replica streaming, 1 synchronous")
    assert row("db2", found).endswith("not streaming, lag 3.0 MiB, 42 s")
    assert row("db3", found).endswith("does not answer, lag 2.0 KiB")
    found = of_databases("sync_blocked", "unreachable", "unreachable", db2=ReplicaStatus(False, False, None, None))
    assert row("db1", found).endswith("db.primary running primary; sync-blocked, acknowledges none")
    assert row("db2", found) == "db2 db running does not answer"


@pytest.mark.parametrize(
    ("count", "age_s", "words"),
    [
        (0, 0.0, "lag 0 B"),
        (1023, None, "lag 1023 B"),
        (1536, 0.25, "lag 1.5 KiB, 0.2 s"),
        (0, 4.0, "lag 0 B, 4.0 s"),
        (300, 0.02, "lag 300 B"),
        (500 * 2**20, 75.4, "lag 500 MiB, 75 s"),
        (5000 * 2**30, 7200.0, "lag 5000 GiB, 7200 s"),
    ],
)
def test_how_far_is_behind(count: int, age_s: float | None, words: str) -> None:
    assert lag(count, age_s) == words


@pytest.mark.parametrize(
    ("holders", "words"),
    [
        (("lb2",), "lb2"),
        (("lb1", "lb2"), "lb1 and lb2"),
        ((), "no owner"),
    ],
)
def test_where_the_address_of_the_users_leads(holders: tuple[str, ...], words: str) -> None:
    seen = cluster_status_of(ZONES)
    assert drawn(ZONES, replace(seen, view=replace(seen.view, vip_claimants=holders)))[1] == f"VIP 198.18.0.10: {words}"


def test_balancer_that_has_the_address_and_does_not_answer_is_its_owner() -> None:
    """Its HAProxy has stopped, and its kernel still takes what users send."""
    seen = cluster_status_of(ZONES, backends={"lb2": {"web1": True, "web2": True, "web3": True}})
    stopped = replace(seen.view, vip_claimants=(), vip_owner="", serving=(), vip_leads_to="lb1")
    found = drawn(ZONES, replace(seen, view=stopped))
    assert found[1] == "VIP 198.18.0.10: lb1, which does not answer"
    assert row("lb1", found) == "lb1 lb.active running VIP owner, does not answer"
    assert row("lb2", found) == "lb2 lb.passive running passive, not ready; 3/3 backends up"


def test_what_packets_are_led_to_says_nothing_against_who_says_that_it_has_the_address() -> None:
    """The one that lost it answers; the kernel of who looks on has not heard of the move yet."""
    seen = cluster_status_of(ZONES)
    moved = replace(seen.view, vip_claimants=("lb2",), vip_owner="lb2", vip_leads_to="lb1")
    found = drawn(ZONES, replace(seen, view=moved))
    assert found[1] == "VIP 198.18.0.10: lb2"
    assert row("lb1", found) == "lb1 lb.passive running passive; 3/3 backends up"


def test_address_that_does_not_move_leads_to_the_box_that_has_it() -> None:
    boxes = started(stage(), lb={"addresses": {"edge": "198.18.0.10"}})
    assert drawn(stage(), cluster_status_of(stage()), boxes)[1] == "entry 198.18.0.10: lb"
    assert drawn(stage(), cluster_status_of(stage()))[1] == "entry 198.18.0.10: no owner"


def test_who_uses_whom() -> None:
    seen = cluster_status_of(ZONES, backends={"lb2": {"web1": True, "web2": False, "web3": False}}, node_states=None)
    found = drawn(ZONES, replace(seen, view=replace(seen.view, vip_claimants=("lb2",), serving=("lb2",))))
    assert row("lb1", found).endswith("lb.passive running does not answer")
    assert row("lb2", found).endswith("VIP owner; 1/3 backends up")
    assert any("web3" in line and "down for lb2" in line for line in found)
    assert row("web1", found).endswith("running")
    assert row("monitor", found).endswith("does not answer")
    cut_off = replace(seen, view=replace(seen.view, serving=()))
    assert row("lb2", drawn(ZONES, cut_off)).endswith("lb.passive running passive, not ready; 1/3 backends up")


def test_where_nothing_can_be_observed_boxes_are_drawn_and_the_rest_is_said_to_be_unknown() -> None:
    found = drawn(ZONES, None, started(ZONES, internet={"status": "paused"}), "the boxes could not be asked")
    assert found[-1] == "the boxes could not be asked: roles, replicas and failures tolerated are unknown"
    assert found[1] == "VIP 198.18.0.10"
    assert row("db1", found) == "db1 db running"
    assert row("internet", found) == "! internet internet paused"


@pytest.mark.parametrize("of", all_stages(), ids=lambda stage: stage.project)
def test_map_of_every_stage_fits_80_columns_and_is_the_same_without_colour(of: Stage) -> None:
    far = ReplicaStatus(streams=True, synchronous=True, lag_bytes=1023 * 2**30, replay_lag_s=99999.0)
    worst = cluster_status_of(of, replicas=dict.fromkeys(list(of.databases)[1:], far), backends={})
    for seen in (cluster_status_of(of), worst):
        assert max(len(line) for line in drawn(of, seen)) <= WIDTH
        shown = []
        for settings in ({"no_color": True}, {"force_terminal": True, "color_system": None}):
            console = Console(file=StringIO(), width=WIDTH, markup=False, **settings)
            show(console, chart(of, seen, started(of, web1={"status": "paused"})))
            assert isinstance(console.file, StringIO)
            shown.append(console.file.getvalue())
        assert [line.rstrip() for line in shown[0].splitlines()] == [
            line.rstrip() for line in drawn(of, seen, started(of, web1={"status": "paused"}))
        ]


# Margins


def test_each_tier_says_how_many_more_it_survives() -> None:
    assert drawn(ZONES, cluster_status_of(ZONES))[-6:] == [
        "",
        "balancer: failures tolerated 1",
        "web: failures tolerated 2",
        "database: failures tolerated 1",
        "monitor: failures tolerated 1",
        "zone: failures tolerated 1",
    ]
    alone = cluster_status_of(ZONES, backends={name: {"web2": True, "web3": False} for name in ("lb1", "lb2")})
    assert "web: failures tolerated none" in drawn(ZONES, alone)


def test_where_writes_are_gone_for_good_that_is_said_instead() -> None:
    unserved = cluster_status_of(ZONES, backends={name: {"web1": False} for name in ("lb1", "lb2")})
    assert drawn(ZONES, unserved)[-1] == "no writes, and no failover that would restore them"
    assert not any("failures tolerated" in line for line in drawn(ZONES, unserved))
    content = as_document(chart(ZONES, unserved))
    assert (content["serves"], set(content["failures_tolerated"].values())) == (False, {0})
    nobody = cluster_status_of(ZONES, backends={name: {"web1": False} for name in ("lb1", "lb2")})
    assert drawn(ZONES, nobody)[-1] == "no writes, and no failover that would restore them"
    assert not any("failures tolerated" in line for line in drawn(ZONES, nobody))
    content = as_document(chart(ZONES, nobody))
    assert (content["serves"], content["serves_reads"], set(content["failures_tolerated"].values())) == (False, False, {0})


@pytest.mark.parametrize("number", ["2", "3", "5", "6"])
def test_primary_that_is_read_only_serves_reads_and_no_writes(number: str) -> None:
    of = find(number)
    whole = cluster_status_of(of)
    states = {name: DatabaseState.READ_ONLY if each == "primary" else each for name, each in whole.view.databases.items()}
    refusing = replace(whole, view=replace(whole.view, databases=states, standbys=0, synchronous=0), replicas={})
    found = drawn(of, refusing)
    first = next(iter(of.databases))
    assert row(first, found) == f"{first} db.primary running primary; read-only, refuses writes"
    assert found[-1] == "no writes, and no failover that would restore them; reads are answered"
    content = as_document(chart(of, refusing))
    assert (content["serves"], content["serves_reads"]) == (False, True)


def test_who_announces_the_address_is_said_and_who_does_so_as_the_last_resort() -> None:
    regions = find("7")
    seen = replace(chart(regions, cluster_status_of(regions)), announced={"lb1": 1, "lb2": 102, "lb3": 3})
    found = [line.plain for line in lines(seen)]
    assert row("lb1", found).endswith("VIP owner, MED 1; 2/2 backends up")
    assert row("lb2", found).endswith("last resort, MED 102; 2/2 backends up")
    assert row("lb4", found).endswith("announces nothing; 2/2 backends up")
    assert [box_document(box, seen)["announces"] for box in seen.boxes if "lb" in box.roles] == [1, 102, 3, None]
    resort = [line.plain for line in lines(replace(seen, announced={"lb1": 101, "lb2": 102}))]
    assert "VIP owner, last resort, MED 101;" in row("lb1", resort)
    # Where the router could not be asked, there is what the balancers say of themselves.
    assert "passive" in row("lb3", [line.plain for line in lines(replace(seen, announced=None))])


# JSON


def test_document_of_the_map_and_its_boxes() -> None:
    behind_by = ReplicaStatus(streams=True, synchronous=False, lag_bytes=120, replay_lag_s=0.5)
    drawn_from = chart(ZONES, cluster_status_of(ZONES, replicas={"db2": behind_by, "db3": COPY}), started(ZONES)[:-1])
    content = json.loads(json.dumps(as_document(drawn_from)))
    assert content == {
        "stage": 6,
        "stage_folder": "6-multi-az",
        "failover": "automatic",
        "title": "Multi availability zone",
        "entry": "198.18.0.10",
        "vip_claimants": ["lb1"],
        "vip_owner": "lb1",
        "vip_leads_to": "",
        "missing": ["internet"],
        "serves": True,
        "serves_reads": True,
        # Commits do not wait for db2 yet, and db3 is never promoted.
        "failures_tolerated": {"balancer": 1, "web": 2, "database": 0, "monitor": 1, "zone": 0},
        "unasked": None,
    }
    rows = {box.service: json.loads(json.dumps(box_document(box, drawn_from))) for box in drawn_from.boxes}
    assert (rows["db2"]["zone"], rows["db2"]["region"], rows["db2"]["condition"]) == ("b", None, "running")
    assert (rows["db1"]["database"], rows["db1"]["replica"]) == ("primary", None)
    assert rows["db2"]["replica"] == {"streams": True, "synchronous": False, "lag_bytes": 120, "replay_lag_s": 0.5}
    assert rows["db2"]["node_state"] == {"state": "secondary", "healthy": True, "promotable": True, "votes": True}
    assert rows["lb2"]["backends"] == {"web1": True, "web2": True, "web3": True}
    assert (rows["web1"]["database"], rows["web1"]["replica"], rows["web1"]["node_state"], rows["web1"]["backends"]) == (
        None,
    ) * 4


def test_document_says_why_nothing_was_observed() -> None:
    silent = chart(ZONES, None, unasked="the internet box is paused")
    content = as_document(silent)
    assert (content["unasked"], content["vip_claimants"], content["vip_owner"]) == ("the internet box is paused", [], "")
    assert (content["serves"], content["serves_reads"], content["failures_tolerated"]) == (None, None, None)
    assert box_document(silent.boxes[0], silent)["backends"] is None


def test_every_key_is_described() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition("### The map")[2]
    drawn_from = chart(ZONES, cluster_status_of(ZONES))
    keys = {*as_document(drawn_from), *Tier, *box_document(drawn_from.boxes[0], drawn_from), *asdict(COPY)}
    keys |= {key for box in drawn_from.boxes for key in box_document(box, drawn_from)["node_state"] or ()}
    assert sorted(key for key in keys if not re.search(rf"`{key}(\[\])?`", text)) == []
