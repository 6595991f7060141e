"""An experiment as a YAML file has it. Durations in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from lab.errors import is_harmless
from lab.model.experiment import Experiment, Operator, Overload, Repair, RepairPolicy
from lab.model.fault import BY_SIGNAL, ENDING, OF_A_DISK, OF_WEB_BOXES, BadAnswer, Direction, FaultKind, FaultParameters, Step
from lab.spec import base, located_yaml, parameters
from lab.spec.base import Must, Seconds, Strict, Text, broken
from lab.spec.expect import Bounds, expectations

BASELINE_S, FAULT_DURATION_S, COOLDOWN_S = 2.0, 6.0, 1.5
COOLDOWN_MIN_S = 1.0
"""An outage has ended when no request failed for so long: with no more load after the healing, its end cannot be seen."""
WITHIN_S = 30.0
REPAIRED_WITHIN_S = 45.0
OPERATED_WITHIN_S = 60.0
STEPS_MAX = 20
KINDS = ", ".join(FaultKind)
# The generator is not to be what is overloaded: a small box, and not many times what it carries.
CPUS, RATE_RATIO, MAXCONN = (0.05, 0.5), (0.1, 3.0), (0, 500)
SHAPING = (FaultKind.DELAY, FaultKind.LOSS, FaultKind.BANDWIDTH)
"""Each puts one queue before a box, and there is room for one."""
"""A web box runs one release at a time."""
OF_A_RUNNING_BOX = (*BY_SIGNAL, *OF_WEB_BOXES, FaultKind.READONLY, FaultKind.CLOCK, FaultKind.MEMORY, *OF_A_DISK)
ENDING_A_NETWORK = (*ENDING, FaultKind.CRASH, FaultKind.RESTART)
"""A box that starts again has a new one."""
LASTING = (*ENDING, FaultKind.PAUSE, FaultKind.DISCONNECT, FaultKind.READONLY, FaultKind.CLOCK, *OF_A_DISK)
"""Done already, it cannot be done a second time."""


def _target(text: str) -> str:
    if not text.strip() or not is_harmless(text):
        raise ValueError("no target")
    return text


Act = Literal["promote", "switchover", "failback", "accept-loss"]
OPERATOR_ACTS: tuple[str, ...] = get_args(Act)

Target = Annotated[str, AfterValidator(_target), Must("a target, such as web or zone:a", "target: web")]
After = Annotated[
    float,
    Field(gt=COOLDOWN_MIN_S, le=base.DURATION_MAX_S),
    Must(
        f"a number of seconds over {COOLDOWN_MIN_S:g}, up to {base.DURATION_MAX_S:g}: with less the end of an outage is not seen",
        f"cooldown_s: {COOLDOWN_S:g}",
    ),
]


def _within(name: str) -> tuple[Any, Must]:
    low, high = parameters.BOUNDS[name]
    return Field(ge=low, le=high), Must(f"a number from {low:g} to {high:g}", parameters.EXAMPLES[name])


def _network_name(text: str) -> str:
    if not parameters.NETWORK_NAME.fullmatch(text):
        raise ValueError("no name of a network")
    return text


_DELAY, _JITTER, _LOSS, _RATE, _CPUS = map(_within, ("delay_ms", "jitter_ms", "loss_percent", "rate_kbit", "cpus"))
_STEP, _DRIFT = map(_within, ("step_s", "drift_percent"))
_MEMORY, _LEAK, _ON, _OFF = map(_within, ("memory_percent", "leak_mib_s", "on_s", "off_s"))
_SLOW, _PERCENT, _PER_S = map(_within, ("slow_ms", "percent", "per_s"))


class FaultKeys(Strict):
    """One fault, and what it needs besides its target."""

    fault: Annotated[FaultKind, Field(strict=False), Must(f"one of {KINDS}", "fault: kill")] | None = None
    target: Target | None = None
    """What to break: a role (web), service:NAME, zone:NAME, region:NAME, line:REGION, label:KEY=VALUE, all:ROLE, random."""
    source: Annotated[str, AfterValidator(_target), Must("a target", parameters.EXAMPLES["from"])] | None = Field(
        default=None, alias="from"
    )
    direction: (
        Annotated[Direction, Field(strict=False), Must(f"one of {', '.join(Direction)}", parameters.EXAMPLES["direction"])] | None
    ) = None
    delay_ms: Annotated[float, _DELAY[0], _DELAY[1]] | None = None
    jitter_ms: Annotated[float, _JITTER[0], _JITTER[1]] | None = None
    loss_percent: Annotated[float, _LOSS[0], _LOSS[1]] | None = None
    rate_kbit: Annotated[float, _RATE[0], _RATE[1]] | None = None
    network: (
        Annotated[str, AfterValidator(_network_name), Must("a network of the stage file", parameters.EXAMPLES["network"])] | None
    ) = None
    """The one network of the box that the fault is about."""
    cpus: Annotated[float, _CPUS[0], _CPUS[1]] | None = None
    """How many processors are left."""
    step_s: Annotated[float, _STEP[0], _STEP[1]] | None = None
    """By how much a wall clock is set forward, or back where it is negative."""
    drift_percent: Annotated[float, _DRIFT[0], _DRIFT[1]] | None = None
    """By how much it is too fast, or too slow where it is negative."""
    memory_percent: Annotated[float, _MEMORY[0], _MEMORY[1]] | None = None
    """How much memory the box may use, in percent of what it uses just before."""
    leak_mib_s: Annotated[float, _LEAK[0], _LEAK[1]] | None = None
    """How fast a leak takes what is left of that, in MiB a second."""
    on_s: Annotated[float, _ON[0], _ON[1]] | None = None
    """Of a fault of the network that flaps: for how long it is in effect each time."""
    off_s: Annotated[float, _OFF[0], _OFF[1]] | None = None
    """And for how long it is not, in between."""
    answer: (
        Annotated[BadAnswer, Field(strict=False), Must(f"one of {', '.join(BadAnswer)}", parameters.EXAMPLES["answer"])] | None
    ) = None
    """How a bad release answers."""
    slow_ms: Annotated[float, _SLOW[0], _SLOW[1]] | None = None
    """How late it answers, where it is slow."""
    percent: Annotated[float, _PERCENT[0], _PERCENT[1]] | None = None
    """How many of a hundred requests it answers badly; all where nothing is said."""
    per_s: Annotated[float, _PER_S[0], _PER_S[1]] | None = None
    """How often the request comes that kills a worker."""

    @property
    def given(self) -> dict[str, object]:
        """The parameters that the file gives, under their names in YAML."""
        found = {name: getattr(self, "source" if name == "from" else name) for name in parameters.NAMES}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def keys(self) -> list[str]:
        """All that the file says about a fault."""
        return [name for name in ("fault", "target") if getattr(self, name) is not None] + list(self.given)

    def how(self) -> FaultParameters:
        """What the fault needs besides its target. Raises the error of a rule where it does not go together."""
        if self.fault is None:
            raise broken("fault", f"fault must be one of {KINDS}", "fault: kill")
        if (self.target is None) != (self.fault is FaultKind.NONE):
            raise broken("target", "a fault needs a target (and fault: none has none)", "target: web")
        try:
            how = parameters.read(self.fault, self.given)
            parameters.check_target(self.fault, self.target or "", how)
        except parameters.ParameterError as error:
            raise broken(error.name, error.message, error.hint) from error
        return how

    def step(self) -> Step:
        """The fault as a step."""
        assert self.fault is not None
        return Step(self.fault, self.target or "", 0.0, self.how())


class StepKeys(FaultKeys):
    """One of several faults."""

    delay_s: Seconds = 0.0
    """Seconds after the step before it."""
    wait_for: (
        Annotated[
            Literal["redundant", "served"], Must("redundant or served: that is what a step can wait for", "wait_for: redundant")
        ]
        | None
    ) = None
    timeout_s: Seconds | None = None
    """For how long to wait at most; 30 s where nothing is said."""

    @model_validator(mode="after")
    def _whole(self) -> StepKeys:
        if self.fault is FaultKind.NONE:
            raise broken(
                "fault",
                "a step of fault none does nothing, and nothing waits for it",
                "give its delay_s to the step that follows",
            )
        self.how()
        if self.timeout_s is not None and not self.wait_for:
            raise broken(
                "timeout_s", "timeout_s says for how long to wait, and there is nothing to wait for", "wait_for: redundant"
            )
        return self

    def step(self) -> Step:
        """The fault with when it strikes."""
        assert self.fault is not None
        within_s = (WITHIN_S if self.timeout_s is None else self.timeout_s) if self.wait_for else 0.0
        return Step(self.fault, self.target or "", self.delay_s, self.how(), self.wait_for or "", within_s)


class OperatorKeys(Strict):
    """A human who acts."""

    delay_s: Seconds = 20.0
    """From the last fault until the operator acts."""
    action: Annotated[Act, Must("promote, switchover, failback or accept-loss", "action: promote")]
    target: Target | None = None
    """Whom to make the primary."""

    @model_validator(mode="after")
    def _has_a_target(self) -> OperatorKeys:
        if self.target and self.action in ("promote", "accept-loss"):
            raise broken(
                "target", "a switchover or a failback can have a target, whom it makes the primary", "action: switchover"
            )
        return self


class RepairKeys(Strict):
    """What brings lost boxes back."""

    policy: Annotated[
        RepairPolicy, Field(strict=False), Must(f"one of {', '.join(RepairPolicy)}", "repair: {policy: restart, delay_s: 2}")
    ]
    delay_s: Seconds = Repair().delay_s
    """From the proof that a box is lost until its repair begins."""


class OverloadKeys(Strict):
    """More than the boxes that are left can carry."""

    cpus: Annotated[float, Field(ge=CPUS[0], le=CPUS[1]), Must(f"a number from {CPUS[0]:g} to {CPUS[1]:g}", "cpus: 0.15")]
    rate_ratio: Annotated[
        float,
        Field(ge=RATE_RATIO[0], le=RATE_RATIO[1]),
        Must(f"a number from {RATE_RATIO[0]:g} to {RATE_RATIO[1]:g}", "rate_ratio: 1.5"),
    ]
    maxconn: Annotated[
        int, Field(ge=MAXCONN[0], le=MAXCONN[1]), Must(f"a whole number from {MAXCONN[0]} to {MAXCONN[1]}", "maxconn: 1")
    ] = 0


class GivenKeys(Strict):
    """Who plays a role that moves when a trial begins."""

    db_primary: Target | None = Field(default=None, alias="db.primary")
    lb_active: Target | None = Field(default=None, alias="lb.active")


Foreseen = Annotated[Literal["held", "refuted"], Must("held or refuted", "expected_verdict: {none: refuted, restart: held}")]


class ForeseenKeys(Strict):
    """The verdict that is expected under each repair policy."""

    none: Foreseen | None = None
    restart: Foreseen | None = None
    replace: Foreseen | None = None


class ExperimentFile(FaultKeys):
    """An experiment of the Redundancy Lab: what to break, for how long to watch, and what to expect."""

    title: Text
    """A line of text."""
    question: Text
    """What the experiment asks."""
    given_roles: GivenKeys | None = Field(default=None, alias="preconditions")
    initial_faults: Annotated[list[StepKeys], Field(min_length=1, max_length=STEPS_MAX)] | None = None
    steps: Annotated[list[StepKeys], Field(min_length=1, max_length=STEPS_MAX)] | None = None
    operator: OperatorKeys | None = None
    repair: RepairKeys | None = None
    expected_verdict: ForeseenKeys | None = None
    overload: OverloadKeys | None = None
    baseline_s: Seconds = BASELINE_S
    """Load before the fault, in seconds."""
    fault_duration_s: Seconds = FAULT_DURATION_S
    """From the last fault to the healing, in seconds."""
    cooldown_s: After = COOLDOWN_S
    """Load after recovery, in seconds."""
    expect: dict[str, Bounds]
    """Bounds on measures."""

    @model_validator(mode="after")
    def _whole(self) -> ExperimentFile:
        if self.steps is None:
            self.how()
        elif self.keys:
            raise broken("steps", "either fault and target, or steps, not both")
        if self.operator and self.repair:
            raise broken("repair", "an operator or a repair policy, not both")
        self._flaps_where_it_can()
        return self

    def _flaps_where_it_can(self) -> None:
        """What is broken before the load begins stays so; what flaps comes twice at least."""
        if any(each.how().flaps for each in self.initial_faults or ()):
            raise broken("initial_faults", "what is broken before the load begins does not flap", "steps: with on_s and off_s")
        for step in self.all_steps:
            try:
                parameters.check_flapping(step.how, self.fault_duration_s)
            except parameters.ParameterError as error:
                raise broken("fault_duration_s", error.message, "a longer fault_duration_s") from error

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """What is done, in order."""
        return tuple(each.step() for each in self.steps) if self.steps is not None else (self.step(),)


def watched_s(experiment: Experiment) -> float:
    """For how long at most an outage can be seen before everything is healed."""
    waits_s = sum(step.delay_s + step.timeout_s for step in experiment.steps)
    operated_s = experiment.operator.delay_s + OPERATED_WITHIN_S if experiment.operator else 0.0
    repaired_s = experiment.repair.delay_s + REPAIRED_WITHIN_S if experiment.repair.acts else 0.0
    return waits_s + operated_s + repaired_s + experiment.fault_duration_s


def read(document: located_yaml.Mapping, name: str) -> Experiment:
    """The experiment in a document. Raises UsageError naming file and line."""
    found = base.read(ExperimentFile, document)
    before = tuple(each.step() for each in found.initial_faults or ())
    repair = Repair(found.repair.policy, found.repair.delay_s) if found.repair else Repair()
    if clash := None if repair.acts else clash_of([_named(step) for step in (*before, *found.all_steps)]):
        key, index = ("initial_faults", clash[1]) if clash[1] < len(before) else ("steps", clash[1] - len(before))
        raise _holder(document, key, index).error("target", clash[0], "name different boxes, or wait: wait_for: redundant")
    experiment = Experiment(
        name=name,
        title=found.title,
        question=found.question,
        steps=found.all_steps,
        baseline_s=found.baseline_s,
        fault_duration_s=found.fault_duration_s,
        cooldown_s=found.cooldown_s,
        expectations=(),
        operator=Operator(found.operator.delay_s, found.operator.action, found.operator.target or "") if found.operator else None,
        preconditions=_said(found.given_roles),
        initial_faults=before,
        repair=repair,
        expected_verdicts=_said(found.expected_verdict),
        overload=Overload(**found.overload.model_dump()) if found.overload else None,
    )
    return replace(experiment, expectations=expectations(document, found.expect, watched_s(experiment)))


def _said(found: Strict | None) -> dict[str, str]:
    return {} if found is None else found.model_dump(by_alias=True, exclude_none=True)


def _holder(document: located_yaml.Mapping, key: str, index: int) -> located_yaml.Mapping:
    """The mapping of a step; the document, where it is the only one."""
    steps = document.get(key)
    found = steps[index] if isinstance(steps, list) else document
    return found if isinstance(found, located_yaml.Mapping) else document


# Faults that cannot both be done


def clash_of(steps: Sequence[tuple[Step, frozenset[str]]]) -> tuple[str, int] | None:
    """Why two of several steps, each with what it surely hits, cannot both be done, and which is the second; None if they can.

    A step that waits for something is done to a box that may have come back meanwhile.
    """
    for later, (second, hit) in enumerate(steps):
        for first, before in () if second.wait_for else steps[:later]:
            both = sorted(hit & before)
            if both and (why := _clash(first, second, both[0])):
                return why, later
    return None


def _clash(first: Step, second: Step, name: str) -> str:
    if first.fault in SHAPING and second.fault in SHAPING and not name.startswith("line:"):
        return (
            f"{first.fault} and {second.fault} of {name}: only one of delay, loss and bandwidth at a time shapes what a box sends"
        )
    if first.fault in OF_WEB_BOXES and second.fault in OF_WEB_BOXES:
        return f"{first.fault} and {second.fault} of {name}: a web box runs one release at a time"
    if first.fault is second.fault and first.fault in LASTING:
        return f"{second.fault} of {name} for the second time: nothing has healed it meanwhile"
    if first.fault in ENDING and second.fault in OF_A_RUNNING_BOX:
        return f"{second.fault} of {name}, which is down already after {first.fault}"
    return _ended_too_soon(first, second, name)


def _ended_too_soon(first: Step, second: Step, name: str) -> str:
    """Why a box must not be ended, or cannot be, while the first fault goes on."""
    if first.how.flaps and second.fault in ENDING_A_NETWORK:
        return f"{second.fault} of {name}, whose network flaps: the next edge would find another network, or none"
    if first.fault is FaultKind.DISK_STALL and second.fault in BY_SIGNAL:
        return f"{second.fault} of {name} after {first.fault}: no signal reaches a process that waits for a disk"
    return ""


def _named(step: Step) -> tuple[Step, frozenset[str]]:
    """A step with the names of what it surely hits: a role or chance may mean another box each time."""
    form, colon, value = step.target.partition(":")
    if form == "service":
        return step, frozenset(value.split(","))
    return step, frozenset([step.target] if colon and form in ("zone", "region", "line", "label", "all") else [])
