"""A request that kills whoever handles it, sent again and again: `python -m client.poison ADDRESS PORT PER_S`.

Only one release of the order desk dies of it (apps/web/orderdesk/defects/poisonous.py); to every other it asks for a list of
orders. It comes as a user's does: by way of the balancer, within the users' deadline, on a connection of its own, and whatever
became of the one before. A load is no part of it. It ends after FOR_S at the latest.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from threading import Thread
from time import monotonic, sleep

from client.http import Connection, RequestFailed

PATH = f"/orders?limit={'(' * 64}"
DEADLINE_S = 1.0
FOR_S = 3600.0
"""No experiment lasts longer."""


def next_s(last_s: float, now_s: float, per_s: float) -> float:
    """When the next request is due, after one that was due at `last_s`.

    After a pause of the machine nothing is made up for: there are never more than `per_s` in a second.
    """
    return max(last_s + 1 / per_s, now_s)


def send(address: tuple[str, int]) -> None:
    """Ask once. What becomes of it is no matter here."""
    deadline = monotonic() + DEADLINE_S
    with suppress(RequestFailed):
        connection = Connection(address, deadline)
        try:
            connection.request("GET", PATH, b"", deadline, close=True)
        finally:
            connection.close()


def main() -> None:
    """Send until it is over."""
    address, per_s = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3])
    begin_s = due_s = monotonic()
    while due_s - begin_s < FOR_S:
        due_s = next_s(due_s, monotonic(), per_s)
        sleep(max(due_s - monotonic(), 0.0))
        Thread(target=send, args=(address,), daemon=True).start()


if __name__ == "__main__":
    main()
