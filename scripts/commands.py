"""docs/commands.md: every command and option of `lab`, from the help that the commands themselves have.

python -m scripts.commands writes it again (`make docs`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from lab.cli.main import cli
from lab.spec.stages import ROOT

PAGE = ROOT / "docs" / "commands.md"
HEAD = """# Commands

Written by `make docs` from the help of the commands (`lab COMMAND --help`); a test holds it current. Environment variables:
[environment.md](environment.md). Exit codes: [results.md](results.md#verdict-and-exit-code).

STAGE is a number or a folder name below `stages/`. A duration is written 500ms, 10s or 2m, up to an hour.
"""


def text() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="lab")
    before = "Before the command: " + "; ".join(_option(option, context) for option in _options(cli))
    return "\n".join([HEAD, f"{before}.", "", *_commands(cli, context)])


def _option(option: click.Option, context: click.Context) -> str:
    names, what = option.get_help_record(context) or ("", "")
    return f"`{names}` ({what.rstrip('.')[:1].lower()}{what.rstrip('.')[1:]})"


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name, command in group.commands.items():
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
        else:
            yield from _section(command, context)


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"## {context.command_path}", "", f"`{usage}`", "", *inspect.cleandoc(command.help or "").splitlines(), "")
    if options := _options(command):
        yield from ("| option | meaning |", "|---|---|", *(_row(option, context) for option in options), "")


def _options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option)]


def _row(option: click.Option, context: click.Context) -> str:
    names, what = option.get_help_record(context) or ("", "")
    return f"| `{_cell(names)}` | {_cell(what)} |"


def _cell(content: str) -> str:
    return " ".join(content.replace("|", "\\|").split())


def main() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
