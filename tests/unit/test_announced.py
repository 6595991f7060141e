"""Who announces the users' address, as BIRD says it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lab.engine.engine import ExecResult
from lab.model.topology import Box
from lab.probe.bgp import announcements, meds
from lab.spec.stages import find
from tests.unit.helpers import started
from tests.unit.played import PlayedEngine

STAGE = find("7")
SAID = """\
BIRD 2.17.1 ready.
Table master4:
198.18.0.10/32       unicast [lb1 10:20:30.123] * (100) [AS64500i]
	via 198.18.0.33 on eth0
	Type: BGP univ
	BGP.origin: IGP
	BGP.as_path: 64500
	BGP.next_hop: 198.18.0.33
	BGP.med: 1
	BGP.local_pref: 100
                     unicast [lb3 10:20:30.456] (100) [AS64500i]
	via 198.18.0.65 on eth0
	Type: BGP univ
	BGP.next_hop: 198.18.0.65
	BGP.med: 103
	BGP.local_pref: 100
"""


def test_each_way_has_its_balancer_and_its_number() -> None:
    assert meds(SAID, STAGE.balancers) == {"lb1": 1, "lb3": 103}


def test_no_balancer_announces() -> None:
    assert meds("BIRD 2.17.1 ready.\nNetwork not found\n", STAGE.balancers) == {}


@pytest.mark.parametrize(("exit_code", "found"), [(0, {"lb1": 1, "lb3": 103}), (1, None), (124, None)])
def test_router_that_does_not_answer_leaves_it_unknown(exit_code: int, found: dict[str, int] | None) -> None:
    asked: list[tuple[str, str]] = []

    def answer(box: Box, command: Sequence[str]) -> ExecResult:
        asked.append((box.service, " ".join(command)))
        return ExecResult(exit_code, SAID)

    assert announcements(PlayedEngine(started(STAGE), answer=answer).cluster(STAGE)) == found
    assert asked == [("internet", "birdc -s /run/bird.ctl show route for 198.18.0.10/32 all")]


def test_without_bgp_no_router_is_asked() -> None:
    plays = PlayedEngine(started(find("5")))
    assert announcements(plays.cluster(find("5"))) is None
    assert plays.done == []
