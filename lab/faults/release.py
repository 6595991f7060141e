"""What the faults share that deploy another release to a web box: its release changes and its gunicorn reloads. No rule in a balancer.

The program `lab-release` in the box does it (apps/web/lab-release). The release is on the box's disk: it survives a restart, and a
new box has the image's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.cluster.system import RunningSystem
from lab.engine.engine import ExecResult
from lab.errors import HealError, LabError, UsageError
from lab.faults.base import BoxControl, BoxFault, InjectionTarget, must_run
from lab.faults.limits import WEB_ROLE
from lab.faults.network import WITNESSES_MAX, ways
from lab.model.fault import UndoAction
from lab.model.topology import Box
from lab.process import last_line

PROGRAM = "lab-release"
GOOD = "good"
"""The release of the stage's own image."""
NO_ANSWER, NOT_EXECUTABLE, NOT_FOUND = 3, 126, 127
DEPLOY_TIMEOUT_S = 60.0
"""`lab-release` itself gives up before that."""
PORT = 8080
"""Where every web box answers."""
HEALTH_PATH = "/healthz"
ABSENT_PATH = f"/orders/{'-' * 101}"
"""An order with a key that is longer than any may be: a good release answers 404, and asks no database."""
ABSENT = 404
HEALTHY = 200
TIME = re.compile(r"(\d{3}) (\d+\.\d+)")


@dataclass(frozen=True)
class Answer:
    """What a box got that asked another one over HTTP. Status 0: no answer."""

    status: int
    took_ms: float


class Deployment(BoxFault):
    """A deployment of a release that has a defect."""

    action = UndoAction.REDEPLOY

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Only a web box that runs the stage's own release can get a worse one."""
        check_release(control, must_run(target).box)
        return target

    def inject(self, control: BoxControl, target: InjectionTarget) -> None:
        """Deploy it; returns when it answers. Raises LabError where the box does not take it."""
        done = control.run_in(target.box, [PROGRAM, "deploy", self.release(target)], timeout_s=DEPLOY_TIMEOUT_S)
        if done.exit_code:
            why = last_line(done.output)
            raise LabError(
                f"the bad release could not be deployed to {target.box.service}: {why}", "'lab heal' undoes what was done"
            )

    def release(self, target: InjectionTarget) -> str:
        """The release, with its settings."""
        raise NotImplementedError


def check_release(control: BoxControl, box: Box) -> None:
    """Raise UsageError unless a web box runs the stage's own release."""
    if WEB_ROLE not in box.roles:
        raise UsageError(f"{box.service} is no web box", "target: web")
    said = control.run_in(box, [PROGRAM])
    if _is_missing(said):
        raise UsageError(f"{box.service} has no releases of the order desk", "'lab up' starts a stage with the images of now")
    if said.exit_code:
        raise UsageError(f"{box.service} does not say which release it runs", "'lab status' shows how the boxes are")
    if said.output.strip() != GOOD:
        raise UsageError(f"{box.service} runs the release '{said.output.strip()}' already", "'lab heal' sets it back")


def _is_missing(said: ExecResult) -> bool:
    return said.exit_code in (NOT_EXECUTABLE, NOT_FOUND)


# Asking from outside


def with_witness(control: BoxControl, target: InjectionTarget) -> InjectionTarget:
    """The target with a box that gets a good answer from it now, not by way of a balancer; without, where there is none."""
    for witness, address in ways(target)[:WITNESSES_MAX]:
        [answer] = ask(control, witness, address, [ABSENT_PATH]) or [Answer(0, 0.0)]
        if answer.status == ABSENT:
            return replace(target, witness=witness, reached_at=address, reached_in_ms=answer.took_ms)
    return target


def ask(control: BoxControl, witness: Box, address: str, paths: Sequence[str], patience_s: float = 2.0) -> list[Answer]:
    """What a box gets from an address for each of these paths, one after the other (`[1-9]` in a path: nine times).

    Fewer answers, or none, where it could not ask.
    """
    urls = [f"http://{address}:{PORT}{path}" for path in paths]
    silent = [word for _ in urls for word in ("-o", "/dev/null")]
    command = ["curl", "-s", "-m", f"{patience_s:g}", *silent, "-w", "%{http_code} %{time_total}\\n", *urls]
    done = control.run_in(witness, command, timeout_s=DEPLOY_TIMEOUT_S)
    found = [TIME.fullmatch(line) for line in done.output.splitlines()]
    return [Answer(int(each[1]), float(each[2]) * 1000) for each in found if each]


# Taking it back


def undo(system: RunningSystem, box: Box) -> None:
    """Deploy the stage's own release, whichever runs. Raises LabError."""
    done = _redeploy(system, box)
    if done.exit_code:
        raise LabError(f"its own release could not be deployed again: {last_line(done.output)}", "see its log: docker logs")


def sweep(system: RunningSystem, box: Box) -> list[str]:
    """Deploy the stage's own release to a web box that runs another, whoever deployed that; what was done. Raises HealError."""
    if WEB_ROLE not in box.roles:
        return []
    done = _redeploy(system, box)
    if _is_missing(done):
        return []  # an image of before: it has one release only
    if done.exit_code:
        raise HealError(f"the release of {box.service} could not be set back: {last_line(done.output)}", "'lab heal' tries again")
    before = done.output.strip()
    return [f"{box.service} ran the release '{before}': its own is deployed again"] if before else []


def _redeploy(system: RunningSystem, box: Box) -> ExecResult:
    return system.run_in(box, [PROGRAM, "deploy", GOOD], timeout_s=DEPLOY_TIMEOUT_S)
