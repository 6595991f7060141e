"""`lab monkey`: random faults, one after another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import click

from lab.campaign import monkey as monkey_
from lab.campaign.monkey import MonkeyStore
from lab.campaign.schedule import Repairer, RepairPlan, Round, Schedule, ScheduleSpec, experiment_of, read_schedule, schedule
from lab.cli.options import (
    EXIT_OF_VERDICT,
    Duration,
    Output,
    chosen_seed,
    gathered,
    json_option,
    pass_output,
    seed_option,
    with_failover,
)
from lab.cluster import lifecycle, preflight
from lab.cluster.cluster import Cluster
from lab.engine.docker_engine import DockerEngine
from lab.errors import HealError, UsageError
from lab.faults.repair import STAND_IN
from lab.model.experiment import RATE_MAX_PER_S, TRIALS_MAX, LoadPlan, Repair
from lab.model.result import RunResult
from lab.model.round import RoundOutcome
from lab.model.topology import Stage
from lab.process import wait_until
from lab.report import fault_table, monkey_report
from lab.report.progress import NoProgress
from lab.spec import stages
from lab.store.undo_log import UndoLog
from lab.trial.runner import RunConfig, info_of
from lab.trial.runner import run as run_experiment

FAULTS, FOR_S, INTERVAL_S = 60, 1800.0, 45.0
FLOOR_RATIO = 0.95


@dataclass(frozen=True)
class MonkeyOptions:
    """What the command line may say."""

    repair: str
    for_s: float | None
    faults: int | None
    interval: float | None
    repair_delay: float | None
    duration: float | None
    reckless: bool
    floor_ratio: float | None
    rate: float
    seed: int | None
    print_schedule: bool
    file: Path | None
    as_json: bool

    def spec(self) -> ScheduleSpec:
        """What the schedule is made from. Raises UsageError for what does not go together."""
        heals = self.repair == Repairer.HEAL
        if self.for_s is not None and self.faults is not None:
            raise UsageError("--for and --faults both say when to stop", "give one of them")
        if self.duration is not None and not heals:
            raise UsageError(
                "--duration is about faults that the lab heals: --interval decides it here", "--repair heal --duration 6s"
            )
        if self.repair_delay is not None and heals:
            raise UsageError(
                "--repair-delay is about an orchestrator, and the lab heals here", "--repair restart --repair-delay 2s"
            )
        # Faults that are counted and healed follow each other as soon as redundancy is restored.
        interval_s = self.interval if self.interval is not None else 0.0 if heals and self.for_s is None else INTERVAL_S
        return ScheduleSpec(
            seed=chosen_seed(self.seed),
            rounds=self._rounds(heals, interval_s),
            interval_s=interval_s,
            repair=RepairPlan(Repairer(self.repair), Repair().delay_s if self.repair_delay is None else self.repair_delay),
            rate_per_s=self.rate,
            reckless=self.reckless,
            fault_duration_s=self.duration,
        )

    def _rounds(self, heals: bool, interval_s: float) -> int:
        if self.faults is not None:
            return self.faults
        if heals and self.for_s is None:
            return FAULTS
        return int((FOR_S if self.for_s is None else self.for_s) // interval_s) if interval_s else 0

    def floor_of(self, planned: Schedule) -> float:
        """The availability to be kept: of faults that the lab heals, some are known to be an outage until then."""
        return self.floor_ratio if self.floor_ratio is not None else 0.0 if planned.repair.heals else FLOOR_RATIO


@click.command()
@click.argument("stage_name", metavar="STAGE")
@click.option(
    "--repair",
    type=click.Choice([each.value for each in Repairer]),
    default="restart",
    show_default=True,
    help="Lost boxes: restart starts them again, replace creates new ones with empty disks; heal: the lab heals every fault after its duration.",
)
@click.option("--for", "for_s", type=Duration(), help="How long. [default: 30m; with --repair heal, see --faults]")
@click.option(
    "--faults", type=click.IntRange(1, TRIALS_MAX), help=f"How many, instead of --for. [default with --repair heal: {FAULTS}]"
)
@click.option(
    "--interval",
    type=Duration(),
    help=f"From one fault to the next. [default: {INTERVAL_S:g}s; with --repair heal and --faults: as soon as redundancy is restored]",
)
@click.option(
    "--repair-delay", type=Duration(), help=f"From the loss of a box until its repair begins. [default: {Repair().delay_s:g}s]"
)
@click.option(
    "--duration", type=Duration(), help="With --repair heal: how long each fault lasts. [default: what its experiment says]"
)
@click.option("--reckless", is_flag=True, help="Two tiers in each round, the second before the first is repaired.")
@click.option(
    "--floor",
    "floor_ratio",
    type=click.FloatRange(0, 1),
    help=f"Stop when availability over all rounds can no longer reach this. [default: {FLOOR_RATIO:g}; with --repair heal: 0]",
)
@click.option("--rate", type=click.FloatRange(1, RATE_MAX_PER_S), default=100.0, show_default=True, help="Requests a second.")
@seed_option
@click.option("--print-schedule", is_flag=True, help="Print the schedule, and do nothing.")
@click.option(
    "--schedule",
    "file",
    type=click.Path(path_type=Path),
    help="Replay this schedule, at its rate (--print-schedule --json wrote it).",
)
@json_option
@with_failover
@pass_output
@gathered(MonkeyOptions, "options")
def monkey(output: Output, stage_name: str, options: MonkeyOptions, failover: str | None) -> None:
    """Inject random faults, one after another, and see whether a write is lost.

    Each time one tier: a box, or a whole zone or region where the stage can spare one. It stops, heals and keeps the logs
    when a write is lost, two databases accept writes, or availability can no longer reach the floor. The same seed gives
    the same schedule, and continues after an interruption. At the end it says what such faults make of an
    error budget.
    """
    stage = stages.find(stage_name, failover)
    planned = read_schedule(options.file, stage) if options.file else schedule(stage, options.spec())
    if options.print_schedule:
        _show_schedule(output, planned, options.as_json)
        return
    floor_ratio = options.floor_of(planned)
    outcomes, folder = _play(output, stage, planned, floor_ratio)
    found = monkey_.verdict(outcomes, floor_ratio, planned)
    lines = monkey_report.report_lines(outcomes, planned.rate_per_s, monkey_.stop_reason(outcomes, floor_ratio, planned))
    if options.as_json:
        rounds = [asdict(outcome) for outcome in outcomes]
        schedule_ = planned.to_document()
        output.document({"verdict": found.value, "report": lines, "schedule": schedule_, "rounds": rounds, "folder": str(folder)})
    else:
        if planned.repair.heals:
            fault_table.show_faults(output.data, [each.fault for each in outcomes], len(planned.rounds), found)
        monkey_report.show_monkey(output.data, found, lines, str(folder))
    sys.exit(EXIT_OF_VERDICT[found])


def _play(output: Output, stage: Stage, planned: Schedule, floor_ratio: float) -> tuple[list[RoundOutcome], Path]:
    """Begin or continue, to the end; returns all rounds that are through, and where they are kept."""
    engine = DockerEngine()
    cluster = Cluster(engine, stage, UndoLog())
    with lifecycle.alone(engine, f"lab monkey {stage.number}"):
        preflight.check_no_open_faults(cluster.undo_log)
        lifecycle.ensure_up(cluster, output.say)
        store = MonkeyStore(stage, planned, monkey_.conditions(stage, planned))
        through = len(store.outcomes())
        _announce(output, planned, store, through)
        run_one = _paced(cluster, planned)
        try:
            outcomes = monkey_.play(planned, store, floor_ratio, run_one, lambda each: output.say(_line(each, planned)))
        except HealError:
            output.say(f"not healed: {store.keep_logs(cluster)}")
            raise
        if len(outcomes) == through:
            output.say(f"nothing was left to do; remove {store.folder} to do it all again")
        elif monkey_.stop_reason(outcomes, floor_ratio, planned):
            # Only now: the logs of a loss are not to be written over by those of a later day.
            output.say(f"stopped, and everything is healed; {store.keep_logs(cluster)}")
    return outcomes, store.folder


def _announce(output: Output, planned: Schedule, store: MonkeyStore, through: int) -> None:
    if store.why_new:
        output.say(f"a new one is begun: {store.why_new}")
    output.say(f"seed {planned.seed}; {len(planned.rounds)} rounds, {through} are through already; kept in {store.folder}")
    output.say("repair: the lab heals each fault" if planned.repair.heals else f"repair: {planned.repair}, by {STAND_IN}")


def _line(outcome: RoundOutcome, planned: Schedule) -> str:
    """A round in a line."""
    of = len(planned.rounds)
    return monkey_report.healed_line(outcome.fault, of) if planned.repair.heals else monkey_report.monkey_line(outcome, of)


def _paced(cluster: Cluster, planned: Schedule) -> Callable[[Round], RunResult]:
    """Runs a round, no sooner than the interval of the schedule after the one before began."""
    next_at = [monotonic()]

    def run_one(each: Round) -> RunResult:
        wait_until(lambda: monotonic() >= next_at[0], planned.interval_s)
        next_at[0] = monotonic() + planned.interval_s
        config = RunConfig(cluster.stage, experiment_of(each, planned), LoadPlan(rate_per_s=planned.rate_per_s), each.seed)
        return run_experiment(cluster, config, info_of(config), NoProgress())

    return run_one


def _show_schedule(output: Output, planned: Schedule, as_json: bool) -> None:
    if as_json:
        output.document(planned.to_document())
        return
    pace = f"a fault every {planned.interval_s:g} s" if planned.interval_s else "one fault after another"
    head = f"stage {planned.stage}, seed {planned.seed}, repair {planned.repair}, {pace}"
    output.data.print(head, highlight=False)
    for each in planned.rounds:
        at = f"  at {(each.number - 1) * planned.interval_s:5.0f} s" if planned.interval_s else ""
        gap = f", {each.gap_s:g} s apart" if len(each.experiments) > 1 else ""
        output.data.print(f"{each.number:4d}{at}  {' and '.join(each.experiments)}{gap}", highlight=False)
