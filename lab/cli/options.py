"""What the commands share: where they print, and the options that several of them have."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from random import SystemRandom
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lab.errors import EXIT_HELD, EXIT_INCONCLUSIVE, EXIT_REFUTED, DiskError
from lab.model.measures import Verdict
from lab.report.console import close_output

EXIT_OF_VERDICT = {Verdict.HELD: EXIT_HELD, Verdict.REFUTED: EXIT_REFUTED, Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE}
FOR_MAX_S = 3600.0
REFRESHES_PER_S = 4
PLAIN_INTERVAL_S = 15.0
"""Until the first plain line of something long; each of the next waits twice as long."""


@dataclass(frozen=True)
class Messages:
    """What is printed on standard error while a command works; nothing when quiet."""

    console: Console
    quiet: bool

    def __call__(self, text: str) -> None:
        """Print a message."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def live(self, line: Callable[[], str]) -> AbstractContextManager[object]:
        """Show a line that moves for as long as the context lasts; where there is no terminal, now and then a plain line."""
        if self.quiet:
            return nullcontext()
        if not self.console.is_terminal:
            return _now_and_then(self, line)
        return Live(
            console=self.console,
            transient=True,
            refresh_per_second=REFRESHES_PER_S,
            get_renderable=lambda: Text(line(), no_wrap=True, overflow="ellipsis"),
        )


@contextmanager
def _now_and_then(say: Messages, line: Callable[[], str]) -> Iterator[None]:
    """Print a line at longer and longer intervals: a few, however long it takes."""
    ended = threading.Event()

    def print_lines() -> None:
        interval_s = PLAIN_INTERVAL_S
        while not ended.wait(interval_s):
            say(line())
            interval_s *= 2

    thread = threading.Thread(target=print_lines, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True)
class Output:
    """Where things are printed: data on standard output, messages on standard error."""

    data: Console
    messages: Console
    quiet: bool

    @property
    def say(self) -> Messages:
        """Prints a message; nothing when quiet."""
        return Messages(self.messages, self.quiet)

    def document(self, content: Any) -> None:
        """One JSON document on standard output; nothing when its reader has gone away. Raises DiskError."""
        try:
            click.echo(json.dumps(content, indent=2))
            sys.stdout.flush()
        except BrokenPipeError:
            close_output()
        except OSError as error:
            close_output()
            raise DiskError.of("standard output", error) from error


class Duration(click.ParamType[float]):
    """Seconds, also written 500ms, 10s or 2m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; fails for what is no duration or over an hour."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", str(value))
        seconds = float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[match[2] or "s"] if match else -1.0
        if not 0 <= seconds <= FOR_MAX_S:
            self.fail(f"'{value}' is no duration up to an hour, such as 500ms, 10s or 2m", param, ctx)
        return seconds


def gathered(into: type[Any], name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take the options that are fields of a dataclass as one argument of this name."""
    names = [each.name for each in fields(into)]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gather(*arguments: Any, **given: Any) -> Any:
            return command(*arguments, **{name: into(**{each: given.pop(each) for each in names})}, **given)

        return gather

    return decorate


def with_options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take several options, in this order in its help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def chosen_seed(seed: int | None) -> int:
    """The seed that was given, or a random one."""
    return SystemRandom().randrange(2**31) if seed is None else seed


pass_output = click.make_pass_decorator(Output)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="All that is known: redundancy, alerts, phases, conditions, each trial."
)
model_option = click.option(
    "--model", is_flag=True, help="What the time without redundancy costs a month: a model, not measured."
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="Decides everything random; shown, and random without it."
)


def with_failover(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command say which file of a stage is meant."""
    return click.option(
        "--failover",
        type=click.Choice(["none", "automatic"]),
        help="Which file of a stage that has two: none is compose.yaml, automatic is compose.automatic.yaml.",
    )(command)
