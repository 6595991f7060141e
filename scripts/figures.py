"""Fills what documents say of measurements from docs/measured/*.json, and makes those from runs.

    python -m scripts.figures fill                         every marked span and table, and docs/measured/README.md
    python -m scripts.figures add RUN [--name NAME]        the figures of a run: a path, latest, or one below results/
                                  [--folder FOLDER]        kept elsewhere, for tests (tests/integration/likeness.py)
    python -m scripts.figures add-compare FOLDER           those of a comparison, from the runs of its cells
    python -m scripts.figures add-spof FOLDER              those of a search for single points of failure

A mark is a comment, which a reader of the page does not see:

    <!-- measured:FILE.FIGURE FORMAT -->...<!-- /measured -->     FORMAT: full (the default), range, median, low, high
    <!-- measured-table:TABLE -->...<!-- /measured-table -->      TABLE: of docs/measured/tables.yaml
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lab.analysis import matrix_file
from lab.analysis import run_document as run_documents
from lab.analysis.matrix import Cell
from lab.campaign.store import RESULT_NAME
from lab.errors import LabError, UsageError
from lab.spec import located_yaml
from lab.spec.stages import ROOT, find
from lab.store import runs
from scripts import figure_text, measured, sweeps
from scripts.measured import Measured

FOLDER = ROOT / "docs" / "measured"
PAGE = FOLDER / "README.md"
TABLES = FOLDER / "tables.yaml"
SPAN = re.compile(r"(<!-- measured:(\S+?)\.(\S+)(?: (\w+))? -->)(.*?)(<!-- /measured -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- measured-table:(\S+) -->\n)(.*?)(<!-- /measured-table -->)", re.DOTALL)
MARK = re.compile(r"<!-- (?:measured[:-]|/measured)")
MARKS_OF_A_PAIR = 2
MEASURES = ("lab", "stages/*/compose*.yaml", "compose", "apps")
"""What a figure depends on; a document that was changed makes it no other."""
NEVER_SEEN = "-"
"""Of what no trial of a run had, such as a new primary where the standby is lost."""


def documents(root: Path = ROOT) -> list[Path]:
    """Every document that may have marks: all but the page that is made here."""
    every = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "stages").glob("*/README.md")]
    return sorted(path for path in every if path.exists() and path != root / PAGE.relative_to(ROOT))


# Filling


@dataclass(frozen=True)
class Mark:
    """A place in a document whose text is that of a measurement."""

    document: Path
    line: int
    what: str
    """FILE.FIGURE, or the name of a table."""
    said: str
    wanted: str


@dataclass(frozen=True)
class Source:
    """What documents are filled from."""

    figures: Mapping[str, Measured]
    tables: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Source:
        """Every file of the folder. Raises UsageError for one that is malformed."""
        tables = located_yaml.load(folder / TABLES.name) if (folder / TABLES.name).exists() else {}
        return cls(measured.read_all(folder), tables.get("tables") or {})

    def file(self, name: str) -> Measured:
        """The figures of this name. Raises UsageError."""
        if name not in self.figures:
            raise UsageError(f"there are no figures '{name}'", f"docs/measured has {', '.join(self.figures) or 'none'}")
        return self.figures[name]

    def span(self, name: str, figure: str, format_: str) -> str:
        """What a marked span says. Raises UsageError."""
        found = self.file(name)
        if figure == "trials":
            return _trials(found)
        if found.figures and figure not in found.figures:
            return NEVER_SEEN
        return figure_text.text(figure, found.figures.get(figure), format_)

    def table(self, name: str) -> str:
        """What a marked table is. Raises UsageError."""
        if name not in self.tables:
            raise UsageError(f"there is no table '{name}'", f"docs/measured/{TABLES.name} has {', '.join(self.tables) or 'none'}")
        try:
            return _table(self, self.tables[name])
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the table '{name}' is malformed: {error}", f"docs/measured/{TABLES.name}") from error


def _table(source: Source, spec: Mapping[str, Any]) -> str:
    if "sweeps" in spec or "sweep" in spec:
        return sweeps.table(source.figures, spec)
    return _of_comparison(source, spec) if "of" in spec else _of_rows(source, spec)


def _trials(found: Measured) -> str:
    if found.trials is None:
        return figure_text.NOT_YET
    return str(found.trials) if found.trials_valid in (None, found.trials) else f"{found.trials} ({found.trials_valid} valid)"


def _of_rows(source: Source, spec: Mapping[str, Any]) -> str:
    """A row a file, a column a figure."""
    columns = spec["columns"]
    titles = [str(spec.get("title", "experiment")), *(str(column["title"]) for column in columns)]
    rows = [
        [
            str(row["title"]),
            *(source.span(str(row["of"]), str(each["figure"]), str(each.get("format", "range"))) for each in columns),
        ]
        for row in spec["rows"]
    ]
    return figure_text.table(titles, rows, figure_text.provenance([source.file(str(row["of"])) for row in spec["rows"]]))


def _of_comparison(source: Source, spec: Mapping[str, Any]) -> str:
    """A row a stage, a column a fault; empty where a stage has nothing to break."""
    found, figure = source.file(str(spec["of"])), str(spec["figure"])
    columns = [str(each) for each in spec["columns"]]
    rows = []
    for stage in found.stage_fingerprint:
        cells = [found.figures.get(f"{stage}/{column}.{figure}") for column in columns]
        texts = ["" if each is None else figure_text.text(figure, each, str(spec.get("format", "range"))) for each in cells]
        rows.append([stage, *texts])
    return figure_text.table(["stage", *(f"`{column}`" for column in columns)], rows, figure_text.provenance([found]))


def marks(path: Path, source: Source) -> list[Mark]:
    """The marks of a document, in order. Raises UsageError naming document and line for one that is malformed or names nothing."""
    text = path.read_text(encoding="utf-8")
    found = [_mark(path, text, match, source) for pattern in (SPAN, TABLE) for match in pattern.finditer(text)]
    if len(MARK.findall(text)) != MARKS_OF_A_PAIR * len(found):
        raise UsageError(f"{path}: a mark of a figure is not closed, or not opened, or misspelt", (__doc__ or "").strip())
    return sorted(found, key=lambda mark: mark.line)


def _mark(path: Path, text: str, match: re.Match[str], source: Source) -> Mark:
    line = text.count("\n", 0, match.start()) + 1
    try:
        wanted = _wanted(match, source)
    except UsageError as error:
        raise UsageError(f"{path}, line {line}: {error.message}", error.hint) from error
    said = match[5] if match.re is SPAN else match[3]
    return Mark(path, line, f"{match[2]}.{match[3]}" if match.re is SPAN else match[2], said, wanted)


def _wanted(match: re.Match[str], source: Source) -> str:
    return source.span(match[2], match[3], match[4] or "full") if match.re is SPAN else source.table(match[2])


def filled(text: str, source: Source) -> str:
    """A document's text with every mark filled. Raises UsageError."""
    text = SPAN.sub(lambda match: f"{match[1]}{_wanted(match, source)}{match[6]}", text)
    return TABLE.sub(lambda match: f"{match[1]}{_wanted(match, source)}{match[4]}", text)


def used_in(paths: Sequence[Path], source: Source) -> dict[str, list[Path]]:
    """For each file of figures the documents that have something of it."""
    found: dict[str, list[Path]] = {name: [] for name in source.figures}
    for path in paths:
        for mark in marks(path, source):
            for name in _names(mark.what, source):
                found[name] += [path] if path not in found[name] else []
    return found


def _names(what: str, source: Source) -> set[str]:
    if what not in source.tables:
        return {what.partition(".")[0]}
    spec = source.tables[what]
    if "sweeps" in spec or "sweep" in spec:
        return sweeps.files(spec) & set(source.figures)
    return {str(spec["of"])} if "of" in spec else {str(row["of"]) for row in spec["rows"]}


# The page of all figures


def state(found: Measured) -> str:
    """Whether it is of the files as they are now."""
    if not found.figures:
        return f"**{figure_text.NOT_YET}**"
    older = measured.older_than(found)
    return f"**measured with an older file** ({'; '.join(older)})" if older else "of the files as they are"


def page(source: Source, uses: Mapping[str, Sequence[Path]]) -> str:
    """docs/measured/README.md."""
    titles = ("figures", "of", "trials", "seed", "measured", "state of the lab", "machine", "files", "said in")
    rows = [_page_row(found, uses.get(name, ())) for name, found in source.figures.items()]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (titles, ["---"] * len(titles), *rows))
    return INTRODUCTION + table + "\n" + last_test_run(FOLDER / measured.TEST_RUN)


def last_test_run(file: Path) -> str:
    """A section about the last `make test-all`; empty where it never ran."""
    if not file.exists():
        return ""
    found = json.loads(file.read_text(encoding="utf-8"))
    outcome = "all passed" if found["all_passed"] else "**not all passed**"
    return (
        f"\n## Every test\n\n`make test-all` last ran on {found['date']} (state of the lab `{found['commit']}`), for "
        f"{found['duration_s'] / 60:.0f} minutes: {outcome}; {found['passed']} passed, {found['failed']} failed, "
        f"{found['skipped']} skipped.\n"
    )


def _page_row(found: Measured, uses: Sequence[Path]) -> tuple[str, ...]:
    automatic = ", automatic" if found.stage.startswith("4") and found.failover == "automatic" else ""
    durability = f", `{found.durability}`" if found.durability else ""
    said = [f"[{path.relative_to(ROOT).as_posix()}](../../{path.relative_to(ROOT).as_posix()})" for path in uses]
    return (
        f"[{found.name}]({found.name}.json)",
        f"`{found.experiment or 'lab spof'}` on {found.stage}{automatic}{durability}" if found.stage else "a comparison",
        _trials(found),
        str(found.seed) if found.seed is not None else "unknown",
        found.date or "before dates were kept",
        f"`{found.commit}`" if found.commit else "unknown",
        found.machine.text,
        state(found),
        ", ".join(said) or "nowhere",
    )


INTRODUCTION = """# What was measured

Figures in the lessons and guides are not typed: `make figures` puts them there, from the files in this folder, one a run. A test holds every
one against its file. This page is made by the same command; it says which figures were measured with other files than those that are here now.

- `make measured RUN=latest` makes or renews the file of a run, right after it was measured: the fingerprint is that of the
  files as they are then. `NAME=...` names it otherwise than `STAGE-EXPERIMENT`.
- `make measured-compare COMPARISON=results/compare/latest` does so for a comparison, from the runs of its cells.
- `make measured-spof SPOF=results/spof/latest` does so for a search for single points of failure, whole: `STAGE-spof`.
- `make figures` then fills the documents.
- `make pictures` makes the pictures from the runs that [pictures.yaml](pictures.yaml) names.

A figure is the median over the valid trials, with the least and the most of any trial, and their number (n). `≥`: some outage had not
ended by itself. A file without figures is one that is still to be measured. Where no machine and no date is noted, the figure is from before they were kept.

"""


# The commands


def name_of(document_: Mapping[str, Any]) -> str:
    """What the file of a run is called by default."""
    stage, failover = document_["stage"], document_["failover"]
    second = stage and failover != find(str(stage)).failover
    local = "-local" if document_["durability"] == "local" else ""
    return f"{stage}{f'-{failover}' if second else ''}-{document_['experiment']}{local}"


def commit_now(root: Path = ROOT) -> str | None:
    """The state of this checkout, with -dirty where what measures or is measured was changed; None where there is no git to ask."""
    commit = _git(root, "rev-parse", "--short", "HEAD")
    return commit and commit + ("-dirty" if _git(root, "status", "--porcelain", "--", *MEASURES) else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def run_document(folder: Path) -> dict[str, Any]:
    """A run's document, every figure computed again. Raises UsageError."""
    return run_documents.as_document(run_documents.rebuild(folder)[0])


def comparison_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """The documents of a comparison's runs, by STAGE/COLUMN. Raises UsageError."""
    file = matrix_file.find(str(folder))
    if file is None:
        raise UsageError(
            f"{folder} is no comparison", f"a folder with {matrix_file.FILE_NAME} and {RESULT_NAME}, such as compare/latest"
        )
    matrix = matrix_file.read(file)
    return {
        f"{measured.selector(find(str(row.stage), row.failover))}/{cell.column}": _of_cell(
            cell, run_document(file.parent / cell.folder)
        )
        for row in matrix.rows
        for cell in row.cells
        if cell.folder
    }


def _of_cell(cell: Cell, document: dict[str, Any]) -> dict[str, Any]:
    """A cell's run; where its trials hit different things, those of the worst one."""
    return measured.of_worst_target(document) if cell.members else document


@click.group()
def cli() -> None:
    """Figures of the documents, from what was measured."""


@cli.command()
def fill() -> None:
    """Fill every mark, write the page of all figures, and say which are older than their stage."""
    source, changed = Source.read(), []
    paths = documents()
    for path in paths:
        before = path.read_text(encoding="utf-8")
        marks(path, source)
        if (after := filled(before, source)) != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    PAGE.write_text(page(source, used_in(paths, source)), encoding="utf-8")
    click.echo(
        f"{len(source.figures)} files of figures; changed: {', '.join(str(path.relative_to(ROOT)) for path in changed) or 'nothing'}"
    )
    for line in warnings(source):
        click.echo(line, err=True)


def warnings(source: Source) -> Iterator[str]:
    """A line for each file of figures that is still to be measured, or older than its stage."""
    for name, found in source.figures.items():
        if not found.figures:
            yield f"{name}: {figure_text.NOT_YET}"
        elif older := measured.older_than(found):
            yield f"{name}: measured with an older file ({'; '.join(older)})"


@cli.command()
@click.argument("run_name", metavar="RUN")
@click.option("--name", help="What the file is called (default: STAGE-EXPERIMENT).")
@click.option("--commit", help="The state of the lab that measured it (default: this checkout's).")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to (default: docs/measured).")
@click.option("--hit", help="Only the trials that hit this box: of a cell of zones or regions, those of one.")
@click.option("--experiment", help="With --hit: the experiment that these trials are (kill-zone-a).")
def add(
    run_name: str, name: str | None, commit: str | None, folder: Path | None, hit: str | None, experiment: str | None
) -> None:
    """Make or renew the file of a run."""
    found = run_document(runs.find_run(run_name))
    if hit:
        found = measured.of_hit(found, hit, experiment or found["experiment"])
    click.echo(measured.write(measured.of_run(name or name_of(found), found, commit or commit_now()), folder or FOLDER))


@cli.command("add-compare")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", default="compare", show_default=True, help="What the file is called.")
@click.option("--commit", help="The state of the lab that measured it (default: this checkout's).")
def add_compare(folder: Path, name: str, commit: str | None) -> None:
    """Make or renew the file of a comparison."""
    click.echo(measured.write(measured.of_comparison(name, comparison_runs(folder), commit or commit_now()), FOLDER))


@cli.command("add-spof")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="What the file is called (default: STAGE-spof).")
@click.option("--commit", help="The state of the lab that measured it (default: this checkout's).")
def add_spof(folder: Path, name: str | None, commit: str | None) -> None:
    """Make or renew the file of a search for single points of failure."""
    click.echo(measured.write(sweeps.of_sweep(name, sweeps.read(folder), commit or commit_now()), FOLDER))


def main(run: Callable[[], Any] = cli) -> None:
    """Run it; an error is one line of what and a hint, and its exit code."""
    try:
        run()
    except LabError as error:
        click.echo(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
