"""What the commands share: where they print, and the options that several of them have."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console

from lab.errors import EXIT_HELD, EXIT_INCONCLUSIVE, EXIT_REFUTED, DiskError
from lab.model.measures import Verdict
from lab.report.console import close_output

EXIT_OF_VERDICT = {Verdict.HELD: EXIT_HELD, Verdict.REFUTED: EXIT_REFUTED, Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE}
TRIALS_MAX = 1000
FOR_MAX_S = 3600.0


@dataclass(frozen=True)
class Output:
    """Where things are printed: data on standard output, messages on standard error."""

    data: Console
    messages: Console
    quiet: bool

    def say(self, text: str) -> None:
        """A message; nothing when quiet."""
        if not self.quiet:
            self.messages.print(text, highlight=False, soft_wrap=True)

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


pass_output = click.make_pass_decorator(Output)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, and nothing else.")
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="Decides all that is random; shown, and by chance when not given."
)


def with_failover(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command say which file of a stage is meant."""
    return click.option(
        "--failover",
        type=click.Choice(["none", "automatic"]),
        help="Which file of a stage that has two: none is compose.yaml, automatic is compose.automatic.yaml.",
    )(command)
