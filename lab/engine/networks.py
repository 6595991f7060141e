"""Networks: what a box is connected to, disconnected and connected again as it was."""

from __future__ import annotations

from collections.abc import Sequence

from lab.engine.api import explained
from lab.engine.inspect import link_of
from lab.engine.shells import DockerShells
from lab.errors import HealError
from lab.model.topology import Box, Link

MISSING_LINES = 'for line; do grep -qxF "$line" /etc/hosts || printf "%s\\n" "$line" >>/etc/hosts; done'
NO_SHELL = (126, 127)
"""Exit codes of `docker exec` where there is nothing to run."""


class DockerNetworks(DockerShells):
    """The networks of boxes."""

    def links(self, box: Box) -> tuple[Link, ...]:
        """The networks that the box is connected to, with what is needed to connect it in the same way again."""
        with explained(f"look at {box.service}"):
            details = self.inspect(box.id) or {}
        found = details.get("NetworkSettings", {}).get("Networks", {})
        return tuple(link_of(name, each) for name, each in sorted(found.items()))

    def disconnect(self, box: Box) -> None:
        """Take the box off every network."""
        for link in self.links(box):
            self.act(box, "cut off", lambda id_, link=link: self.api.disconnect_container_from_network(id_, link.network))  # type: ignore[misc]

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        """Connect the box again to those of the networks that it is not on."""
        present = {link.network for link in self.links(box)}
        for link in links:
            if link.network not in present:
                self.act(box, "reconnect", lambda id_, link=link: self._connect(id_, link))  # type: ignore[misc]
        self._give_names_back(box)

    def subnets(self, network: str) -> tuple[str, ...]:
        """The ranges of addresses that a network has."""
        with explained(f"look at the network {network}"):
            details = self.api.inspect_network(network)
        return tuple(each["Subnet"] for each in (details.get("IPAM") or {}).get("Config") or [] if each.get("Subnet"))

    def _give_names_back(self, box: Box) -> None:
        """Write what is missing of the names that the stage file gave to the box (extra_hosts) into its /etc/hosts.

        Docker (26.1) forgets them when a box that was on no network comes back to one. Its DNS then answers, with any address
        of those that live, and for one that is dead after 8 s: decision 0022. A box without a shell stays as Docker made it. Raises HealError.
        """
        with explained(f"look at {box.service}"):
            details = self.inspect(box.id) or {}
        given = details.get("HostConfig", {}).get("ExtraHosts") or []
        lines = [
            f"{address}\t{name}" for name, _, address in (each.partition(":") for each in given) if address != "host-gateway"
        ]
        # Who does not run gets all of them when it starts.
        if lines and details.get("State", {}).get("Status") == "running":
            done = self.run_in(box, ["sh", "-c", MISSING_LINES, "sh", *lines], user="root")
            if done.exit_code not in (0, *NO_SHELL):
                raise HealError(f"{box.service} does not know its neighbours' names any more: {done.output}", "restart it")

    def _connect(self, container_id: str, link: Link) -> None:
        self.api.connect_container_to_network(
            container_id,
            link.network,
            ipv4_address=link.address or None,
            ipv6_address=link.address6 or None,
            aliases=list(link.aliases),
            mac_address=link.mac or None,
        )
