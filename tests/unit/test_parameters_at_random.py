"""What holds for whatever is given to `memory`, and to a fault of the network that flaps; in experiments and on the command line."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.cli.main import cli
from lab.engine.engine import ExecResult
from lab.engine.inspect import MemoryUse
from lab.errors import PreflightError, UsageError
from lab.faults import memory
from lab.faults.base import BlastRadius, InjectionTarget
from lab.faults.memory import LIMIT_MIN_BYTES, MIB, PAGE_BYTES
from lab.model.fault import FaultKind, FaultParameters
from lab.model.topology import MemoryLimit
from lab.spec import experiments, parameters
from tests.unit.helpers import box
from tests.unit.test_memory_fault import MEMORY, Limited


def numbers(name: str) -> st.SearchStrategy[float]:
    """Within the bounds of a parameter, for the most part, or just beyond."""
    low, high = parameters.BOUNDS[name]
    return st.floats(low, high) | st.floats(low, high) | st.sampled_from([low, high, low - 0.01, high + 0.01])


def given_for(*names: str) -> st.SearchStrategy[dict[str, float]]:
    """Some of these parameters, or all, or none."""
    return st.fixed_dictionaries({}, optional={name: numbers(name) for name in names})


def are_within(given: dict[str, float]) -> bool:
    return all(low <= value <= high for name, value in given.items() for low, high in [parameters.BOUNDS[name]])


@given(given_for("memory_percent", "leak_mib_s"))
def test_memory_needs_to_know_how_much_and_may_leak(given: dict[str, float]) -> None:
    is_good = "memory_percent" in given and are_within(given)
    with (
        nullcontext() if is_good else pytest.raises(parameters.ParameterError, match=r"^memory needs|^memory_percent|^leak_mib_s")
    ):
        how = parameters.read(FaultKind.MEMORY, given)
        assert how == FaultParameters(memory_percent=given["memory_percent"], leak_mib_s=given.get("leak_mib_s", 0.0))
        assert (f"{how.leak_mib_s:g} MiB/s" in str(how)) is ("leak_mib_s" in given)


WHOLE: dict[FaultKind, dict[str, object]] = {
    FaultKind.PARTITION: {"from": "db"},
    FaultKind.DELAY: {"delay_ms": 50.0},
    FaultKind.LOSS: {"loss_percent": 30.0},
    FaultKind.BANDWIDTH: {"rate_kbit": 1000.0},
    FaultKind.CPU: {"cpus": 0.1},
    FaultKind.MEMORY: {"memory_percent": 105.0},
    FaultKind.CLOCK: {"step_s": 60.0},
    FaultKind.BAD_DEPLOY: {"answer": "error"},
    FaultKind.POISON: {"per_s": 1.0},
    FaultKind.DISK_SLOW: {"delay_ms": 200.0},
}
"""What a fault needs, where it needs anything."""


@given(st.sampled_from(FaultKind), given_for("on_s", "off_s"))
def test_only_the_network_flaps_and_only_with_both(fault: FaultKind, given: dict[str, float]) -> None:
    is_whole = not given or (fault in parameters.FLAPPING and len(given) == 2 and are_within(given))
    with nullcontext() if is_whole else pytest.raises(parameters.ParameterError, match=r"on_s|off_s"):
        how = parameters.read(fault, {**WHOLE.get(fault, {}), **given})
        assert how.flaps is bool(given)
        assert (how.on_s, how.off_s) == (given.get("on_s", 0.0), given.get("off_s", 0.0))


@given(st.floats(1, 60), st.floats(1, 60), st.floats(0, 200))
def test_what_flaps_has_time_to_come_twice_or_is_refused(on_s: float, off_s: float, lasts_s: float) -> None:
    comes_twice = lasts_s > on_s + off_s
    with nullcontext() if comes_twice else pytest.raises(parameters.ParameterError, match="comes only once"):
        parameters.check_flapping(FaultParameters(on_s=on_s, off_s=off_s), lasts_s)
    parameters.check_flapping(FaultParameters(), lasts_s)


# Against a box

BYTES = st.integers(0, 256 * MIB)


@st.composite
def uses(draw: st.DrawFn) -> MemoryUse:
    """Any use that a kernel could tell: all of it is no less than the working set, and that no less than what is kept."""
    kept, working, used = sorted(draw(st.tuples(BYTES, BYTES, BYTES)))
    return MemoryUse(draw(BYTES), used, working, kept)


@given(
    use=uses(),
    before=st.builds(MemoryLimit, st.one_of(st.just(0), BYTES), st.one_of(st.just(-1), BYTES)),
    percent=st.floats(*parameters.BOUNDS["memory_percent"]),
    leak_mib_s=st.one_of(st.just(0.0), st.floats(*parameters.BOUNDS["leak_mib_s"])),
    free_blocks=st.integers(0, 4096),
)
def test_whatever_a_box_uses_its_limit_is_felt_and_can_be_reached_or_is_refused(
    use: MemoryUse, before: MemoryLimit, percent: float, leak_mib_s: float, free_blocks: int
) -> None:
    how = FaultParameters(memory_percent=percent, leak_mib_s=leak_mib_s)
    control = Limited(use, ExecResult(0, f"{free_blocks} {PAGE_BYTES}\n"), limit=before)
    try:
        prepared = MEMORY.prepare(control, InjectionTarget.of(box(), "web", BlastRadius(how)))
    except UsageError:
        assert not [each for each in control.done if each.startswith("limit")]
        return
    assert prepared.room
    limit_bytes = prepared.room.limit_bytes
    assert limit_bytes >= max(LIMIT_MIN_BYTES, use.kept_bytes)
    assert limit_bytes % PAGE_BYTES == 0
    assert not before.memory_bytes or limit_bytes < before.memory_bytes
    assert prepared.room.leak_bytes or use.used_bytes >= limit_bytes * memory.NEAR_RATIO
    assert bool(prepared.room.leak_bytes) is (leak_mib_s > 0)
    assert prepared.room.leak_bytes <= free_blocks * PAGE_BYTES
    # What is noted takes back just what there was, swap too.
    assert MemoryLimit.of(MEMORY.undo(prepared).setting) == before


# In a file, and on the command line


OPTIONS = {"on_s": "--on", "off_s": "--off"}
"""Other options are spelt as the keys of an experiment are."""
FLAPPED = {fault: WHOLE.get(fault, {}) for fault in parameters.FLAPPING}
written = st.one_of(
    st.tuples(st.just(FaultKind.MEMORY), given_for("memory_percent", "leak_mib_s")),
    st.sampled_from(list(FLAPPED)).flatmap(
        lambda fault: st.tuples(st.just(fault), given_for("on_s", "off_s").map(lambda edges: {**FLAPPED[fault], **edges}))
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written)
def test_a_file_and_the_command_line_mean_the_same(tmp_path: Path, said: tuple[FaultKind, dict[str, Any]]) -> None:
    fault, given = said
    lines = "".join(f"{name}: {value}\n" for name, value in given.items())
    text = (
        f"title: t\nquestion: q?\nfault: {fault}\ntarget: web\n{lines}"
        "fault_duration_s: 130\nexpect: {writes_lost: {at_most: 0}}\n"
    )
    options = [word for name, value in given.items() for word in (OPTIONS.get(name, f"--{name.replace('_', '-')}"), str(value))]
    arguments = ["chaos", str(fault), "web", "--for", "130s", *options]
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(cli, arguments, env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    try:
        [step] = experiments.read(file).steps
    except UsageError:
        assert isinstance(done.exception, UsageError), done.exception
        return
    assert step.how == parameters.read(fault, given)
    # Past all checks: it fails where there is no engine.
    assert isinstance(done.exception, PreflightError), done.exception
