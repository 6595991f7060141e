"""A run in a terminal: on one screen, or with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.checker import exposure
from lab.model.history import TrialRecord
from lab.model.result import Operation, OperationSummary, RunResult, Summary, TrialResult
from lab.plaintext import one_line
from lab.report import next_steps, redundancy_table, remarks, run_words, text_strip, words
from lab.report.conditions import line as stands_on
from lab.report.console import VERDICT_STYLES
from lab.report.svg_strip import typical

TIER_TITLE = 14
"""How long a line of a title is in the table of tiers: about as long as what stands under it."""
WIDE, WIDEST, NARROW_TARGET = 110, 140, 12
"""From how many characters on the table has two spaces between columns and titles on one line; and a column of who served."""
WARNINGS_MAX, STRIPS_MAX = 3, 5
"""How much a short report has of what can be any number."""


def show_run(
    console: Console, result: RunResult, records: Sequence[TrialRecord], verbose: bool = False, model: bool = False
) -> None:
    """Print a run. Short: a strip, one table, the verdict, what to try next; verbose: all that is known but the model."""
    _show_head(console, result)
    if verbose:
        _show_all(console, result, records)
    else:
        _show_short(console, result, records)
    if model:
        _show_model(console, result.trials)
    for line in _closing(result, verbose):
        console.print(one_line(line) if isinstance(line, str) else line, markup=False, highlight=False)
    if result.folder:
        console.print(f"kept in {result.folder}", markup=False, highlight=False, soft_wrap=True)


def _show_head(console: Console, result: RunResult) -> None:
    info = result.info
    console.print(Text(one_line(f"{info.place} · {info.experiment} · {info.question}"), style="bold"))
    good = f"a 2xx{f' with {info.contains!r} in it' if info.contains else ''}" if info.url else "a correct answer"
    load = f"{info.plan.rate_per_s:g} requests a second; good: {good} within {info.plan.deadline_s:g} s; seed {info.seed}"
    console.print(one_line(load), style="dim", markup=False, highlight=False)
    if info.url:
        page = f"only {info.url} is read: writes, losses and databases are not measured"
        console.print(one_line(page), style="dim", markup=False)


# Short


def _show_short(console: Console, result: RunResult, records: Sequence[TrialRecord]) -> None:
    both = list(zip(records, result.trials, strict=True))
    if len(both) > STRIPS_MAX:
        both = [typical(result, records)]
    bin_s = text_strip.fitting_s([record for record, _ in both], console.width)
    for record, trial in both:
        of = f"trial {trial.number}: " if len(result.trials) > 1 else "fault target: "
        console.print(one_line(of + (run_words.broken(trial) or "none")), markup=False, highlight=False)
        text_strip.show_row(console, record, bin_s)
    _show_legend(console, bin_s)
    if len(result.trials) == 1:
        _show_trial(console, result.trials[0])
    elif result.trials:
        console.print(trials_table(result.trials, console.width))
    for line in _warnings(result):
        console.print(one_line(line), markup=False, highlight=False)


def _show_legend(console: Console, bin_s: float, more: str = "") -> None:
    if bin_s < 1:
        console.print(f"{text_strip.LEGEND}; {bin_s * 1000:.0f} ms each{more}", style="dim", highlight=False)
    else:
        console.print(f"{text_strip.LEGEND}; {bin_s:g} s each{more}", style="dim", highlight=False)


def _show_trial(console: Console, trial: TrialResult) -> None:
    """The figures of the only trial, and when what happened after the fault."""
    console.print(operations_table(trial))
    course = "  ".join(f"{words.PHASE_WORDS[name]} {words.after_fault(trial, name)}" for name in _course(trial))
    if course:
        console.print(f"after the fault: {course}", highlight=False)


COURSE = ("detect_s", "reroute_s", "recover_s", "alert_s", "redundancy_restored_s")


def _course(trial: TrialResult) -> list[str]:
    """The instants that most ask for, in order of time."""
    known = [name for name in COURSE if name in trial.phases and "inject_s" in trial.phases]
    return sorted(known, key=lambda name: trial.phases[name])


def operations_table(trial: TrialResult) -> Table:
    """What users saw in a trial: of the service, of reads, of writes."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    lost = [run_words.lost_of(trial)] if trial.has_writes else []
    for title in ("longest outage", "longest gap", "failed requests", "availability", *(["lost writes"] if lost else [])):
        table.add_column(title, justify="right")
    table.add_row("service", *_operation(trial.total))
    table.add_row("reads", *_operation(trial.reads))
    if lost:
        table.add_row("writes", *_operation(trial.writes), *lost)
    return table


def _operation(of: Operation) -> tuple[str, ...]:
    ratio = words.share_text(of.ratio, of.censored) if of.intended else "unknown"
    return words.outage_text(of), words.gap_text(of.gap), words.failed_text(of), ratio


def _warnings(result: RunResult) -> list[str]:
    """What must be said of any trial, the worst of each before the rest of any, as much as there is room for."""
    of_trials = [remarks.warnings(result.info, trial) for trial in result.trials]
    ranked = [*_in_ranks(result, of_trials), *_in_ranks(result, [remarks.details(result.info, each) for each in result.trials])]
    left_out = len(ranked) - WARNINGS_MAX
    return [*ranked[:WARNINGS_MAX], *([f"{words.count(left_out, 'more remark')}: -v"] if left_out > 0 else [])]


def _in_ranks(result: RunResult, of_trials: Sequence[Sequence[str]]) -> list[str]:
    """The first line of each trial, then the second ones: trials that missed an expectation come first."""
    several = len(result.trials) > 1
    named = [
        [(f"trial {trial.number}: " if several else "") + line for line in lines]
        for trial, lines in sorted(zip(result.trials, of_trials, strict=True), key=lambda each: not each[0].failures)
    ]
    return [line for rank in zip_longest(*named) for line in rank if line is not None]


# All that is known


def _show_all(console: Console, result: RunResult, records: Sequence[TrialRecord]) -> None:
    for record, trial in zip(records, result.trials, strict=True):
        text_strip.show_strip(console, record, trial)
    _show_legend(console, text_strip.BIN_S, f"   {text_strip.EXPOSED} no redundancy left in this tier")
    console.print(trials_table(result.trials, console.width))
    _show_redundancy(console, result.trials)
    for trial in result.trials:
        for line in (*_served_by(trial, console.width), *remarks.remarks(result.info, trial)):
            console.print(f"  trial {trial.number}: {one_line(line)}", markup=False, highlight=False)


def _show_redundancy(console: Console, trials: Sequence[TrialResult]) -> None:
    """How many more failures each tier tolerates, and for how long none."""
    lines = redundancy_table.lines(exposure.over_trials(trials))
    if lines:
        console.print()
        console.print(_tiers(redundancy_table.TITLES, lines, console.width))
        console.print(redundancy_table.note(trials), style="dim", highlight=False)


def _show_model(console: Console, trials: Sequence[TrialResult]) -> None:
    """What the time without redundancy costs in a month: a model, and marked as one."""
    found = exposure.over_trials(trials)
    lines = redundancy_table.model_lines(found)
    console.print()
    console.print(redundancy_table.MODEL_HEADING, style="bold", highlight=False)
    if not lines:
        console.print("no tier lost its redundancy: nothing to model", style="dim", highlight=False)
        return
    console.print(_tiers(redundancy_table.MODEL_TITLES, lines, console.width))
    console.print(redundancy_table.model_note(found), style="dim", highlight=False)


def _tiers(titles: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> Table:
    table = Table(box=None, padding=(0, 2 if width >= WIDE else 1, 0, 0))
    for title in titles:
        table.add_column("\n".join(wrap(title, TIER_TITLE)), justify="left" if title == titles[0] else "right")
    for line in lines:
        table.add_row(*line)
    return table


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
        run_words.broken(trial) or "-",
        words.outage_text(trial.total),
        words.gap_text(trial.total.gap),
        words.failed_text(trial.reads),
        *((words.failed_text(trial.writes), run_words.lost_of(trial)) if writes else ()),
        *([_p99(trial)] if width >= WIDE else []),
        *([_boxes(trial)] if width >= WIDEST else []),
    ]


def _p99(trial: TrialResult) -> str:
    return f"{trial.latency_ms['p99']:.0f} ms"


def _boxes(trial: TrialResult) -> str:
    return ", ".join(f"{box} {count}" for box, count in trial.served_by.items())


def _served_by(trial: TrialResult, width: int) -> list[str]:
    """How fast and by which boxes it was answered, where the table has no room for it."""
    if not trial.served_by or width >= WIDEST:
        return []
    return [("" if width >= WIDE else f"p99 {_p99(trial)}, ") + f"served by {_boxes(trial)}"]


# The end


def _closing(result: RunResult, verbose: bool) -> list[Text | str]:
    """Medians of several trials, the verdict, what to try next."""
    summary, info = result.summary, result.info
    lines: list[Text | str] = [""]
    if summary.service and (verbose or len(result.trials) > 1):
        lines += _medians(result, summary.service)
    if summary.trials_valid < summary.trials and summary.outage_all:
        of_all = f"invalid trials included: longest outage {words.median_text(summary.outage_all)}"
        lines.append(Text(of_all, style="dim"))
    expected = f"  expected: {one_line(run_words.expectations_text(info))}"
    lines.append(Text.assemble((result.verdict.value.upper(), VERDICT_STYLES[result.verdict]), expected))
    lines += remarks.conditions(result) if verbose else remarks.under_repair(result)
    lines += [stands_on(info.conditions)] if info.conditions and verbose else []
    steps = next_steps.next_steps(result)
    lines += [f"next: {' · '.join(steps)}"] if steps else []
    return lines if verbose else [*lines, Text(next_steps.MORE, style="dim")]


def _medians(result: RunResult, service: OperationSummary) -> list[str]:
    """What most trials were like: the service first, then reads and writes apart."""
    summary, has_writes = result.summary, result.info.plan.has_writes
    spread = f" ({words.spread_text(service.outage)})" if service.outage.count > 1 else ""
    undecided = run_words.undecided(result.trials)
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
