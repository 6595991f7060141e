"""Text of any origin on a terminal, in any encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import replace
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.analysis import run_document
from lab.analysis.cell import not_applicable
from lab.errors import EXIT_HELD, EXIT_PREFLIGHT, EXIT_USAGE
from lab.plaintext import ENCODING_ERRORS, LINE_MAX, clean, one_line, readable_streams
from lab.report import files, text_strip
from lab.report.comparison_terminal import show_matrix
from lab.report.console import SafeConsole
from lab.report.terminal import show_run
from lab.store.runs import RunJournal, find_run
from tests.unit.helpers import EVENTS, alert, arrival, bad, record, redundancy_seen, run_info, vip_seen
from tests.unit.reports import a_matrix, cell
from tests.unit.test_cli import run_lab

# Sets the title, clears the screen, writes backwards, half of a character, and lines that look like the lab's own.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\ud83d\x9b31m\r\x08\u2028\nHELD  expected: nothing\nhint: exit 0\x00"
BIDIRECTIONAL = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def commands(text: str) -> set[str]:
    """What in a text would be an order to a terminal."""
    return {each for each in text if (unicodedata.category(each) in ("Cc", "Cs") and each != "\n") or each in BIDIRECTIONAL}


@given(st.text(st.characters(codec=None)))
def test_nothing_in_a_cleaned_text_commands_a_terminal(text: str) -> None:
    assert not commands(clean(text))
    assert clean(clean(text)) == clean(text)
    assert "\n" not in one_line(text)
    assert len(one_line(text)) <= LINE_MAX


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_what_is_only_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_what_is_taken_out_is_written_out() -> None:
    assert clean("\x1b[2J\u202e\ud83d") == "\\x1b[2J\\u202e\\ud83d"
    assert one_line(" a \n\n hint: b ") == "a / hint: b"
    assert one_line("k" * 200_000) == "k" * (LINE_MAX - 1) + "…"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "koi8-r", "utf-8"])
@given(text=st.text(st.characters(codec=None)))
def test_every_text_can_be_written_in_every_encoding(encoding: str, text: str) -> None:
    readable_streams()
    stream = TextIOWrapper(BytesIO(), encoding=encoding, errors=ENCODING_ERRORS, newline="")
    stream.write(text)
    stream.flush()
    if encoding == "utf-8" and not any("\ud800" <= each <= "\udfff" for each in text):
        stream.seek(0)
        assert stream.read() == text


def test_what_an_encoding_lacks_is_replaced_by_the_like() -> None:
    readable_streams()
    assert "≥ 3 s · ▁▄█ ▼▲ ✓ 水".encode("ascii", ENCODING_ERRORS).decode() == ">= 3 s - _+# v^ ok ?"
    assert "a · b".encode("latin-1", ENCODING_ERRORS) == b"a \xb7 b"
    # Who reads a strip without its characters can still tell them apart.
    marks = (text_strip.GOOD, text_strip.SLOW, text_strip.BAD, text_strip.EXPOSED, *text_strip.MARKS.values())
    assert len({mark.encode("ascii", ENCODING_ERRORS) for mark in marks}) == len(marks)


# Everything that is printed comes through one place


def printed(*things: Any, is_terminal: bool = False) -> str:
    colours: Literal["standard"] | None = "standard" if is_terminal else None
    console = SafeConsole(file=StringIO(), width=100, markup=False, force_terminal=is_terminal, color_system=colours)
    for thing in things:
        console.print(thing)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def a_table() -> Table:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    return table


@pytest.mark.parametrize("thing", [HOSTILE, Text(HOSTILE), Text.assemble("a", (HOSTILE, "bold red")), a_table()])
def test_console_prints_no_orders_of_others(thing: Any) -> None:
    assert not commands(printed(thing))
    # On a terminal it has orders of its own: colours, and no more than for a harmless text.
    assert set(printed(Text("harmless", style="bold red"), is_terminal=True)) >= {"\x1b"}
    assert "\x1b]" not in printed(thing, is_terminal=True)
    assert "\x1b[2J" not in printed(thing, is_terminal=True)


TEXTS = (
    "stage_folder",
    "failover",
    "experiment",
    "title",
    "question",
    "started_at",
    "contains",
    "expected_verdict",
    "durability",
)


@pytest.fixture(params=["", f"http://lb/{HOSTILE}"], ids=["of a stage", "of one's own"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run on the disk whose every text is hostile."""
    run = RunJournal(run_info(), tmp_path)
    info = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**info, **dict.fromkeys(TEXTS, HOSTILE), "url": request.param}))
    arrivals = [arrival(at / 16, number=at, by=HOSTILE, via=HOSTILE) for at in range(100)]
    arrivals += [bad(7 + at / 16, number=100 + at, error_class=HOSTILE) for at in range(20)]
    named = (
        "inject",
        "fault-verified",
        "note",
        "heal-failed",
        "detect",
        "alert",
        "docker",
        "operator",
        "blind",
    )
    said = (alert(3.0, f"{HOSTILE} {HOSTILE}"), vip_seen(0.0, HOSTILE), redundancy_seen(0.0, HOSTILE, web=(1, 2)))
    events = (*EVENTS, *(replace(EVENTS[0], name=name, detail=HOSTILE) for name in named), *said)
    trial = run.trial(1)
    trial.arrivals(arrivals)
    for event in events:
        trial.event(event)
    trial.close(record(arrivals=tuple(arrivals), events=events, targets=(HOSTILE,)))
    return run.folder


def test_stored_run_commands_no_terminal_and_forges_no_line(stored: Path) -> None:
    result, records = run_document.rebuild(find_run(str(stored)))
    # Nothing is wrapped: every line that begins is one that was printed as a line.
    console = SafeConsole(file=StringIO(), width=5000, markup=False)
    show_run(console, result, records)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "\\x1b]0;owned" in text
    assert not commands(text)
    assert not [line for line in text.splitlines() if line.startswith(("HELD", "hint:"))]


@pytest.mark.parametrize(
    ("encoding", "report"),
    [("latin-1", ""), ("ascii", ""), ("utf-8", "json"), *(("utf-8", name) for name in ("", *files.OF_RUN))],
)
def test_stored_run_is_shown_by_the_command_in_every_encoding(stored: Path, encoding: str, report: str) -> None:
    more = [f"--{report}", *(["-"] if report != "json" else [])] if report else []
    done = subprocess.run(
        [sys.executable, "-m", "lab", "report", str(stored), *more],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (EXIT_HELD, b"")
    assert not commands(done.stdout.decode(encoding).replace("\r\n", "\n").replace("\t", ""))


@pytest.mark.parametrize("name", files.MARKUP)
def test_markup_is_right_also_where_its_output_is_not_utf8(stored: Path, name: str) -> None:
    """It says that it is UTF-8, so what is not ASCII is written as references."""
    done = run_lab("report", str(stored), f"--{name}", "-", PYTHONIOENCODING="latin-1")
    assert done.code == EXIT_HELD
    assert done.out.isascii()


def test_comparison_commands_no_terminal() -> None:
    whole = cell(HOSTILE, (0.1, 7.0), experiment=HOSTILE, why=(HOSTILE,), folder=HOSTILE)
    shown = a_matrix(title=HOSTILE)
    row = replace(shown.rows[0], name=HOSTILE, failover=HOSTILE, cells=(whole, not_applicable("kill-lb", HOSTILE)))
    console = SafeConsole(file=StringIO(), width=100, markup=False)
    show_matrix(console, replace(shown, rows=(row,)))
    assert isinstance(console.file, StringIO)
    assert not commands(console.file.getvalue())


@pytest.mark.parametrize("arguments", [("report", "nosuch\x1b[2J\nhint: exit 0"), ("up", "\x1b]0;owned\x07"), ("\x1b[2J",)])
def test_error_is_one_line_without_orders(arguments: tuple[str, ...]) -> None:
    done = run_lab(*arguments)
    assert done.code == EXIT_USAGE
    assert len(done.errors) == 1
    assert len([line for line in done.err.splitlines() if line.startswith("hint:")]) <= 1
    assert not commands(done.err)


# Outputs that take no more

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def with_output(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`lab` in a shell: `command` has the redirections."""
    return subprocess.run(
        ["sh", "-c", f'"$0" -m lab "$@" {command}', sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@needs_full
@pytest.mark.parametrize("arguments", [("list",), ("run", "3", "kill-web", "--dry-run", "--json"), ("--help",)])
def test_output_that_is_full_is_one_line_and_not_ready(arguments: tuple[str, ...]) -> None:
    done = with_output(">/dev/full", *arguments)
    assert done.returncode == EXIT_PREFLIGHT
    assert done.stderr.splitlines()[0] == "error: standard output cannot be written: No space left on device"
    assert len(done.stderr.splitlines()) == 2


@needs_full
def test_report_that_does_not_fit_on_a_disk_is_no_wrong_usage(stored: Path) -> None:
    done = run_lab("report", str(stored), "--html", "/dev/full")
    assert (done.code, done.errors) == (EXIT_PREFLIGHT, ["error: /dev/full cannot be written: No space left on device"])
    done = run_lab("report", str(stored), "--html", "/nonexistent/page.html")
    assert done.code == EXIT_USAGE


@needs_full
def test_messages_that_cannot_be_written_change_nothing() -> None:
    assert with_output("2>/dev/full", "up", "9").returncode == EXIT_USAGE
    done = with_output("2>/dev/full", "list")
    assert (done.returncode, done.stdout) == (EXIT_HELD, with_output("", "list").stdout)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_output_that_is_closed_takes_all(closed: str) -> None:
    done = with_output(closed, "list")
    assert (done.returncode, done.stderr) == (EXIT_HELD, "")


@pytest.mark.parametrize(("given_", "means"), [("", "results"), ("/x", "/x")])
def test_results_that_are_named_by_nothing_are_the_default(given_: str, means: str) -> None:
    code = (
        "from lab.spec.stages import ROOT; from lab.store.paths import RESULTS_FOLDER; "
        "print(RESULTS_FOLDER.relative_to(ROOT) if not '{}' else RESULTS_FOLDER)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.format(given_)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LAB_RESULTS": given_},
    )
    assert done.stdout.strip() == means


def test_a_console_of_rich_is_what_would_let_them_through() -> None:
    """The tests above can fail: this is what they would see."""
    console = Console(file=StringIO(), width=100, markup=False)
    console.print(Text("\x1b[2J"))
    assert isinstance(console.file, StringIO)
    assert commands(console.file.getvalue())
