"""Whether the load was made well enough to trust what it measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lab.checker.latency import quantile
from lab.model.history import Arrival, GeneratorReport

LAG_P99_LIMIT_MS = 25.0
LAG_MAX_LIMIT_MS = 100.0
CPU_LIMIT_RATIO = 0.70


def generator_report(arrivals: Sequence[Arrival], intended: int, recorded: int, cpu_ratio: float) -> GeneratorReport:
    """How well the load was made, from what it left."""
    lags_ms = [arrival.lag_s * 1000 for arrival in arrivals]
    return GeneratorReport(intended, recorded, quantile(lags_ms, 0.99), max(lags_ms, default=0.0), cpu_ratio)


def validity(generator: GeneratorReport, kept: int) -> list[str]:
    """Why a measurement is not to be trusted; empty where it is. `kept` is the number of arrivals at hand."""
    reasons = []
    if not generator.intended == generator.recorded == kept:
        reasons.append(f"{generator.intended} requests intended, {generator.recorded} recorded, {kept} kept")
    if generator.intended == 0:
        reasons.append("no request was made")
    return [*reasons, *load_problems(generator)]


def load_problems(generator: GeneratorReport) -> list[str]:
    """Why the load was not what it should be: the machine had no time for it."""
    reasons = []
    if generator.lag_p99_ms > LAG_P99_LIMIT_MS:
        reasons.append(f"the generator was late: p99 {generator.lag_p99_ms:.0f} ms, limit {LAG_P99_LIMIT_MS:.0f} ms")
    if generator.lag_max_ms > LAG_MAX_LIMIT_MS:
        reasons.append(f"the generator was late: at most {generator.lag_max_ms:.0f} ms, limit {LAG_MAX_LIMIT_MS:.0f} ms")
    if generator.cpu_ratio > CPU_LIMIT_RATIO:
        reasons.append(f"the generator used {generator.cpu_ratio:.0%} of a processor, limit {CPU_LIMIT_RATIO:.0%}")
    return reasons
