"""What random faults are drawn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.campaign.eligible import eligible
from lab.errors import UsageError
from lab.model.topology import Stage
from lab.spec import experiments, stages
from lab.spec.targets import PLACES

STAGE = stages.find("5")


def test_single_faults_that_the_stage_must_survive_are_drawn_from() -> None:
    names = eligible(STAGE)
    assert {"kill-primary", "wipe-standby", "kill-lb-active", "disconnect-lb-passive", "switchover", "kill-monitor"} <= set(names)
    assert not {"kill-monitor-then-primary", "kill-primary-operator", "kill-lb", "kill-db", "baseline"} & set(names)
    for name in names:
        experiments.check_targets(experiments.find(name), STAGE)


def test_what_no_redundancy_helps_against_is_not_drawn() -> None:
    assert {"bad-deploy-web", "poison-web"} <= set(experiments.names())
    assert not {name for name in eligible(STAGE) if name.startswith(("bad-deploy", "poison"))}


def test_a_stage_without_partners_has_nothing_to_draw_from() -> None:
    with pytest.raises(UsageError, match="nothing on stage 1"):
        eligible(stages.find("1"))


# Zones and regions

ZONES, WORLD = stages.find("6"), stages.find("7")


def in_places(of: Stage, label: str, **places: str) -> Stage:
    """The stage with its boxes in these zones or regions, and no others."""
    specs = [
        replace(spec, labels={key: value for key, value in spec.labels.items() if key not in PLACES.values()})
        for spec in of.services
    ]
    return replace(of, services=tuple(replace(spec, labels={**spec.labels, label: places.get(spec.name, "z")}) for spec in specs))


def about_places(names: list[str]) -> set[str]:
    return {name for name in names if any(":" in step.target for step in experiments.find(name).steps)}


def test_zones_that_a_stage_can_spare_are_broken_and_parted_too() -> None:
    names = eligible(ZONES)
    assert about_places(names) >= {
        "kill-zone-a",
        "disconnect-zone-b",
        "disconnect-zone-c",
        "pause-zone-a",
        "partition-zone-a-b",
        "partition-zone-a-b-out",
    }
    assert set(eligible(STAGE)) <= set(names)
    assert about_places(eligible(STAGE)) == set()


def test_regions_and_the_lines_to_them_are_broken_too_and_no_failback_is_played() -> None:
    names = eligible(WORLD)
    assert {"kill-region-eu", "kill-witness", "disconnect-region-eu", "partition-eu-us", "delay-wan", "kill-primary"} <= set(
        names
    )
    assert not {"failback-region-eu", "kill-zone-a"} & set(names)


def test_zone_that_the_others_could_not_outvote_is_not_broken() -> None:
    """Of two zones neither is the larger part."""
    two = in_places(ZONES, "lab.zone", lb1="a", web1="a", db1="a")
    assert about_places(eligible(two)) == set()


@pytest.mark.parametrize("spof", ["zone:a", "db1", "lb1"])
def test_zone_that_is_a_single_point_of_failure_or_holds_one_is_not_broken(spof: str) -> None:
    names = about_places(eligible(replace(ZONES, spof=(spof,))))
    assert names >= {"kill-zone-b", "kill-zone-c", "disconnect-zone-b", "disconnect-zone-c"}
    assert not [name for name in names if "zone:a" in str(experiments.find(name).steps)]


def write(folder: Path, name: str, body: str) -> None:
    text = f"title: t\nquestion: q?\n{body}\nexpect:\n  writes_lost: {{at_most: 0}}\n"
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def region_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiments with regions in all the ways in which they can be named."""
    write(tmp_path, "kill-region-eu", "fault: kill\ntarget: region:eu")
    write(tmp_path, "part-regions", "fault: partition\ntarget: region:eu\nfrom: region:us")
    write(tmp_path, "part-databases", "fault: partition\ntarget: db.standby\nfrom: db.primary")
    write(tmp_path, "part-from-balancers", "fault: partition\ntarget: region:eu\nfrom: all:lb")
    write(tmp_path, "slow-line", "fault: delay\ntarget: line:us\ndelay_ms: 60")
    write(tmp_path, "kill-web", "fault: kill\ntarget: web")
    monkeypatch.setattr(experiments, "FOLDER", tmp_path)


@pytest.mark.usefixtures("region_experiments")
def test_one_of_two_regions_can_be_spared_and_both_sides_of_a_partition_must() -> None:
    world = in_places(WORLD, "lab.region", lb1="eu", web1="eu", db1="eu", lb2="us", web2="us", db2="us", monitor="witness")
    assert eligible(world) == ["kill-region-eu", "kill-web", "part-databases", "part-regions", "slow-line"]
    one_holds_all = replace(world, spof=("region:us",))
    assert eligible(one_holds_all) == ["kill-region-eu", "kill-web", "part-databases"]
