"""What a comparison or a sweep does to a stage: which of its parts fail, how, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random

from lab.analysis import variants
from lab.errors import UsageError, shown
from lab.model.experiment import Experiment
from lab.model.fault import FaultKind, Step
from lab.model.measures import Expectation
from lab.model.topology import Stage
from lab.spec import experiments
from lab.spec.targets import ACTIVE, PLACES, PRIMARY, STANDBY, possible

BASELINE_S = 1.0
COOLDOWN_S = 1.3
"""Long enough for the second without a failure that ends an outage, and no longer."""
EXTRA_TRIALS = 2
"""How many more an experiment of a cell gets where some came to nothing."""

# A part that may fail, and what it is called. The first four are roles; of places, each one is tried.
PARTS = {
    "web": "a web box",
    "lb": "the balancer that users reach",
    "primary": "the primary database",
    "standby": "a standby database",
    "zone": "a zone",
    "region": "a region",
    "monitor": "the monitor",
}
DEFAULT_PARTS = ("web", "lb", "primary", "standby", "zone", "region")
HAPPENS = {
    FaultKind.KILL: "is killed",
    FaultKind.CRASH: "is crashed",
    FaultKind.STOP: "is shut down",
    FaultKind.PAUSE: "is frozen",
    FaultKind.RESTART: "is restarted",
    FaultKind.DISCONNECT: "is cut off",
    FaultKind.WIPE: "is lost with its disk",
    FaultKind.ISOLATE: "is isolated",
    FaultKind.HANG: "hangs",
    FaultKind.POWER: "loses its power",
}
"""The faults that need no more than a target."""
SWEPT = {
    **HAPPENS,
    FaultKind.READONLY: "takes no writes",
    FaultKind.CPU: "starves",
    FaultKind.MEMORY: "is short of memory",
    FaultKind.BAD_DEPLOY: "gets a release that answers 500",
    FaultKind.POISON: "gets a release that a request kills",
    FaultKind.PARTITION: "lose each other",
    FaultKind.DISK_FULL: "has a full disk",
    FaultKind.DISK_STALL: "waits for its disk",
}
"""Those that a sweep injects: what else they need, it knows for each part."""
ALL, PARTITIONS_RANK = "all", len(PLACES) + 1


@dataclass(frozen=True)
class CellTerms:
    """What all cells share."""

    fault_duration_s: float
    tolerance_s: float
    """For how long users may be without the service before it counts as gone."""


@dataclass(frozen=True)
class FaultSpec:
    """A column that was asked for: a fault of a part, or an experiment of the lab's or one's own."""

    name: str
    title: str
    fault: FaultKind = FaultKind.NONE
    part: str = ""
    experiment: Experiment | None = None


@dataclass(frozen=True)
class CellPlan:
    """A cell of one stage: what its trials do, or why there is nothing to do."""

    column: str
    title: str
    experiments: tuple[Experiment, ...] = ()
    """One for each target that the fault falls on: "a zone" is each of them. Each gets as many trials as any cell."""
    missing: str = ""
    members: tuple[str, ...] = ()
    """The parts that fail, for a sweep: web1, zone:a; two for a pair."""
    rank: int = 0
    """Jobs of a lower rank come first."""

    @property
    def way(self) -> str:
        """How the members fail: kill, isolate edge; empty where there are none."""
        step = self.experiments[0].faults[0] if self.members and self.experiments else None
        return f"{step.fault} {step.how.network}".rstrip() if step else ""

    @property
    def targets(self) -> tuple[str, ...]:
        """What each experiment falls on, where there are several: they are samples of different things."""
        return tuple(each.faults[0].target for each in self.experiments) if len(self.experiments) > 1 else ()


@dataclass(frozen=True)
class NextTrial:
    """The trial that comes next."""

    cell_plan: CellPlan
    variant: int
    """Which of the job's experiments it is, from 0."""


@dataclass(frozen=True)
class CellProgress:
    """How far an experiment of a cell is."""

    tried: int = 0
    valid: int = 0

    def needs(self, trials: int) -> bool:
        """Whether it needs another trial."""
        return self.valid < trials and self.tried < trials + EXTRA_TRIALS


ProgressByCell = Mapping[tuple[str, int], CellProgress]
"""By column and turn; what was not tried yet may be missing."""


def fault_specs(text: str) -> tuple[FaultSpec, ...]:
    """The columns that a list names, such as "kill,pause-web,my.yaml". Raises UsageError.

    A fault by itself (kill) is that fault of every part of DEFAULT_PARTS; kill-web is one column; anything else is an
    experiment by its name or file.
    """
    found = [fault_spec for word in text.split(",") if word.strip() for fault_spec in _fault_specs(word.strip())]
    if not found:
        raise UsageError("no fault is named", "--faults kill, or kill-web,pause-primary")
    doubled = sorted({fault_spec.name for fault_spec in found if sum(other.name == fault_spec.name for other in found) > 1})
    if doubled:
        raise UsageError(f"{', '.join(doubled)} is named twice", "each column once")
    return tuple(found)


def _fault_specs(word: str) -> Iterator[FaultSpec]:
    kind, _, part = word.partition("-")
    if kind in _kinds() and part in ("", *PARTS):
        for each in (part,) if part else DEFAULT_PARTS:
            yield FaultSpec(f"{kind}-{each}", f"{PARTS[each]} {HAPPENS[FaultKind(kind)]}", FaultKind(kind), each)
        return
    try:
        experiment = experiments.find(word)
    except UsageError as error:
        known = f"known are {', '.join(_kinds())}; one of these with -{', -'.join(PARTS)}; and experiments ('lab list')"
        raise error if word.endswith((".yaml", ".yml")) else UsageError(f"'{shown(word)}' is no fault", known) from error
    yield FaultSpec(experiment.name, experiment.title, experiment=experiment)


def kinds(text: str) -> tuple[FaultKind, ...]:
    """The faults that a list names, such as "kill,pause", each once; `all` is every one. Raises UsageError."""
    if text.strip() == ALL:
        return variants.EVERY
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words:
        if word not in SWEPT:
            known = f"known are {', '.join(SWEPT)}; {ALL} is every one"
            raise UsageError(f"'{shown(word)}' is no fault that 'lab spof' injects", known)
    if not words:
        raise UsageError("no fault is named", "--faults kill, or kill,pause")
    return tuple(FaultKind(word) for word in words)


def _kinds() -> list[str]:
    return [kind.value for kind in HAPPENS]


# Comparing


def comparison(stage: Stage, wanted: Sequence[FaultSpec], terms: CellTerms) -> tuple[CellPlan, ...]:
    """The cells of a stage in a comparison, in order of the columns."""
    return tuple(
        _named(fault_spec, stage) if fault_spec.experiment else _of_part(fault_spec, stage, terms) for fault_spec in wanted
    )


def _named(fault_spec: FaultSpec, stage: Stage) -> CellPlan:
    assert fault_spec.experiment is not None
    if fault_spec.experiment.overload:
        return CellPlan(
            fault_spec.name,
            fault_spec.title,
            missing="an overload is measured by 'lab run', which finds out first what a box carries",
        )
    try:
        experiments.check_targets(fault_spec.experiment, stage)
    except UsageError as error:
        return CellPlan(fault_spec.name, fault_spec.title, missing=error.message)
    given = {**home(stage, fault_spec.part), **fault_spec.experiment.preconditions}
    return CellPlan(fault_spec.name, fault_spec.title, (replace(fault_spec.experiment, preconditions=given),))


def _of_part(fault_spec: FaultSpec, stage: Stage, terms: CellTerms) -> CellPlan:
    targets = targets_of(fault_spec.part, stage)
    if not targets:
        return CellPlan(fault_spec.name, fault_spec.title, missing=f"stage {stage.number} has no {_lacking(fault_spec.part)}")
    given = home(stage, fault_spec.part)
    return CellPlan(
        fault_spec.name,
        fault_spec.title,
        tuple(_experiment(fault_spec.name, fault_spec.title, Step(fault_spec.fault, each), terms, given) for each in targets),
    )


def targets_of(part: str, stage: Stage) -> list[str]:
    """The targets that are this part of a stage; none where it has no such thing."""
    if part in PLACES:
        found = places(stage, part)
        return [f"{part}:{name}" for name in found] if len(found) > 1 else []
    role = {"primary": PRIMARY, "standby": STANDBY, "lb": ACTIVE if stage.balancers else "lb"}.get(part, part)
    if role == "web" and len(places(stage, "region")) > 1:
        return _one_in_each_region(role, stage)
    return [role] if any(role in spec.roles for spec in possible(stage)) else []


def _one_in_each_region(role: str, stage: Stage) -> list[str]:
    """A box of the role in each region: where users are it is missed, elsewhere it is not, so they are no one sample."""
    found = {spec.labels.get(PLACES["region"], ""): spec.name for spec in reversed(stage.services) if role in spec.roles}
    return [f"service:{name}" for _, name in sorted(found.items())]


def places(stage: Stage, kind: str) -> list[str]:
    """The zones, or the regions, that a stage has boxes in."""
    labels = [spec.labels.get(PLACES[kind], "") for spec in stage.services if spec.is_system]
    return sorted({label for label in labels if label})


def home(stage: Stage, kind: str) -> dict[str, str]:
    """Where primary and address are when a trial begins: in the place of the first database. What is no kind of place fails with
    the primary in the first region, where there are several: a write from another one takes round trips over the long line.

    Without that they would be wherever the trial before left them, and one cell's trials would be of two kinds.
    """
    kind = kind if kind in PLACES else "region"
    place = next((spec.labels.get(PLACES[kind], "") for spec in stage.services if spec.name in stage.databases), "")
    if not place or stage.failover != "automatic":
        return {}
    moves = any(spec.name in stage.balancers and spec.labels.get(PLACES[kind]) == place for spec in stage.services)
    address = {ACTIVE: f"{kind}:{place}"} if moves and not stage.announced else {}
    return {PRIMARY: f"{kind}:{place}", **address}


def _lacking(part: str) -> str:
    words = {"web": "web box", "lb": "balancer", "primary": "database", "standby": "standby database"}
    return {**words, "zone": "second zone", "region": "second region"}.get(part, part)


def _experiment(name: str, title: str, step: Step, terms: CellTerms, given: Mapping[str, str] | None = None) -> Experiment:
    return Experiment(
        name=name,
        title=title[0].upper() + title[1:],
        question=f"What happens if {title}?",
        steps=(step,),
        preconditions=given or {},
        baseline_s=BASELINE_S,
        fault_duration_s=terms.fault_duration_s,
        cooldown_s=COOLDOWN_S,
        expectations=(Expectation("downtime_longest_s", terms.tolerance_s, None), Expectation("writes_lost", 0, None)),
    )


# Sweeping


def sweep(
    stage: Stage, faults: Sequence[FaultKind], terms: CellTerms, seed: int, pairs: bool, sample: int | None
) -> tuple[CellPlan, ...]:
    """Every box of a stage, every zone, every region; with `pairs` also every two boxes, or as many of them at random.

    A fault that a part cannot have is left out there: a web box takes no writes anyway.
    """
    boxes = boxes_of(stage)
    single: list[tuple[tuple[str, ...], int]] = [((name,), 0) for name in boxes]
    for rank, kind in enumerate(PLACES, 1):
        found = places(stage, kind)
        single += [((f"{kind}:{name}",), rank) for name in found if len(found) > 1]
        single += [((f"{kind}:{one}", f"{kind}:{other}"), PARTITIONS_RANK) for one, other in combinations(found, 2)]
    double = list(combinations(boxes, 2)) if pairs else []
    if sample is not None and sample < len(double):
        double = sorted(Random(f"{seed}/pairs").sample(double, sample), key=double.index)
    members = [*single, *((pair, PARTITIONS_RANK + 1) for pair in double)]
    return tuple(each for fault in faults for names, rank in members for each in _of_members(fault, names, rank, terms, stage))


def boxes_of(stage: Stage) -> list[str]:
    """The boxes of a stage that may fail: all but those where the users stand."""
    return [spec.name for spec in stage.services if spec.is_system]


def _of_members(fault: FaultKind, members: tuple[str, ...], rank: int, terms: CellTerms, stage: Stage) -> Iterator[CellPlan]:
    place = ":" in members[0]
    given = home(stage, members[0].partition(":")[0])
    target = members[0] if place else f"service:{','.join(members)}"
    words = " and ".join(member.replace(":", " ") for member in members)
    for variant in variants.of(fault, _happens(fault, members), members, stage):
        column = f"{variant.name}-" + "-and-".join(member.replace(":", "-") for member in members)
        title, step = f"{words} {variant.happens}", Step(fault, target, how=variant.how)
        experiment = _experiment(column, title, step, terms, {**given, **variant.preconditions})
        yield CellPlan(column, title, (experiment,), members=members, rank=rank)


def _happens(fault: FaultKind, members: Sequence[str]) -> str:
    if len(members) == 1 or fault in variants.OF_TWO_PLACES:
        return SWEPT[fault]
    return f"{SWEPT[fault].replace('is ', 'are ')} at once"


# In which order


def next_cell(cell_plans: Sequence[CellPlan], progress_of_cells: ProgressByCell, trials: int, seed: int) -> NextTrial | None:
    """The trial that comes next; None where all are through.

    Trials go in rounds, one of each cell and each of its targets, in an order that the seed decides for each round and that
    is the same at every stage. So what changes on this machine meanwhile (a busy neighbour, a full cache) falls on all alike.
    """
    waiting = _waiting(cell_plans, progress_of_cells, trials)
    if not waiting:
        return None
    number = min(_cell_progress(each, progress_of_cells).tried for each in waiting)
    behind = [each for each in waiting if _cell_progress(each, progress_of_cells).tried == number]
    return min(behind, key=lambda each: (each.cell_plan.rank, Random(f"{seed}/{number}/{_name(each)}").random()))


def _waiting(cell_plans: Sequence[CellPlan], progress_of_cells: ProgressByCell, trials: int) -> list[NextTrial]:
    every = [NextTrial(cell_plan, variant) for cell_plan in cell_plans for variant in range(len(cell_plan.experiments))]
    return [each for each in every if _cell_progress(each, progress_of_cells).needs(trials)]


def _cell_progress(each: NextTrial, progress_of_cells: ProgressByCell) -> CellProgress:
    return progress_of_cells.get((each.cell_plan.column, each.variant), CellProgress())


def _name(each: NextTrial) -> str:
    return "/".join([each.cell_plan.column, *each.cell_plan.targets[each.variant : each.variant + 1]])


def seed_of(seed: int, column: str) -> int:
    """The seed of a cell: the same for a column at every stage, so that each is asked the same at the same instants."""
    return Random(f"{seed}/{column}").randrange(2**31)


def left(cell_plans: Sequence[CellPlan], progress_of_cells: ProgressByCell, trials: int) -> int:
    """How many trials are still to come, if all are valid."""
    return sum(trials - _cell_progress(each, progress_of_cells).valid for each in _waiting(cell_plans, progress_of_cells, trials))


def watched_for(wanted: Sequence[FaultSpec], fault_duration_s: float | None) -> tuple[FaultSpec, ...]:
    """The columns, their experiments watched for so long instead of what they say."""
    return tuple(
        replace(fault_spec, experiment=experiments.lasting(fault_spec.experiment, fault_duration_s))
        if fault_spec.experiment
        else fault_spec
        for fault_spec in wanted
    )
