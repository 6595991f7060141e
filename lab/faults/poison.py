"""poison: web boxes get a release that dies of a certain request, and that request comes, by way of the balancer, as a user's does.

A balancer that repeats a read on another box repeats this one, too.
"""

from __future__ import annotations

import re

from lab.cluster.system import RunningSystem
from lab.errors import LabError, UsageError
from lab.faults.base import BoxControl, InjectionTarget
from lab.faults.release import Deployment
from lab.model.fault import FaultKind, Verification
from lab.model.topology import INTERNET_ROLE, Box
from lab.process import last_line

RELEASE = "poisonous"
SENDER = "client.poison"
# It stays when the lab ends. Its output goes nowhere: the engine would wait for its end.
START = "setsid -f python -m {sender} {address} {port} {per_s:g} </dev/null >/dev/null 2>&1"
ENDED, NONE_MATCHED = 0, 1
WATCHED_S = 8
"""For so long at most a worker is waited for that takes the place of a dead one."""
WATCH_TIMEOUT_S = 20.0
# First the workers of now, one that is just ending included, then the first that is none of them.
NEW_WORKER = (
    'first=$(pgrep -o -x gunicorn) || exit 1; old=$(pgrep -P "$first"); echo workers: $old; until=$((SECONDS + {seconds})); '
    'while ((SECONDS < until)); do for each in $(pgrep -P "$first"); do case " "$old" " in *[[:space:]]$each[[:space:]]*) ;; '
    "*) echo $each; exit 0;; esac; done; sleep 0.05; done"
)
WORKERS = re.compile(r"workers:(?P<old>[ \d]*)(\n(?P<new>\d+))?")


class Poison(Deployment):
    """A query of death: what one user sends takes down the service for all."""

    kind = FaultKind.POISON

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Somewhere the request has to come from."""
        users(target := super().prepare(control, target))
        return target

    def release(self, target: InjectionTarget) -> str:
        """Of the image's releases, the one that dies of it."""
        return RELEASE

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Deploy the release; one box of several also has the request sent. Raises LabError."""
        super().inject(control, target)
        if target.box.service != target.blast_radius.members[0].service:
            return
        address, port = target.blast_radius.entry
        start = START.format(sender=SENDER, address=address, port=port, per_s=target.blast_radius.how.per_s)
        done = control.run_in(users(target), ["bash", "-c", start])
        if done.exit_code:
            raise LabError(f"the request could not be sent: {last_line(done.output)}", "'lab heal' undoes what was done")

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """A worker has taken the place of one that died. A box to which the request has not come yet has nothing to show."""
        box, watch = target.box.service, NEW_WORKER.format(seconds=WATCHED_S)
        done = control.run_in(target.box, ["bash", "-c", watch], timeout_s=WATCH_TIMEOUT_S)
        found = WORKERS.fullmatch(done.output.strip()) if done.exit_code == 0 else None
        if not found:
            return Verification(False, f"{box} could not be asked for its workers: {last_line(done.output)}")
        if not found["new"]:
            return Verification(False, f"no worker of {box} has died within {WATCHED_S} s", moot=True)
        return Verification(True, f"a worker of {box} has died ({found['old'].strip()}), {found['new']} has taken its place")


def users(target: InjectionTarget) -> Box:
    """Where the request comes from. Raises UsageError where that is nowhere."""
    found = [box for box in target.blast_radius.outside if INTERNET_ROLE in box.roles and box.status == "running"]
    if not found:
        raise UsageError("no box is up from which a user could send the request", "'lab status' shows how the boxes are")
    return found[0]


def end(system: RunningSystem) -> list[str]:
    """Send the request no more, whoever sends it; what was done. Raises LabError."""
    found = []
    for box in system.boxes():
        if INTERNET_ROLE not in box.roles or box.status != "running":
            continue
        done = system.run_in(box, ["pkill", "-e", "-f", SENDER.replace(".", "[.]")])
        if done.exit_code not in (ENDED, NONE_MATCHED):
            raise LabError(f"the request that kills may still be sent: {last_line(done.output)}", "'lab heal' tries again")
        is_ended = done.exit_code == ENDED and done.output.strip()
        found += [f"{box.service} was sending a request that kills: ended"] if is_ended else []
    return found
