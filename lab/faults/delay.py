"""delay: what a box sends takes longer to arrive."""

from __future__ import annotations

from lab.errors import PreflightError
from lab.faults import packets
from lab.faults.base import BlastRadius, BoxControl, InjectionTarget
from lab.faults.network import ANSWER_S, SILENCE, Shaped, ask
from lab.model.fault import FaultKind, Verification

# How much of the delay must be seen; a clock that ticks and a jitter leave a little out.
SEEN_RATIO = 0.8


class Delay(Shaped):
    """A long way, or a busy router."""

    kind = FaultKind.DELAY

    def queue(self, blast_radius: BlastRadius) -> str:
        """Each packet waits."""
        return packets.delay(blast_radius.how.delay_ms, blast_radius.how.jitter_ms)

    def cannot(self, output: str) -> PreflightError:
        """Many small kernels have no netem."""
        return PreflightError(
            f"this machine's kernel cannot delay packets (it has no netem: {output})",
            "'modprobe sch_netem' where the engine runs may help; loss, bandwidth, isolate and partition do without it",
        )

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The witness hears from it later than before."""
        if target.witness is None:
            return Verification(
                False, f"no box could reach {target.box.service} before: how late its answers are cannot be measured"
            )
        how = target.blast_radius.how
        # Twice: the box may have to say where it is (ARP) before it answers, and that is late, too.
        patience_s = ANSWER_S + 2 * (how.delay_ms + how.jitter_ms) / 1000
        now_ms = ask(control, target.witness, target.reached_at, patience_s)
        if now_ms is None or now_ms == SILENCE:
            return Verification(False, f"{target.witness.service} gets no answer from {target.box.service}")
        least_ms = (how.delay_ms - how.jitter_ms) * SEEN_RATIO
        seen = f"{target.witness.service} hears from {target.box.service} after {now_ms:.1f} ms, before: {target.reached_in_ms:.1f} ms"
        return Verification(now_ms - target.reached_in_ms >= least_ms, seen)
