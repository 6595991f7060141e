"""What `lab run --compose` adds to `lab run`: a project of one's own instead of a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from lab.cluster import attach, lifecycle, preflight
from lab.cluster.system import RunningSystem
from lab.engine.compose import compose_config
from lab.engine.docker_engine import DockerEngine
from lab.errors import UsageError
from lab.model.experiment import Experiment
from lab.model.fault import Step
from lab.model.topology import Stage
from lab.spec import kept, own_stack
from lab.spec.experiments import lasting
from lab.spec.located_yaml import place
from lab.store.undo_log import UndoLog

Ground = Callable[[Callable[[str], None]], AbstractContextManager[RunningSystem]]
"""Makes sure that what is measured runs (saying what it does), and yields it."""
NEEDED = "--compose compose.yaml --url http://SERVICE:PORT/path --kill SERVICE"


@dataclass(frozen=True)
class OwnStackSpec:
    """What the command line says of a project of one's own."""

    compose: Path
    project: str
    url: str
    contains: str
    steps: tuple[Step, ...]


def with_own_stack(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take a project of one's own; they come as one `own_stack`, None where nothing of it is given."""
    options = (
        click.option("--compose", metavar="FILE", help="A Compose project of your own that runs, instead of a stage."),
        click.option(
            "--project", metavar="NAME", help="With --compose: its name, where it is not the one that Compose gives it."
        ),
        click.option("--url", help="With --compose: what users read, as seen from the project's network."),
        click.option("--contains", metavar="TEXT", help="With --compose: what a good answer has in it, beside being 2xx."),
        *(
            click.option(f"--{kind}", metavar="SERVICE", help=f"With --compose: this service (or a role, by lab.yaml) {what}.")
            for kind, what in own_stack.HAPPENS.items()
        ),
    )

    @wraps(command)
    def gather(*arguments: Any, **given: Any) -> Any:
        names = ("compose", "project", "url", "contains", *(kind.value for kind in own_stack.HAPPENS))
        return command(*arguments, own_stack=_spec_of({name: given.pop(name) for name in names}), **given)

    wrapped: Callable[..., Any] = gather
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _spec_of(given: dict[str, str | None]) -> OwnStackSpec | None:
    named = [name for name, value in given.items() if value is not None]
    if given["compose"] is None:
        if named:
            raise UsageError(f"--{named[0]} needs --compose: a stage has its experiments", f"lab run {NEEDED}")
        return None
    steps = tuple(Step(kind, target) for kind in own_stack.HAPPENS if (target := given[kind.value]) is not None)
    if len(steps) > 1:
        raise UsageError(f"{' and '.join(str(step) for step in steps)}: one fault a run", "service:NAME,NAME breaks two at once")
    return OwnStackSpec(Path(given["compose"]), given["project"] or "", given["url"] or "", given["contains"] or "", steps)


def check_alone(
    stage_name: str | None,
    experiment_name: str | None,
    failover: str | None,
    repair: str | None,
    repair_delay_s: float | None,
    web_ui: bool,
) -> None:
    """Raise UsageError for what a project of one's own is not asked together with."""
    if stage_name or experiment_name:
        raise UsageError("either STAGE and EXPERIMENT, or --compose", f"lab run {NEEDED}")
    if failover:
        raise UsageError("--failover is about a stage of the lab, not about --compose")
    for name, value in (("--repair", repair), ("--repair-delay", repair_delay_s)):
        if value is not None:
            raise UsageError(
                f"{name} is about a stage of the lab: of yours the lab heals what it broke, and repairs nothing else",
                f"without {name}; --duration says how long the fault lasts before it is healed",
            )
    if web_ui:
        raise UsageError("--web-ui needs a port on loopback, and with --compose none is published")


def prepare(spec: OwnStackSpec, fault_duration_s: float | None) -> tuple[Stage, Experiment, Ground]:
    """The project as it runs, what is done to it, and how the internet box gets there. Nothing is changed by this.

    Raises UsageError or PreflightError.
    """
    if not (kept.is_there(spec.compose) and spec.compose.is_file()):
        raise UsageError(f"there is no file {place(spec.compose)}", f"lab run {NEEDED}")
    project = own_stack.project_of(spec.compose, compose_config(spec.compose, spec.project))
    settings = own_stack.read_settings(spec.compose.parent / own_stack.FILE_NAME, project)
    page = own_stack.page_of(spec.url or settings.url, spec.contains or settings.contains)
    for step in spec.steps:
        own_stack.check_target(step.target, project, settings)
    # First: what a fault has left of the project is not what it is.
    preflight.check_no_open_faults(UndoLog())
    engine = DockerEngine().visiting(project.name, settings.roles_of)
    boxes = attach.boxes_of(engine, project, is_named=bool(spec.project))
    for step in spec.steps:
        own_stack.check_runs(step.target, project, boxes)
    network = attach.network_of(engine, project, page, boxes, settings.network)
    stage = own_stack.stage_of(project, page, boxes)

    @contextmanager
    def ground(say: Callable[[str], None]) -> Iterator[RunningSystem]:
        say(f"visiting the network {network} of {project.name}; nothing of it is started or changed but what you named")
        with (
            lifecycle.alone_on_engine(engine, f"lab run --compose {spec.compose}"),
            attach.attached(attach.ForeignProject(engine, stage, UndoLog()), network, say) as project_,
        ):
            yield project_

    return stage, lasting(own_stack.experiment_of(spec.steps[0] if spec.steps else None, settings), fault_duration_s), ground
