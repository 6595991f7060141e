"""`lab diff`: what a stage adds to the one before it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from lab.cli.options import Output, json_option, pass_output
from lab.errors import UsageError, shown
from lab.model.topology import Stage
from lab.report.stage_diff import lines
from lab.spec import conditions, located_yaml, stage_diff, stages
from lab.spec.stage_diff import StageDiff


@click.command("diff")
@click.argument("name", metavar="STAGE")
@click.argument("other_name", metavar="[STAGE]", required=False)
@json_option
@pass_output
def diff(output: Output, /, name: str, other_name: str | None, as_json: bool) -> None:
    """Show what a stage adds to the one before it, or to another one: boxes, networks, settings, and why.

    STAGE may also be 4:automatic.
    """
    before, *between, after = _chain(name, other_name)
    found = compare(before, [*between, after])
    if as_json:
        output.document({"before": _named(before), "after": _named(after), **asdict(found)})
        return
    for line in (f"stage {_title(before)} -> stage {_title(after)}", *lines(found)):
        output.data.print(line, highlight=False, markup=False, soft_wrap=True)


def compare(before: Stage, following: Sequence[Stage]) -> StageDiff:
    """What the last of the stages that follow another one has and that one has not. Raises UsageError."""
    documents = [located_yaml.load(each.file) for each in following]
    reasons = stage_diff.joined_reasons(documents)
    return stage_diff.compare(located_yaml.load(before.file), documents[-1], reasons, conditions.timers)


def _chain(name: str, other_name: str | None) -> list[Stage]:
    """From the earlier of two stages (the one before, where only one is named) to the later one. Raises UsageError."""
    every = list(stages.all_stages())
    last = every.index(stages.parse(name))
    if other_name is None:
        if last == 0:
            raise UsageError(f"stage {shown(name)} is the first: there is none before it", "lab diff 2")
        return every[last - 1 : last + 1]
    first, last = sorted((last, every.index(stages.parse(other_name))))
    if first == last:
        raise UsageError(
            f"{shown(name)} and {shown(other_name)} are the same stage", "name two, or one to compare it with the one before"
        )
    return every[first : last + 1]


def _named(stage: Stage) -> dict[str, str | int]:
    return {"stage": stage.number, "folder": stage.folder, "file": stage.file.name, "title": stage.title}


def _title(stage: Stage) -> str:
    kind = "" if stage.file.name == "compose.yaml" else f", {stage.failover}"
    return f"{stage.number} ({stage.title}{kind})"
