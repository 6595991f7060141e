"""What a run says, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.analysis.matrix import Cell, Matrix
from lab.analysis.summary import sample_median
from lab.checker import exposure, per_fault
from lab.checker.latency import quantile
from lab.model.experiment import RepairPolicy
from lab.model.history import RunInfo, TrialRecord
from lab.model.measures import Verdict
from lab.model.result import (
    MONTH_S,
    FaultOutcome,
    OperationSummary,
    RoundOutcome,
    RunResult,
    Summary,
    TierExposure,
    TrialResult,
    WritesAudit,
)
from lab.plaintext import one_line
from lab.report import reserve, words
from lab.report.bins import Bin, bins
from lab.report.conditions import line as stands_on
from lab.report.conditions import lines_of
from lab.report.timeline import index_of

BIN_S = 0.1
GOOD, SLOW, BAD, NOTHING = "▁", "▄", "█", " "
EXPOSED = "━"
STYLES = {GOOD: "green", SLOW: "yellow", BAD: "bold red", NOTHING: ""}
MARKS = {"inject": "▼", "heal": "▲"}
STRIP_MARGIN = 9
MINUTES_A_MONTH = MONTH_S / 60
TIER_TITLE = 12
"""How long a line of a title is in the table of tiers: about as long as what stands under it."""
WIDE, WIDEST, NARROW_TARGET = 110, 140, 12
"""From how many characters on the table has two spaces between columns and titles on one line; and a column of who served."""
VERDICT_STYLES = {Verdict.HELD: "bold green", Verdict.REFUTED: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


def show(console: Console, result: RunResult, records: Sequence[TrialRecord]) -> None:
    """Print the whole result: the strip of each trial, the figures, the verdict."""
    info = result.info
    console.print()
    console.print(Text(one_line(f"{info.place} · {info.experiment} · {info.question}"), style="bold"))
    deadline = f"{info.plan.deadline_s:g} s"
    good = f"a 2xx{f' with {info.contains!r} in it' if info.contains else ''}" if info.url else "a correct answer"
    console.print(
        one_line(f"{info.plan.rate_per_s:g} requests a second, good means {good} within {deadline}; seed {info.seed}"),
        style="dim",
        markup=False,
    )
    if info.url:
        console.print(
            one_line(f"only {info.url} is read: writes, losses and databases are not measured"), style="dim", markup=False
        )
    for record, trial in zip(records, result.trials, strict=True):
        show_strip(console, record, trial)
    console.print(
        f"one character is 100 ms: {GOOD} good  {SLOW} slow (over 250 ms)  {BAD} failed   {MARKS['inject']} fault injected  {MARKS['heal']} healed by the lab"
        f"   {EXPOSED} no redundancy left in this tier",
        style="dim",
    )
    console.print(trials_table(result.trials, console.width))
    show_reserves(console, result.trials)
    for trial in result.trials:
        for line in (*_served_by(trial, console.width), *remarks(info, trial)):
            console.print(f"  trial {trial.number}: {one_line(line)}", markup=False)
    for said in closing(result):
        console.print(one_line(said) if isinstance(said, str) else said, markup=False)


def show_strip(console: Console, record: TrialRecord, trial: TrialResult) -> None:
    """The run as one character a 100 ms, with the fault marked above it."""
    cells = bins(record.arrivals, record.plan.deadline_s, BIN_S)
    marks = {index_of(event.at_s, BIN_S): MARKS[event.name] for event in record.events if event.name in MARKS}
    width = max(console.width - STRIP_MARGIN - 1, 20) // 10 * 10
    console.print(one_line(f"trial {trial.number}" + (f": {', '.join(trial.targets)}" if trial.targets else "")), markup=False)
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        above = "".join(marks.get(start + offset, " ") for offset in range(len(row)))
        if above.strip():
            console.print(" " * STRIP_MARGIN + above.rstrip(), style="bold magenta", highlight=False)
        console.print(Text(f"{start * BIN_S:6.1f} s ") + strip(row), soft_wrap=True)
        for tier, line in bands(trial, start, len(row)):
            console.print(Text(f"{tier:>{STRIP_MARGIN - 1}} {line.rstrip()}", style="yellow"), soft_wrap=True)


def bands(trial: TrialResult, start: int, length: int) -> list[tuple[str, str]]:
    """For each tier that has no redundancy left in a row of intervals, where in the row that is."""
    found = [(each.tier, "".join(_band(each, start + at) for at in range(length))) for each in trial.exposure]
    return [(tier, line) for tier, line in found if line.strip()]


def _band(tier: TierExposure, interval: int) -> str:
    # Rounded first: 2.1 / 0.1 is a little more than 21.
    spans = [(round(start_s / BIN_S, 6), round(end_s / BIN_S, 6)) for start_s, end_s in tier.spans]
    return EXPOSED if any(start < interval + 1 and end > interval for start, end in spans) else NOTHING


def show_reserves(console: Console, trials: Sequence[TrialResult]) -> None:
    """How many more failures each tier survives, for how long none, and what that costs as modelled."""
    lines = reserve.lines(exposure.over_trials(trials))
    if not lines:
        return
    console.print()
    table = Table(box=None, padding=(0, 2 if console.width >= WIDE else 1, 0, 0))
    for title in reserve.TITLES:
        table.add_column("\n".join(wrap(title, TIER_TITLE)), justify="left" if title == reserve.TITLES[0] else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    console.print(reserve.note(trials), style="dim", highlight=False)


def strip(row: Sequence[Bin]) -> Text:
    """Intervals as coloured characters."""
    text = Text()
    for each in row:
        text.append(character(each), STYLES[character(each)])
    return text


def character(cell: Bin) -> str:
    """One interval: its worst arrival decides."""
    if cell.bad:
        return BAD
    if cell.slow:
        return SLOW
    return GOOD if cell.good else NOTHING


def trials_table(trials: Sequence[TrialResult], width: int) -> Table:
    """The figures of each trial, in so many characters; those that are not valid are dim."""
    writes = any(trial.has_writes for trial in trials)
    table = Table(box=None, padding=(0, 2 if width >= WIDE else 1, 0, 0))
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("fault target", overflow="fold", max_width=None if width >= WIDE else NARROW_TARGET)
    of_writes = ("failed writes", "lost writes") if writes else ()
    for title in ("longest outage", "longest gap", "failed reads", *of_writes, *(["p99"] if width >= WIDE else [])):
        table.add_column(_title(title, width), justify="right", no_wrap=True)
    if width >= WIDEST:
        table.add_column("served by")
    for trial in trials:
        table.add_row(*_cells(trial, writes, width), style="" if trial.valid else "dim")
    return table


def _title(title: str, width: int) -> str:
    return title if width >= WIDE else title.replace(" ", "\n")


def _cells(trial: TrialResult, writes: bool, width: int) -> list[str]:
    return [
        str(trial.number) + ("" if trial.valid else " ?"),
        words.broken(trial) or "-",
        words.outage_text(trial.total),
        words.gap_text(trial.total.gap),
        words.failed_text(trial.reads),
        *((words.failed_text(trial.writes), words.lost_of(trial)) if writes else ()),
        *([_p99(trial)] if width >= WIDE else []),
        *([_boxes(trial)] if width >= WIDEST else []),
    ]


def _p99(trial: TrialResult) -> str:
    return f"{trial.latency_ms['p99']:.0f} ms"


def _boxes(trial: TrialResult) -> str:
    return ", ".join(f"{box} {count}" for box, count in trial.served_by.items())


def _served_by(trial: TrialResult, width: int) -> list[str]:
    """How fast and by whom it was answered, where the table has no room for it."""
    if not trial.served_by or width >= WIDEST:
        return []
    return [("" if width >= WIDE else f"p99 {_p99(trial)}, ") + f"served by {_boxes(trial)}"]


def explain(trial: TrialResult) -> list[str]:
    """What needs saying about a trial beside its figures."""
    lines = [f"not valid: {reason}" for reason in trial.reasons]
    if trial.errors:
        lines.append("failures: " + ", ".join(f"{count} {name}" for name, count in sorted(trial.errors.items())))
    if trial.audit.complete is False and trial.has_writes:
        lines.append("lost writes are unknown: not every database could be read")
    if trial.censored and "recover_s" in trial.phases and "heal_s" in trial.phases:
        lines.append(
            f"the outage lasted until the lab healed the fault; service restored {trial.phases['recover_s'] - trial.phases['heal_s']:.2f} s after that"
        )
    audit = trial.audit
    for count, what in (
        (audit.duplicate, "executed twice"),
        (audit.unexpected, "committed although the client got an error"),
        (audit.indeterminate_committed, "committed although no answer came"),
    ):
        if count:
            lines.append(f"{words.count(count, 'write')} {what}")
    lines += differences(audit)
    if trial.writable.get("multiple_writers_s"):
        lines.append(f"split brain: two databases accepted writes for {trial.writable['multiple_writers_s']:.1f} s")
    if trial.vip_owners.get("multiple_owners_s"):
        lines.append(f"two balancers held the address for {trial.vip_owners['multiple_owners_s']:.1f} s")
    if trial.served:
        lines.append(overload(trial))
    lines += [*what_the_system_did(trial), *who_was_told(trial), *redundancy(trial)]
    # An operator who acts while all is well (a planned change) is waited for by nobody.
    if "impact_s" in trial.phases and trial.phases.get("operator_s", 0.0) > trial.phases["impact_s"]:
        lines.append(operators_share(trial.phases))
    return [*lines, *map(str, trial.failures), *(f"undecided: {check}" for check in trial.undecided), *trial.notes]


def differences(audit: WritesAudit) -> list[str]:
    """Where a standby holds something else than the database that users are served from, and where that is not known."""
    found = [f"{name} differs from {audit.served_by} in {count:,} orders" for name, count in audit.differing.items() if count]
    if audit.complete and audit.not_compared:
        found.append(
            f"{', '.join(audit.not_compared)} had not caught up when it was read: whether its orders differ is not known"
        )
    return found


def remarks(info: RunInfo, trial: TrialResult) -> list[str]:
    """All that is said about a trial beside its figures: of several faults in a row, each for itself."""
    return [*explain(trial), *each_fault(info, trial)]


def each_fault(info: RunInfo, trial: TrialResult) -> list[str]:
    """What each of several faults in a row did; nothing where there was one."""
    return per_fault.explain(trial.fault_impacts, tolerance_s(info))


def tolerance_s(info: RunInfo) -> float:
    """For how long users may be without the service, as the experiment says; 0 where it does not."""
    bounds = [each.at_most for each in info.expectations if each.measure == "downtime_longest_s" and each.at_most is not None]
    return min(bounds, default=0.0)


def under_repair(result: RunResult) -> list[str]:
    """The repair policy of a run, and whether the verdict is the one that the experiment's author expects under it."""
    info, said = result.info, []
    if info.repair != RepairPolicy.NONE:
        said.append(f"repair: {info.repair} after {info.repair_delay_s:g} s, by the lab in place of an orchestrator")
    if info.expected_verdict and result.verdict is not Verdict.INCONCLUSIVE:
        fits = (
            "as was foreseen" if result.verdict.value == info.expected_verdict else f"where {info.expected_verdict} was foreseen"
        )
        said.append(f"under repair '{info.repair}': {result.verdict.value}, {fits}")
    return said


def durability(result: RunResult) -> list[str]:
    """Where a commit waits for another database, what that costs each write, and what was lost; nothing where there is no choice."""
    if not result.info.durability:
        return []
    took_ms = [each for trial in result.trials if trial.valid for each in trial.undisturbed_writes_ms]
    when = "before the fault " if result.info.has_fault else ""
    cost = (
        f"{when}half of {len(took_ms):,} writes took {quantile(took_ms, 0.5):.1f} ms at most (p50), 99% {quantile(took_ms, 0.99):.1f} ms (p99); "
        if took_ms
        else ""
    )
    return [f"durability '{result.info.durability}': {cost}{words.lost(result.trials)}"]


def conditions(result: RunResult) -> list[str]:
    """What the run was made under, and what came of it: the durability, the repair policy, losses by trial."""
    lost = words.lost_trials(result.trials) if result.info.plan.has_writes else ""
    return [*durability(result), *under_repair(result), *([lost] if lost else [])]


def overload(trial: TrialResult) -> str:
    """What was asked for, what was served, and what could have been."""
    offered, served, capacity = (trial.served[key] for key in ("offered_per_s", "served_per_s", "capacity_per_s"))
    return (
        f"one web box carries {capacity:.0f} requests a second; after the fault {offered:.0f} were asked for and {served:.0f} "
        f"served in time: {words.percent(trial.served_ratio, 0)} of what could be"
    )


def what_the_system_did(trial: TrialResult) -> list[str]:
    """When it detected the failure, elected and failed over, counted from the fault."""
    said = [
        f"{words.PHASE_WORDS[phase]} after {trial.phases[phase] - trial.phases['inject_s']:.2f} s"
        for phase in ("detect_s", "elect_s", "reroute_s")
        if phase in trial.phases
    ]
    return [", ".join(said)] if said else []


def who_was_told(trial: TrialResult) -> list[str]:
    """Each alert that was delivered, and how long after the fault; as many as came, for that is what it costs who is on call."""
    since_s = trial.phases.get("inject_s", 0.0)
    said = [f"{alert.name} after {alert.fired_s - since_s:.2f} s" for alert in trial.alerts]
    return [f"alerts: {', '.join(said)}"] if said else []


def redundancy(trial: TrialResult) -> list[str]:
    """For how long one more failure would have been an outage."""
    if not trial.time_without_redundancy_s:
        return []
    again = f", restored {trial.time_to_redundancy_s:.1f} s after the healing" if trial.time_to_redundancy_s is not None else ""
    return [f"without redundancy for {trial.time_without_redundancy_s:.1f} s{again}"]


def operators_share(phases: dict[str, float]) -> str:
    """How much of an outage was waiting for a human, and what that makes of a month."""
    waited_s = phases["operator_s"] - phases["impact_s"]
    machine = f", {phases['recover_s'] - phases['operator_s']:.2f} s was the machines'" if "recover_s" in phases else ""
    return (
        f"{waited_s:.1f} s of it was waiting for the operator{machine}. Had that taken 30 minutes: "
        f"availability {1 - 30 / MINUTES_A_MONTH:.3%} this month, where 99.99% allows {MINUTES_A_MONTH / 10_000:.2f} minutes"
    )


def closing(result: RunResult) -> list[Text | str]:
    """The verdict and what to try next."""
    summary, info = result.summary, result.info
    lines: list[Text | str] = [""]
    if summary.service:
        lines += _medians(result, summary.service)
    if summary.trials_valid < summary.trials and summary.outage_all:
        lines.append(
            Text(f"with the trials that are not valid: longest outage {words.median_text(summary.outage_all)}", style="dim")
        )
    expectations = "; ".join(str(expectation) for expectation in info.expectations)
    lines.append(
        Text.assemble(
            (result.verdict.value.upper(), VERDICT_STYLES[result.verdict]), "  " + one_line(f"expected: {expectations}")
        )
    )
    lines += conditions(result)
    lines += [stands_on(info.conditions)] if info.conditions else []
    if result.folder:
        lines.append(f"kept in {result.folder}")
    return lines


def _medians(result: RunResult, service: OperationSummary) -> list[str]:
    """What most trials were like: the service first, then reads and writes apart."""
    summary, has_writes = result.summary, result.info.plan.has_writes
    spread = f" ({words.spread_text(service.outage)})" if service.outage.count > 1 else ""
    undecided = words.undecided(result.trials)
    first = [f"{summary.trials_valid} of {summary.trials} trials valid" + (f", {undecided} undecided" if undecided else "")]
    first += [f"longest outage {words.median_text(service.outage)}{spread}"]
    both = [f"{name} {words.median_text(of.outage)}" for name, of in (("reads", summary.reads), ("writes", summary.writes)) if of]
    then = [f"outage of {', of '.join(both)}"] if has_writes and both else []
    then += [f"longest gap {words.median_text(service.gap)}"]
    then += [f"availability {words.share_text(summary.availability_ratio_median, summary.availability_censored)}"]
    then += [_lost_total(summary)] if has_writes else []
    return [" · ".join(first), " · ".join(then)]


def _lost_total(summary: Summary) -> str:
    unknown = summary.trials - summary.trials_audited
    lost = f"{summary.writes_lost_total:,}" if summary.writes_lost_total or summary.trials_audited else "unknown"
    return f"lost writes {lost}" + (f", unknown in {words.count(unknown, 'trial')}" if unknown else "")


def show_matrix(console: Console, matrix: Matrix) -> None:
    """Print a comparison: a row a stage, a column a fault."""
    console.print()
    console.print(Text(one_line(matrix.title), style="bold"))
    table = Table(padding=(0, 1), show_lines=True)
    table.add_column("stage")
    for column in matrix.columns:
        table.add_column(Text(column.title), justify="right")
    table.add_column("costs", justify="right")
    for row in matrix.rows:
        cells = [_matrix_cell(row.cell(column.name)) for column in matrix.columns]
        table.add_row(Text(row.name), *cells, Text(words.cost(row)))
    console.print(table)
    console.print(one_line(words.matrix_headline(matrix)), markup=False, highlight=False)
    for line in lines_of([(row.name, row.conditions) for row in matrix.rows]):
        console.print(one_line(line), style="dim", markup=False, highlight=False)


def _matrix_cell(cell: Cell | None) -> Text:
    """The median of the longest outage, reads and writes apart, the gap, and what must never be."""
    if cell is None or cell.verdict is None:
        return Text("" if cell is None else "n/a", style="dim")
    lines = [words.cell_downtime(cell), *_members(cell), *words.cell_beside(cell), *words.cell_alarms(cell)]
    return Text("\n".join(lines), style=VERDICT_STYLES[cell.verdict])


def _members(cell: Cell) -> list[str]:
    return [words.cell_members(cell)] if cell.members else []


def soak_line(outcome: FaultOutcome, faults: int) -> str:
    """One fault of a soak."""
    rejoin = (
        f"redundancy restored after {outcome.time_to_redundancy_s:.1f} s"
        if outcome.time_to_redundancy_s is not None
        else "nothing to rejoin"
    )
    outage = words.measured_text(outcome.outage)
    line = (
        f"{outcome.number:4d} of {faults}  {outcome.experiment:<20} {', '.join(outcome.targets) or '-':<8} {outcome.verdict:<12} "
        f"longest outage {outage} (writes {outcome.writes_downtime_s:.2f} s, reads {outcome.reads_downtime_s:.2f} s), "
        f"lost {words.outcome_lost(outcome)}{_split(outcome)}, {rejoin}"
    )
    return line + "".join(f"\n              {one_line(why)}" for why in outcome.why)


def monkey_line(outcome: RoundOutcome, rounds: int) -> str:
    """One round of a monkey."""
    fault, bad = outcome.fault, outcome.intended - outcome.good
    back = "" if outcome.redundancy_restored_s is None else f"; redundancy restored after {outcome.redundancy_restored_s:.1f} s"
    line = (
        f"{fault.number:4d} of {rounds}  {fault.experiment:<20} {', '.join(fault.targets) or '-':<8} {fault.verdict:<12} "
        f"longest outage {words.measured_text(fault.outage)} (writes {fault.writes_downtime_s:.2f} s, reads {fault.reads_downtime_s:.2f} s), "
        f"{bad} of {outcome.intended} requests failed, lost {words.outcome_lost(fault)}{_split(fault)}{back}"
    )
    return (
        line
        + (" (the lab healed it)" if outcome.healed else "")
        + "".join(f"\n              {one_line(why)}" for why in fault.why)
    )


def _split(outcome: FaultOutcome) -> str:
    """Two databases that took writes at once: said where they did, and where that is not known."""
    return f", split brain {words.split_text(outcome.split_brain_s)}" if outcome.split_brain_s != 0 else ""


def show_monkey(console: Console, verdict: Verdict, said: Sequence[str], folder: str) -> None:
    """What a monkey came to."""
    for line in said:
        console.print(one_line(line), markup=False, highlight=False)
    console.print(Text.assemble((verdict.value.upper(), VERDICT_STYLES[verdict]), f"  kept in {folder}"), soft_wrap=True)


SOAK_TITLES = ("experiment", "faults", "held", "outage", "worst", "writes", "reads", "lost", "restored")
SOAK_LEGEND = (
    "Medians over the faults: the longest outage of the service, of writes, of reads; from the healing until redundancy was "
    "restored. Worst: the longest outage of any."
)


def show_soak(console: Console, outcomes: Sequence[FaultOutcome], faults: int, verdict: Verdict) -> None:
    """The figures of a soak: by experiment, and what did not hold."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in SOAK_TITLES:
        table.add_column(title, justify="left" if title == "experiment" else "right", overflow="fold")
    for name in sorted({outcome.experiment for outcome in outcomes}):
        table.add_row(name, *_soak_row([outcome for outcome in outcomes if outcome.experiment == name]))
    console.print(table)
    console.print(SOAK_LEGEND, style="dim")
    for outcome in outcomes:
        if outcome.why:
            said = f"{outcome.number}: {outcome.experiment}: {'; '.join(outcome.why)}"
            console.print(one_line(said), markup=False, highlight=False)
    console.print(
        Text.assemble(
            (verdict.value.upper(), VERDICT_STYLES[verdict]),
            f"  {len(outcomes)} of {faults} faults, {sum(outcome.verdict == Verdict.HELD for outcome in outcomes)} held; "
            f"{sum(outcome.valid for outcome in outcomes)} with a valid trial; "
            f"{words.outcomes_lost(outcomes, 'faults')}; {words.outcomes_split(outcomes, 'faults')}",
        )
    )


def _soak_row(outcomes: Sequence[FaultOutcome]) -> list[str]:
    rejoins = [outcome.time_to_redundancy_s for outcome in outcomes if outcome.time_to_redundancy_s is not None]
    found = sample_median([outcome.outage for outcome in outcomes])
    return [
        str(len(outcomes)),
        str(sum(outcome.verdict == Verdict.HELD for outcome in outcomes)),
        words.median_text(found),
        words.worst_text(found),
        f"{median(outcome.writes_downtime_s for outcome in outcomes):.2f} s",
        f"{median(outcome.reads_downtime_s for outcome in outcomes):.2f} s",
        words.total_lost(outcomes),
        f"{median(rejoins):.1f} s" if rejoins else "-",
    ]
