"""loss: some of what a box sends never arrives."""

from __future__ import annotations

from lab.faults import packets
from lab.faults.base import Hands, Victim
from lab.faults.network import NetworkFault, ask_often, beside
from lab.model.fault import Bite, FaultKind


class Loss(NetworkFault):
    """A bad cable, a congested line."""

    kind = FaultKind.LOSS

    def rules(self, victim: Victim) -> str:
        """Each packet takes its chance."""
        return packets.loss(victim.aim.table, victim.aim.how.loss_percent)

    def prove(self, hands: Hands, victim: Victim) -> Bite:
        """Packets were lost; should the box have little to say, the witness asks it some questions."""
        if victim.witness:
            ask_often(hands, victim.witness, victim.reached_at)
        counts = packets.counted(beside(victim).ask(packets.show_table(victim.aim.table)).output)
        sent, lost = (counts[0], counts[-1]) if len(counts) == 2 else (0, 0)
        return Bite(lost > 0, f"{lost} of {sent} packets that {victim.box.service} sent were lost")
