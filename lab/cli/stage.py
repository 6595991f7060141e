"""Commands of a stage: up, status, down, list."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from lab.cli.options import Output, json_option, pass_output, with_failover
from lab.cluster import lifecycle, preflight, readiness
from lab.cluster.cluster import Cluster
from lab.engine.docker_engine import DockerEngine
from lab.engine.engine import Engine
from lab.errors import (
    LabError,
    UsageError,
)
from lab.faults import heal as heal_
from lab.model.topology import WATCH_ROLE, Box, Stage
from lab.plaintext import one_line
from lab.probe import bgp, roles
from lab.probe import status as status_
from lab.report import topology_map as map_
from lab.spec import experiments, stages
from lab.store.undo_log import UndoLog


@click.command()
@click.argument("stage_name", metavar="STAGE")
@click.option("--stop-others", is_flag=True, help="Remove any other stage that is up first.")
@with_failover
@pass_output
def up(output: Output, stage_name: str, stop_others: bool, failover: str | None) -> None:
    """Start a stage and wait until it serves."""
    stage = stages.find(stage_name, failover)
    engine = DockerEngine()
    with lifecycle.alone(engine, f"lab up {stage.number}"):
        if stop_others:
            others = [other for other in readiness.stages_up(engine) if other.project != stage.project]
            lifecycle.take_down([Cluster(engine, other, UndoLog()) for other in others], output.say)
        lifecycle.ensure_up(Cluster(engine, stage, UndoLog()), output.say)
    output.say(f"stage {stage.number} serves at {preflight.front_door()}; next: lab run {_first_experiment(stage)}")


def _first_experiment(stage: Stage) -> str:
    if stage.number == 4:
        return "4 kill-primary --failover automatic" if stage.failover == "automatic" else "4 kill-primary-operator"
    return f"{stage.number} " + {1: "kill-box", 5: "kill-lb-active", 6: "kill-zone-a", 7: "kill-region-eu"}.get(
        stage.number, "kill-web"
    )


@click.command()
@click.argument("stage_name", metavar="[STAGE]", required=False)
@json_option
@pass_output
def status(output: Output, stage_name: str | None, as_json: bool) -> None:
    """Show a map of the stage that is up: every box where it stands, how it is, and the role that it plays now.

    A block for each region and for each zone, where a stage has them. Of a standby database it says how far it is
    behind, of a balancer whether users come to it, and below, how many more failures each tier survives. It waits
    for nothing: a box that does not answer in half a second is shown as not answering.
    """
    number = stages.find(stage_name).number if stage_name else None
    engine = DockerEngine()
    boxes = [box for box in engine.boxes(number) if box.stage]
    charts, strays = _charts(engine, boxes)
    if as_json:
        output.document(_status_document(charts, strays))
        return
    if not boxes:
        output.say(
            f"stage {number} is not up; 'lab up {number}' starts it" if number else "no stage is up; 'lab up 3' starts one"
        )
        return
    for chart in charts:
        map_.show(output.data, chart)
    for box in strays:
        output.data.print(f"{box.service} is {box.condition}; the file that it was started from is gone", highlight=False)
    watched = any(WATCH_ROLE in box.roles and box.status == "running" for box in boxes)
    output.say(f"front door: {preflight.front_door()}" + (f" · monitoring: {preflight.watch_page()}" if watched else ""))


def _charts(engine: Engine, boxes: list[Box]) -> tuple[list[map_.Chart], list[Box]]:
    """A map of each stage that is up, and the boxes whose stage's file is gone."""
    known = {stage.project: stage for stage in stages.all_stages()}
    up_now = [known[project] for project in sorted({box.project for box in boxes} & set(known))]
    charts = [
        _chart(Cluster(engine, stage, UndoLog()), [box for box in boxes if box.project == stage.project]) for stage in up_now
    ]
    return charts, [box for box in boxes if box.project not in known]


def _chart(cluster: Cluster, boxes: list[Box]) -> map_.Chart:
    stage = cluster.stage
    with ThreadPoolExecutor(max_workers=2) as threads:
        examined = threads.submit(status_.examined, cluster, boxes)
        heard = threads.submit(bgp.announcements, cluster)
        try:
            seen = status_.cluster_status(cluster, boxes)
        except LabError as error:
            return map_.Chart(stage, tuple(examined.result()), None, error.message, heard.result())
        live = tuple(roles.with_live_roles(examined.result(), stage, seen.view))
        return map_.Chart(stage, live, seen, announced=heard.result())


def _status_document(charts: list[map_.Chart], strays: list[Box]) -> dict[str, Any]:
    faults = [{"fault": entry.fault, "box": entry.undo.service, "since": entry.since} for entry in UndoLog().entries()]
    rows = [map_.box_document(box, chart) for chart in charts for box in chart.boxes]
    return {
        "stages": [map_.as_document(chart) for chart in charts],
        "boxes": [*rows, *map(map_.box_document, strays)],
        "faults": faults,
    }


@click.command()
@click.argument("stage_name", metavar="[STAGE]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every stage, and whatever else the lab has made.")
@with_failover
@pass_output
def down(output: Output, stage_name: str | None, everything: bool, failover: str | None) -> None:
    """Remove a stage: its containers, networks and volumes."""
    if not stage_name and not everything:
        raise UsageError("which stage?", "'lab down 3', or 'lab down --all'")
    chosen = _chosen(stages.find(stage_name, failover), failover) if stage_name else []
    engine = DockerEngine()
    # What is left behind, a load too, is what --all is for.
    with lifecycle.alone(engine, "lab down", despite_load=everything):
        # With --all also what is up and was made from files that are here; the rest goes by its labels below.
        known = {stage.project for stage in stages.all_stages()}
        up_now = {box.project for box in engine.boxes()} & known if everything else set()
        try:
            to_remove = [*chosen, *(stage for stage in stages.all_stages() if stage.project in up_now)]
            lifecycle.take_down([Cluster(engine, stage, UndoLog()) for stage in to_remove], output.say)
        finally:
            if everything:
                _remove_all(engine, UndoLog())
    output.say("no container, network or volume of the lab is left" if everything else f"stage {chosen[0].number} is gone")


def _remove_all(engine: Engine, ledger: UndoLog) -> None:
    """Remove whatever has the lab's labels, and forget what was broken in it. Raises HealError, LabError."""
    # What is gone is no longer broken; what is not the lab's stays, and is not left broken.
    heal_.undo_all(engine, ledger, [entry for entry in ledger.entries() if entry.undo.project])
    engine.remove_leftovers()
    ledger.clear()
    left = engine.leftovers()
    if left:
        raise LabError(f"still there: {', '.join(left)}", "run 'lab down --all' again")
    ledger.check_noted()


def _chosen(stage: Stage, failover: str | None) -> list[Stage]:
    """The files of a stage that are meant: all of them, unless one was named."""
    return [stage] if failover else [each for each in stages.all_stages() if each.number == stage.number]


# Breaking and measuring


@click.command("list")
@pass_output
def list_(output: Output) -> None:
    """Show the stages and the experiments."""
    for stage in stages.all_stages():
        option = "" if stage.file.name == "compose.yaml" else f" (--failover {stage.failover})"
        output.data.print(f"stage {stage.number}  {stage.folder:<28} {stage.new}{option}", highlight=False, soft_wrap=True)
    for name in experiments.names():
        output.data.print(f"{name:<25} {one_line(experiments.find(name).question)}", highlight=False, soft_wrap=True)
