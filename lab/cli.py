"""The command line: thin; every command is a few calls to the layers below."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from lab import (
    announced,
    databases,
    experiments,
    healing,
    images,
    journal,
    overload,
    parameters,
    preflight,
    roles,
    selftest,
    signals,
    soak,
    stages,
    survey,
    upkeep,
)
from lab import repair as repairs
from lab.cli_campaigns import compare, sweep
from lab.cli_monkey import monkey_
from lab.cli_own import Asked, Ground, check_alone, prepare, with_own_stack
from lab.engine import Engine, wait_until
from lab.errors import (
    DISK_ERRORS,
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    MESSAGE_MAX_CHARACTERS,
    DiskError,
    HealError,
    InconclusiveError,
    LabError,
    PreflightError,
    UsageError,
    shown,
)
from lab.faults import FAULTS
from lab.faults.strike import Strike
from lab.journal import UndoLedger
from lab.model import (
    RATE_MAX_PER_S,
    WATCH_ROLE,
    Box,
    Direction,
    Experiment,
    FaultKind,
    How,
    LoadPlan,
    Overload,
    RepairPolicy,
    RunResult,
    Stage,
    Step,
    Verdict,
)
from lab.observer import Observer
from lab.options import (
    EXIT_OF_VERDICT,
    TRIALS_MAX,
    Duration,
    Output,
    json_option,
    pass_output,
    seed_option,
    with_failover,
)
from lab.plaintext import clean, one_line, readable_streams
from lab.repair import STAND_IN
from lab.report import document, files, matrix, terminal
from lab.report import map as map_
from lab.report.console import close_output, consoles
from lab.report.progress import ConsoleProgress, NoProgress
from lab.runner import Order, info_of, trial_seed
from lab.runner import run as run_experiment


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.version_option(package_name="redundancy-lab", prog_name="lab")
@click.pass_context
def cli(context: click.Context, quiet: bool, debug: bool) -> None:
    """The Redundancy Lab: break a thing, and see what a user saw.

    STAGE is a number or a folder name below stages/. Try: lab up 3, then lab run 3 kill-web.

    Exit codes: 0 held, 1 refuted, 2 usage, 3 inconclusive, 4 not ready, 5 heal failed, 70 a bug in
    the lab, 130 interrupted, 141 the reader of the output went away.
    """
    context.obj = Output(*consoles(), quiet)
    if context.invoked_subcommand not in ("heal", "report", "list"):
        _note_what_is_in_effect(context.obj, UndoLedger())
        if context.invoked_subcommand != "down" and not {"-h", "--help"} & set(sys.argv):
            UndoLedger().check_understood()


def _note_what_is_in_effect(output: Output, ledger: UndoLedger) -> None:
    notes = ledger.notes()
    said = [f"{line} was cut short (no power?): passed over" for line in notes.cut]
    said += [
        f"{shown(entry.fault)} of {shown(entry.undo.service)} is in effect since {shown(entry.since)}; 'lab heal' takes it back"
        for entry in notes.open
    ]
    for each in said:
        output.messages.print(f"note: {each}", style="yellow", highlight=False)


def main() -> None:
    """Run the command line and exit with its code."""
    debug = "--debug" in sys.argv[1:]
    readable_streams()
    try:
        with signals.termination_interrupts():
            code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = EXIT_USAGE
    except LabError as error:
        code = _fail_of(error, debug)
    except click.ClickException as error:
        usage = error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx else ""
        code = _fail(shown(error.format_message(), MESSAGE_MAX_CHARACTERS), " ".join(usage.split()), error.exit_code, debug)
    except (click.Abort, KeyboardInterrupt):
        _say_error("interrupted; nothing is left broken by this command")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        code = EXIT_BROKEN_PIPE
    except OSError as error:
        code = _fail_of(_of_the_disk(error), debug) if _is_of_a_disk(error) else _fail_of_a_bug(error, debug)
    except Exception as error:  # the last resort: still one line, still a code
        code = _fail_of_a_bug(error, debug)
    sys.exit(_flushed(code if isinstance(code, int) else 0))


def _is_of_a_disk(error: OSError) -> bool:
    return isinstance(error, PermissionError) or error.errno in DISK_ERRORS


def _of_the_disk(error: OSError) -> DiskError:
    return DiskError.of(error.filename or "standard output", error)


def _fail_of(error: LabError, debug: bool) -> int:
    """Say what went wrong. An interrupt that came meanwhile is said too; a failed healing keeps its exit code."""
    interrupted = signals.was_interrupted(error)
    message = f"{error.message} (interrupted: this was the last thing done)" if interrupted else error.message
    code = EXIT_INTERRUPTED if interrupted and not isinstance(error, HealError) else error.exit_code
    return _fail(message, error.hint, code, debug)


def _fail_of_a_bug(error: Exception, debug: bool) -> int:
    return _fail(
        f"this is a bug in the lab: {type(error).__name__}: {shown(str(error), MESSAGE_MAX_CHARACTERS)}",
        "run again with --debug and report what it prints",
        70,
        debug,
    )


def _fail(message: str, hint: str, code: int, debug: bool) -> int:
    if debug:
        _say_error(traceback.format_exc())
    _say_error(f"error: {one_line(message)}")
    if hint:
        _say_error(f"hint: {one_line(hint)}")
    return code


def _say_error(text: str) -> None:
    try:
        click.echo(clean(text), err=True)
    except OSError:  # no place is left to say it; the exit code does
        close_output(is_error=True)


def _flushed(code: int) -> int:
    """The exit code, once all that was printed has left: what Python cannot flush at its end it reports in its own words."""
    try:
        sys.stdout.flush()
    except OSError as error:
        close_output()
        return code or _fail_of(_of_the_disk(error), False)
    return code


# Setting up


@cli.command()
@json_option
@pass_output
def doctor(output: Output, as_json: bool) -> None:
    """Say whether this machine is ready, and what is missing."""
    checks = list(_diagnose())
    if as_json:
        output.document([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in checks])
    else:
        for name, ok, detail in checks:
            output.data.print(
                Text.assemble(("ok   ", "green") if ok else ("FAIL ", "red"), f"{name:<8} {detail}"), soft_wrap=True
            )
    if not all(ok for _, ok, _ in checks):
        raise PreflightError("this machine is not ready", "'make setup' installs what is missing on Debian and Ubuntu")


def _diagnose() -> Iterable[tuple[str, bool, str]]:
    yield "python", sys.version_info >= (3, 11), sys.version.split()[0]
    try:
        engine = Engine()
    except PreflightError as error:
        yield "engine", False, error.message
        return
    info = engine.info()
    yield "engine", True, f"Docker {info.version} on {info.system}, {info.processors} processors"
    yield _check("compose", f"Compose {info.compose_version}, buildx", lambda: preflight.check_tools(info))
    available = preflight.available_memory_mib(info)
    largest = max(stages.all_stages(), key=lambda stage: stage.memory_mib)
    yield _check(
        "memory",
        f"{available} MiB available, the largest stage takes {largest.memory_mib}",
        lambda: preflight.check_memory(largest, available),
    )
    if not engine.boxes():
        for variable in preflight.PORTS:
            yield _check("port", f"{variable} is free", lambda variable=variable: preflight.check_port(variable))  # type: ignore[misc]
    missing = images.outdated(engine)
    yield (
        "images",
        True,
        f"to be built: {', '.join(missing)} ('lab build')" if missing else "all built from the files that are here",
    )
    yield _check("faults", "none in effect", lambda: preflight.check_no_open_faults(UndoLedger()))


def _check(name: str, good: str, look: Callable[[], None]) -> tuple[str, bool, str]:
    try:
        look()
    except LabError as error:
        return name, False, f"{error.message} ({error.hint})"
    return name, True, good


@cli.command()
@click.option("--all", "everything", is_flag=True, help="Also what is up to date.")
@pass_output
def build(output: Output, everything: bool) -> None:
    """Build the images that are missing or older than their files."""
    engine = Engine()
    preflight.check_tools(engine.info())
    with upkeep.alone(engine, "lab build"):
        built = images.build(engine, output.say, everything)
    output.say(f"built {', '.join(built)}" if built else "every image is up to date")


@cli.command()
@click.argument("stage_name", metavar="STAGE")
@click.option("--replace", is_flag=True, help="Take another stage down first.")
@with_failover
@pass_output
def up(output: Output, stage_name: str, replace: bool, failover: str | None) -> None:
    """Start a stage and wait until it serves."""
    stage = stages.find(stage_name, failover)
    engine = Engine()
    with upkeep.alone(engine, f"lab up {stage.number}"):
        if replace:
            upkeep.take_down(engine, [other for other in healing.stages_up(engine) if other.project != stage.project], output.say)
        upkeep.ensure_up(engine, stage, output.say)
    output.say(f"stage {stage.number} serves at {preflight.front_door()}; next: lab run {_first_experiment(stage)}")


def _first_experiment(stage: Stage) -> str:
    if stage.number == 4:
        return "4 kill-primary --failover automatic" if stage.failover == "automatic" else "4 kill-primary-operator"
    return f"{stage.number} " + {1: "kill-box", 5: "kill-lb-active", 6: "kill-zone-a", 7: "kill-region-eu"}.get(
        stage.number, "kill-web"
    )


@cli.command()
@click.argument("stage_name", metavar="[STAGE]", required=False)
@json_option
@pass_output
def status(output: Output, stage_name: str | None, as_json: bool) -> None:
    """Show a map of the stage that is up: every box where it stands, how it is, and the role that it plays now.

    A block for each region and for each zone, where a stage has them. Of a standby database it says how far it is
    behind, of a balancer whether users come to it, and below, how many more failures each tier survives. Nobody is
    waited for: who does not answer in half a second is shown as not answering.
    """
    number = stages.find(stage_name).number if stage_name else None
    engine = Engine()
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
    charts = [_chart(engine, stage, [box for box in boxes if box.project == stage.project]) for stage in up_now]
    return charts, [box for box in boxes if box.project not in known]


def _chart(engine: Engine, stage: Stage, boxes: list[Box]) -> map_.Chart:
    with ThreadPoolExecutor(max_workers=2) as threads:
        examined = threads.submit(survey.examined, engine, boxes)
        heard = threads.submit(announced.announcements, engine, stage)
        try:
            seen = survey.survey(engine, stage, boxes)
        except LabError as error:
            return map_.Chart(stage, tuple(examined.result()), None, error.message, heard.result())
        live = tuple(roles.with_live_roles(examined.result(), stage, seen.sight))
        return map_.Chart(stage, live, seen, announced=heard.result())


def _status_document(charts: list[map_.Chart], strays: list[Box]) -> dict[str, Any]:
    faults = [{"fault": entry.fault, "box": entry.undo.service, "since": entry.since} for entry in UndoLedger().entries()]
    rows = [map_.box_document(box, chart) for chart in charts for box in chart.boxes]
    return {
        "stages": [map_.as_document(chart) for chart in charts],
        "boxes": [*rows, *map(map_.box_document, strays)],
        "faults": faults,
    }


@cli.command()
@click.argument("stage_name", metavar="[STAGE]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every stage, and whatever else the lab has made.")
@with_failover
@pass_output
def down(output: Output, stage_name: str | None, everything: bool, failover: str | None) -> None:
    """Remove a stage: its containers, networks and volumes."""
    if not stage_name and not everything:
        raise UsageError("which stage?", "'lab down 3', or 'lab down --all'")
    chosen = _chosen(stages.find(stage_name, failover), failover) if stage_name else []
    engine = Engine()
    # What is left behind, a load too, is what --all is for.
    with upkeep.alone(engine, "lab down", despite_load=everything):
        # With --all also what is up and was made from files that are here; the rest goes by its labels below.
        known = {stage.project for stage in stages.all_stages()}
        up_now = {box.project for box in engine.boxes()} & known if everything else set()
        try:
            upkeep.take_down(engine, [*chosen, *(stage for stage in stages.all_stages() if stage.project in up_now)], output.say)
        finally:
            if everything:
                _remove_all(engine, UndoLedger())
    output.say("no container, network or volume of the lab is left" if everything else f"stage {chosen[0].number} is gone")


def _remove_all(engine: Engine, ledger: UndoLedger) -> None:
    """Remove whatever has the lab's labels, and forget what was broken in it. Raises HealError, LabError."""
    # What is gone is no longer broken; what is not the lab's stays, and is not left broken.
    healing.undo_all(engine, ledger, [entry for entry in ledger.entries() if entry.undo.project])
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


@cli.command("list")
@pass_output
def list_(output: Output) -> None:
    """Show the stages and the experiments."""
    for stage in stages.all_stages():
        option = "" if stage.file.name == "compose.yaml" else f" (--failover {stage.failover})"
        output.data.print(f"stage {stage.number}  {stage.folder:<28} {stage.new}{option}", highlight=False, soft_wrap=True)
    for name in experiments.names():
        output.data.print(f"{name:<25} {one_line(experiments.find(name).question)}", highlight=False, soft_wrap=True)


@cli.command()
@click.argument("stage_name", metavar="[STAGE", required=False)
@click.argument("experiment_name", metavar="EXPERIMENT]", required=False)
@click.option("--trials", type=click.IntRange(1, TRIALS_MAX), default=1, show_default=True, help="How often.")
@click.option("--rate", type=click.FloatRange(1, RATE_MAX_PER_S), default=100.0, show_default=True, help="Requests a second.")
@click.option("--observe", type=Duration(), help="How long to watch before healing, instead of what the experiment says.")
@click.option(
    "--repair",
    type=click.Choice([policy.value for policy in RepairPolicy]),
    help="What brings lost boxes back: nothing, the same box, or a new one with an empty disk. Default: what the experiment says.",
)
@click.option("--repair-after", type=Duration(), help="From the proof that a box is lost until its repair begins.")
@seed_option
@click.option("--web-ui", is_flag=True, help="Show Locust's own page on loopback while it runs.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@json_option
@with_failover
@with_own_stack
@pass_output
def run(
    output: Output,
    /,
    stage_name: str | None,
    experiment_name: str | None,
    trials: int,
    rate: float,
    observe: float | None,
    repair: str | None,
    repair_after: float | None,
    seed: int | None,
    web_ui: bool,
    dry_run: bool,
    as_json: bool,
    failover: str | None,
    own_stack: Asked | None,
) -> None:
    """Run an experiment on a stage: break something, and show what a user saw.

    EXPERIMENT is a name ('lab list' shows them) or a path to a YAML file. The stage is started if need be.

    With --compose instead, a Compose project of your own that runs: users read the --url, and --kill, --pause, --stop or
    --cutoff names what fails. docs/own-stack.md says more.
    """

    def as_asked(experiment: Experiment) -> Experiment:
        return experiments.repairing(experiments.observing(experiment, observe), repair, repair_after)

    if own_stack:
        check_alone(stage_name, experiment_name, failover, repair, web_ui)
        stage, experiment, ground = prepare(own_stack, observe)
    else:
        stage, experiment, ground = _of_the_lab(stage_name, experiment_name, failover, as_asked)
    for each in experiments.unseen(experiment):
        output.say(f"note: {each}: it may stay undecided")
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    plan = LoadPlan(rate_per_s=rate, write_share=0.0) if own_stack else LoadPlan(rate_per_s=rate)
    order = Order(stage, experiment, plan, seed, trials, web_ui)
    if dry_run:
        _show_plan(output, order, as_json)
        return
    ledger = UndoLedger()
    with journal.exclusive(f"lab run {stage.number or stage.place} {experiment.name}"):
        preflight.check_no_open_faults(ledger)
        with ground(output.say) as engine:
            if web_ui:
                output.say(f"Locust's page while it runs: {preflight.locust_page()}")
            if experiment.overload:
                order = _overloading(engine, ledger, order, experiment.overload, output.say)
            silent = as_json or output.quiet
            if silent:
                result = run_experiment(engine, ledger, order, info_of(order), NoProgress())
            else:
                with ConsoleProgress(output.messages, trials, order.plan.deadline_s) as progress:
                    result = run_experiment(engine, ledger, order, info_of(order), progress)
    if as_json:
        output.document(document.as_document(result))
    else:
        assert result.folder is not None
        terminal.show(output.data, result, document.rebuild(result.folder)[1])
    sys.exit(EXIT_OF_VERDICT[result.verdict])


def _of_the_lab(
    stage_name: str | None, experiment_name: str | None, failover: str | None, as_asked: Callable[[Experiment], Experiment]
) -> tuple[Stage, Experiment, Ground]:
    """The stage and the experiment of these names, and how the stage is started. Raises UsageError."""
    if not stage_name or not experiment_name:
        raise UsageError(
            "which experiment, on which stage?", "lab run 3 kill-web ('lab list' shows all); of your own: lab run --compose FILE"
        )
    stage = stages.find(stage_name, failover)
    experiment = as_asked(experiments.find(experiment_name))
    experiments.check_targets(experiment, stage)

    @contextmanager
    def ground(say: Callable[[str], None]) -> Iterator[Engine]:
        engine = Engine()
        with upkeep.alone_on_engine(engine, f"lab run {stage.number} {experiment.name}"):
            upkeep.ensure_up(engine, stage, say)
            yield engine

    return stage, experiment, ground


def _overloading(engine: Engine, ledger: UndoLedger, order: Order, wanted: Overload, say: Callable[[str], None]) -> Order:
    """The order at the rate that an overload asks for, once it is known what one web box carries."""
    with signals.Deferred(lambda: say("interrupted: putting everything back first")) as interrupts:
        capacity_per_s = overload.measure(engine, ledger, order.stage, wanted, say, interrupts.open)
    rate_per_s = round(wanted.rate_ratio * capacity_per_s, 1)
    say(
        f"one web box carries {capacity_per_s:.0f} requests a second; the load is {wanted.rate_ratio:g} times that, {rate_per_s:g}"
    )
    return replace(order, plan=LoadPlan(rate_per_s=rate_per_s), capacity_per_s=capacity_per_s)


def _show_plan(output: Output, order: Order, as_json: bool) -> None:
    experiment = order.experiment
    plan = {
        "stage": order.stage.number or None,
        "stage_folder": order.stage.folder,
        "url": order.stage.page.url if order.stage.page else None,
        "failover": order.stage.failover,
        "experiment": experiment.name,
        "seed": order.seed,
        "rate_per_s": order.plan.rate_per_s,
        "trials": [{"number": number, "seed": trial_seed(order.seed, number)} for number in range(1, order.trials + 1)],
        "steps": [_step_document(step) for step in experiment.faults],
        "operator": asdict(experiment.operator) if experiment.operator else None,
        "repair": {"policy": experiment.repair.policy.value, "after_s": experiment.repair.after_s},
        "foreseen": experiment.foreseen.get(experiment.repair.policy.value),
        "baseline_s": experiment.baseline_s,
        "observe_s": experiment.observe_s,
        "after_s": experiment.after_s,
        "expectations": [asdict(expectation) for expectation in experiment.expectations],
    }
    if as_json:
        output.document(plan)
        return
    output.data.print(one_line(f"{order.stage.place}, {experiment.name}: {experiment.question}"), highlight=False)
    output.data.print(f"{order.trials} trials at {order.plan.rate_per_s:g} requests a second, seed {order.seed}", highlight=False)
    acts = [str(step) for step in experiment.faults]
    if experiment.operator:
        acts.append(f"after {experiment.operator.delay_s:g} s an operator's {experiment.operator.does}")
    steps = ", then ".join(acts) or "break nothing"
    if experiment.repair.acts:
        steps += f"; repair: {experiment.repair}, by {STAND_IN}"
    output.data.print(
        f"each: {experiment.baseline_s:g} s as it is; {steps}; watch {experiment.observe_s:g} s; heal; {experiment.after_s:g} s more",
        highlight=False,
    )
    output.data.print("expected: " + "; ".join(map(str, experiment.expectations)), highlight=False)


def _step_document(step: Step) -> dict[str, Any]:
    """A step with the parameters that were given for it, under the names they have in YAML."""
    given = {key: value for key, value in asdict(step.how).items() if value != getattr(How(), key)}
    given = {"from" if key == "source" else key: value for key, value in given.items()}
    given |= {"once": step.once, "within_s": step.within_s} if step.once else {}
    return {"fault": step.fault.value, "target": step.target, "after_s": step.after_s, **given}


@cli.command("soak")
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
    with upkeep.alone(engine, f"lab soak {stage.number}"):
        preflight.check_no_open_faults(ledger)
        upkeep.ensure_up(engine, stage, output.say)
        kept = soak.SoakJournal(stage, faults, seed, soak.conditions(stage, planned, load, observe))
        through = len(kept.outcomes())
        if kept.why_new:
            output.say(f"a new one is begun: {kept.why_new}")
        output.say(f"seed {seed}; kept in {kept.folder}; {through} of {faults} are through already")

        def run_one(fault: soak.Fault) -> RunResult:
            order = Order(stage, experiments.observing(experiments.find(fault.experiment), observe), load, fault.seed)
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


cli.add_command(monkey_)
cli.add_command(sweep)
cli.add_command(compare)


def _with_parameters(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--from", "source", metavar="TARGET", help="partition: the other side."),
        click.option(
            "--direction",
            type=click.Choice([direction.value for direction in Direction]),
            help="partition: whose packets are lost: what TARGET sends (out), what it is sent (in), or both.",
        ),
        click.option("--delay-ms", type=float, help="delay: how long each packet is held back."),
        click.option("--jitter-ms", type=float, help="delay: by how much that varies."),
        click.option("--loss-percent", type=float, help="loss: how many of a hundred packets are lost."),
        click.option("--rate-kbit", type=float, help="bandwidth: how much gets through, in kbit/s."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("fault_name", metavar="FAULT", type=click.Choice([kind.value for kind in FAULTS]))
@click.argument("target")
@_with_parameters
@click.option("--for", "for_s", type=Duration(), help="Heal after this time; without it the fault stays until 'lab heal'.")
@click.option("--dry-run", is_flag=True, help="Print which boxes would be hit, and do nothing.")
@seed_option
@pass_output
def chaos(
    output: Output, /, fault_name: str, target: str, for_s: float | None, dry_run: bool, seed: int | None, **given: Any
) -> None:
    """Break something in the stage that is up.

    FAULT is kill, crash, stop, pause, restart, cutoff, wipe, isolate, partition, delay, loss or bandwidth.

    TARGET is a role (web), service:NAME or NAME,NAME, zone:NAME, region:NAME, label:KEY=VALUE, all:ROLE, random or
    random:ROLE,ROLE. A role that several boxes play means one of them, by chance; a zone or a region all boxes in it.
    """
    step = _step(FaultKind(fault_name), target, given)
    engine = Engine()
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    up_now = [box for box in engine.boxes() if box.stage]
    if not up_now:
        raise UsageError("no stage is up", "'lab up 3' starts one")
    stage = stages.of(up_now[0])
    with (
        upkeep.alone(engine, f"lab chaos {fault_name}"),
        Strike.prepare(engine, step, roles.boxes_in_roles(engine, stage), stage, Random(seed)) as strike,
    ):
        if dry_run:
            output.data.print(f"would {fault_name} {strike.names} (seed {seed})", highlight=False)
            return
        _strike(output, engine, strike, for_s)
    if for_s is None:
        output.say(f"{fault_name} of {strike.names} (seed {seed}) stays in effect; 'lab heal' takes it back")


def _step(kind: FaultKind, target: str, options: dict[str, Any]) -> Step:
    """What is asked for on the command line. Raises UsageError."""
    given = {"from" if name == "source" else name: value for name, value in options.items() if value is not None}
    how = parameters.read(kind, given)
    parameters.check_target(kind, target, how)
    return Step(kind, target, how=how)


def _strike(output: Output, engine: Engine, strike: Strike, for_s: float | None) -> None:
    ledger, entries = UndoLedger(), []
    with signals.Deferred(lambda: output.say("interrupted: healing first")) as interrupts:
        try:
            entries = strike.note(ledger)
            strike.inject()
            for victim, bite in zip(strike.victims, strike.bites(), strict=True):
                output.say(bite.evidence)
                if not bite.proved:
                    raise InconclusiveError(f"{strike.step.fault} of {victim.box.service} did not bite: {bite.evidence}")
            with interrupts.open():
                wait_until(lambda: False, for_s or 0.0)
        except BaseException:
            for_s = 0.0
            raise
        finally:
            if for_s is not None:
                healing.undo_all(engine, ledger, entries)
                _await_boxes(engine, [victim.box for victim in strike.victims])
                ledger.check_noted()


def _await_boxes(engine: Engine, boxes: Iterable[Box]) -> None:
    for box in boxes:
        healing.await_well(engine, box.stage, [box.service])


@cli.command("promote")
@click.option("--fence", is_flag=True, help="Kill a database that still accepts writes first.")
@pass_output
def promote_(output: Output, fence: bool) -> None:
    """Be the operator: make the standby of the stage that is up the primary.

    Where a monitor decides who is the primary, it is asked to change them over, in order.
    """
    engine = Engine()
    replicated = [stage for stage in healing.stages_up(engine) if stage.is_replicated]
    if not replicated:
        raise UsageError("no stage with a standby database is up", "'lab up 4' starts one")
    with upkeep.alone(engine, "lab promote"), signals.Deferred(lambda: output.say("promoting first, then the end")):
        if replicated[0].failover == "automatic":
            with Observer(engine, replicated[0]) as observer:
                databases.switchover(engine, replicated[0], output.say, observer)
        else:
            databases.promote(engine, UndoLedger(), replicated[0], fence, output.say)


@cli.command()
@pass_output
def heal(output: Output) -> None:
    """Take back every fault, bring back every box, wait until the stage serves."""
    engine = Engine()
    with upkeep.alone(engine, "lab heal", despite_load=True), signals.Deferred(lambda: output.say("healing first, then the end")):
        ledger = UndoLedger()
        mended = healing.heal(engine, ledger, output.say)
        ledger.settle()
    output.say(f"healed: {mended} things mended, everything runs and answers" if mended else "nothing was broken")


@cli.command("repair")
@click.argument("stage_name", metavar="STAGE")
@click.option("--replace", "new", is_flag=True, help="New boxes with empty disks, where the data is elsewhere too.")
@with_failover
@pass_output
def repair_(output: Output, stage_name: str, new: bool, failover: str | None) -> None:
    """On-call repair: bring back every box of a stage that is lost, until redundancy is restored.

    Boxes that run are left alone; what the network lost is for 'lab heal'. A disk whose content is nowhere else is never
    thrown away. 'lab run --repair' has the lab do the same by itself, in place of an orchestrator.
    """
    stage = stages.find(stage_name, failover)
    engine = Engine()
    if not engine.boxes(stage.number):
        raise UsageError(f"stage {stage.number} is not up", f"'lab up {stage.number}' starts it")
    with (
        upkeep.alone(engine, f"lab repair {stage.number}"),
        signals.Deferred(lambda: output.say("repairing first, then the end")),
    ):
        policy = RepairPolicy.REPLACE if new else RepairPolicy.RESTART
        mended = repairs.by_hand(engine, UndoLedger(), stage, policy, output.say)
    output.say(f"repaired: {mended} boxes, nothing is missing" if mended else "no box was lost")


REPORTS = {
    "html": "One page that needs nothing else: figures, every trial, each along its time.",
    "markdown": "For a pull request; at most 64 KB.",
    "summary": "Markdown for the summary of a CI step, added to the end of the file.",
    "junit": "JUnit XML: refuted is a failure, invalid or inconclusive an error.",
    "csv": "A line a trial; of a comparison, a line a cell.",
    "svg": "A strip for a README.",
}


def _with_reports(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, what in reversed(REPORTS.items()):
        command = click.option(f"--{name}", metavar="FILE", help=what)(command)
    return command


@cli.command()
@click.argument("run_name", metavar="RUN", default="latest")
@json_option
@_with_reports
@pass_output
def report(output: Output, /, run_name: str, as_json: bool, **asked: str | None) -> None:
    """Show a run or a comparison again, computed anew from what is kept of it; needs no Docker.

    RUN is a folder, a path below results/ (3-load-balancer/kill-web/latest), or latest. Without an option it is shown
    here; with one or more, it is written to these files (- is standard output).
    """
    paths = {name: path for name, path in asked.items() if path is not None}
    if as_json + sum(path == files.STANDARD_OUTPUT for path in paths.values()) > 1:
        raise UsageError("only one report fits on standard output", "name a file for the others")
    found = matrix.find(run_name)
    texts = _matrix_report(output, found, as_json, paths) if found else _run_report(output, run_name, as_json, paths)
    for name, text in texts.items():
        files.write(text, paths[name], append=name in files.APPENDED, is_markup=name in files.MARKUP)
        if paths[name] != files.STANDARD_OUTPUT:
            output.say(f"{name}: {paths[name]}")


def _run_report(output: Output, run_name: str, as_json: bool, asked: Iterable[str]) -> dict[str, str]:
    """Show a run, where no file was asked for; otherwise the text of each file by its name."""
    result, records = document.rebuild(journal.find_run(run_name))
    if as_json:
        output.document(document.as_document(result))
    elif not asked:
        terminal.show(output.data, result, records)
    return {name: files.OF_RUN[name](result, records) for name in asked}


def _matrix_report(output: Output, file: Path, as_json: bool, asked: Iterable[str]) -> dict[str, str]:
    """The same of a comparison."""
    found = matrix.read(file)
    if as_json:
        output.document(found.to_document())
    elif not asked:
        terminal.show_matrix(output.data, found)
    return {name: files.OF_MATRIX[name](found) for name in asked}


@cli.command("selftest")
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(20, RATE_MAX_PER_S),
    multiple=True,
    default=(100.0, 500.0),
    show_default=True,
    help="Requests a second.",
)
@click.option(
    "--repeats", type=click.IntRange(1, 100), default=selftest.REPEATS, show_default=True, help="How often each outage."
)
@seed_option
@json_option
@pass_output
def selftest_(output: Output, rates: tuple[float, ...], repeats: int, seed: int | None, as_json: bool) -> None:
    """Measure outages of known length, and say how far off the lab is."""
    engine = Engine()
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    with upkeep.alone(engine, "lab selftest"):
        images.build(engine, output.say)
        lines, closed_loop = selftest.run(engine, rates, repeats, seed, output.say)
    passed = all(line.passed for line in lines)
    if as_json:
        output.document(
            {"passed": passed, "seed": seed, "outages": [asdict(line) for line in lines], "closed_loop": asdict(closed_loop)}
        )
    else:
        _show_selftest(output, lines, closed_loop)
    if not passed:
        raise InconclusiveError("the measuring is off on this machine now", "is something else busy? end it and try again")


def _show_selftest(output: Output, lines: list[selftest.Line], closed_loop: selftest.ClosedLoop) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in (
        "outage",
        "rate",
        "true",
        "measured",
        "off by",
        "of reads or writes",
        "gap",
        "failed share off by",
        "repeats",
        "invalid",
        "",
    ):
        table.add_column(title, justify="left" if title == "outage" else "right")
    for line in lines:
        table.add_row(
            line.how,
            f"{line.rate_per_s:g}/s",
            f"{line.true_s:.4f} s",
            f"{line.measured_s:.4f} s",
            f"{line.length_error_ms:.1f} ms",
            f"{line.service_s:.3f} s",
            f"{line.gap_s:.3f} s",
            f"{line.share_error_points:.2f} points",
            str(line.repeats),
            str(line.invalid),
            "ok" if line.passed else "OFF",
        )
    output.data.print(table)
    share = closed_loop.failures / closed_loop.requests if closed_loop.requests else 0.0
    output.data.print(
        f"a closed loop (10 users that wait for each answer), server frozen 2 s of {selftest.CLOSED_LOOP_S:g}: {closed_loop.failures} of {closed_loop.requests} requests failed ({share:.1%}); "
        "who waits for answers does not see that there are none",
        highlight=False,
    )
