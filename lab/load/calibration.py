"""The measuring, measured: known outages, and what the lab says of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Any

from lab.checker.outages import operation, service
from lab.checker.validity import validity
from lab.engine.engine import Engine
from lab.errors import InconclusiveError
from lab.load.load import Load, LoadConfig
from lab.model.experiment import LoadPlan
from lab.model.history import Arrival
from lab.model.result import Operation, longest_s
from lab.model.topology import Box

PORT = 9000
OUTAGES: tuple[tuple[str, float], ...] = (("refused", 0.4), ("closed", 1.0), ("frozen", 2.0), ("frozen", 0.6))
"""The last is shorter than the deadline: no request fails, so it is a gap and no outage."""
LENGTH_LIMIT_MS = {100.0: 15.0, 500.0: 5.0}
SHARE_LIMIT_POINTS = 0.5
BEFORE_S, COOLDOWN_S = 1.5, 2.5
REPEATS = 5
CLOSED_LOOP_S = 10.0


@dataclass(frozen=True)
class Reading:
    """One known outage and what was measured of it; seconds, and shares of all requests."""

    how: str
    rate_per_s: float
    true_s: float
    measured_s: float
    """The longest outage, of all requests as of one operation: to this server they are one."""
    service_s: float
    """The longest outage of a service that is down while its reads or its writes are."""
    gap_s: float
    """The longest time without a success."""
    true_share: float
    measured_share: float
    invalid: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """The readings of one kind of outage at one rate."""

    how: str
    rate_per_s: float
    true_s: float
    measured_s: float
    """Median of the longest outage."""
    service_s: float
    """Median, were reads and writes different things: longer by the time until the next write, which are fewer."""
    gap_s: float
    """Median of the longest time without a success: the outage, and what the spacing of requests adds."""
    length_error_ms: float
    """Median of the absolute errors."""
    share_error_points: float
    """Median of the absolute errors, in percentage points."""
    repeats: int
    invalid: int
    passed: bool


@dataclass(frozen=True)
class ClosedLoop:
    """What a plain closed-loop load test says of a server that is frozen for 2 s."""

    requests: int
    failures: int


def run(
    engine: Engine, rates: Sequence[float], repeats: int, seed: int, say: Callable[[str], None]
) -> tuple[list[Line], ClosedLoop]:
    """Measure each outage `repeats` times at each rate. Raises InconclusiveError when the load breaks off."""
    random = Random(seed)
    lines = []
    with engine.container("internet", ["sleep", "infinity"]) as box, _faulty(engine, box) as fail:
        server = Server(engine, box, fail)
        for rate in rates:
            for how, seconds in OUTAGES:
                say(f"{how} for {seconds:g} s at {rate:g} requests a second, {repeats} times")
                readings = [_read(server, how, seconds, rate, random) for _ in range(repeats)]
                lines.append(_line(readings))
        say(f"a plain closed-loop load beside it, frozen for 2 s in {CLOSED_LOOP_S:g} s")
        closed_loop = _closed_loop(engine, box, fail)
    return lines, closed_loop


Fail = Callable[[str, float], tuple[int, int]]
"""Have an outage, of a kind and so many seconds; returns its start and end in nanoseconds."""


@dataclass(frozen=True)
class Server:
    """The server with known outages."""

    engine: Engine
    box: Box
    fail: Fail


@contextmanager
def _faulty(engine: Engine, box: Box) -> Iterator[Fail]:
    """The server with known outages; yields how to have one, which returns its start and end in nanoseconds."""
    process = engine.talk_to(box, ["python", "-m", "client.faulty", str(PORT)])
    try:
        _hear(process, "ready")

        def fail(how: str, seconds: float) -> tuple[int, int]:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"do": how, "seconds": seconds}).encode() + b"\n")
            process.stdin.flush()
            outage = _hear(process, "outage")
            return outage["start_ns"], outage["end_ns"]

        yield fail
    finally:
        process.kill()
        process.wait()


def _hear(process: subprocess.Popen[bytes], event: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    message: dict[str, Any] = json.loads(line) if line else {}
    if message.get("event") != event:
        error = process.stderr.read().decode(errors="replace") if process.stderr and not line else ""
        raise InconclusiveError(f"the self-test's server broke off: {error.strip()[-200:]}", "'lab build' makes its image again")
    return message


def _read(server: Server, how: str, seconds: float, rate_per_s: float, random: Random) -> Reading:
    """One known outage under load. Raises InconclusiveError."""
    plan = LoadPlan(rate_per_s=rate_per_s)
    config = LoadConfig(("127.0.0.1", PORT), f"selftest-{random.randrange(16**8):08x}", plan, random.randrange(2**31))
    with Load(server.engine, server.box, config) as load:
        load.run_for(BEFORE_S + random.random() / rate_per_s)
        start_ns, end_ns = server.fail(how, seconds)
        load.run_for(COOLDOWN_S)
        generator = load.stop()
    arrivals = sorted(load.arrivals, key=lambda arrival: arrival.at_s)
    return _reading(how, (end_ns - start_ns) / 1e9, plan, arrivals, validity(generator, len(arrivals)))


def _reading(how: str, true_s: float, plan: LoadPlan, arrivals: Sequence[Arrival], invalid: Sequence[str]) -> Reading:
    whole, total = operation(arrivals, plan.deadline_s, plan.rate_per_s), _seen(arrivals, plan)
    # Frozen: what came within a deadline of the end was still answered in time.
    bad_s = max(true_s - plan.deadline_s, 0.0) if how == "frozen" else true_s
    return Reading(
        how=how,
        rate_per_s=plan.rate_per_s,
        true_s=true_s,
        measured_s=longest_s(whole.outages),
        service_s=longest_s(total.outages),
        gap_s=total.gap.length_s if total.gap else 0.0,
        true_share=bad_s * plan.rate_per_s / total.intended,
        measured_share=1 - total.ratio,
        invalid=tuple(invalid),
    )


def _seen(arrivals: Sequence[Arrival], plan: LoadPlan) -> Operation:
    """What users saw, as every trial has it."""
    apart = ([each for each in arrivals if each.kind == kind] for kind in ("read", "write"))
    return service([operation(each, plan.deadline_s, plan.rate_per_s / 2) for each in apart], plan.rate_per_s)


def _line(readings: Sequence[Reading]) -> Line:
    first = readings[0]
    length_error_ms = median(abs(reading.measured_s - _outage_s(reading)) * 1000 for reading in readings)
    service_s, gap_s = median(reading.service_s for reading in readings), median(reading.gap_s for reading in readings)
    outage_s, true_s = median(map(_outage_s, readings)), median(reading.true_s for reading in readings)
    share_error_points = median(abs(reading.measured_share - reading.true_share) * 100 for reading in readings)
    invalid = sum(bool(reading.invalid) for reading in readings)
    limit_ms = LENGTH_LIMIT_MS.get(first.rate_per_s, 1500.0 / first.rate_per_s)
    return Line(
        how=first.how,
        rate_per_s=first.rate_per_s,
        true_s=true_s,
        measured_s=median(reading.measured_s for reading in readings),
        service_s=service_s,
        gap_s=gap_s,
        length_error_ms=length_error_ms,
        share_error_points=share_error_points,
        repeats=len(readings),
        invalid=invalid,
        passed=length_error_ms <= limit_ms
        and share_error_points <= SHARE_LIMIT_POINTS
        and _is_seen(service_s, outage_s, first.rate_per_s, limit_ms / 1000)
        and _is_seen(gap_s, true_s, first.rate_per_s, limit_ms / 1000)
        and invalid * 2 < len(readings),
    )


def _outage_s(reading: Reading) -> float:
    """How long the outage is that users see: one shorter than their patience is none."""
    return 0.0 if reading.how == "frozen" and reading.true_s <= LoadPlan().deadline_s else reading.true_s


def _is_seen(measured_s: float, true_s: float, rate_per_s: float, limit_s: float) -> bool:
    """Whether a figure that waits for a write is that of an outage: too long by at most what writes are apart.

    They come at random among the requests: in 1 of 20 cases the next one is more than three mean spacings away, so the
    median of a few is within that.
    """
    spacing_s = 1 / (rate_per_s * LoadPlan().write_share) if true_s else 0.0
    return true_s - limit_s <= measured_s <= true_s + 3 * spacing_s + limit_s


def _closed_loop(engine: Engine, box: Box, fail: Fail) -> ClosedLoop:
    process = engine.talk_to(box, ["python", "-m", "client.closed_loop", "127.0.0.1", str(PORT), str(CLOSED_LOOP_S)])
    try:
        _hear(process, "started")
        try:
            process.wait(timeout=BEFORE_S)
        except subprocess.TimeoutExpired:
            fail("frozen", 2.0)
        finished = _hear(process, "finished")
        return ClosedLoop(finished["requests"], finished["failures"])
    finally:
        process.kill()
        process.wait()
