"""The controller's end of the observer, against processes that say what an observer says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic

import pytest

from lab.errors import InconclusiveError
from lab.model.observation import DatabaseState, Finding
from lab.model.topology import WATCH_ROLE, Box, Stage
from lab.probe.observer import SILENT_S, STALE_S, Observer, probe_config, redundancy_probe_config
from lab.process import wait_until
from lab.spec.stages import all_stages, find
from tests.unit.helpers import BALANCERS, automatic, box, stage, view
from tests.unit.played import PlayedEngine, line, saying
from tests.unit.played_time import PlayedClock

CLOCKS = '{"event": "clocks", "monotonic_ns": 1000, "realtime_ns": 5000}'


class Internet(PlayedEngine):
    """An engine of which only the internet box is needed; what is run there says these lines."""

    def __init__(self, lines: Sequence[str] = (), process: subprocess.Popen[bytes] | None = None) -> None:
        super().__init__()
        self.lines = lines
        self.process = process
        self.asked: list[Sequence[str]] = []

    def internet_box(self, stage: Stage) -> Box:
        return box("internet", ("internet",))

    def talk_to(self, box: Box, command: Sequence[str]) -> subprocess.Popen[bytes]:
        self.asked.append(command)
        self.process = self.process or saying(*self.lines)
        return self.process


def observing(internet: Internet, of: Stage | None = None) -> Observer:
    return internet.cluster(of or automatic()).observer()


def test_only_changes_are_kept() -> None:
    lines = [CLOCKS, line(view(clock_ns=1)), line(view(clock_ns=2)), line(view(db2="unreachable", clock_ns=3)), line(view())]
    with observing(Internet(lines)) as observer:
        assert wait_until(lambda: len(observer.views) == 3, 5)
    assert [seen.clock_ns for seen in observer.views] == [1, 3, 0]
    assert observer.views[1] == view(db2="unreachable", clock_ns=3)


def test_latest_is_what_was_seen_last() -> None:
    with observing(Internet([line(view(clock_ns=1)), line(view("unreachable", clock_ns=2))])) as observer:
        assert wait_until(lambda: len(observer.views) == 2, 5)
        assert observer.latest() == view("unreachable", clock_ns=2)


def test_one_look_has_what_the_databases_say_of_themselves() -> None:
    found = Internet([CLOCKS, line(view("sync_blocked", "unreachable"))]).cluster(automatic()).observe()
    assert found.databases == {"db1": DatabaseState.SYNC_BLOCKED, "db2": DatabaseState.UNREACHABLE}
    assert found.named(DatabaseState.SYNC_BLOCKED) == ["db1"]


def test_difference_between_the_clocks_of_the_boxes() -> None:
    with observing(Internet([CLOCKS, line(view())])) as observer:
        observer.latest()
    assert observer.realtime_offset_ns == 4000


def test_line_cut_short_ends_the_listening_and_nothing_else() -> None:
    with observing(Internet([line(view(clock_ns=1)), line(view())[:40]])) as observer:
        assert observer.latest() == view(clock_ns=1)


def test_observer_that_never_says_anything_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.probe.observer.FIRST_TIMEOUT_S", 0.5)
    failing = [sys.executable, "-c", "raise SystemExit('no such module')"]
    process = subprocess.Popen(failing, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(InconclusiveError, match="could not be asked: no such module"):
        Internet(process=process).cluster(automatic()).observe()


def test_its_process_ends_with_it() -> None:
    internet = Internet([line(view())])
    with observing(internet) as observer:
        observer.latest()
        assert internet.process is not None
        assert internet.process.poll() is None
    assert internet.process.returncode == 0


def test_observer_is_configured_with_what_the_stage_has() -> None:
    told = []
    for watched in (automatic(balancers=BALANCERS), stage()):
        internet = Internet([line(view())])
        with observing(internet, watched) as observer:
            observer.latest()
        told.append(json.loads(internet.asked[0][-1]))
    assert told == [
        {
            "databases": {"db1": "198.18.3.35", "db2": "198.18.3.67"},
            "balancers": BALANCERS,
            "entry": "198.18.0.10",
            "announced": False,
        },
        # A database that stands alone has no state that could change.
        {"databases": {}, "balancers": {}, "entry": "198.18.0.10", "announced": False},
    ]


# What margins rest on

FINDING = '{"event": "finding", "at_ns": 7, "kind": "monitor", "name": "monitor", "said": null}'


def test_findings_are_kept_in_order_and_are_no_sights() -> None:
    period = '{"event": "clocks", "monotonic_ns": 1000, "realtime_ns": 5000, "period_s": 0.1}'
    later = FINDING.replace("7", "5").replace("null", '{"needed": 0}')
    internet = Internet([period, FINDING, later, line(view(clock_ns=9))])
    with internet.cluster(automatic()).observer(redundancy=True) as observer:
        observer.latest()
    assert observer.findings == [Finding(7, "monitor", "monitor", None), Finding(5, "monitor", "monitor", {"needed": 0})]
    assert [seen.clock_ns for seen in observer.views] == [9]
    assert observer.period_s == 0.1
    assert internet.asked[0][2] == "client.redundancy"


def test_observer_that_does_not_say_how_often_it_looks_is_one_from_before() -> None:
    with observing(Internet([CLOCKS, line(view())])) as observer:
        observer.latest()
    assert (observer.period_s, observer.findings) == (0.0, [])


@pytest.mark.parametrize(
    ("number", "statistics", "alone"),
    [("1", {}, {}), ("2", {}, {}), ("3", {"lb": "198.18.0.10"}, {"db": "198.18.3.35"}), ("5", BALANCERS, {})],
)
def test_whom_there_is_to_ask_for_what_margins_rest_on(number: str, statistics: dict[str, str], alone: dict[str, str]) -> None:
    of = find(number)
    asked = redundancy_probe_config(of)
    assert asked == {**probe_config(of), "statistics": statistics, "alone": alone, "monitor": of.monitor}


@pytest.mark.parametrize("of", all_stages(), ids=lambda stage: stage.project)
def test_who_only_watches_is_asked_nothing(of: Stage) -> None:
    addresses = [address for spec in of.services if WATCH_ROLE in spec.roles for address in spec.addresses]
    assert bool(addresses) == (of.number > 1)
    asked = json.dumps(redundancy_probe_config(of))
    assert not [address for address in addresses if f'"{address}"' in asked]


def test_observer_that_has_ended_does_not_watch() -> None:
    internet = Internet([CLOCKS, line(view(clock_ns=1))])
    with observing(internet) as observer:
        assert wait_until(lambda: len(observer.views) == 1, 5)
        assert observer.is_watching
        assert internet.process is not None
        internet.process.kill()
        assert wait_until(lambda: not observer.is_watching, 5)


def test_observer_that_falls_silent_does_not_watch_and_its_last_view_is_not_for_ever() -> None:
    clock = PlayedClock()
    internet = Internet([CLOCKS, line(view(clock_ns=1))])
    internet.host_clock = clock
    with observing(internet) as observer:
        assert observer.latest() == view(clock_ns=1)
        clock.sleep(SILENT_S)
        assert observer.is_watching
        clock.sleep(0.01)
        assert not observer.is_watching
        clock.sleep(STALE_S - SILENT_S)
        with pytest.raises(InconclusiveError, match="the observer has stopped reporting"):
            observer.latest()


# When it said something

CHATTY = """
import sys
sys.stderr.write("a warning that is never read\\n" * 20_000)
sys.stderr.flush()
print(sys.argv[1], flush=True)
sys.stdin.read()
"""


def test_observer_that_says_a_lot_on_stderr_is_not_blocked_by_it() -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", CHATTY, line(view(clock_ns=4))], stdin=pipe, stdout=pipe, stderr=pipe)
    with observing(Internet(process=process)) as observer:
        assert observer.latest() == view(clock_ns=4)


def test_every_word_counts_also_one_that_changes_nothing() -> None:
    finding = FINDING.replace('"at_ns": 7', '"clock_ns": 30, "at_ns": 7')
    with observing(Internet([CLOCKS, line(view(clock_ns=10)), line(view(clock_ns=20)), finding])) as observer:
        assert wait_until(lambda: len(observer.words) == 3, 5)
    assert [word.clock_ns for word in observer.words] == [10, 20, 30]
    heard = [word.heard_at for word in observer.words]
    assert heard == sorted(heard)
    assert 0 < monotonic() - heard[-1] < 60
