"""An independent look at the service: shares nothing with the lab's own load but the front door."""

from __future__ import annotations

import json
import math
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lab.model.result import Outage
from lab.spec import stages
from tests.integration.driver import Lab, container, docker, ended, goes_on, loaded

PERIOD_S = 0.02
WALK_PERIOD_S = 0.05
"""Of the one beside a load: it asks for so little that the stage carries it on top."""
DEADLINE_S = 1.0
BEFORE_S = 1.5
"""Of load, before a box is killed: some answers of both before the outage."""
QUIET_S = 1.0


@dataclass(frozen=True)
class Probe:
    """One question: when it was asked and answered (monotonic seconds), and what was wrong with the answer, if anything."""

    asked_s: float
    answered_s: float
    fault: str

    @property
    def good(self) -> bool:
        """Answered well, in time."""
        return not self.fault


class Prober:
    """Asks for the list of orders (or places one) every 20 ms, whatever became of the earlier questions."""

    def __init__(self, front_door: str, writes: bool = False) -> None:
        self._url = f"{front_door}/orders" if writes else f"{front_door}/orders?limit=1"
        self._writes = writes
        self._stop = threading.Event()
        self._probes: list[Probe] = []

    def __enter__(self) -> Prober:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def spans_s(self) -> list[tuple[float, float]]:
        """From a bad question to the first good answer after which no question is bad for a second; monotonic seconds."""
        bad = sorted(probe.asked_s for probe in self._probes if not probe.good)
        firsts = [asked_s for before_s, asked_s in pairwise([-math.inf, *bad]) if asked_s - before_s > QUIET_S]
        lasts = [asked_s for asked_s, after_s in pairwise([*bad, math.inf]) if after_s - asked_s > QUIET_S]
        return [(first_s, self._good_again_s(last_s)) for first_s, last_s in zip(firsts, lasts, strict=True)]

    def outages_s(self) -> list[float]:
        """The lengths of these."""
        return [end_s - start_s for start_s, end_s in self.spans_s()]

    def gap_s(self) -> float:
        """The longest time between two good answers."""
        answered_s = sorted(probe.answered_s for probe in self._probes if probe.good)
        return max((after_s - before_s for before_s, after_s in pairwise(answered_s)), default=math.inf)

    def outage_s(self) -> float:
        """The longest of them; 0 where there is none."""
        return max(self.outages_s(), default=0.0)

    def faults(self) -> list[str]:
        """What was wrong with each question that was not answered well, in time."""
        return [probe.fault for probe in self._probes if not probe.good]

    def _good_again_s(self, last_s: float) -> float:
        answered_s = [probe.answered_s for probe in self._probes if probe.good and probe.asked_s > last_s]
        assert answered_s, "the service did not come back while it was probed"
        return min(answered_s)

    def _run(self) -> None:
        with ThreadPoolExecutor(max_workers=80) as pool:
            due_s = time.monotonic()
            while not self._stop.wait(max(due_s - time.monotonic(), 0)):
                pool.submit(self._ask)
                due_s += PERIOD_S

    def _ask(self) -> None:
        asked_s = time.monotonic()
        fault = self._answer()
        answered_s = time.monotonic()
        took_s = answered_s - asked_s
        late = f"after {took_s:.3f} s" if took_s > DEADLINE_S else ""
        self._probes.append(Probe(asked_s, answered_s, fault or late))

    def _answer(self) -> str:
        try:
            with urllib.request.urlopen(self._request(), timeout=DEADLINE_S) as answer:
                wanted = 201 if self._writes else 200
                return "" if answer.status == wanted else f"status {answer.status}"
        except (OSError, urllib.error.URLError) as error:
            return repr(error)

    def _request(self) -> urllib.request.Request:
        if not self._writes:
            return urllib.request.Request(self._url)
        order = json.dumps({"key": f"prober-{uuid.uuid4()}", "item": "probe", "quantity": 1}).encode()
        return urllib.request.Request(self._url, data=order, headers={"Content-Type": "application/json"})


WALKER = """
import asyncio, json, sys, time, uuid

async def ask(host, port, writes, probes):
    asked = time.monotonic()
    try:
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(host, port)
            body = json.dumps({"key": f"prober-{uuid.uuid4()}", "item": "probe", "quantity": 1}) if writes else ""
            line = "POST /orders" if writes else "GET /orders?limit=1"
            kind = "Content-Type: application/json\\r\\n" if writes else ""
            head = f"{line} HTTP/1.1\\r\\nHost: desk\\r\\nConnection: close\\r\\n{kind}Content-Length: {len(body)}\\r\\n\\r\\n"
            writer.write((head + body).encode())
            answer = await reader.read()
            status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "no answer"
            fault = "" if status == ("201" if writes else "200") else status
    except (OSError, TimeoutError, IndexError) as error:
        fault = repr(error)
    else:
        writer.transport.abort()
    probes.append((asked, time.monotonic(), fault))

async def main(host, port, writes):
    probes, tasks = [], set()
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    due = time.monotonic()
    while not ended.done():
        task = asyncio.create_task(ask(host, int(port), writes == "writes", probes))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += PERIOD
        await asyncio.sleep(max(due - time.monotonic(), 0))
    await asyncio.gather(*tasks)
    print(json.dumps(probes))

asyncio.run(main(*sys.argv[1:]))
""".replace("DEADLINE", str(DEADLINE_S)).replace("PERIOD", str(WALK_PERIOD_S))


class ProberAmongUsers(Prober):
    """The same from where users stand, in a process of its own beside the load: not by way of the published port, whose
    forwarders and whose share of the processor are none of the system's."""

    def __init__(self, box: str, entry: tuple[str, int], writes: bool = False) -> None:
        super().__init__("", writes)
        self._command = [
            "docker",
            "exec",
            "-i",
            box,
            "python",
            "-c",
            WALKER,
            entry[0],
            str(entry[1]),
            "writes" if writes else "reads",
        ]

    def __enter__(self) -> ProberAmongUsers:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        said, _none = self._process.communicate("", timeout=30)
        self._probes = [Probe(asked_s, answered_s, fault) for asked_s, answered_s, fault in json.loads(said)]

    def lag_s(self) -> float:
        """The longest time between two questions: how late it was itself."""
        asked_s = sorted(probe.asked_s for probe in self._probes)
        return max((after_s - before_s for before_s, after_s in pairwise(asked_s)), default=math.inf)


def windows(prober: Prober) -> list[Outage]:
    """The outages that a prober saw."""
    return [Outage(start_s, end_s, censored=False) for start_s, end_s in prober.spans_s()]


def killed_beside(
    lab: Lab, stage: int, box: str, back_after_s: float | None = None, writes: bool = False
) -> tuple[Prober, dict[str, Any]]:
    """Kill a box beside a run of the lab that breaks nothing, with plain Docker, and start it again some seconds later, or not.

    Returns what an independent look saw, and what the lab's run says.
    """
    run = lab.start("run", str(stage), "baseline", "--json")
    with ProberAmongUsers(container(stage, "internet"), stages.find(str(stage)).entry, writes) as prober:
        loaded(run, stage)
        goes_on(run, BEFORE_S)
        docker("kill", container(stage, box))
        if back_after_s is not None:
            goes_on(run, back_after_s)
            docker("start", container(stage, box))
        document = ended(run)
    return prober, document
