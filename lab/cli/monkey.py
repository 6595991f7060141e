"""The command that lets a monkey loose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from time import monotonic

import click

from lab.campaign import monkey, soak
from lab.campaign.monkey import Round, Schedule
from lab.cli.options import EXIT_OF_VERDICT, Duration, Output, json_option, pass_output, seed_option, with_failover
from lab.cluster import lifecycle, preflight
from lab.cluster.cluster import Cluster
from lab.engine.docker_engine import DockerEngine
from lab.errors import HealError
from lab.faults.repair import STAND_IN
from lab.model.experiment import RATE_MAX_PER_S, LoadPlan, Repair, RepairPolicy
from lab.model.result import RoundOutcome, RunResult
from lab.model.topology import Stage
from lab.process import wait_until
from lab.report import terminal
from lab.report.progress import NoProgress
from lab.spec import stages
from lab.store.undo_log import UndoLedger
from lab.trial.runner import RunConfig, info_of
from lab.trial.runner import run as run_experiment

POLICIES = [policy.value for policy in RepairPolicy if policy is not RepairPolicy.NONE]


@click.command("monkey")
@click.argument("stage_name", metavar="STAGE")
@click.option("--for", "for_s", type=Duration(), default=1800.0, help="For how long. [default: 30m]")
@click.option("--every", "every_s", type=Duration(), default=45.0, help="How far apart the faults come. [default: 45s]")
@click.option(
    "--repair", "policy", type=click.Choice(POLICIES), default="restart", show_default=True, help="What brings lost boxes back."
)
@click.option(
    "--repair-after",
    "after_s",
    type=Duration(),
    default=Repair().delay_s,
    help="From the loss of a box until its repair begins. [default: 2s]",
)
@click.option("--reckless", is_flag=True, help="Two tiers in each round, the second before the first is repaired.")
@click.option(
    "--floor",
    "floor_ratio",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Availability over all rounds; it stops once that can no longer be reached.",
)
@click.option("--rate", type=click.FloatRange(1, RATE_MAX_PER_S), default=100.0, show_default=True, help="Requests a second.")
@seed_option
@click.option("--print-schedule", is_flag=True, help="Print what would be done, and do nothing.")
@click.option(
    "--schedule",
    "file",
    type=click.Path(path_type=Path),
    help="Replay this schedule, at its rate (--print-schedule --json wrote it).",
)
@json_option
@with_failover
@pass_output
def monkey_(
    output: Output,
    stage_name: str,
    for_s: float,
    every_s: float,
    policy: str,
    after_s: float,
    reckless: bool,
    floor_ratio: float,
    rate: float,
    seed: int | None,
    print_schedule: bool,
    file: Path | None,
    as_json: bool,
    failover: str | None,
) -> None:
    """Break something every so often, by chance, and leave the repair to an orchestrator (the lab stands in for it).

    Each time one tier: a box, or a whole zone or region where the stage can spare one. It stops, heals and keeps the
    evidence when a write is lost, two databases accept writes, or availability can no longer reach the floor. The same seed gives
    the same schedule; called again with it, it goes on where it was interrupted. In the end it says what such faults make
    of an error budget.
    """
    stage = stages.find(stage_name, failover)
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    if file:
        planned = monkey.read_schedule(file, stage)
    else:
        planned = monkey.schedule(stage, for_s, every_s, seed, Repair(RepairPolicy(policy), after_s), reckless, rate)
    if print_schedule:
        _show_schedule(output, planned, as_json)
        return
    outcomes, folder = _let_loose(output, stage, planned, floor_ratio)
    found = monkey.verdict(outcomes, floor_ratio, planned)
    said = [*_ending(outcomes, floor_ratio, planned), *monkey.report_lines(outcomes, planned.rate_per_s)]
    if as_json:
        rounds = [asdict(outcome) for outcome in outcomes]
        output.document(
            {
                "verdict": found.value,
                "said": said,
                "schedule": planned.to_document(),
                "rounds": rounds,
                "folder": str(folder),
            }
        )
    else:
        terminal.show_monkey(output.data, found, said, str(folder))
    sys.exit(EXIT_OF_VERDICT[found])


def _ending(outcomes: list[RoundOutcome], floor_ratio: float, planned: Schedule) -> list[str]:
    reason = monkey.stop_reason(outcomes, floor_ratio, planned)
    return [f"stopped after round {len(outcomes)}: {reason}"] if reason else []


def _let_loose(output: Output, stage: Stage, planned: Schedule, floor_ratio: float) -> tuple[list[RoundOutcome], Path]:
    """Begin or go on, to the end; returns all rounds that are through, and where they are kept."""
    engine = DockerEngine()
    cluster = Cluster(engine, stage, UndoLedger())
    with lifecycle.alone(engine, f"lab monkey {stage.number}"):
        preflight.check_no_open_faults(cluster.undo_log)
        lifecycle.ensure_up(cluster, output.say)
        kept = monkey.Kept(stage, planned, monkey.conditions(stage, planned))
        through = len(kept.outcomes())
        if kept.why_new:
            output.say(f"a new one is begun: {kept.why_new}")
        output.say(f"seed {planned.seed}; {len(planned.rounds)} rounds, {through} are through already; kept in {kept.folder}")
        output.say(f"repair: {planned.repair}, by {STAND_IN}")
        run_one = _paced(cluster, planned)
        try:
            outcomes = monkey.play(
                planned, kept, floor_ratio, run_one, lambda each: output.say(terminal.monkey_line(each, len(planned.rounds)))
            )
        except HealError:
            output.say(f"not healed: {soak.keep_what_can_be(lambda: kept.keep_evidence(cluster))}")
            raise
        if len(outcomes) == through:
            output.say(f"nothing was left to do; remove {kept.folder} to have it all again")
        elif monkey.stop_reason(outcomes, floor_ratio, planned):
            logs = soak.keep_what_can_be(lambda: kept.keep_evidence(cluster))
            output.say(f"stopped, and everything is healed; {logs}")
    return outcomes, kept.folder


def _paced(cluster: Cluster, planned: Schedule) -> Callable[[Round], RunResult]:
    """Runs a round, no sooner than the schedule's distance after the one before began."""
    next_cell = [monotonic()]

    def run_one(each: Round) -> RunResult:
        wait_until(lambda: monotonic() >= next_cell[0], planned.every_s)
        next_cell[0] = monotonic() + planned.every_s
        order = RunConfig(cluster.stage, monkey.experiment_of(each, planned), LoadPlan(rate_per_s=planned.rate_per_s), each.seed)
        return run_experiment(cluster, order, info_of(order), NoProgress())

    return run_one


def _show_schedule(output: Output, planned: Schedule, as_json: bool) -> None:
    if as_json:
        output.document(planned.to_document())
        return
    output.data.print(
        f"stage {planned.stage}, seed {planned.seed}, repair {planned.repair}, a fault every {planned.every_s:g} s",
        highlight=False,
    )
    for each in planned.rounds:
        at = f"{(each.number - 1) * planned.every_s:.0f}"
        gap = f", {each.gap_s:g} s apart" if len(each.experiments) > 1 else ""
        output.data.print(f"{each.number:4d}  at {at:>5} s  {' and '.join(each.experiments)}{gap}", highlight=False)
