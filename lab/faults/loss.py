"""loss: some of what a box sends never arrives."""

from __future__ import annotations

from lab.faults import packets
from lab.faults.base import BoxControl, InjectionTarget
from lab.faults.network import NetworkFault, addresses, ask_often, beside, other_side
from lab.model.fault import FaultKind, Verification


class Loss(NetworkFault):
    """A bad cable, a congested line."""

    kind = FaultKind.LOSS

    def rules(self, target: InjectionTarget) -> str:
        """Each packet takes its chance."""
        blast_radius = target.blast_radius
        others = addresses(other_side(target)) if blast_radius.others else ()
        return packets.loss(blast_radius.table, blast_radius.how.loss_percent, others)

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Packets were lost; should the box have little to say, the witness asks it some questions."""
        if target.witness:
            ask_often(control, target.witness, target.reached_at)
        counts = packets.counted(beside(target).ask(packets.show_table(target.blast_radius.table)).output)
        sent, lost = (counts[0], counts[-1]) if len(counts) == 2 else (0, 0)
        # One that the other side never had a way to has nothing to lose by it.
        moot = bool(target.blast_radius.others) and target.witness is None and lost == 0
        return Verification(lost > 0, f"{lost} of {sent} packets that {target.box.service} sent were lost", moot)
