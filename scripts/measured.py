"""What was measured, as docs/measured/*.json keep it: from a run's document, to what a document of ours says.

A file holds the figures of one run, or of one comparison. It says from which files of the lab they are, so that those
that are older than their stage are known.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from lab.cluster import images
from lab.errors import UsageError
from lab.model.topology import Stage
from lab.spec import located_yaml, stages
from lab.store.jsonl import write_whole

SCHEMA_VERSION = 1
IMAGE_PREFIX = "redundancy-lab/"
TEST_RUN = "test-all.json"
"""In the same folder and no file of figures: what the last run of every test came to (scripts/night.py)."""
NAME_RULE = "letters, digits, '-' and '_' only"


@dataclass(frozen=True)
class Sample:
    """A figure over the valid trials of a run, in the unit that its name ends in."""

    median: float
    low: float
    high: float
    """The least and the most of any trial."""
    n: int
    median_is_bound: bool = False
    """Some trial was healed before it was over, and had it lasted the median could be larger."""
    high_is_bound: bool = False

    @classmethod
    def of(cls, values: Sequence[tuple[float, bool]]) -> Sample | None:
        """Of values and whether each is a lower bound; None of none."""
        if not values:
            return None
        plain = [value for value, _ in values]
        longest = [math.inf if bound else value for value, bound in values]
        middle = median(plain)
        return cls(middle, min(plain), max(plain), len(plain), median(longest) != middle, max(longest) == math.inf)


@dataclass(frozen=True)
class Count:
    """So many of so many, all trials together."""

    count: int
    of: int


Figure = Sample | Count


@dataclass(frozen=True)
class Machine:
    """What it was measured on; None where that was not noted."""

    cores: int | None = None
    memory_gib: float | None = None
    engine: str | None = None
    loop_ms: float | None = None
    """How long one core took for a million additions: the same machine is not equally fast every hour. Of several runs the least."""
    loop_ms_max: float | None = None
    """The most of several runs; None for a single one."""

    @property
    def text(self) -> str:
        """What is known of it."""
        known = [f"{self.cores} cores"] if self.cores else []
        known += [f"{self.memory_gib:g} GiB"] if self.memory_gib else []
        known += [f"Docker {self.engine}"] if self.engine else []
        known += [f"a million additions in {self._loop} ms"] if self.loop_ms else []
        return ", ".join(known) or "unknown"

    @property
    def _loop(self) -> str:
        low, high = f"{self.loop_ms:.0f}", f"{self.loop_ms_max or self.loop_ms:.0f}"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Fingerprint:
    """Of the files that a stage was made from: its own file as read, so that a comment changes nothing, and its images' sources."""

    file: str
    images: dict[str, str]


@dataclass(frozen=True)
class Measured:
    """A file of docs/measured."""

    name: str
    stage: str
    """The folder of the stage; empty for a comparison."""
    experiment: str
    """Empty for a comparison."""
    failover: str = "none"
    durability: str | None = None
    commit: str | None = None
    """The state of the lab that measured it; None where that was not noted."""
    date: str | None = None
    machine: Machine = field(default_factory=Machine)
    trials: int | None = None
    trials_valid: int | None = None
    seed: int | None = None
    rate_per_s: float | None = None
    stage_fingerprint: dict[str, Fingerprint | None] = field(default_factory=dict)
    """By stage as the command line calls it, such as 4:automatic; None where it was not noted."""
    figures: dict[str, Figure] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready data; the name is that of the file."""
        content = asdict(self)
        del content["name"]
        return {"schema_version": SCHEMA_VERSION, **content}


# From a run


def figures_of(document: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of a run's document (docs/results.md): the one place that knows the names of its fields.

    What only part of the trials have is a figure of those; what none has is left out.
    """
    every = document["trials"]
    valid = [trial for trial in every if trial["valid"]]
    samples = {
        name: Sample.of([value for trial in valid if (value := read(trial)) is not None]) for name, read in READERS.items()
    }
    found: dict[str, Figure] = {name: sample for name, sample in samples.items() if sample}
    audits = [trial["writes_audit"] for trial in every if trial.get("writes_audit")]
    # What is lost counts in every trial; but where a database could not be read, "0 lost" is not known.
    if audits and (all(audit["complete"] for audit in audits) or any(audit["lost"] for audit in audits)):
        found["writes_lost"] = Count(sum(each["lost"] for each in audits), sum(each["acknowledged"] for each in audits))
    return found


def of_worst_target(document: Mapping[str, Any]) -> dict[str, Any]:
    """A run whose trials hit different things, with the trials of that whose median outage is the longest: they are no one sample."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for trial in document["trials"]:
        groups.setdefault(tuple(sorted(trial["targets"])), []).append(trial)

    def length(trials: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
        """The median with each lower bound endless, and with it as it is."""
        found = [READERS["outage_s"](trial) or (0.0, True) for trial in trials if trial["valid"]]
        if not found:
            return -1.0, -1.0
        return median(math.inf if bound else value for value, bound in found), median(value for value, _ in found)

    return _with(document, max(groups.values(), key=length, default=[]))


def of_hit(document: Mapping[str, Any], box: str, experiment: str) -> dict[str, Any]:
    """A run whose trials hit different things, with those that hit a box, as a run of that experiment. Raises UsageError for none."""
    trials = [trial for trial in document["trials"] if box in trial["targets"]]
    if not trials:
        raise UsageError(f"no trial of {document['experiment']} hit {box}")
    return {**_with(document, trials), "experiment": experiment}


def _with(document: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    valid = sum(trial["valid"] for trial in trials)
    return {**document, "trials": trials, "summary": {**document["summary"], "trials": len(trials), "trials_valid": valid}}


Reader = Callable[[Mapping[str, Any]], tuple[float, bool] | None]


def _outage(key: str) -> Reader:
    def read(trial: Mapping[str, Any]) -> tuple[float, bool] | None:
        outages = trial.get(key)
        if outages is None:
            return None
        longest = max((each["end_s"] - each["start_s"] for each in outages), default=0.0)
        return longest, any(each["censored"] for each in outages)

    return read


def _gap(key: str) -> Reader:
    def read(trial: Mapping[str, Any]) -> tuple[float, bool] | None:
        gap = (trial.get(key) or {}).get("gap")
        return (gap["length_s"], bool(gap.get("censored"))) if gap else None

    return read


def _failed(key: str) -> Reader:
    def read(trial: Mapping[str, Any]) -> tuple[float, bool] | None:
        share = trial.get(key)
        return (share["intended"] - share["good"], False) if share else None

    return read


def _since_fault(phase: str) -> Reader:
    def read(trial: Mapping[str, Any]) -> tuple[float, bool] | None:
        phases = trial["phases"]
        return (phases[phase] - phases["inject_s"], False) if {phase, "inject_s"} <= set(phases) else None

    return read


def _plain(*path: str) -> Reader:
    def read(trial: Mapping[str, Any]) -> tuple[float, bool] | None:
        value: Any = trial
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return (float(value), False) if value is not None else None

    return read


READERS: dict[str, Reader] = {
    "outage_s": _outage("outages"),
    "reads_outage_s": _outage("read_outages"),
    "writes_outage_s": _outage("write_outages"),
    "gap_s": _gap("service"),
    "reads_gap_s": _gap("reads"),
    "writes_gap_s": _gap("writes"),
    "failed_reads": _failed("reads"),
    "failed_writes": _failed("writes"),
    "availability_ratio": _plain("availability_ratio"),
    "time_to_detect_s": _since_fault("detect_s"),
    "time_to_elect_s": _since_fault("elect_s"),
    "time_to_failover_s": _since_fault("reroute_s"),
    "alert_delay_s": _plain("alert_delay_s"),
    "time_to_redundancy_s": _plain("time_to_redundancy_s"),
    "time_without_redundancy_s": _plain("time_without_redundancy_s"),
    "undisturbed_write_p50_ms": _plain("undisturbed_writes_latency_ms", "p50"),
    "undisturbed_write_p99_ms": _plain("undisturbed_writes_latency_ms", "p99"),
}


def of_run(name: str, document: Mapping[str, Any], commit: str | None) -> Measured:
    """What a run's document says, with the files of the lab as they are now. Raises UsageError for a stack that is not the lab's."""
    if not document["stage"]:
        raise UsageError("a run of a foreign stack says nothing of the lab's stages")
    stage = stages.find(str(document["stage"]), document["failover"])
    return Measured(
        name=name,
        stage=document["stage_folder"],
        experiment=document["experiment"],
        failover=document["failover"],
        durability=document["durability"],
        commit=commit,
        date=document["started_at"][:10],
        machine=_machine(document),
        trials=document["summary"]["trials"],
        trials_valid=document["summary"]["trials_valid"],
        seed=document["seed"],
        rate_per_s=document["rate_per_s"],
        stage_fingerprint={selector(stage): fingerprint_of(stage)},
        figures=figures_of(document),
    )


def of_comparison(name: str, runs: Mapping[str, Mapping[str, Any]], commit: str | None) -> Measured:
    """What the runs of a comparison say, by `STAGE/COLUMN`; each figure has that before its name: `5/kill-primary.outage_s`.

    Raises UsageError for no run.
    """
    if not runs:
        raise UsageError("nothing was measured in this comparison")
    first = next(iter(runs.values()))
    each = {key: of_run(name, document, commit) for key, document in runs.items()}
    return Measured(
        name=name,
        stage="",
        experiment="",
        failover="",
        commit=commit,
        date=max(str(found.date) for found in each.values()),
        machine=machine_of([found.machine for found in each.values()]),
        trials=sum(found.trials or 0 for found in each.values()),
        trials_valid=sum(found.trials_valid or 0 for found in each.values()),
        seed=first["seed"],
        rate_per_s=first["rate_per_s"],
        stage_fingerprint={stage: found for other in each.values() for stage, found in other.stage_fingerprint.items()},
        figures={f"{key}.{figure}": value for key, other in each.items() for figure, value in other.figures.items()},
    )


def _machine(document: Mapping[str, Any]) -> Machine:
    return machine_from((document.get("conditions") or {}).get("machine"))


def machine_from(known: Mapping[str, Any] | None) -> Machine:
    """The machine as a document has it; nothing is known of one that is missing there."""
    if not known:
        return Machine()
    return Machine(known["cores"], round(known["memory_mib"] / 1024, 1), known["engine"], known.get("loop_ms"))


def machine_of(machines: Sequence[Machine]) -> Machine:
    """The machine of several runs, with how slow and how fast it was; where one did not note that, it is not known of any."""
    loops_ms = [machine.loop_ms for machine in machines if machine.loop_ms is not None]
    if len(loops_ms) < len(machines):
        return replace(machines[0], loop_ms=None)
    return replace(machines[0], loop_ms=min(loops_ms), loop_ms_max=max(loops_ms))


# Which files


def selector(stage: Stage) -> str:
    """What the command line calls a stage: its number, and the failover of its second file."""
    first = stages.find(str(stage.number))
    return str(stage.number) if first.file == stage.file else f"{stage.number}:{stage.failover}"


def fingerprint_of(stage: Stage) -> Fingerprint:
    """The fingerprint of a stage's files as they are now."""
    content = located_yaml.load(stage.file)
    used = {str(body.get("image", "")).removeprefix(IMAGE_PREFIX) for body in content["services"].values()}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return Fingerprint(digest, {name: images.source_digest(name) for name in sorted(used & set(images.SOURCES))})


def older_than(found: Measured, now: Callable[[Stage], Fingerprint] = fingerprint_of) -> list[str]:
    """What has changed since it was measured, for people; empty where nothing has."""
    said = []
    for name, then in found.stage_fingerprint.items():
        if then is None:
            said.append(f"stage {name}: unknown")
            continue
        today = now(stages.parse(name))
        parts = ["its file"] if today.file != then.file else []
        every = sorted({*today.images, *then.images})
        parts += [f"image {image}" for image in every if today.images.get(image) != then.images.get(image)]
        said += [f"stage {name}: {', '.join(parts)}"] if parts else []
    return said


# On disk


def read(path: Path) -> Measured:
    """A file of docs/measured. Raises UsageError naming it for what is none."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("schema_version") != SCHEMA_VERSION:
            raise ValueError("another schema_version")
        return Measured(
            **{
                **raw,
                "name": path.stem,
                "machine": Machine(**raw["machine"]),
                "stage_fingerprint": {
                    name: Fingerprint(**each) if each else None for name, each in raw["stage_fingerprint"].items()
                },
                "figures": {name: _figure(each) for name, each in raw["figures"].items()},
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} holds no figures: {error}", "'python -m scripts.figures add RUN' makes one") from error


def _figure(raw: Mapping[str, Any]) -> Figure:
    return Count(**raw) if "count" in raw else Sample(**raw)


def read_all(folder: Path) -> dict[str, Measured]:
    """Every file of a folder, by name. Raises UsageError for one that is malformed."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.json")) if path.name != TEST_RUN}


def write(found: Measured, folder: Path) -> Path:
    """Write it; the file has its name. Raises UsageError for a name that is none."""
    if not found.name or not found.name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"'{found.name}' is no name for figures", NAME_RULE)
    path = folder / f"{found.name}.json"
    write_whole(path, found.to_document())
    return path
