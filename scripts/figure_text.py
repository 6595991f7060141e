"""What a document of ours says of a figure that was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lab.errors import UsageError
from lab.report import words
from scripts.measured import Count, Figure, Measured, Sample

NOT_YET = "not measured yet"

FORMATS = ("full", "range", "median", "low", "high")
DIGITS_MAX = 2


def text(name: str, figure: Figure | None, format_: str = "full") -> str:
    """What a document says of a figure; of none that it is not measured yet. Raises UsageError for a format that is none."""
    if format_ not in FORMATS:
        raise UsageError(f"there is no format '{format_}' of a figure", f"formats are {', '.join(FORMATS)}")
    if figure is None:
        return NOT_YET
    if isinstance(figure, Count):
        return f"{figure.count:,} of {figure.of:,}"
    number, unit = _writer(name, figure)
    said = {
        "median": ("≥ " if figure.median_is_bound else "") + number(figure.median) + unit,
        "low": number(figure.low) + unit,
        "high": ("≥ " if figure.high_is_bound else "") + number(figure.high) + unit,
    }
    if format_ in said:
        return said[format_]
    between = [f"{number(figure.low)} to {said['high'].removesuffix(unit)}"] if figure.low != figure.high else []
    between += [f"n {figure.n}"] if format_ == "full" else []
    return f"{said['median']} ({', '.join(between)})" if between else said["median"]


def _writer(name: str, figure: Sample) -> tuple[Callable[[float], str], str]:
    """How the values of a figure are written, and the unit after them."""
    if name.endswith("_s"):
        digits = min(DIGITS_MAX, max(_decimals(each) for each in (figure.median, figure.low, figure.high)))
        return lambda value: _seconds(value, digits), " s"
    if name.endswith("_ms"):
        return lambda value: f"{value:.0f}" if value >= 10 else f"{value:.1f}", " ms"
    if name.endswith("_ratio"):
        return words.percent, ""
    return lambda value: f"{value:,.10g}", ""


def _seconds(value: float, digits: int) -> str:
    """No finer than what was kept, and coarser where it is long."""
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.{min(digits, 1 if value >= 10 else DIGITS_MAX)}f}"


def _decimals(value: float) -> int:
    """How many decimals a value was kept with, up to those that are written."""
    return next(digits for digits in range(DIGITS_MAX + 1) if digits == DIGITS_MAX or round(value, digits) == value)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """A table of Markdown, with a note beneath."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n_{note}_\n\n"


def provenance(found: Iterable[Measured], what: str = "Medians (least to most of any trial).") -> str:
    """What some figures are, and when, where and with what they were measured, in one line."""
    every = list(found)
    dates = sorted({each.date or "before dates were kept" for each in every})
    commits = sorted({each.commit or "unknown" for each in every})
    cores = sorted({str(each.machine.cores) if each.machine.cores else "unknown" for each in every})
    loops_ms = [loop_ms for each in every for loop_ms in (each.machine.loop_ms, each.machine.loop_ms_max) if loop_ms]
    speed = f"; a million additions: {min(loops_ms):.0f} to {max(loops_ms):.0f} ms" if loops_ms else ""
    partly = ", where it was noted" if loops_ms and not all(each.machine.loop_ms for each in every) else ""
    rates = sorted({f"{each.rate_per_s:g}" if each.rate_per_s else "unknown" for each in every})
    return (
        f"{what} Measured {', '.join(dates)}; state of the lab: {', '.join(commits)}; "
        f"processor cores: {', '.join(cores)}; requests a second: {', '.join(rates)}{speed}{partly}."
    )
