"""Searches for single points of failure in docs/measured: kept whole, and made into tables of what a stage survives.

Figures of a file are `PART/FAULT.NAME`: `outage_s` (no figure without a valid trial), `trials` (valid ones of those that were
made), and where there are any `lost` (writes), `loss_unknown`, `not_notified` and `alert_unknown` (trials). `tolerance_s` is
the longest outage that counts as survived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.analysis import matrix_file
from lab.analysis.matrix import Cell, Column, Matrix
from lab.analysis.spof import Fate
from lab.errors import UsageError
from lab.report import words
from lab.spec.stages import find
from scripts import figure_text, measured
from scripts.measured import Count, Figure, Measured, Sample

TOLERANCE = "tolerance_s"
NAMED_MAX = 5
"""More parts than this are counted, not named."""
HOW = "`lab spof STAGE --faults all`, then `make measured-spof`"


# From a search to its file


def read(folder: Path) -> Matrix:
    """The matrix of a search. Raises UsageError for what is none."""
    file = matrix_file.find(str(folder))
    found = matrix_file.read(file) if file else None
    if found is None or not found.is_sweep:
        raise UsageError(f"{folder} is no search for single points of failure", "a folder of 'lab spof', such as spof/latest")
    return found


def of_sweep(name: str | None, matrix: Matrix, commit: str | None) -> Measured:
    """What a search says, with the files of the lab as they are now. Raises UsageError for a stage that is not there."""
    [row] = matrix.rows
    stage = find(str(row.stage), row.failover)
    selector = measured.selector(stage)
    tolerance_s = matrix.tolerance_s or 0.0
    figures: dict[str, Figure] = {TOLERANCE: Sample(tolerance_s, tolerance_s, tolerance_s, 1)}
    for column in matrix.columns:
        if cell := row.cell(column.name):
            figures |= {f"{_key(column)}.{what}": figure for what, figure in _figures(cell).items()}
    machine = row.conditions.machine if row.conditions else None
    return Measured(
        name=name or f"{selector.replace(':', '-')}-spof",
        stage=stage.folder,
        experiment="",
        failover=stage.failover,
        commit=commit,
        date=matrix.started_at[:10],
        machine=measured.machine_from(asdict(machine) if machine else None),
        trials=sum(cell.trials for cell in row.cells),
        trials_valid=sum(cell.trials_valid for cell in row.cells),
        seed=matrix.seed,
        rate_per_s=matrix.rate_per_s,
        stage_fingerprint={selector: measured.fingerprint_of(stage)},
        figures=figures,
    )


def _key(column: Column) -> str:
    """web1/isolate-edge; zone:a+zone:b/partition."""
    return f"{'+'.join(column.members)}/{column.fault.replace(' ', '-')}"


def _figures(cell: Cell) -> dict[str, Figure]:
    outage = Sample.of([(each.low, not each.is_exact) for each in cell.every_outage])
    counts = {
        "lost": (cell.writes_lost, cell.trials),
        "loss_unknown": (cell.audits_incomplete, cell.trials),
        "not_notified": (cell.trials_not_notified, cell.trials_counted),
        "alert_unknown": (cell.trials_notified_unknown, cell.trials_counted),
    }
    found: dict[str, Figure] = {"trials": Count(cell.trials_counted, cell.trials)}
    found |= {"outage_s": outage} if outage else {}
    return found | {name: Count(*each) for name, each in counts.items() if each[0]}


# From a file to tables


@dataclass(frozen=True)
class Tried:
    """A part that failed in one way."""

    part: str
    fault: str
    fate: Fate
    outage: Sample | None
    lost: int
    loss_unknown: bool
    not_notified: bool
    alert_unknown: bool


def tried(found: Measured) -> list[Tried]:
    """Every part and fault of a file, in its order."""
    tolerance = found.figures[TOLERANCE]
    assert isinstance(tolerance, Sample)
    keys = [name.removesuffix(".trials") for name in found.figures if name.endswith(".trials")]
    return [_tried(found.figures, key, tolerance.median) for key in keys]


def _tried(figures: Mapping[str, Figure], key: str, tolerance_s: float) -> Tried:
    part, _, fault = key.partition("/")
    outage = figures.get(f"{key}.outage_s")
    sample = outage if isinstance(outage, Sample) else None
    counts = {name: _count(figures.get(f"{key}.{name}")) for name in ("lost", "loss_unknown", "not_notified", "alert_unknown")}
    return Tried(
        part=part.replace("+", " and "),
        fault=fault,
        fate=_fate(sample, tolerance_s),
        outage=sample,
        lost=counts["lost"],
        loss_unknown=bool(counts["loss_unknown"]),
        not_notified=bool(counts["not_notified"]),
        alert_unknown=bool(counts["alert_unknown"]),
    )


def _count(figure: Figure | None) -> int:
    return figure.count if isinstance(figure, Count) else 0


def _fate(outage: Sample | None, tolerance_s: float) -> Fate:
    """As lab.analysis.spof.fate has it: down where that is known of the median, survived where it is of every trial."""
    if outage is None:
        return Fate.UNKNOWN
    if outage.median > tolerance_s:
        return Fate.FAILED
    return Fate.SURVIVED if outage.high <= tolerance_s and not outage.high_is_bound else Fate.UNKNOWN


def files(spec: Mapping[str, Any]) -> set[str]:
    """The files that a table is made from, whether they are there or not."""
    return {str(each["of"]) for each in spec["sweeps"]} if "sweeps" in spec else {str(spec["sweep"])}


def table(figures: Mapping[str, Measured], spec: Mapping[str, Any]) -> str:
    """A table of tables.yaml: of several stages what each survives, of one stage what it survives in full."""
    return _of_stages(figures, spec["sweeps"]) if "sweeps" in spec else _of_stage(figures.get(str(spec["sweep"])))


def _of_stages(figures: Mapping[str, Measured], listed: Sequence[Mapping[str, Any]]) -> str:
    """A row a fault, a column a stage that was measured."""
    kept = {str(each["title"]): figures[str(each["of"])] for each in listed if str(each["of"]) in figures}
    missing = [str(each["title"]) for each in listed if str(each["of"]) not in figures]
    found = {title: tried(each) for title, each in kept.items()}
    rows = [[f"`{fault}`", *(_of_fault(every, fault) for every in found.values())] for fault in _faults(found.values())]
    note = f"Parts survived of those tried. {_provenance(kept.values())}" if kept else ""
    more = f"Not measured yet: {'stage' if len(missing) == 1 else 'stages'} {', '.join(missing)} ({HOW})." if missing else ""
    titles = ["fault", *(f"stage {title}" for title in kept)]
    return figure_text.table(titles, rows or [[figure_text.NOT_YET]], " ".join(each for each in (note, more) if each))


def _faults(found: Iterable[Sequence[Tried]]) -> list[str]:
    return list(dict.fromkeys(each.fault for every in found for each in every))


def _of_fault(every: Sequence[Tried], fault: str) -> str:
    """8 of 9; outage: lb; not notified: web1. Empty where the fault makes no sense for any part."""
    mine = [each for each in every if each.fault == fault]
    if not mine:
        return ""
    return "; ".join([_survived(mine), *(f"{name}: {text}" for name, text in _findings(mine) if text)])


def _survived(mine: Sequence[Tried]) -> str:
    return f"{sum(each.fate is Fate.SURVIVED for each in mine)} of {len(mine)}"


def _findings(mine: Sequence[Tried]) -> list[tuple[str, str]]:
    """What is not as it should be, each with the parts; empty where it is none."""
    return [
        ("outage", _named(each.part for each in mine if each.fate is Fate.FAILED)),
        ("unknown", _named(each.part for each in mine if each.fate is Fate.UNKNOWN)),
        ("lost writes", _named(f"{each.part} ({each.lost})" for each in mine if each.lost)),
        ("losses unknown", _named(each.part for each in mine if each.loss_unknown and not each.lost)),
        ("not notified", _named(each.part for each in mine if each.not_notified)),
        ("alert unknown", _named(each.part for each in mine if each.alert_unknown and not each.not_notified)),
    ]


def _named(parts: Iterable[str]) -> str:
    return words.some(list(parts), NAMED_MAX)


def _of_stage(found: Measured | None) -> str:
    """A row a fault: how many parts survived it, and which did not, lost writes, or were not reported."""
    titles = ["fault", "survived", "longest outage of these", "outage", "lost writes", "not notified", "unknown"]
    if found is None:
        return figure_text.table(titles, [[figure_text.NOT_YET, *[""] * (len(titles) - 1)]], HOW)
    every = tried(found)
    rows = [_stage_row(fault, [each for each in every if each.fault == fault]) for fault in _faults([every])]
    return figure_text.table(titles, rows, _provenance([found]))


def _stage_row(fault: str, mine: Sequence[Tried]) -> list[str]:
    findings = dict(_findings(mine))
    open_ = [f"{name}: {findings[name]}" for name in ("unknown", "losses unknown", "alert unknown") if findings[name]]
    outages = _named(f"{each.part} ({_length(each.outage)})" for each in mine if each.fate is Fate.FAILED)
    survived = [each.outage for each in mine if each.fate is Fate.SURVIVED and each.outage]
    longest = max(survived, key=lambda each: each.high, default=None)
    text = figure_text.text("outage_s", longest, "high") if longest else ""
    return [f"`{fault}`", _survived(mine), text, outages, findings["lost writes"], findings["not notified"], "; ".join(open_)]


def _length(outage: Sample | None) -> str:
    return figure_text.text("outage_s", outage, "median")


def _provenance(found: Iterable[Measured]) -> str:
    return figure_text.provenance(found, "Outages: the median, of those survived the longest of any trial.")
