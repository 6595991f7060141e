"""A run or a comparison as JUnit XML, for the programs that read test results.

A trial (or a cell) that refutes is a failure; one of which nothing can be said, an error; a fault for which a stage has
nothing to break is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from lab.analysis.matrix import Cell, Column, Matrix, Row
from lab.analysis.parts import by_part
from lab.model.history import RunInfo, TrialRecord
from lab.model.measures import SURE_WHEN_INVALID, Verdict
from lab.model.result import Notified, RunResult, TrialResult
from lab.report import remarks, run_words, sweep_words, timeline, words
from lab.report.svg import xml_text


@dataclass(frozen=True)
class Case:
    """A test case; `outcome` is empty, failure, error or skipped."""

    suite: str
    name: str
    outcome: str
    message: str = ""
    detail: str = ""
    time_s: float = 0.0
    output: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def run(result: RunResult, records: Sequence[TrialRecord]) -> str:
    """A run: a suite, and a case for each of its trials."""
    info = result.info
    name = (
        f"{info.stage_folder}.{info.experiment}"
        if info.failover == "none"
        else f"{info.stage_folder}.{info.failover}.{info.experiment}"
    )
    cases = [_trial_case(name, info, record, trial) for record, trial in zip(records, result.trials, strict=True)]
    if not cases:
        cases = [Case(name, "trials", "error", "no trial was completed")]
    properties = {"seed": f"{info.seed}", "rate_per_s": f"{info.plan.rate_per_s:g}", "verdict": result.verdict.value}
    return _document(info.experiment, [_suite(name, info.started_at, cases, properties)])


def comparison(matrix: Matrix) -> str:
    """A comparison: a suite for each stage, and a case for each fault that was tried on it or does not apply to it.

    A search for single points of failure: a suite for each part of the stage, and a case for each fault.
    """
    properties = {"seed": f"{matrix.seed}", "rate_per_s": f"{matrix.rate_per_s:g}"}
    stage, shown = f"{matrix.rows[0].name}." if matrix.is_sweep else "", by_part(matrix)
    rows = [replace(row, name=f"{stage}{row.name}") for row in shown.rows]
    suites = [_suite(row.name, matrix.started_at, _row_cases(matrix, row, shown.columns), properties) for row in rows]
    return _document(matrix.title, suites)


def _trial_case(suite: str, info: RunInfo, record: TrialRecord, trial: TrialResult) -> Case:
    outcome, why = trial_outcome(trial)
    output = "\n".join([_seen(trial), *remarks.remarks(info, trial)])
    name = f"trial {trial.number}" + (f" ({run_words.broken(trial)})" if trial.targets else "")
    return Case(suite, name, outcome, "; ".join(why), "\n".join(why), timeline.length_s(record), output)


def _seen(trial: TrialResult) -> str:
    """What users saw, the service first, then reads and writes apart."""
    apart = f" (reads {words.outage_text(trial.reads)}, writes {words.outage_text(trial.writes)})" if trial.has_writes else ""
    return f"longest outage {words.outage_text(trial.total)}{apart}, longest gap {words.gap_text(trial.total.gap)}"


def trial_outcome(trial: TrialResult) -> tuple[str, tuple[str, ...]]:
    """What a trial is as a test, and why. A lost write refutes in an invalid trial too, as it does for the verdict."""
    lost = tuple(run_words.check_text(check) for check in trial.failures if check.expectation.measure in SURE_WHEN_INVALID)
    if trial.valid and trial.failures:
        return "failure", tuple(run_words.check_text(check) for check in trial.failures)
    if lost:
        return "failure", (*lost, *trial.reasons)
    if not trial.valid:
        return "error", trial.reasons or ("not valid",)
    undecided = tuple(f"undecided: {run_words.check_text(check)}" for check in trial.undecided)
    return ("error", undecided) if undecided else ("", ())


def _row_cases(matrix: Matrix, row: Row, columns: Sequence[Column]) -> list[Case]:
    found = [(column, row.cell(column.name)) for column in columns]
    return [_cell_case(matrix, row.name, column.name, cell) for column, cell in found if cell]


def _cell_case(matrix: Matrix, suite: str, column: str, cell: Cell) -> Case:
    outcome, why = _cell_outcome(matrix, cell), sweep_words.remarks(matrix, cell)
    message = "; ".join(why) or (cell.verdict.value if cell.verdict else "not run") if outcome else ""
    output = sweep_words.cell_sentence(matrix, cell)
    return Case(suite, column, outcome, message, "\n".join(why), output=output, properties=_cell_properties(matrix, cell))


def _cell_outcome(matrix: Matrix, cell: Cell) -> str:
    """Where alerts are required, a fault that none reported is a failure too, and one of which that is not known an error."""
    if not cell.applicable:
        return "skipped"
    alerts = {Notified.NO: "failure", Notified.UNKNOWN: "error"}.get(cell.notified, "") if matrix.alerts_required else ""
    found = {{Verdict.HELD: "", Verdict.REFUTED: "failure", Verdict.INCONCLUSIVE: "error", None: "error"}[cell.verdict], alerts}
    return next((outcome for outcome in ("failure", "error") if outcome in found), "")


def _cell_properties(matrix: Matrix, cell: Cell) -> dict[str, str]:
    """What it measured, for programs; nothing where it does not apply."""
    if not cell.applicable:
        return {}
    fate = {"fate": sweep_words.fate_of(matrix, cell).value} if matrix.is_sweep else {}
    outage_s = cell.downtime_median_s
    return {
        **fate,
        "outage_s": "unknown" if outage_s is None else f"{outage_s:.3f}",
        "outage_is_lower_bound": "true" if cell.downtime_censored else "false",
        "writes_lost": words.lost_text(cell.writes_lost, cell.losses_known),
        "notified": cell.notified.value,
    }


def _document(name: str, suites: Sequence[ElementTree.Element]) -> str:
    root = ElementTree.Element("testsuites", _clean({"name": name} | _counts(suites)))
    root.extend(suites)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _counts(suites: Iterable[ElementTree.Element]) -> dict[str, str]:
    every = list(suites)
    whole = {key: str(sum(int(suite.get(key, "0")) for suite in every)) for key in ("tests", "failures", "errors")}
    return whole | {"time": f"{sum(float(suite.get('time', '0')) for suite in every):.3f}"}


def _suite(name: str, started_at: str, cases: Sequence[Case], properties: dict[str, str]) -> ElementTree.Element:
    numbers = {key: str(sum(case.outcome == of for case in cases)) for key, of in COUNTED.items()}
    # The schema knows no time zone; it is UTC all the same.
    stated = {"name": name, "timestamp": started_at.removesuffix("Z"), "tests": str(len(cases)), **numbers}
    suite = ElementTree.Element("testsuite", _clean(stated | {"time": f"{sum(case.time_s for case in cases):.3f}"}))
    suite.append(_properties(properties))
    suite.extend(_case(case) for case in cases)
    return suite


def _properties(properties: Mapping[str, str]) -> ElementTree.Element:
    found = ElementTree.Element("properties")
    for key, value in properties.items():
        ElementTree.SubElement(found, "property", _clean({"name": key, "value": value}))
    return found


COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def _case(case: Case) -> ElementTree.Element:
    found = ElementTree.Element("testcase", _clean({"classname": case.suite, "name": case.name, "time": f"{case.time_s:.3f}"}))
    if case.properties:
        found.append(_properties(case.properties))
    if case.outcome:
        stated = {"message": case.message} | ({} if case.outcome == "skipped" else {"type": case.outcome})
        ElementTree.SubElement(found, case.outcome, _clean(stated)).text = xml_text(case.detail)
    if case.output:
        ElementTree.SubElement(found, "system-out").text = xml_text(case.output)
    return found


def _clean(attributes: dict[str, str]) -> dict[str, str]:
    return {key: xml_text(value) for key, value in attributes.items()}
