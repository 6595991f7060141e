"""What the faults of the network share: a helper beside each box, a witness that is asked before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from lab.engine.sidecar import Beside
from lab.errors import LabError, PreflightError, UsageError
from lab.faults import network_cleanup, packets
from lab.faults.base import BlastRadius, BoxControl, BoxFault, InjectionTarget
from lab.model.fault import Undo, UndoAction, Verification
from lab.model.topology import Box, network_name

# Nothing listens there, and a box that is reached says so at once: "connection refused".
CLOSED_PORT = 9
ANSWER_S = 0.5
WITNESSES_MAX = 3
ASK_TIMEOUT_S = 10.0
QUESTIONS = 40
NO_RULES_HINT = "it needs nftables with the netdev family's egress hook: Linux 5.16 or newer, any current Docker Desktop"
# Three times, and the shortest: a busy machine is late, never early. That there was no answer is said, too: a box that could not
# ask has not been met with silence.
QUESTION = (
    "for _ in 1 2 3; do since=$EPOCHREALTIME; said=$(timeout {seconds} bash -c '</dev/tcp/{address}/{port}' 2>&1); code=$?; "
    "till=$EPOCHREALTIME; case $code:$said in 0:*|*refused*) echo $((${{till/[.,]/}} - ${{since/[.,]/}}));; "
    "*) echo silence; break;; esac; done"
)
SILENCE = math.inf


class NetworkFault(BoxFault):
    """A fault in the network of a box. The box runs on, and keeps its addresses."""

    action = UndoAction.UNFILTER

    def prepare(self, control: BoxControl, target: InjectionTarget) -> InjectionTarget:
        """Start the helper, see whether it could, and find a witness. Nothing is changed by that."""
        target = super().prepare(control, target)
        check_network(target)
        helper = control.beside(target.box)
        try:
            reply = helper.ask(within(target, self.rehearse(target)))
            if reply.exit_code:
                raise self.refusal(target, reply.output)
            return replace(with_witness(control, target), helper=helper)
        except BaseException:
            helper.close()
            raise

    def undo(self, target: InjectionTarget) -> Undo:
        """Take the rules, or the queues, away."""
        return replace(super().undo(target), table="" if self.action is UndoAction.UNSHAPE else target.blast_radius.table)

    def inject(self, control: BoxControl, target: InjectionTarget) -> float:
        """Have the helper put it into force."""
        reply = beside(target).ask(within(target, self.command(target)))
        if reply.exit_code:
            raise LabError(
                f"{target.box.service} could not be hit: {first_line(reply.output)}", "'lab heal' undoes what was done"
            )
        return reply.at_s

    def release(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """Have the helper take it away again; the kernel says whether anything is left."""
        reply = beside(target).ask(network_cleanup.removal(self.undo(target)))
        done = "works as before" if not reply.exit_code else f"is not as before: {first_line(reply.output)}"
        return Verification(not reply.exit_code, f"the network of {target.box.service} {done}")

    def rehearse(self, target: InjectionTarget) -> str:
        """What the helper does beforehand to see whether it could."""
        return packets.check_rules(self.rules(target))

    def command(self, target: InjectionTarget) -> str:
        """What the helper does."""
        return packets.add_rules(self.rules(target))

    def rules(self, target: InjectionTarget) -> str:
        """The packet rules of a box."""
        raise NotImplementedError

    def refusal(self, target: InjectionTarget, output: str) -> LabError:
        """Why the rehearsal failed."""
        if not output:
            return PreflightError(f"{target.box.service} is on no network", "'lab heal' brings it back")
        return PreflightError(f"this machine's kernel cannot filter packets in a box ({first_line(output)})", NO_RULES_HINT)


class Severed(NetworkFault):
    """What the faults share after which no box on the other side is answered."""

    def verify(self, control: BoxControl, target: InjectionTarget) -> Verification:
        """The witness, which was answered before, is not any more; or, without a witness, packets were lost."""
        box, witness = target.box.service, target.witness
        heard = ask(control, witness, target.reached_at) if witness else None
        rules = beside(target).ask(packets.show_table(target.blast_radius.table))
        lost = sum(packets.counted(rules.output))
        if witness is None:
            return Verification(lost > 0, f"no box could reach {box} before either; {lost} packets lost there")
        # What the witness sends may have been lost where it stands: the rules in the box need not have seen it.
        silent = heard == SILENCE and rules.exit_code == 0
        words = "gets no answer any more from" if heard == SILENCE else "could not ask" if heard is None else "still reaches"
        return Verification(silent, f"{witness.service} {words} {box} ({target.reached_at}); {lost} packets lost there")


class Shaped(NetworkFault):
    """What the faults share that put a queue before every interface of a box. There is room for one."""

    action = UndoAction.UNSHAPE

    def check(self, control: BoxControl, blast_radius: BlastRadius) -> None:
        """Try such a queue in a network of the helper's own: not every kernel has it."""
        helper = control.beside(None)
        try:
            reply = helper.ask(packets.try_queue(self.queue(blast_radius)))
        finally:
            helper.close()
        if reply.exit_code:
            raise self.cannot(first_line(reply.output))

    def rehearse(self, target: InjectionTarget) -> str:
        """Another queue is not put aside for it."""
        return packets.check_room()

    def command(self, target: InjectionTarget) -> str:
        """The same queue before each interface."""
        return packets.add_queue(self.queue(target.blast_radius))

    def refusal(self, target: InjectionTarget, output: str) -> LabError:
        """Why the rehearsal failed."""
        if output:
            return UsageError(
                f"what {target.box.service} sends is queued already ({first_line(output)})", "'lab heal' ends a fault"
            )
        return super().refusal(target, output)

    def queue(self, blast_radius: BlastRadius) -> str:
        """The queue, as arguments of tc."""
        raise NotImplementedError

    def cannot(self, output: str) -> PreflightError:
        """What to say of a kernel that does not have it."""
        raise NotImplementedError


def beside(target: InjectionTarget) -> Beside:
    """The helper of a target that was prepared."""
    if target.helper is None:
        raise LabError(f"{target.box.service} has no helper", "this is a bug in the lab")
    return target.helper


def on_network(box: Box, network: str) -> dict[str, str]:
    """The networks of a box that a stage file calls by this name (all where it is empty), and its address on each."""
    return {name: address for name, address in box.addresses.items() if network in ("", name, network_name(name))}


def check_network(target: InjectionTarget) -> None:
    """Raise UsageError where the box is not on the one network that the fault is about."""
    network, box = target.blast_radius.how.network, target.box
    if not on_network(box, network) and network:
        names = ", ".join(sorted(map(network_name, box.addresses))) or "none"
        raise UsageError(f"{box.service} is on no network '{network}'", f"it is on {names}")


def within(target: InjectionTarget, command: str) -> str:
    """A command of the helper, for the one network that the fault is about; as it is where it is about all."""
    network = target.blast_radius.how.network
    return packets.at_device_of(next(iter(on_network(target.box, network).values())), command) if network else command


def addresses(boxes: Iterable[Box]) -> list[str]:
    """Every address of these boxes, on every network."""
    return [address for box in boxes for address in box.addresses.values()]


def other_side(target: InjectionTarget) -> tuple[Box, ...]:
    """The boxes that a target is to be separated from by a partition."""
    blast_radius = target.blast_radius
    return blast_radius.others if target.box in blast_radius.members else blast_radius.members


def with_witness(control: BoxControl, target: InjectionTarget) -> InjectionTarget:
    """The target with a box that reaches it now, and so can tell when it does not any more; without, where there is none."""
    for witness, address in ways(target)[:WITNESSES_MAX]:
        took_ms = ask(control, witness, address)
        if took_ms is not None and took_ms < SILENCE:
            return replace(target, witness=witness, reached_at=address, reached_in_ms=took_ms)
    return target


def ways(target: InjectionTarget) -> list[tuple[Box, str]]:
    """Which boxes might reach a target and at which address, the likeliest first: those that share a network with it, users first."""
    blast_radius = target.blast_radius
    own = on_network(target.box, blast_radius.how.network)
    candidates = other_side(target) if blast_radius.others else blast_radius.outside or blast_radius.members
    running = [box for box in candidates if box.status == "running" and box.id != target.box.id]
    near = [(box, own[network]) for box in running for network in own if network in box.addresses]
    far = [(box, address) for box in running for address in own.values() if (box, address) not in near]
    return sorted(near, key=lambda way: way[0].is_system) + far


def ask(control: BoxControl, witness: Box, address: str, patience_s: float = ANSWER_S) -> float | None:
    """How many milliseconds it takes a box to hear from an address, SILENCE when it does not; None when it could not ask."""
    question = QUESTION.format(seconds=patience_s, address=address, port=CLOSED_PORT)
    done = control.run_in(witness, ["bash", "-c", question], timeout_s=ASK_TIMEOUT_S + 3 * patience_s)
    words = done.output.split() if done.exit_code == 0 else []
    times_ms = [SILENCE if word == "silence" else int(word) / 1000 for word in words if word == "silence" or word.isdigit()]
    return min(times_ms, default=None)


def ask_often(control: BoxControl, witness: Box, address: str) -> None:
    """Have a box ask an address many things at once, whatever becomes of the answers: packets that can be lost."""
    each = f"(timeout 0.2 bash -c '</dev/tcp/{address}/{CLOSED_PORT}' 2>/dev/null) &"
    control.run_in(witness, ["bash", "-c", f"for _ in {{1..{QUESTIONS}}}; do {each} done; wait"], timeout_s=ASK_TIMEOUT_S)


def first_line(text: str) -> str:
    """The first line of what a command output that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" \t^~")]
    return lines[0] if lines else "no output"
