"""`lab run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from random import SystemRandom
from typing import Any

import click

from lab import signals
from lab.analysis import run_document
from lab.cli.options import EXIT_OF_VERDICT, TRIALS_MAX, Duration, Output, json_option, pass_output, seed_option, with_failover
from lab.cli.own_stack import Asked, Ground, check_alone, prepare, with_own_stack
from lab.cluster import lifecycle, preflight
from lab.engine.engine import Engine
from lab.errors import (
    UsageError,
)
from lab.faults.repair import STAND_IN
from lab.model.experiment import RATE_MAX_PER_S, Experiment, LoadPlan, Overload, RepairPolicy
from lab.model.fault import FaultParameters, Step
from lab.model.topology import Stage
from lab.plaintext import one_line
from lab.report import terminal
from lab.report.progress import ConsoleProgress, NoProgress
from lab.spec import experiments, stages
from lab.store import lock
from lab.store.undo_log import UndoLedger
from lab.trial import capacity
from lab.trial.runner import RunConfig, info_of, trial_seed
from lab.trial.runner import run as run_experiment


@click.command()
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
    --disconnect names what fails. docs/own-stack.md says more.
    """

    def as_asked(experiment: Experiment) -> Experiment:
        return experiments.repairing(experiments.lasting(experiment, observe), repair, repair_after)

    if own_stack:
        check_alone(stage_name, experiment_name, failover, repair, web_ui)
        stage, experiment, ground = prepare(own_stack, observe)
    else:
        stage, experiment, ground = _of_the_lab(stage_name, experiment_name, failover, as_asked)
    for each in experiments.unseen(experiment):
        output.say(f"note: {each}: it may stay undecided")
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    plan = LoadPlan(rate_per_s=rate, write_share=0.0) if own_stack else LoadPlan(rate_per_s=rate)
    order = RunConfig(stage, experiment, plan, seed, trials, web_ui)
    if dry_run:
        _show_plan(output, order, as_json)
        return
    ledger = UndoLedger()
    with lock.exclusive(f"lab run {stage.number or stage.place} {experiment.name}"):
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
        output.document(run_document.as_document(result))
    else:
        assert result.folder is not None
        terminal.show(output.data, result, run_document.rebuild(result.folder)[1])
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
        with lifecycle.alone_on_engine(engine, f"lab run {stage.number} {experiment.name}"):
            lifecycle.ensure_up(engine, stage, say)
            yield engine

    return stage, experiment, ground


def _overloading(engine: Engine, ledger: UndoLedger, order: RunConfig, wanted: Overload, say: Callable[[str], None]) -> RunConfig:
    """The order at the rate that an overload asks for, once it is known what one web box carries."""
    with signals.Deferred(lambda: say("interrupted: putting everything back first")) as interrupts:
        capacity_per_s = capacity.measure(engine, ledger, order.stage, wanted, say, interrupts.open)
    rate_per_s = round(wanted.rate_ratio * capacity_per_s, 1)
    say(
        f"one web box carries {capacity_per_s:.0f} requests a second; the load is {wanted.rate_ratio:g} times that, {rate_per_s:g}"
    )
    return replace(order, plan=LoadPlan(rate_per_s=rate_per_s), capacity_per_s=capacity_per_s)


def _show_plan(output: Output, order: RunConfig, as_json: bool) -> None:
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
        "repair": {"policy": experiment.repair.policy.value, "delay_s": experiment.repair.delay_s},
        "expected_verdict": experiment.expected_verdicts.get(experiment.repair.policy.value),
        "baseline_s": experiment.baseline_s,
        "fault_duration_s": experiment.fault_duration_s,
        "cooldown_s": experiment.cooldown_s,
        "expectations": [asdict(expectation) for expectation in experiment.expectations],
    }
    if as_json:
        output.document(plan)
        return
    output.data.print(one_line(f"{order.stage.place}, {experiment.name}: {experiment.question}"), highlight=False)
    output.data.print(f"{order.trials} trials at {order.plan.rate_per_s:g} requests a second, seed {order.seed}", highlight=False)
    acts = [str(step) for step in experiment.faults]
    if experiment.operator:
        acts.append(f"after {experiment.operator.delay_s:g} s an operator's {experiment.operator.action}")
    steps = ", then ".join(acts) or "break nothing"
    if experiment.repair.acts:
        steps += f"; repair: {experiment.repair}, by {STAND_IN}"
    output.data.print(
        f"each: {experiment.baseline_s:g} s as it is; {steps}; watch {experiment.fault_duration_s:g} s; heal; {experiment.cooldown_s:g} s more",
        highlight=False,
    )
    output.data.print("expected: " + "; ".join(map(str, experiment.expectations)), highlight=False)


def _step_document(step: Step) -> dict[str, Any]:
    """A step with the parameters that were given for it, under the names they have in YAML."""
    given = {key: value for key, value in asdict(step.how).items() if value != getattr(FaultParameters(), key)}
    given = {"from" if key == "source" else key: value for key, value in given.items()}
    given |= {"wait_for": step.wait_for, "timeout_s": step.timeout_s} if step.wait_for else {}
    return {"fault": step.fault.value, "target": step.target, "delay_s": step.delay_s, **given}
