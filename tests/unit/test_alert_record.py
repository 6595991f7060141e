"""Which alerts of a trial are known: the log of the monitoring box, and what it is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.checker.foreign_actions import Said
from lab.model.history import LogLine
from lab.model.payloads import AlertNotice
from lab.model.topology import Box
from lab.probe.logs import events_in, firing_before
from lab.spec.stages import find
from lab.trial import alert_record
from tests.unit.helpers import box

START_NS = 1_800_000_000_000_000_000
START_S = START_NS / 1e9
WATCH = box("watch", ("watch",), started_at="2027-01-15T07:00:00Z")
FIRING = "alert firing (message 1): RedundancyLost ticket box=web1 tier=web: web1 is out"
RESOLVED = FIRING.replace("firing", "resolved")
OTHER = "alert firing (message 2): SplitBrain page tier=database: 2 databases accept writes"


def line(at_s: float, text: str) -> LogLine:
    return LogLine("watch", START_NS + int(at_s * 1e9), text)


def why(watch: Box | None = WATCH, *reported: Said, start_ns: int = START_NS) -> str:
    found = alert_record.alert_record(watch, [], reported, start_ns, 9.0)
    assert found.is_monitored
    assert found.is_complete == (not found.why_incomplete)
    return found.why_incomplete


def test_a_box_that_was_healthy_throughout_knows_every_alert() -> None:
    assert why() == ""
    assert why(WATCH, Said(1.0, "web1", "die"), Said(1.0, "watch", "health_status: healthy")) == ""


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        (None, "the monitoring box is not there"),
        (replace(WATCH, status="exited"), "the monitoring box is dead"),
        (replace(WATCH, status="paused"), "the monitoring box is paused"),
        (replace(WATCH, health="unhealthy"), "the monitoring box is unhealthy"),
        (replace(WATCH, health="starting"), "the monitoring box is starting"),
        (replace(WATCH, started_at="2027-01-15T08:00:01Z"), "the monitoring box was started during the trial"),
    ],
)
def test_a_box_that_is_not_there_or_not_healthy_may_have_missed_some(watch: Box | None, said: str) -> None:
    assert why(watch) == said


@pytest.mark.parametrize("action", alert_record.BREAKS)
def test_what_docker_says_of_it_meanwhile_may_have_cost_some(action: str) -> None:
    assert why(WATCH, Said(3.0, "watch", action)) == f"the monitoring box: {action} during the trial"


def test_without_a_clock_no_alert_can_be_dated() -> None:
    assert why(start_ns=0) == "the clock of the observer is not known"


def test_what_was_firing_when_the_load_began_is_kept_where_the_rest_is_known() -> None:
    lines = [line(-30.0, FIRING), line(1.0, OTHER)]
    whole = alert_record.alert_record(WATCH, lines, [], START_NS, 9.0)
    assert [each.alert for each in whole.firing] == ["RedundancyLost"]
    assert alert_record.alert_record(None, lines, [], START_NS, 9.0).firing == ()


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], []),
        ([(-2.0, FIRING), (-1.0, RESOLVED)], []),
        ([(-1.0, FIRING), (-2.0, RESOLVED)], ["RedundancyLost"]),
        ([(-3.0, FIRING), (-2.0, RESOLVED), (-1.0, FIRING), (-0.5, OTHER)], ["RedundancyLost", "SplitBrain"]),
        ([(-1.0, FIRING), (0.5, RESOLVED)], ["RedundancyLost"]),
        ([(-1.0, "alert firing in other words"), (-1.0, "level=warn"), (0.0, FIRING)], []),
    ],
)
def test_what_was_not_over_before_an_instant(lines: list[tuple[float, str]], names: list[str]) -> None:
    assert [each.alert for each in firing_before([line(*each) for each in lines], START_NS)] == names


@given(
    st.lists(
        st.tuples(st.integers(-9, 9), st.sampled_from([FIRING, RESOLVED, OTHER])), max_size=9, unique_by=lambda each: each[0]
    )
)
def test_before_and_after_an_instant_is_all_there_is(said: list[tuple[int, str]]) -> None:
    """What fires at the end is what fired when the load began, and what the events of the load did to that."""
    lines = [line(*each) for each in said]
    firing = set(firing_before(lines, START_NS))
    for event in events_in(lines, START_NS):
        assert isinstance(event.data, AlertNotice)
        firing = firing | {event.data} if event.name == "alert" else firing - {event.data}
    assert firing == set(firing_before(lines, START_NS + 10**11))


@pytest.mark.parametrize(
    ("started_at", "since_s"),
    [
        ("", START_S - 3600),
        ("2027-01-15T01:00:00Z", START_S - 3600),
        ("2027-01-15T07:59:30Z", START_S - 30),
        ("2027-01-15T08:00:30Z", START_S),
    ],
)
def test_its_log_is_read_from_its_start_and_at_least_for_the_trial(started_at: str, since_s: float) -> None:
    assert alert_record.log_since_s(replace(WATCH, started_at=started_at), START_NS) == since_s


def test_which_stages_have_monitoring(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [find(name).is_monitored for name in "1234567"] == [False, *[True] * 6]
    monkeypatch.setenv("LAB_WATCH", "no")
    assert find("3").is_monitored
    assert not replace(find("3"), services=(), left_out=()).is_monitored


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (alert_record.without_monitoring(9.0), "the stage has no monitoring box"),
        (alert_record.alert_record(WATCH, [], [], START_NS, 9.0), "every alert of the trial is known"),
        (alert_record.alert_record(None, [], [], START_NS, 9.0), "alerts unknown: the monitoring box is not there"),
    ],
)
def test_it_is_an_event_at_the_end_of_the_load(found: object, words: str) -> None:
    event = alert_record.as_event(found, 7.0)  # type: ignore[arg-type]
    assert (event.at_s, event.name, event.detail, event.data) == (7.0, "alert-record", words, found)
