"""Limits that a run sets in a stage and takes back: boxes with less of a processor, balancers that turn requests away.

Neither is in a stage file, and neither outlives the run: each undo is on the disk first, as that of a fault is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from lab.cluster.system import RunningSystem
from lab.errors import LabError
from lab.model.experiment import Overload
from lab.model.fault import Undo, UndoAction
from lab.model.topology import Box
from lab.process import last_line
from lab.store.undo_log import OpenFault

WEB_ROLE, BALANCER_ROLE = "web", "lb"
OF_AN_OVERLOAD = (UndoAction.RESIZE, UndoAction.READMIT)
SMALL, LIMITED = "small", "limited"
"""Their names in the undo log; neither is a fault."""
UNUSED_BACKEND = "ready"
"""The backend that says whether a region can serve; no request of a user goes there."""
OWNER = "haproxy"
"""The owner of that socket. Not even root may use it in a balancer box: it lacks the capability that root is known for."""
SEND = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy.sock'); "
    "s.sendall(sys.argv[1].encode() + b'\\n'); [sys.stdout.write(d.decode()) for d in iter(lambda: s.recv(65536), b'')]"
)


def impose(cluster: RunningSystem, wanted: Overload) -> list[OpenFault]:
    """Give each web box its share of a processor, and the balancers the limit; each undo is on the disk first."""
    return [*make_small(cluster, wanted.cpus), *_limit(cluster, wanted.maxconn)]


def make_small(cluster: RunningSystem, cpus: float) -> list[OpenFault]:
    """Give each web box so much of a processor."""
    entries = []
    for box in in_role(cluster, WEB_ROLE):
        entries.append(cluster.undo_log.open(_undo(UndoAction.RESIZE, box, f"{cluster.engine.cpus(box):g}"), SMALL))
        cluster.engine.resize(box, cpus)
    return entries


def _limit(cluster: RunningSystem, maxconn: int) -> list[OpenFault]:
    webs = {box.service for box in in_role(cluster, WEB_ROLE)}
    entries = []
    for box in in_role(cluster, BALANCER_ROLE) if maxconn else []:
        before = limits(command(cluster, box, "show stat"), webs)
        entries.append(cluster.undo_log.open(_undo(UndoAction.READMIT, box, _words(before)), LIMITED))
        set_limits(cluster, box, _words([(server, maxconn) for server, _ in before]))
    return entries


def _undo(action: UndoAction, box: Box, setting: str) -> Undo:
    return Undo(action, box.id, box.service, box.stage, setting=setting)


def limits(statistics: str, webs: Iterable[str]) -> list[tuple[str, int]]:
    """How many requests at once each server may have (0: any number), from HAProxy's `show stat`."""
    rows = csv.DictReader(io.StringIO(statistics.strip().removeprefix("# ")))
    ours = [row for row in rows if row.get("svname") in set(webs) and row.get("pxname") != UNUSED_BACKEND]
    return [(f"{row['pxname']}/{row['svname']}", int(row["slim"] or 0)) for row in ours]


def _words(servers: Iterable[tuple[str, int]]) -> str:
    return " ".join(f"{server}={maxconn}" for server, maxconn in servers)


def set_limits(cluster: RunningSystem, balancer: Box, words: str) -> None:
    """Set what `limits` reads, written as reads/web1=6 writes/web1=6. Raises LabError where HAProxy refuses."""
    for server, _, maxconn in (word.partition("=") for word in words.split()):
        if answer := command(cluster, balancer, f"set maxconn server {server} {maxconn}").strip():
            raise LabError(f"{balancer.service} refuses the limit of {server}: {answer}")


def command(cluster: RunningSystem, balancer: Box, line: str) -> str:
    """Run a command at HAProxy's admin socket; returns its answer. Raises LabError."""
    done = cluster.run_in(balancer, ["python3", "-c", SEND, line], user=OWNER)
    if done.exit_code:
        raise LabError(f"{balancer.service} takes no commands: {last_line(done.output)}")
    return done.output


def undo(cluster: RunningSystem, box: Box, entry: Undo) -> None:
    """Take one of these back. What has lost its memory since then is as its stage file says. Raises LabError."""
    if entry.action is UndoAction.RESIZE:
        # A limit cannot be removed, only set: one of all processors is none.
        cluster.engine.resize(box, float(entry.setting) or cluster.engine.info().processors)
    elif entry.action is UndoAction.READMIT and box.status == "running":
        set_limits(cluster, box, entry.setting)


def in_role(cluster: RunningSystem, role: str) -> list[Box]:
    """The boxes of a stage that play a role, in order of their names."""
    return [box for box in cluster.boxes() if role in box.roles]
