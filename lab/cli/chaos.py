"""`lab chaos`, `lab promote`, `lab heal` and `lab repair`: a fault, and what takes it back."""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

import click

from lab import signals
from lab.cli.options import Duration, Output, pass_output, seed_option, with_failover
from lab.cluster import lifecycle, readiness
from lab.cluster.cluster import Cluster
from lab.engine.docker_engine import DockerEngine
from lab.errors import (
    InconclusiveError,
    UsageError,
)
from lab.faults import FAULTS
from lab.faults import heal as heal_
from lab.faults import repair as repairs
from lab.faults.flap import OFF, ON, Flap, Note
from lab.faults.injection import Injection
from lab.model.experiment import RepairPolicy
from lab.model.fault import BadAnswer, Direction, FaultKind, Step
from lab.process import wait_until
from lab.spec import parameters, stages
from lab.store.undo_log import OpenFault, UndoLog


def _with_parameters(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--from", "source", metavar="TARGET", help="partition, loss: the other side."),
        click.option(
            "--direction",
            type=click.Choice([direction.value for direction in Direction]),
            help="partition: whose packets are lost: what TARGET sends (out), what it is sent (in), or both.",
        ),
        click.option("--delay-ms", type=float, help="delay: how long each packet is held back; disk-slow: each write, at most."),
        click.option("--jitter-ms", type=float, help="delay: by how much that varies."),
        click.option("--loss-percent", type=float, help="loss: how many of a hundred packets are lost."),
        click.option("--rate-kbit", type=float, help="bandwidth: how much gets through, in kbit/s."),
        click.option("--network", metavar="NAME", help="isolate, loss, delay, bandwidth: on this network only, such as edge."),
        click.option("--cpus", type=float, help="cpu: how much of a processor is left, such as 0.1."),
        click.option("--step-s", type=float, help="clock: by how many seconds it is set forward (60) or back (-60)."),
        click.option("--drift-percent", type=float, help="clock: by how much it is too fast (10) or too slow (-10)."),
        click.option(
            "--memory-percent", type=float, help="memory: how much it may use, in percent of what it uses, such as 105."
        ),
        click.option("--leak-mib-s", type=float, help="memory: how fast a leak takes what is left of that, in MiB a second."),
        click.option(
            "--on", "on_s", type=Duration(), help="Faults of the network that flap: how long on each time; needs --for."
        ),
        click.option("--off", "off_s", type=Duration(), help="And how long off, in between."),
        click.option(
            "--answer",
            type=click.Choice([answer.value for answer in BadAnswer]),
            help="bad-deploy: how the bad release answers: with an error, or late.",
        ),
        click.option("--slow-ms", type=float, help="bad-deploy: how late a slow answer is."),
        click.option("--percent", type=float, help="bad-deploy: how many of a hundred requests; else all."),
        click.option("--per-s", type=float, help="poison: how often the request comes that kills a worker."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
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

    FAULT is kill, crash, stop, pause, hang, restart, disconnect, wipe, power, readonly, cpu, memory, clock, bad-deploy, poison,
    isolate, partition, delay, loss or bandwidth; where boxes have disks of their own (LAB_DISKS=own), also disk-full,
    disk-stall or disk-slow. Those of the network can come and go (flap): --on and --off.

    TARGET is a role (web), service:NAME or NAME,NAME, zone:NAME, region:NAME, label:KEY=VALUE, all:ROLE, random or
    random:ROLE,ROLE. A role that several boxes play means one of them, at random; a zone or a region all boxes in it.
    """
    step = _step(FaultKind(fault_name), target, given)
    _check_flapping(step, for_s)
    engine = DockerEngine()
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    up_now = list(readiness.by_project(engine.boxes()).values())
    if not up_now:
        raise UsageError("no stage is up", "'lab up 3' starts one")
    cluster = Cluster(engine, stages.of_boxes(up_now[0]), UndoLog())
    with (
        lifecycle.alone(engine, f"lab chaos {fault_name}"),
        Injection.prepare(cluster, step, cluster.live_boxes(), Random(seed)) as injection,
    ):
        if dry_run:
            output.data.print(f"would {fault_name} {injection.names} (seed {seed})", highlight=False)
            return
        _inject(output, cluster, injection, for_s)
    if for_s is None:
        output.say(f"{fault_name} of {injection.names} (seed {seed}) stays in effect; 'lab heal' takes it back")


def _step(kind: FaultKind, target: str, options: dict[str, Any]) -> Step:
    """What is asked for on the command line. Raises UsageError."""
    given = {"from" if name == "source" else name: value for name, value in options.items() if value is not None}
    how = parameters.read(kind, given)
    parameters.check_target(kind, target, how)
    return Step(kind, target, how=how)


def _check_flapping(step: Step, for_s: float | None) -> None:
    """Raise UsageError where a fault cannot flap: it goes on only as long as this command, and comes twice at least."""
    if not step.how.flaps:
        return
    if for_s is None:
        raise UsageError("what flaps needs --for: it comes and goes only as long as this command runs", "--for 20s")
    parameters.check_flapping(step.how, for_s)


def _inject(output: Output, cluster: Cluster, injection: Injection, for_s: float | None) -> None:
    entries: list[OpenFault] = []
    with signals.Deferred(lambda: output.say("interrupted: healing first")) as interrupts:
        try:
            entries = injection.note()
            since = cluster.host_clock.monotonic()
            injection.inject()
            for target, verification in zip(injection.targets, injection.verify(), strict=True):
                output.say(verification.evidence)
                if not verification.proved:
                    raise InconclusiveError(
                        f"{injection.step.fault} of {target.box.service} could not be verified: {verification.evidence}"
                    )
            if injection.step.how.flaps:
                _flap(output, Flap(injection, entries, since, _edge(output)), for_s or 0.0, interrupts)
            else:
                with interrupts.open():
                    wait_until(lambda: False, for_s or 0.0)
        except BaseException:
            for_s = 0.0
            raise
        finally:
            if for_s is not None:
                heal_.undo_all(cluster.engine, cluster.undo_log, entries)
                for target in injection.targets:
                    readiness.await_healthy(cluster, [target.box.service])
                cluster.undo_log.check_noted()


def _edge(output: Output) -> Note:
    """Says each edge of a fault that flaps, and what proves it."""
    return lambda name, words, _at: output.say(words if name not in (ON, OFF) else f"{name.removeprefix('fault-')}: {words}")


def _flap(output: Output, flapping: Flap, for_s: float, interrupts: signals.Deferred) -> None:
    """Wait until it is over. Raises InconclusiveError where an edge is not proved."""
    with flapping, interrupts.open():
        wait_until(lambda: bool(flapping.problem), for_s)
    if flapping.problem:
        raise InconclusiveError(f"an edge could not be verified: {flapping.problem}")


@click.command("promote")
@click.option("--fence", is_flag=True, help="Kill a database that still accepts writes first.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Where no database may become the primary because what it lacks is lost: go on without that.",
)
@pass_output
def promote_(output: Output, fence: bool, accept_loss: bool) -> None:
    """Promote the standby database of the stage that is up.

    Where a monitor decides who is the primary, it is asked for a graceful switchover.
    """
    if fence and accept_loss:
        raise UsageError("--fence is for a primary that is there, --accept-loss for one that is lost", "one of the two")
    engine = DockerEngine()
    replicated = [Cluster(engine, stage, UndoLog()) for stage in readiness.stages_up(engine) if stage.is_replicated]
    if not replicated:
        raise UsageError("no stage with a standby database is up", "'lab up 4' starts one")
    with lifecycle.alone(engine, "lab promote"), signals.Deferred(lambda: output.say("promoting first, then the end")):
        if accept_loss or replicated[0].stage.failover == "automatic":
            with replicated[0].observer() as observer:
                act = replicated[0].accept_loss if accept_loss else replicated[0].switchover
                act(observer, output.say)
        else:
            replicated[0].promote(fence, output.say)


@click.command()
@pass_output
def heal(output: Output) -> None:
    """Take back every fault, bring back every box, wait until the stage serves."""
    engine = DockerEngine()
    with (
        lifecycle.alone(engine, "lab heal", despite_load=True),
        signals.Deferred(lambda: output.say("healing first, then the end")),
    ):
        ledger = UndoLog()
        restored = heal_.heal(engine, ledger, output.say)
        ledger.settle()
    output.say(f"healed: {restored} things restored, everything runs and answers" if restored else "nothing was broken")


@click.command("repair")
@click.argument("stage_name", metavar="STAGE")
@click.option("--fresh-disks", is_flag=True, help="New boxes with empty disks, where the data is elsewhere too.")
@with_failover
@pass_output
def repair_(output: Output, stage_name: str, fresh_disks: bool, failover: str | None) -> None:
    """On-call repair: bring back every box of a stage that is lost, until redundancy is restored.

    Boxes that run are left alone; what the network lost is for 'lab heal'. A disk whose content is nowhere else is never
    thrown away. 'lab run --repair' has the lab do the same by itself, in place of an orchestrator.
    """
    stage = stages.find(stage_name, failover)
    engine = DockerEngine()
    if not engine.boxes(stage.number):
        raise UsageError(f"stage {stage.number} is not up", f"'lab up {stage.number}' starts it")
    with (
        lifecycle.alone(engine, f"lab repair {stage.number}"),
        signals.Deferred(lambda: output.say("repairing first, then the end")),
    ):
        policy = RepairPolicy.REPLACE if fresh_disks else RepairPolicy.RESTART
        restored = repairs.by_hand(Cluster(engine, stage, UndoLog()), policy, output.say)
    output.say(f"repaired: {restored} boxes, nothing is missing" if restored else "no box was lost")
