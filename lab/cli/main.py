"""The command line: thin; every command is a few calls to the layers below."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

from lab import signals
from lab.cli.options import Output
from lab.errors import (
    DISK_ERRORS,
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    MESSAGE_MAX_CHARACTERS,
    DiskError,
    HealError,
    LabError,
    shown,
)
from lab.plaintext import clean, one_line, readable_streams
from lab.report.console import close_output, consoles
from lab.store.undo_log import UndoLog

# In which file of this folder each is, and its name there.
PLACES = {
    "doctor": "doctor:doctor",
    "build": "images:build",
    "images": "images:images",
    "up": "stage:up",
    "status": "stage:status",
    "down": "stage:down",
    "list": "stage:list_",
    "diff": "diff:diff",
    "run": "run:run",
    "spof": "spof:spof",
    "compare": "compare:compare",
    "monkey": "monkey:monkey",
    "chaos": "chaos:chaos",
    "promote": "chaos:promote_",
    "heal": "chaos:heal",
    "repair": "chaos:repair_",
    "report": "report:report",
    "selftest": "selftest:selftest_",
}


class Commands(MutableMapping[str, click.Command]):
    """Every command by its name, imported once it is asked for: `lab status` need not wait for what `lab compare` needs."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = PLACES[name].partition(":")
        command: click.Command = getattr(import_module(f"lab.cli.{module}"), attribute)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)

    def __setitem__(self, name: str, command: click.Command) -> None:
        raise TypeError("a command has its place in PLACES")

    def __delitem__(self, name: str) -> None:
        raise TypeError("a command has its place in PLACES")


@click.group(commands=Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.version_option(package_name="redundancy-lab", prog_name="lab")
@click.pass_context
def cli(context: click.Context, quiet: bool, debug: bool) -> None:
    """The Redundancy Lab: break something, and see what users saw.

    STAGE is a number or a folder name below stages/. Try: lab up 3, then lab run 3 kill-web.

    Exit codes: 0 held, 1 refuted, 2 usage, 3 inconclusive, 4 not ready, 5 heal failed, 70 a bug in
    the lab, 130 interrupted, 141 the reader of the output went away.
    """
    context.obj = Output(*consoles(), quiet)
    if context.invoked_subcommand not in ("heal", "report", "list", "diff"):
        _note_what_is_in_effect(context.obj, UndoLog())
        if context.invoked_subcommand != "down" and not {"-h", "--help"} & set(sys.argv):
            UndoLog().check_understood()


def _note_what_is_in_effect(output: Output, ledger: UndoLog) -> None:
    notes = ledger.notes()
    said = [f"{line} was cut short (no power?): passed over" for line in notes.cut]
    said += [
        f"{shown(entry.fault)} of {shown(entry.undo.service)} is in effect since {shown(entry.since)}; 'lab heal' takes it back"
        for entry in notes.open
    ]
    for each in said:
        output.messages.print(f"note: {each}", style="yellow", highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line and exit with its code."""
    debug = "--debug" in sys.argv[1:]
    readable_streams()
    try:
        with signals.termination_interrupts():
            code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = EXIT_USAGE
    except LabError as error:
        code = _fail_of(error, debug)
    except click.ClickException as error:
        usage = error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx else ""
        code = _fail(shown(error.format_message(), MESSAGE_MAX_CHARACTERS), " ".join(usage.split()), error.exit_code, debug)
    except (click.Abort, KeyboardInterrupt):
        _say_error("interrupted; nothing is left broken by this command")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        code = EXIT_BROKEN_PIPE
    except OSError as error:
        code = _fail_of(_of_the_disk(error), debug) if _is_of_a_disk(error) else _fail_of_a_bug(error, debug)
    except Exception as error:  # the last resort: still one line, still a code
        code = _fail_of_a_bug(error, debug)
    sys.exit(_flushed(code if isinstance(code, int) else 0))


def _is_of_a_disk(error: OSError) -> bool:
    return isinstance(error, PermissionError) or error.errno in DISK_ERRORS


def _of_the_disk(error: OSError) -> DiskError:
    return DiskError.of(error.filename or "standard output", error)


def _fail_of(error: LabError, debug: bool) -> int:
    """Say what went wrong. An interrupt that came meanwhile is said too; a failed healing keeps its exit code."""
    interrupted = signals.was_interrupted(error)
    message = f"{error.message} (interrupted: this was the last thing done)" if interrupted else error.message
    code = EXIT_INTERRUPTED if interrupted and not isinstance(error, HealError) else error.exit_code
    return _fail(message, error.hint, code, debug)


def _fail_of_a_bug(error: Exception, debug: bool) -> int:
    return _fail(
        f"this is a bug in the lab: {type(error).__name__}: {shown(str(error), MESSAGE_MAX_CHARACTERS)}",
        "run again with --debug and report what it prints",
        70,
        debug,
    )


def _fail(message: str, hint: str, code: int, debug: bool) -> int:
    if debug:
        _say_error(traceback.format_exc())
    _say_error(f"error: {one_line(message)}")
    if hint:
        _say_error(f"hint: {one_line(hint)}")
    return code


def _say_error(text: str) -> None:
    try:
        click.echo(clean(text), err=True)
    except OSError:  # no place is left to say it; the exit code does
        close_output(is_error=True)


def _flushed(code: int) -> int:
    """The exit code, once all that was printed has left: what Python cannot flush at its end it reports in its own words."""
    try:
        sys.stdout.flush()
    except OSError as error:
        close_output()
        return code or _fail_of(_of_the_disk(error), False)
    return code
