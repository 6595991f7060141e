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
    FaultKind.BAD_DEPLOY: ("answer",),
    FaultKind.POISON: ("per_s",),
}
MAY_HAVE = {
    FaultKind.PARTITION: ("direction",),
    FaultKind.DELAY: ("jitter_ms", "network"),
    FaultKind.LOSS: ("from", "network"),
    FaultKind.BANDWIDTH: ("network",),
    FaultKind.ISOLATE: ("network",),
    FaultKind.BAD_DEPLOY: ("slow_ms", "percent"),
}
BOUNDS = {
    "delay_ms": (1.0, 5_000.0),
    "jitter_ms": (0.0, 5_000.0),
    "loss_percent": (1.0, 100.0),
    "rate_kbit": (100.0, 100_000.0),
    "cpus": (0.01, 1.0),
    "slow_ms": (100.0, 5_000.0),
    "percent": (1.0, 100.0),
    "per_s": (0.5, 20.0),
}
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
    needed, known = NEEDS.get(fault, ()), (*NEEDS.get(fault, ()), *MAY_HAVE.get(fault, ()))
    for name in given:
        if name not in known:
            takes = f"takes {' and '.join(known)}" if known else "takes nothing of the kind"
            raise ParameterError(name, f"{fault} has no {name}: it {takes}")
    for name in needed:
        if name not in given:
            raise ParameterError(name, f"{fault} needs {name}")
    numbers = {name: _number(name, given[name]) for name in given if name in BOUNDS}
    if numbers.get("jitter_ms", 0.0) > numbers.get("delay_ms", math.inf):
        raise ParameterError("jitter_ms", "jitter_ms must not be more than delay_ms: nothing arrives before it is sent")
    answer = _answer(given, "slow_ms" in numbers)
    return FaultParameters(_source(given), _direction(given), network=_network(given), answer=answer, **numbers)


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
    return float(value)
