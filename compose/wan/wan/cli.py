"""The command lab-wan: the router itself, and what is said to it while it runs."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from wan.line import Region, UsageError, WanError, as_record, changed, in_words, parse_regions
from wan.link import TUN, Gateways, Link, choose, say
from wan.probe import probe

CONTROL = "/run/lab-wan.sock"
ANSWER_S = 5.0
LINKS = ("auto", "netem", "userspace")
HELP = """\
lab-wan [--link auto|netem|userspace] NAME=GATEWAY/LENGTH[,delay=20ms,loss=1%,rate=10mbit,queue=100ms] ...
    be the router between these regions. A packet towards a region is held back, lost and slowed down as its line says
lab-wan set NAME delay=120ms ...
    change a line; prints what was before, and the words that undo it
lab-wan show
    what is asked of every line, and what has become of its packets
lab-wan probe ADDRESS [rate=1000] [seconds=5] [size=64]
    measure the round trip to an address: requests a second, for so long, of so many bytes"""
PROBE_WORDS = {"rate": "rate_per_s", "seconds": "lasting_s", "size": "size_bytes"}


class Router:
    """The gateways, the link, and who is asked about them."""

    def __init__(self, kind: str, regions: Sequence[Region]) -> None:
        self._regions = [region.name for region in regions]
        self._link: Link
        self._link, self._why = choose(kind, regions)
        say(f"link: {self._link.name} ({self._why})")
        self._gateways = Gateways(regions, self._link.taken)
        self._gateways.take()

    def run(self) -> None:
        """For good."""
        Path(CONTROL).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            control.bind(CONTROL)
            control.setblocking(False)
            # Beside the packets, as it has to wait for other programs.
            threading.Thread(target=self._gateways.watch, daemon=True).start()
            while True:
                self._link.wait(control)
                self._answer(control)

    def _answer(self, control: socket.socket) -> None:
        try:
            asked, who = control.recvfrom(65536)
            control.sendto(json.dumps(self.reply(asked.decode().split())).encode(), who)
        except OSError as error:  # who has asked did not wait
            say(f"nobody to answer: {error}")

    def reply(self, words: Sequence[str]) -> dict[str, object]:
        """What to answer to `set NAME ...` or `show`; what went wrong as its `error`."""
        try:
            return self._set(words[1], words[2:]) if words[0] == "set" else self._show()
        except WanError as error:
            return {"error": str(error), "usage": isinstance(error, UsageError)}

    def _set(self, name: str, words: Sequence[str]) -> dict[str, object]:
        if name not in self._regions:
            raise UsageError(f"'{name}' is none of the regions {', '.join(self._regions)}")
        before = self._link.change(name, changed(self._link.settings(name), words))
        return {"region": name, "before": as_record(before), "undo": in_words(before)}

    def _show(self) -> dict[str, object]:
        lines = {
            name: {
                "interface": self._gateways.interfaces.get(name),
                **as_record(self._link.settings(name)),
                **as_record(self._link.count(name)),
            }
            for name in self._regions
        }
        return {"link": self._link.name, "why": self._why, "overrun": _overrun(), "lines": lines}


def _overrun() -> int:
    """How many packets came while this program did not, and found no place to wait."""
    counter = Path(f"/sys/class/net/{TUN}/statistics/tx_dropped")
    return int(counter.read_text()) if counter.exists() else 0


def _ask(words: Sequence[str]) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.bind("")  # a name of the kernel's choice, to be answered at
        asking.settimeout(ANSWER_S)
        try:
            asking.connect(CONTROL)
            asking.send(" ".join(words).encode())
            answer: dict[str, object] = json.loads(asking.recv(65536))
        except OSError as error:
            raise WanError(f"no router answers here: {error}") from None
    if "error" in answer:
        raise (UsageError if answer["usage"] else WanError)(answer["error"])
    return answer


def _probe(words: Sequence[str]) -> dict[str, object]:
    numbers = {}
    for word in words[1:]:
        match = re.fullmatch(rf"({'|'.join(PROBE_WORDS)})=(\d{{1,5}})", word, re.ASCII)
        if match is None or match[2] == "0":
            raise UsageError(f"'{word}' is none of rate=, seconds=, size= with a number")
        numbers[PROBE_WORDS[match[1]]] = int(match[2])
    try:
        return asdict(probe(words[0], **numbers))
    except OSError as error:
        raise WanError(f"{words[0]}: {error}") from None


def _route(words: Sequence[str]) -> None:
    kind = "auto"
    if words[0] == "--link":
        kind, words = words[1] if len(words) > 1 else "", words[2:]
    if kind not in LINKS:
        raise UsageError(f"--link '{kind}' is none of {', '.join(LINKS)}")
    Router(kind, parse_regions(words)).run()


def _do(words: Sequence[str]) -> dict[str, object] | None:
    match list(words):
        case ["set", _, _, *_] | ["show"]:
            return _ask(words)
        case ["probe", _, *_]:
            return _probe(words[1:])
        case ["set" | "show" | "probe", *_] | []:
            raise UsageError("'lab-wan --help' says what can be asked")
    _route(words)
    return None


def main(words: Sequence[str]) -> int:
    """Do what the words say. Returns the exit code: 2 for words that say nothing, 1 for what can't be done."""
    if list(words) in (["--help"], ["-h"]):
        print(HELP)
        return os.EX_OK
    try:
        answer = _do(words)
    except WanError as error:
        say(str(error))
        return 2 if isinstance(error, UsageError) else 1
    print(json.dumps(answer))
    return os.EX_OK
