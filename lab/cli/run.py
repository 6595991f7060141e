"""`lab run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from lab import signals
from lab.analysis import run_document
from lab.cli.options import (
    EXIT_OF_VERDICT,
    Duration,
    Output,
    chosen_seed,
    gathered,
    json_option,
    model_option,
    pass_output,
    seed_option,
    verbose_option,
    with_failover,
)
from lab.cli.own_stack import Ground, OwnStackSpec, check_alone, prepare, with_own_stack
from lab.cluster import lifecycle, preflight
from lab.cluster.cluster import Cluster
from lab.cluster.system import RunningSystem
from lab.engine.docker_engine import DockerEngine
from lab.errors import (
    UsageError,
)
from lab.faults.repair import STAND_IN
from lab.model.experiment import RATE_MAX_PER_S, RATE_MIN_PER_S, TRIALS_MAX, Experiment, LoadPlan, Overload, RepairPolicy
from lab.model.fault import FaultParameters, Step
from lab.model.result import RunResult
from lab.model.topology import Stage
from lab.plaintext import one_line
from lab.report import terminal
from lab.report.progress import ConsoleProgress, NoProgress
from lab.spec import experiments, stages
from lab.store import lock
from lab.store.undo_log import UndoLog
from lab.trial import capacity
from lab.trial.runner import RunConfig, info_of, trial_seed
from lab.trial.runner import run as run_experiment

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """What `lab run` may be given, beside what is run."""

    trials: int
    rate: float
    duration: float | None
    """Seconds from the last fault until the lab heals it; None: as the experiment says."""
    repair: str | None
    repair_delay: float | None
    seed: int | None
    web_ui: bool
    dry_run: bool
    as_json: bool
    verbose: bool
    model: bool
    failover: str | None

    def applied_to(self, experiment: Experiment) -> Experiment:
        """The experiment with the duration and the repair of the command line. Raises UsageError."""
        return experiments.repairing(experiments.lasting(experiment, self.duration), self.repair, self.repair_delay)


@click.command()
@click.argument("stage_name", metavar="[STAGE", required=False)
@click.argument("experiment_name", metavar="EXPERIMENT]", required=False)
@click.option("--trials", type=click.IntRange(1, TRIALS_MAX), default=1, show_default=True, help="How often.")
@click.option(
    "--rate", type=click.FloatRange(RATE_MIN_PER_S, RATE_MAX_PER_S), default=100.0, show_default=True, help="Requests a second."
)
@click.option(
    "--duration", type=Duration(), help="How long the fault lasts before it is healed. Default: what the experiment says."
)
@click.option(
    "--repair",
    type=click.Choice([policy.value for policy in RepairPolicy]),
    help="Lost boxes: none stays down, restart starts them again, replace creates new ones with empty disks. Default: what the experiment says.",
)
@click.option("--repair-delay", type=Duration(), help="From the proof that a box is lost until its repair begins.")
@seed_option
@click.option("--web-ui", is_flag=True, help="Show Locust's own page on loopback while it runs.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and do nothing.")
@json_option
@verbose_option
@model_option
@with_failover
@with_own_stack
@pass_output
@gathered(RunOptions, "options")
def run(
    output: Output,
    /,
    stage_name: str | None,
    experiment_name: str | None,
    own_stack: OwnStackSpec | None,
    options: RunOptions,
) -> None:
    """Run an experiment on a stage: break something, and show what users saw.

    EXPERIMENT is a name ('lab list' shows them) or a path to a YAML file. The stage is started if it is not up.

    With --compose instead, a Compose project of your own that runs: users read the --url, and --kill, --pause, --stop or
    --disconnect names what fails. docs/own-stack.md says more.
    """
    if own_stack:
        check_alone(stage_name, experiment_name, options.failover, options.repair, options.repair_delay, options.web_ui)
        stage, experiment, ground = prepare(own_stack, options.duration)
    else:
        stage, experiment, ground = _of_the_lab(stage_name, experiment_name, options)
    for each in experiments.unseen(experiment):
        output.say(f"note: {each}: it may stay undecided")
    plan = LoadPlan(rate_per_s=options.rate, write_share=0.0) if own_stack else LoadPlan(rate_per_s=options.rate)
    config = RunConfig(stage, experiment, plan, chosen_seed(options.seed), options.trials, options.web_ui)
    if options.dry_run:
        _show_plan(output, config, options.as_json)
        return
    result = _measure(output, config, ground, options.as_json)
    if options.as_json:
        output.document(run_document.as_document(result))
    else:
        assert result.folder is not None
        records = run_document.rebuild(result.folder)[1]
        terminal.show_run(output.data, result, records, options.verbose, options.model)
    sys.exit(EXIT_OF_VERDICT[result.verdict])


def _measure(output: Output, config: RunConfig, ground: Ground, as_json: bool) -> RunResult:
    """Run it, where nothing else of the lab runs. Raises LabError."""
    experiment = config.experiment
    with lock.exclusive(f"lab run {config.stage.number or config.stage.place} {experiment.name}"):
        preflight.check_no_open_faults(UndoLog())
        with ground(output.say) as system:
            if config.web_ui:
                output.say(f"Locust's page while it runs: {preflight.locust_page()}")
            if experiment.overload:
                config = _overloading(system, config, experiment.overload, output.say)
            if as_json or output.quiet:
                return run_experiment(system, config, info_of(config), NoProgress())
            with ConsoleProgress(output.messages, config.trials, config.plan.deadline_s) as progress:
                return run_experiment(system, config, info_of(config), progress)


def _of_the_lab(stage_name: str | None, experiment_name: str | None, options: RunOptions) -> tuple[Stage, Experiment, Ground]:
    """The stage and the experiment of these names, and how the stage is started. Raises UsageError."""
    if not stage_name or not experiment_name:
        raise UsageError(
            "which experiment, on which stage?", "lab run 3 kill-web ('lab list' shows all); of your own: lab run --compose FILE"
        )
    stage = stages.find(stage_name, options.failover)
    experiment = options.applied_to(experiments.find(experiment_name))
    experiments.check_targets(experiment, stage)

    @contextmanager
    def ground(say: Say) -> Iterator[RunningSystem]:
        engine = DockerEngine()
        with lifecycle.alone_on_engine(engine, f"lab run {stage.number} {experiment.name}"):
            cluster = Cluster(engine, stage, UndoLog())
            lifecycle.ensure_up(cluster, say)
            yield cluster

    return stage, experiment, ground


def _overloading(system: RunningSystem, config: RunConfig, wanted: Overload, say: Say) -> RunConfig:
    """The same at the rate that an overload asks for, once it is known what one web box can carry."""
    with signals.Deferred(lambda: say("interrupted: putting everything back first")) as interrupts:
        capacity_per_s = capacity.measure(system, wanted, say, interrupts.open)
    rate_per_s = round(wanted.rate_ratio * capacity_per_s, 1)
    say(
        f"one web box can carry {capacity_per_s:.0f} requests a second; the load is {wanted.rate_ratio:g} times that, {rate_per_s:g}"
    )
    return replace(config, plan=LoadPlan(rate_per_s=rate_per_s), capacity_per_s=capacity_per_s)


def _show_plan(output: Output, config: RunConfig, as_json: bool) -> None:
    if as_json:
        output.document(_plan_document(config))
        return
    experiment = config.experiment
    for line in (
        f"{config.stage.place}, {experiment.name}: {experiment.question}",
        f"{config.trials} trials at {config.plan.rate_per_s:g} requests a second, seed {config.seed}",
        f"each: {experiment.baseline_s:g} s as it is; {_steps_text(experiment)}; watch {experiment.fault_duration_s:g} s; heal; "
        f"{experiment.cooldown_s:g} s more",
        "expected: " + "; ".join(map(str, experiment.expectations)),
    ):
        output.data.print(one_line(line), highlight=False)


def _steps_text(experiment: Experiment) -> str:
    """What is broken, and who acts."""
    acts = [str(step) for step in experiment.faults]
    if experiment.operator:
        acts.append(f"after {experiment.operator.delay_s:g} s an operator's {experiment.operator.action}")
    steps = ", then ".join(acts) or "break nothing"
    return f"{steps}; repair: {experiment.repair}, by {STAND_IN}" if experiment.repair.acts else steps


def _plan_document(config: RunConfig) -> dict[str, Any]:
    experiment, stage = config.experiment, config.stage
    return {
        "stage": stage.number or None,
        "stage_folder": stage.folder,
        "url": stage.page.url if stage.page else None,
        "failover": stage.failover,
        "experiment": experiment.name,
        "seed": config.seed,
        "rate_per_s": config.plan.rate_per_s,
        "trials": [{"number": number, "seed": trial_seed(config.seed, number)} for number in range(1, config.trials + 1)],
        "steps": [_step_document(step) for step in experiment.faults],
        "operator": asdict(experiment.operator) if experiment.operator else None,
        "repair": {"policy": experiment.repair.policy.value, "delay_s": experiment.repair.delay_s},
        "expected_verdict": experiment.expected_verdicts.get(experiment.repair.policy.value),
        "baseline_s": experiment.baseline_s,
        "fault_duration_s": experiment.fault_duration_s,
        "cooldown_s": experiment.cooldown_s,
        "expectations": [asdict(expectation) for expectation in experiment.expectations],
    }


def _step_document(step: Step) -> dict[str, Any]:
    """A step with the parameters that were given for it, under the names they have in YAML."""
    given = {key: value for key, value in asdict(step.how).items() if value != getattr(FaultParameters(), key)}
    given = {"from" if key == "source" else key: value for key, value in given.items()}
    given |= {"wait_for": step.wait_for, "timeout_s": step.timeout_s} if step.wait_for else {}
    return {"fault": step.fault.value, "target": step.target, "delay_s": step.delay_s, **given}
