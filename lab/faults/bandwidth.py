"""bandwidth: only so much of what a box sends gets through."""

from __future__ import annotations

from lab.errors import PreflightError
from lab.faults import packets
from lab.faults.base import BlastRadius, BoxControl, InjectionTarget
from lab.faults.network import Shaped, beside, first_line, on_network
from lab.model.fault import FaultKind, Verification

# How far the measured rate may be off; a few packets more or less in half a second.
HIGH_RATIO, LOW_RATIO = 1.25, 0.6


class Bandwidth(Shaped):
    """A narrow line."""

    kind = FaultKind.BANDWIDTH

    def queue(self, blast_radius: BlastRadius) -> str:
        """What is too much waits, and what waits too long is lost."""
        return packets.bandwidth(blast_radius.how.rate_kbit)

    def cannot(self, output: str) -> PreflightError:
        """Hardly any kernel has no tbf."""
        return PreflightError(
            f"this machine's kernel cannot limit a bandwidth (it has no tbf: {output})", "'modprobe sch_tbf' may help"
        )

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """For half a second more is sent to the witness than can get through: just as much as can gets through."""
        if target.witness is None:
            return Verification(False, f"no box could reach {target.box.service} before: there is nothing to send to")
        how = target.blast_radius.how
        rate_kbit, own = how.rate_kbit, on_network(target.box, how.network)
        to = next((address for network, address in target.witness.addresses.items() if network in own), target.reached_at)
        reply = beside(target).ask(f"lab-flood {to} {rate_kbit:g}")
        if reply.exit_code:
            return Verification(False, f"{target.box.service} could not send: {first_line(reply.output)}")
        passed = float(reply.output)
        held = LOW_RATIO * rate_kbit <= passed <= HIGH_RATIO * rate_kbit
        return Verification(
            held, f"{passed:.0f} kbit/s of twice {rate_kbit:g} kbit/s get from {target.box.service} to {target.witness.service}"
        )
