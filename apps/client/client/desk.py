"""A user of the order desk: places orders, reads acknowledged ones back, and judges each answer."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from client.connections import Connections
from client.http import Connection, RequestFailed, Response
from client.schedule import Intent

REMEMBERED_ORDERS = 200
LIST_PATH = "/orders?limit=1"


@dataclass(frozen=True)
class Seen:
    """What a user saw of one request."""

    kind: str
    """"ok", or the class of the failure: those of client.http, http-STATUS, wrong-body, stale."""
    outcome: str
    """Of a write: ok (acknowledged), fail (surely not executed), info (unknown). Of a read: ok or fail."""
    status: int = 0
    by: str = ""
    via: str = ""


class Desk(Connections):
    """Sends requests to one address; keeps idle connections and acknowledged orders."""

    def __init__(
        self, address: tuple[str, int], prefix: str, deadline_s: float, connect: Callable[..., Connection] = Connection
    ) -> None:
        super().__init__(lambda deadline: connect(address, deadline))
        self._prefix = prefix
        self._deadline_s = deadline_s
        self._acknowledged: deque[str] = deque(maxlen=REMEMBERED_ORDERS)

    def key(self, intent: Intent) -> str:
        """The key that the client makes for an order."""
        return f"{self._prefix}-{intent.number}"

    def choose(self, intent: Intent) -> str | None:
        """The acknowledged order that a read will ask for; None before there is one."""
        if intent.write or not self._acknowledged:
            return None
        return self._acknowledged[int(intent.pick * len(self._acknowledged))]

    def perform(self, intent: Intent, intended: float) -> Seen:
        """Do what is intended, once, within the deadline that counts from `intended` (monotonic seconds)."""
        wanted = self.choose(intent)
        deadline = intended + self._deadline_s
        try:
            response = self._exchange(intent, wanted, deadline)
        except RequestFailed as failed:
            return Seen(failed.kind, "info" if intent.write and failed.sent else "fail")
        seen = judge_write(self.key(intent), response) if intent.write else judge_read(wanted, response)
        if seen.kind == "ok" and monotonic() > deadline:
            # The answer was good and came too late: acknowledged, and a failure to the user.
            return Seen("late", seen.outcome, seen.status, seen.by, seen.via)
        if intent.write and seen.outcome == "ok":
            self._acknowledged.append(self.key(intent))
        return seen

    def _exchange(self, intent: Intent, wanted: str | None, deadline: float) -> Response:
        if intent.write:
            method, path = "POST", "/orders"
            body = json.dumps({"key": self.key(intent), "item": "coffee", "quantity": 1}).encode()
        else:
            method, path, body = "GET", f"/orders/{wanted}" if wanted else LIST_PATH, b""
        return self.exchange(method, path, body, deadline, intent.new_connection)


def judge_write(key: str, response: Response) -> Seen:
    """What the answer to a placed order means."""
    boxes = who(response)
    body = _json(response)
    if response.status == 201:
        good = isinstance(body.get("order"), dict) and body["order"].get("key") == key
        # Acknowledged all the same: a 201 says that the order stands.
        return Seen("ok" if good else "wrong-body", "ok", 201, *boxes)
    surely_not = body.get("outcome") == "not-placed"
    return Seen(f"http-{response.status}", "fail" if surely_not else "info", response.status, *boxes)


def judge_read(wanted: str | None, response: Response) -> Seen:
    """What the answer to a read means; an acknowledged order that is not found is stale."""
    boxes = who(response)
    if response.status == 404 and wanted:
        return Seen("stale", "fail", 404, *boxes)
    if response.status != 200:
        return Seen(f"http-{response.status}", "fail", response.status, *boxes)
    orders = _json(response).get("orders")
    good = isinstance(orders, list) and (
        wanted is None or any(isinstance(order, dict) and order.get("key") == wanted for order in orders)
    )
    return Seen("ok" if good else "wrong-body", "ok" if good else "fail", 200, *boxes)


def who(response: Response) -> tuple[str, str]:
    """The box that gave an answer, and the balancer that passed it on, as far as it says."""
    return response.headers.get("x-served-by", ""), response.headers.get("x-balancer", "")


def _json(response: Response) -> dict[str, Any]:
    try:
        body = json.loads(response.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
