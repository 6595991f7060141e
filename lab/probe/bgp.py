"""Which balancers announce the VIP by BGP: asked of the router in front of them, the internet box."""

from __future__ import annotations

import re

from lab.errors import LabError
from lab.probe.system import ObservableSystem

ROUTER_USER = "bird"
CONTROL = "/run/bird.ctl"
TIMEOUT_S = 1.0
LAST_RESORT_MED = 100
"""What a balancer whose region cannot serve adds to its number (compose/balancer/lab-announce)."""
# BIRD 2, `show route all`: a way begins with what it came from, [lb1 12:34:56.789], and its attributes follow.
WAY = re.compile(r"\[(?P<name>\w+) [^\]]*\]|^\s*BGP\.med: (?P<med>\d+)", re.MULTILINE)


def announcements(system: ObservableSystem) -> dict[str, int] | None:
    """The MED with which each balancer announces the address now, of those that do.

    None where the stage has no such balancers, and where the router did not answer.
    """
    stage = system.stage
    if not stage.announced:
        return None
    question = ["birdc", "-s", CONTROL, "show", "route", "for", f"{stage.entry[0]}/32", "all"]
    try:
        done = system.run_in(system.internet, question, timeout_s=TIMEOUT_S, user=ROUTER_USER)
    except LabError:
        return None
    return meds(done.output, stage.balancers) if done.exit_code == 0 else None


def meds(text: str, balancers: dict[str, str]) -> dict[str, int]:
    """The lowest MED of each balancer in what BIRD says of its ways."""
    found: dict[str, int] = {}
    name = ""
    for way in WAY.finditer(text):
        name = way["name"] or name
        if way["med"] and name in balancers:
            found[name] = min(int(way["med"]), found.get(name, int(way["med"])))
    return found
