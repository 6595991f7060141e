"""bad-deploy: a web box gets a release that answers 500, or late. It is alive, and its health check stays green."""

from __future__ import annotations

import math

from lab.faults.base import BoxControl, InjectionTarget
from lab.faults.release import ABSENT, ABSENT_PATH, HEALTH_PATH, HEALTHY, Answer, Deployment, ask, with_witness
from lab.model.fault import BadAnswer, FaultKind, FaultParameters, Verification

ALL_PERCENT = 100.0
BAD_EXPECTED = 2
"""So many bad answers are expected among those that are asked for, where only some are bad."""
PATIENCE_S = 2.0
"""Beyond what a slow answer takes."""


class BadDeploy(Deployment):
    """The most frequent cause of outages: a change, made on purpose, to boxes that are all healthy."""

    kind = FaultKind.BAD_DEPLOY

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Find a box that asks it directly."""
        return with_witness(control, super().prepare(control, target))

    def release(self, target: InjectionTarget) -> str:
        """Of the image's releases, the one that answers badly."""
        how = target.blast_radius.how
        slow = f" slow_ms={how.slow_ms:g}" if how.answer is BadAnswer.SLOW else ""
        return f"bad answer={how.answer}{slow} percent={how.percent or ALL_PERCENT:g}"

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Another box, which got a good answer before, gets a bad one, while the balancers' health check still passes."""
        box, witness, how = target.box.service, target.witness, target.blast_radius.how
        if witness is None:
            return Verification(False, f"no other box could ask {box} before either")
        paths = [HEALTH_PATH, f"{ABSENT_PATH}[1-{questions(how.percent)}]"]
        health, *answers = ask(control, witness, target.reached_at, paths, how.slow_ms / 1000 + PATIENCE_S) or [Answer(0, 0.0)]
        bad = [answer for answer in answers if is_bad(answer, how)]
        is_green = health.status == HEALTHY
        words = f"{witness.service} gets {len(bad)} of {len(answers)} answers of {box} {wrong(how)}"
        return Verification(bool(bad) and is_green, f"{words}, and its health check is {'green' if is_green else 'red'}")


def questions(percent: float) -> int:
    """How many questions it takes to get some bad answers."""
    return 1 if percent in (0.0, ALL_PERCENT) else math.ceil(100 * BAD_EXPECTED / percent)


def is_bad(answer: Answer, how: FaultParameters) -> bool:
    """Whether it is an answer as the fault makes it: no other error counts, nor an answer that never came."""
    if how.answer is BadAnswer.SLOW:
        return answer.status == ABSENT and answer.took_ms >= how.slow_ms
    return answer.status == 500


def wrong(how: FaultParameters) -> str:
    """In which way they are bad."""
    return f"{how.slow_ms:g} ms late" if how.answer is BadAnswer.SLOW else "with status 500"
