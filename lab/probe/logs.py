"""What the parts of a system log about a failure: detected, new primary elected, traffic rerouted, alert delivered. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lab.model.history import Event, LogLine
from lab.model.payloads import AlertNotice

DETECT, ELECT, REROUTE, ALERT, RESOLVED = "detect", "elect", "reroute", "alert", "resolved"

WORDS_MAX = 200
NOTICE = re.compile(r"alert \w+ \(message \d+\): (\w+) (.*)")


# Which words prove what. The monitor: a health check failed for good; it has chosen a new primary. HAProxy: a
# server has failed its checks, and gets no more requests from then on (of `ready` it only knows; no request goes there).
# keepalived: the address moves here. The router has lost a balancer, or a balancer says that its region cannot serve;
# the router's kernel sends new connections another way. The monitoring box: an alert was delivered, or that it is over.
PROOFS = (
    (re.compile(r"is marked as unhealthy by the monitor"), (DETECT,)),
    (re.compile(r"Setting goal state of .*(?<!converged) to prepare_promotion"), (ELECT,)),
    (re.compile(r"Server (?!ready/)\w+/\w+ is DOWN"), (DETECT, REROUTE)),
    (re.compile(r"Server ready/\w+ is DOWN"), (DETECT,)),
    (re.compile(r"Entering MASTER STATE"), (DETECT, ELECT)),
    # The balancers call their side of it `internet`: what they lose is the router.
    (re.compile(r"<TRACE> (?!internet:)\w+: BGP session closed|announced as the last resort"), (DETECT,)),
    (re.compile(r"entry \S+: \w+ \(\S+\) from now on"), (REROUTE,)),
    (re.compile(r"^alert firing "), (ALERT,)),
    (re.compile(r"^alert resolved "), (RESOLVED,)),
)


def events_in(lines: Iterable[LogLine], start_realtime_ns: int) -> list[Event]:
    """The events that log lines prove, on the clock that showed 0 at `start_realtime_ns`; earlier ones left out."""
    found = []
    for line in lines:
        at_s = round((line.realtime_ns - start_realtime_ns) / 1e9, 6)
        for pattern, names in PROOFS:
            if at_s >= 0 and pattern.search(line.text):
                words = f"{line.service}: {line.text.strip()[:WORDS_MAX]}"
                found += [Event(at_s, name, words, _notice(line.text)) for name in names]
    return sorted(found, key=lambda event: event.at_s)


def firing_before(lines: Iterable[LogLine], start_realtime_ns: int) -> tuple[AlertNotice, ...]:
    """The alerts that the monitoring box had delivered before an instant, and that were not over then."""
    firing: dict[AlertNotice, None] = {}
    for line in sorted(lines, key=lambda each: each.realtime_ns):
        notice = _notice(line.text)
        if notice is None or line.realtime_ns >= start_realtime_ns:
            continue
        firing.pop(notice, None)
        if line.text.startswith("alert firing "):
            firing[notice] = None
    return tuple(firing)


def _notice(text: str) -> AlertNotice | None:
    """What the monitoring box says of an alert: "alert firing (message 3): ServiceDown page kind=read: no read for 3 s"."""
    match = NOTICE.match(text)
    return AlertNotice(match[1], match[2].strip()[:WORDS_MAX]) if match else None
