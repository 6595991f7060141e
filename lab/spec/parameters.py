"""The parameters that a fault needs besides its target; checked in one place for experiments and command line alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lab.errors import UsageError
from lab.model.fault import LINE_FORM, BadAnswer, Direction, FaultKind, FaultParameters

NEEDS = {
    FaultKind.PARTITION: ("from",),
    FaultKind.DELAY: ("delay_ms",),
    FaultKind.LOSS: ("loss_percent",),
    FaultKind.BANDWIDTH: ("rate_kbit",),
    FaultKind.CPU: ("cpus",),
    FaultKind.DISK_SLOW: ("delay_ms",),
    FaultKind.MEMORY: ("memory_percent",),
    FaultKind.BAD_DEPLOY: ("answer",),
    FaultKind.POISON: ("per_s",),
}
MAY_HAVE = {
    FaultKind.PARTITION: ("direction",),
    FaultKind.DELAY: ("jitter_ms", "network"),
    FaultKind.LOSS: ("from", "network"),
    FaultKind.BANDWIDTH: ("network",),
    FaultKind.ISOLATE: ("network",),
    FaultKind.MEMORY: ("leak_mib_s",),
    FaultKind.BAD_DEPLOY: ("slow_ms", "percent"),
}
EITHER = {FaultKind.CLOCK: ("step_s", "drift_percent")}
"""Of these exactly one."""
FLAPPING = (
    *(FaultKind.DISCONNECT, FaultKind.ISOLATE, FaultKind.PARTITION),
    *(FaultKind.DELAY, FaultKind.LOSS, FaultKind.BANDWIDTH),
)
"""The faults that may come and go: those of the network."""
EDGES = ("on_s", "off_s")
BOUNDS = {
    "delay_ms": (1.0, 5_000.0),
    "jitter_ms": (0.0, 5_000.0),
    "loss_percent": (1.0, 100.0),
    "rate_kbit": (100.0, 100_000.0),
    "cpus": (0.01, 1.0),
    "step_s": (-86_400.0, 86_400.0),
    "drift_percent": (-50.0, 50.0),
    # Far below what a box uses nothing could be taken back; far above it would notice nothing.
    "memory_percent": (50.0, 300.0),
    "leak_mib_s": (0.1, 50.0),
    # Each edge is proved, which takes most of a second; a helper does not wait for longer than two minutes.
    "on_s": (1.0, 60.0),
    "off_s": (1.0, 60.0),
    "slow_ms": (100.0, 5_000.0),
    "percent": (1.0, 100.0),
    "per_s": (0.5, 20.0),
}
NOT_WITHIN = {"step_s": 2.0, "drift_percent": 5.0}
"""Less than that, one way or the other, could not be distinguished from a clock that is right."""
NAMES = ("from", "direction", "network", "answer", *BOUNDS)
NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# All that can happen to the line to a region; it has no jitter.
OF_A_LINE = (FaultKind.DELAY, FaultKind.LOSS)
EXAMPLES = {
    "from": "from: zone:b, or --from zone:b",
    "direction": "direction: out, or --direction out",
    "delay_ms": "delay_ms: 100, or --delay-ms 100",
    "jitter_ms": "jitter_ms: 10, or --jitter-ms 10",
    "loss_percent": "loss_percent: 20, or --loss-percent 20",
    "rate_kbit": "rate_kbit: 1000, or --rate-kbit 1000",
    "network": "network: edge, or --network edge",
    "cpus": "cpus: 0.1, or --cpus 0.1",
    "step_s": "step_s: -60, or --step-s -60",
    "drift_percent": "drift_percent: 10, or --drift-percent 10",
    "memory_percent": "memory_percent: 105, or --memory-percent 105",
    "leak_mib_s": "leak_mib_s: 5, or --leak-mib-s 5",
    "on_s": "on_s: 2 and off_s: 2, or --on 2s --off 2s",
    "off_s": "on_s: 2 and off_s: 2, or --on 2s --off 2s",
    "answer": "answer: error, or --answer error",
    "slow_ms": "slow_ms: 800, or --slow-ms 800",
    "percent": "percent: 50, or --percent 50",
    "per_s": "per_s: 1, or --per-s 1",
}


class ParameterError(UsageError):
    """One of them is missing, is not known to the fault, or is out of bounds."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, EXAMPLES.get(name, "target: web"))
        self.name = name


def read(fault: FaultKind, given: Mapping[str, object]) -> FaultParameters:
    """How a fault is to be done, from what was given for it. Raises ParameterError."""
    needed, known = NEEDS.get(fault, ()), known_to(fault)
    for name in given:
        if name not in known:
            takes = f"takes {' and '.join(known)}" if known else "takes nothing of the kind"
            raise ParameterError(name, f"{fault} has no {name}: it {takes}")
    for name in needed:
        if name not in given:
            raise ParameterError(name, f"{fault} needs {name}")
    either = EITHER.get(fault, ())
    if either and len([name for name in either if name in given]) != 1:
        raise ParameterError(either[0], f"{fault} needs {' or '.join(either)}, one of them")
    for name, other in (EDGES, EDGES[::-1]):
        if name in given and other not in given:
            raise ParameterError(other, f"{fault} has {name} and no {other}: what flaps has both")
    numbers = {name: _number(name, given[name]) for name in given if name in BOUNDS}
    if numbers.get("jitter_ms", 0.0) > numbers.get("delay_ms", math.inf):
        raise ParameterError("jitter_ms", "jitter_ms must not be more than delay_ms: nothing arrives before it is sent")
    answer = _answer(given, "slow_ms" in numbers)
    return FaultParameters(_source(given), _direction(given), network=_network(given), answer=answer, **numbers)


def known_to(fault: FaultKind) -> tuple[str, ...]:
    """All parameters that a fault takes."""
    own = (*NEEDS.get(fault, ()), *EITHER.get(fault, ()), *MAY_HAVE.get(fault, ()))
    return (*own, *(EDGES if fault in FLAPPING else ()))


def check_flapping(how: FaultParameters, lasts_s: float) -> None:
    """Raise ParameterError where a fault that flaps would come only once in so many seconds."""
    if how.flaps and lasts_s <= how.on_s + how.off_s:
        why = f"in {lasts_s:g} s, what is {how.on_s:g} s on and {how.off_s:g} s off comes only once"
        raise ParameterError("on_s", f"{why}: it would not flap")


def check_target(fault: FaultKind, target: str, how: FaultParameters) -> None:
    """Raise ParameterError for a target that means nothing, or that cannot fail in this way."""
    for name, text in (("target", target), ("from", how.source)):
        if text and _has_an_empty_name(text):
            raise ParameterError(name, f"'{text}' names nothing: an empty name would mean any box")
    if how.source.startswith(LINE_FORM):
        raise ParameterError("from", "a line is no side of a partition: zones, regions and boxes are")
    if not target.startswith(LINE_FORM):
        return
    if fault not in OF_A_LINE:
        raise ParameterError("target", f"{fault} is nothing that happens to a line: it takes {' or '.join(OF_A_LINE)}")
    if how.jitter_ms:
        raise ParameterError("jitter_ms", "a line has no jitter: the delay of a line is always the same")
    if how.source:
        raise ParameterError("from", "the loss of a line concerns all that goes to its region: there is no from")
    if how.network:
        raise ParameterError("network", "a line is no box, and so is on no network")
    if how.flaps:
        raise ParameterError("on_s", "a line does not flap: a fault of boxes does")


def _has_an_empty_name(target: str) -> bool:
    form, colon, value = target.partition(":")
    return not form or (bool(colon) and not all(each.strip() for each in value.split(",")))


def _source(given: Mapping[str, object]) -> str:
    source = given.get("from", "")
    if not isinstance(source, str) or ("from" in given and not source):
        raise ParameterError("from", f"from must be a target, not '{source}'")
    return source


def _network(given: Mapping[str, object]) -> str:
    network = given.get("network", "")
    if "network" in given and not (isinstance(network, str) and NETWORK_NAME.fullmatch(network)):
        raise ParameterError("network", f"network must be the name of a network in the stage file, not '{network}'")
    return str(network)


def _direction(given: Mapping[str, object]) -> Direction:
    direction = given.get("direction", Direction.BOTH)
    if not isinstance(direction, str) or direction not in list(Direction):
        raise ParameterError("direction", f"direction must be one of {', '.join(Direction)}, not '{direction}'")
    return Direction(direction)


def _answer(given: Mapping[str, object], has_slow_ms: bool) -> BadAnswer | None:
    if "answer" not in given:
        return None
    answer = given["answer"]
    if not isinstance(answer, str) or answer not in list(BadAnswer):
        raise ParameterError("answer", f"answer must be one of {', '.join(BadAnswer)}, not '{answer}'")
    if has_slow_ms is not (answer == BadAnswer.SLOW):
        why = "only a slow answer is late" if has_slow_ms else "how late is a slow answer?"
        raise ParameterError("slow_ms", f"answer {answer} has {'no' if has_slow_ms else 'a'} slow_ms: {why}")
    return BadAnswer(answer)


def _number(name: str, value: object) -> float:
    low, high = BOUNDS[name]
    # Not a number is within no bounds.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ParameterError(name, f"{name} must be a number from {low:g} to {high:g}, not '{value}'")
    if abs(value) < (least := NOT_WITHIN.get(name, 0.0)):
        raise ParameterError(name, f"{name} must be {least:g} or more, or {-least:g} or less: {value:g} would not be seen")
    return float(value)
