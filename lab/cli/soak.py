"""`lab soak`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from random import SystemRandom

import click

from lab.campaign import soak
from lab.cli.options import EXIT_OF_VERDICT, TRIALS_MAX, Duration, Output, json_option, pass_output, seed_option, with_failover
from lab.cluster import lifecycle, preflight
from lab.engine.engine import Engine
from lab.errors import (
    HealError,
)
from lab.model.experiment import RATE_MAX_PER_S, LoadPlan
from lab.model.measures import Verdict
from lab.model.result import RunResult
from lab.report import terminal
from lab.report.progress import NoProgress
from lab.spec import experiments, stages
from lab.store.undo_log import UndoLedger
from lab.trial.runner import RunConfig, info_of
from lab.trial.runner import run as run_experiment


@click.command("soak")
@click.argument("stage_name", metavar="STAGE")
@click.option("--faults", type=click.IntRange(1, TRIALS_MAX), default=60, show_default=True, help="How many, one at a time.")
@click.option("--rate", type=click.FloatRange(1, RATE_MAX_PER_S), default=100.0, show_default=True, help="Requests a second.")
@click.option("--observe", type=Duration(), help="How long to watch each before healing, instead of what the experiment says.")
@seed_option
@click.option("--dry-run", is_flag=True, help="Print the schedule, and do nothing.")
@json_option
@with_failover
@pass_output
def soak_(
    output: Output,
    stage_name: str,
    faults: int,
    rate: float,
    observe: float | None,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
    failover: str | None,
) -> None:
    """Break one thing after another by chance, healing each, until a write is lost or all held.

    Each time one box, or, in a third of the faults where the stage has such places, a whole zone or region or the line
    between two. The same seed gives the same faults; called again with it, it goes on where it was interrupted.
    """
    stage = stages.find(stage_name, failover)
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    planned = soak.schedule(stage, faults, seed)
    if dry_run:
        _show_schedule(output, planned, seed, as_json)
        return
    load = LoadPlan(rate_per_s=rate)
    engine, ledger = Engine(), UndoLedger()
    with lifecycle.alone(engine, f"lab soak {stage.number}"):
        preflight.check_no_open_faults(ledger)
        lifecycle.ensure_up(engine, stage, output.say)
        kept = soak.SoakJournal(stage, faults, seed, soak.conditions(stage, planned, load, observe))
        through = len(kept.outcomes())
        if kept.why_new:
            output.say(f"a new one is begun: {kept.why_new}")
        output.say(f"seed {seed}; kept in {kept.folder}; {through} of {faults} are through already")

        def run_one(fault: soak.Fault) -> RunResult:
            order = RunConfig(stage, experiments.lasting(experiments.find(fault.experiment), observe), load, fault.seed)
            return run_experiment(engine, ledger, order, info_of(order), NoProgress())

        try:
            outcomes = soak.soak(planned, kept, run_one, lambda outcome: output.say(terminal.soak_line(outcome, faults)))
        except HealError:
            output.say(f"not healed: {soak.keep_what_can_be(lambda: kept.keep_evidence(engine, stage))}")
            raise
        # The logs of a loss are not to be written over by those of today.
        if soak.verdict(outcomes) is Verdict.REFUTED and len(outcomes) > through:
            output.say(soak.keep_what_can_be(lambda: kept.keep_evidence(engine, stage)))
    if as_json:
        output.document({"verdict": soak.verdict(outcomes).value, "seed": seed, "faults": [asdict(each) for each in outcomes]})
    else:
        terminal.show_soak(output.data, outcomes, faults, soak.verdict(outcomes))
    sys.exit(EXIT_OF_VERDICT[soak.verdict(outcomes)])


def _show_schedule(output: Output, planned: list[soak.Fault], seed: int, as_json: bool) -> None:
    if as_json:
        output.document({"seed": seed, "faults": [asdict(fault) for fault in planned]})
        return
    output.data.print(f"seed {seed}", highlight=False)
    for fault in planned:
        output.data.print(f"{fault.number:4d}  {fault.experiment}", highlight=False)
