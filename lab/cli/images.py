"""`lab build` and `lab images`: images built here, or carried in a file into a room without a network."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.options import Output, pass_output
from lab.cluster import images as images_
from lab.cluster import lifecycle, preflight
from lab.engine.docker_engine import DockerEngine
from lab.spec import stages

stage_option = click.option("--stage", "stage_name", metavar="STAGE", help="Only the images of this stage (3, 4:automatic).")


def _chosen(stage_name: str | None) -> tuple[str, ...]:
    """The images of a stage, or all."""
    return images_.needed_by(stages.parse(stage_name)) if stage_name else images_.wanted()


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what is up to date.")
@stage_option
@pass_output
def build(output: Output, everything: bool, stage_name: str | None) -> None:
    """Build the images that are missing or older than their files."""
    chosen, engine = _chosen(stage_name), DockerEngine()
    preflight.check_tools(engine.info())
    with lifecycle.alone(engine, "lab build"):
        built = images_.build(engine, output.say, chosen, everything)
    if not built:
        output.say("every image is up to date")


@click.group()
def images() -> None:
    """Carry images in a file to a machine without a network."""


@images.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@stage_option
@pass_output
def save(output: Output, file: Path, stage_name: str | None) -> None:
    """Write the images to FILE; compressed if it ends in .gz or .tgz."""
    chosen, engine = _chosen(stage_name), DockerEngine()
    saved = images_.save(engine, file, output.say, chosen)
    output.say(f"saved {len(saved)} images in {file}; on the other machine: lab images load {file.name}")


@images.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@stage_option
@pass_output
def load(output: Output, file: Path, stage_name: str | None) -> None:
    """Load the images that 'lab images save' wrote to FILE."""
    chosen, engine = _chosen(stage_name), DockerEngine()
    with lifecycle.alone(engine, "lab images load"):
        loaded = images_.load(engine, file, output.say, chosen)
    output.say(f"loaded {len(loaded)} images; they are those of the files that are here")
