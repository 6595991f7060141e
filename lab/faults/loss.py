"""loss: some of what a box sends never arrives."""

from __future__ import annotations

from lab.faults import packets
from lab.faults.base import BoxControl, InjectionTarget
from lab.faults.network import NetworkFault, ask_often, beside
from lab.model.fault import FaultKind, Verification


class Loss(NetworkFault):
    """A bad cable, a congested line."""

    kind = FaultKind.LOSS

    def rules(self, victim: InjectionTarget) -> str:
        """Each packet takes its chance."""
        return packets.loss(victim.blast_radius.table, victim.blast_radius.how.loss_percent)

    def prove(self, control: BoxControl, victim: InjectionTarget) -> Verification:
        """Packets were lost; should the box have little to say, the witness asks it some questions."""
        if victim.witness:
            ask_often(control, victim.witness, victim.reached_at)
        counts = packets.counted(beside(victim).ask(packets.show_table(victim.blast_radius.table)).output)
        sent, lost = (counts[0], counts[-1]) if len(counts) == 2 else (0, 0)
        return Verification(lost > 0, f"{lost} of {sent} packets that {victim.box.service} sent were lost")
