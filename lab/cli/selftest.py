"""`lab selftest`."""

from __future__ import annotations

from dataclasses import asdict
from random import SystemRandom

import click
from rich.table import Table

from lab.cli.options import Output, json_option, pass_output, seed_option
from lab.cluster import images, lifecycle
from lab.engine.docker_engine import DockerEngine
from lab.errors import (
    InconclusiveError,
)
from lab.load import calibration
from lab.model.experiment import RATE_MAX_PER_S

IMAGES = ("base", "internet")


@click.command("selftest")
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(20, RATE_MAX_PER_S),
    multiple=True,
    default=(100.0, 500.0),
    show_default=True,
    help="Requests a second.",
)
@click.option(
    "--repeats", type=click.IntRange(1, 100), default=calibration.REPEATS, show_default=True, help="How often each outage."
)
@seed_option
@json_option
@pass_output
def selftest_(output: Output, rates: tuple[float, ...], repeats: int, seed: int | None, as_json: bool) -> None:
    """Measure outages of known length, and say how far off the lab is."""
    engine = DockerEngine()
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    with lifecycle.alone(engine, "lab selftest"):
        images.build(engine, output.say, IMAGES)
        lines, closed_loop = calibration.run(engine, rates, repeats, seed, output.say)
    passed = all(line.passed for line in lines)
    if as_json:
        output.document(
            {"passed": passed, "seed": seed, "outages": [asdict(line) for line in lines], "closed_loop": asdict(closed_loop)}
        )
    else:
        _show_selftest(output, lines, closed_loop)
    if not passed:
        raise InconclusiveError("the measuring is off on this machine now", "is something else busy? end it and try again")


def _show_selftest(output: Output, lines: list[calibration.Line], closed_loop: calibration.ClosedLoop) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in (
        "outage",
        "rate",
        "true",
        "measured",
        "off by",
        "of reads or writes",
        "gap",
        "failed share off by",
        "repeats",
        "invalid",
        "",
    ):
        table.add_column(title, justify="left" if title == "outage" else "right")
    for line in lines:
        table.add_row(
            line.how,
            f"{line.rate_per_s:g}/s",
            f"{line.true_s:.4f} s",
            f"{line.measured_s:.4f} s",
            f"{line.length_error_ms:.1f} ms",
            f"{line.service_s:.3f} s",
            f"{line.gap_s:.3f} s",
            f"{line.share_error_points:.2f} points",
            str(line.repeats),
            str(line.invalid),
            "ok" if line.passed else "OFF",
        )
    output.data.print(table)
    share = closed_loop.failures / closed_loop.requests if closed_loop.requests else 0.0
    output.data.print(
        f"a closed loop (10 users that wait for each answer), server frozen 2 s of {calibration.CLOSED_LOOP_S:g}: {closed_loop.failures} of {closed_loop.requests} requests failed ({share:.1%}); "
        "who waits for answers does not see that there are none",
        highlight=False,
    )
