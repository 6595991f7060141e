"""What a comparison or one of its cells says in words: the same in every report."""

from __future__ import annotations

from lab.analysis.matrix import Cell, Matrix, Member, Row
from lab.model.measures import Outcome, Verdict
from lab.report import run_words, words


def matrix_headline(matrix: Matrix) -> str:
    """The comparison in one sentence: what the first, the best and the last row survive, what that costs, and what was lost."""
    scored = [(row, *_survived(row)) for row in matrix.rows]
    scored = [each for each in scored if each[2]]
    if not scored:
        return "Nothing was tried that can be compared."
    best = max(scored, key=lambda each: (each[1] / each[2], each[2], -each[0].boxes))
    named = {each[0].name for each in (scored[0], best, scored[-1])}
    ordered = [each for each in scored if each[0].name in named]
    texts = [_survives(*each, first=not at) for at, each in enumerate(ordered)]
    return f"{', '.join(texts)}; {matrix_losses(matrix)}."


def _survives(row: Row, survived: int, tried: int, first: bool) -> str:
    of = f"survives {survived} of {words.count(tried, 'fault')}" if first else f"{survived} of {tried}"
    return f"{row.called} {of} with {cost(row)}"


def matrix_losses(matrix: Matrix) -> str:
    """Acknowledged writes that were lost in all, and where that is not known."""
    cells = [(row, cell) for row in matrix.rows for cell in row.cells if cell.applicable]
    lost = sum(cell.writes_lost for _, cell in cells)
    unknown = [f"{cell.column} of {row.called}" for row, cell in cells if not cell.losses_known]
    if not unknown:
        return f"{words.count(lost, 'acknowledged write')} lost in all" if lost else "no acknowledged write was lost"
    few = unknown if len(unknown) <= UNKNOWN_NAMED_MAX else [*unknown[:2], f"{len(unknown) - 2} other cells"]
    known = f"{words.count(lost, 'acknowledged write')} lost, and" if lost else "whether an acknowledged write was lost is"
    return f"{known} not known for {words.listed(few)}"


UNKNOWN_NAMED_MAX = 3
"""More cells of which a loss is not known than this are counted, not named."""


def _survived(row: Row) -> tuple[int, int]:
    """Faults survived, and faults that were tried and tell something."""
    tried = [cell for cell in row.cells if cell.applicable and cell.verdict is not Verdict.INCONCLUSIVE]
    return sum(survived(cell) for cell in tried), len(tried)


def survived(cell: Cell) -> bool:
    """Whether the stage did what was expected of it, ended the outage of every trial by itself, and lost nothing.

    Two databases that may have taken writes at once, with nothing observing them, are not survived.
    """
    return cell.verdict is Verdict.HELD and not cell.is_cut and not cell.writes_lost and cell.split_brain_s == 0


def cost(row: Row) -> str:
    """What a stage takes."""
    return f"{row.boxes} box{'' if row.boxes == 1 else 'es'} and {memory(row.memory_mib)}"


def memory(mib: int) -> str:
    """Memory for people."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib} MiB"


def cell_downtime(cell: Cell) -> str:
    """What stands in a cell of the heat map."""
    if not cell.applicable:
        return "n/a"
    if cell.downtime_median_s is None:
        return "?"
    return words.seconds(cell.downtime_median_s, cell.downtime_censored)


def cell_members(cell: Cell) -> str:
    """Each target of a cell with its own median, the worst first: "eu 2.90 s (us 0 s, witness 0 s)"; empty for one target."""
    if not cell.members:
        return ""
    ordered = sorted(cell.members, key=lambda each: each.target != cell.worst)
    texts = [f"{each.name} {member_downtime(each)}" for each in ordered]
    return f"{texts[0]} ({', '.join(texts[1:])})" if len(texts) > 1 else texts[0]


def member_downtime(member: Member) -> str:
    """The median of one target of a cell."""
    return (
        "no valid trial"
        if member.downtime_median_s is None
        else words.seconds(member.downtime_median_s, member.downtime_censored)
    )


AGREE_S = 0.05
"""Reads and writes that are as near as this to the service are not shown apart."""


def cell_apart(cell: Cell) -> str:
    """The medians of reads and of writes: "reads 0 · writes 1.44"; empty where both are that of the service, or not known."""
    whole_s, reads_s, writes_s = cell.downtime_median_s, cell.reads_downtime_median_s, cell.writes_downtime_median_s
    if whole_s is None or reads_s is None or writes_s is None:
        return ""
    bounds = {cell.downtime_censored, cell.reads_downtime_median_censored, cell.writes_downtime_median_censored}
    if len(bounds) == 1 and max(abs(reads_s - whole_s), abs(writes_s - whole_s)) <= AGREE_S:
        return ""
    reads = _bare(reads_s, cell.reads_downtime_median_censored)
    return f"reads {reads} · writes {_bare(writes_s, cell.writes_downtime_median_censored)}"


def cell_gap(cell: Cell) -> str:
    """The median of the longest time without a success: "gap 0.82"; empty where it is not known."""
    return "" if cell.gap_median_s is None else f"gap {_bare(cell.gap_median_s, cell.gap_median_censored)}"


def cell_beside(cell: Cell) -> list[str]:
    """What stands beneath the median in a narrow column: reads, writes and the gap, a line each."""
    return [line for line in (*cell_apart(cell).split(" · "), cell_gap(cell)) if line]


def cell_worst(cell: Cell) -> str:
    """The longest outage of any trial: "worst of 20: ≥ 3.00 s"; empty where it is the median, or not known."""
    if cell.downtime_worst_s is None or cell.trials_counted < 2:
        return ""
    return f"worst of {cell.trials_counted}: {words.seconds(cell.downtime_worst_s, cell.downtime_worst_censored)}"


def cell_alarms(cell: Cell) -> list[str]:
    """What must never be: lost writes, and two databases that took writes at once."""
    lost = [f"{cell.writes_lost:,} lost"] if cell.writes_lost else []
    return lost + ([f"split brain {words.seconds(cell.split_brain_s)}"] if cell.split_brain_s else [])


def split_text(split_brain_s: float | None) -> str:
    """For how long two databases took writes at once."""
    return "not observed" if split_brain_s is None else words.seconds(split_brain_s)


def _bare(value_s: float, censored: bool) -> str:
    """A time without its unit, beside others that have it."""
    return words.seconds(value_s, censored).removesuffix(" s")


def cell_interval(cell: Cell) -> str:
    """The interval for its median; empty for fewer than two trials."""
    if cell.trials_valid < 2 or cell.downtime_low_s is None:
        return ""
    if cell.downtime_high_s is None:
        return f"{cell.downtime_low_s:.2f} s or longer"
    return f"{cell.downtime_low_s:.2f} to {cell.downtime_high_s:.2f} s"


def without_redundancy(cell: Cell) -> str:
    """The time without redundancy, and in how many trials it is not known."""
    if cell.time_without_redundancy_s is None:
        return "unknown"
    unknown = f" ({cell.time_without_redundancy_unknown} unknown)" if cell.time_without_redundancy_unknown else ""
    return f"{words.seconds(cell.time_without_redundancy_s)}{unknown}"


def cell_why(cell: Cell) -> list[str]:
    """What was not as expected, each expectation once; why trials are not valid; the targets of which nothing is known."""
    missed = [each.check for each in cell.checks if each.outcome is Outcome.FAILS]
    undecided = [each.check for each in cell.checks if each.outcome is Outcome.UNDECIDED]
    return [
        *run_words.grouped_checks(missed),
        *cell.why,
        *(f"undecided: {each}" for each in run_words.grouped_checks(undecided)),
        *(f"{target}: no valid trial" for target in cell.unmeasured if cell.verdict is not Verdict.HELD),
    ]


def cell_sentence(cell: Cell) -> str:
    """All of a cell in words."""
    if not cell.applicable:
        return f"does not apply: {'; '.join(cell.why)}"
    parts = [f"longest outage {cell_members(cell) or cell_downtime(cell)}"]
    interval = cell_interval(cell)
    if interval and cell.downtime_coverage_ratio is not None:
        parts.append(f"{cell.downtime_coverage_ratio:.0%} interval {interval}")
    parts += [each for each in (cell_worst(cell), _apart_sentence(cell)) if each]
    parts.append(
        f"{cell.trials_valid} of {words.count(cell.trials, 'trial')} valid" + (f" of {cell.worst}" if cell.worst else "")
    )
    parts += _all_trials(cell)
    if cell.availability_ratio is not None:
        parts.append(f"availability {words.share_text(cell.availability_ratio, cell.availability_censored)}")
    parts.append(f"{cell.writes_lost} writes lost" + ("" if cell.losses_known else ", as far as is known"))
    if cell.split_brain_s != 0:
        parts.append(f"split brain {split_text(cell.split_brain_s)}")
    if cell.time_without_redundancy_s is not None:
        parts.append(f"time without redundancy {without_redundancy(cell)}")
    return "; ".join([*parts, *cell_why(cell)])


def _apart_sentence(cell: Cell) -> str:
    """Reads, writes and the gap, each with its unit."""
    known = (
        ("of reads", cell.reads_downtime_median_s, cell.reads_downtime_median_censored),
        ("of writes", cell.writes_downtime_median_s, cell.writes_downtime_median_censored),
        ("longest gap", cell.gap_median_s, cell.gap_median_censored),
    )
    return ", ".join(f"{name} {words.seconds(value_s, censored)}" for name, value_s, censored in known if value_s is not None)


def _all_trials(cell: Cell) -> list[str]:
    """The median with the trials that are not valid, where there are any: leaving them out favours the system."""
    if cell.downtime_median_all_s is None or cell.trials_valid == cell.trials:
        return []
    return [f"invalid trials included {words.seconds(cell.downtime_median_all_s, cell.downtime_median_all_censored)}"]
