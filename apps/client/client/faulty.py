"""A server with outages that are known to the microsecond, for the self-test of the measuring.

`python -m client.faulty PORT` prints {"event": "ready"} and then, for each line
{"do": "refused" | "closed" | "frozen", "seconds": S} on standard input, fails in that way for S seconds
and prints {"event": "outage", "start_ns": ..., "end_ns": ...} on the machine's monotonic clock.

refused: the port is closed, connections are reset; closed: each connection is accepted and closed without
an answer; frozen: connections and requests are taken and nothing is answered; at the end everything that
still waits is, in order. (Stopping the process by a signal would look the same to a client, but the time to
work off what had piled up would blur the end of the outage: 60 ms at 500 requests a second.)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, ClassVar


class Orders(asyncio.Protocol):
    """Answers like the order desk, from memory."""

    placed: ClassVar[dict[str, int]] = {}
    open: ClassVar[set[asyncio.Transport]] = set()
    held: ClassVar[list[tuple[asyncio.Transport, bytes]]] = []
    hangs_up = False
    is_frozen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""
        Orders.open.add(transport)
        if Orders.hangs_up:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        Orders.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if found else 0
        if not found or len(body) < length:
            return
        self._data = b""
        if Orders.hangs_up:
            self._transport.close()
            return
        answer = self._answer(head, body)
        if Orders.is_frozen:
            Orders.held.append((self._transport, answer))
        else:
            self._transport.write(answer)

    def _answer(self, head: bytes, body: bytes) -> bytes:
        method, path = head.split(b" ", 2)[:2]
        if method == b"POST":
            key = json.loads(body)["key"]
            Orders.placed[key] = Orders.placed.get(key, 0) + 1
            content: dict[str, Any]
            status, content = "201 Created", {"order": {"key": key}}
        else:
            key = path.rpartition(b"/")[2].decode()
            status, content = "200 OK", {"orders": [{"key": key}]}
        text = json.dumps(content)
        return f"HTTP/1.1 {status}\r\nX-Served-By: faulty\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


class Server:
    """Serves on one port, and fails as told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Open the port."""
        self._server = await asyncio.get_running_loop().create_server(Orders, "127.0.0.1", self._port, backlog=2048)

    async def fail(self, how: str, seconds: float) -> tuple[int, int]:
        """Fail in one way for so long; returns start and end in nanoseconds."""
        begin, end = {
            "refused": (self._refuse, self.listen),
            "closed": (self._hang_up, self._answer_again),
            "frozen": (self._freeze, self._thaw),
        }[how]
        start_ns = time.monotonic_ns()
        await begin()
        await asyncio.sleep(max(start_ns / 1e9 + seconds - time.monotonic(), 0))
        end_ns = time.monotonic_ns()
        await end()
        return start_ns, end_ns

    async def _refuse(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in list(Orders.open):
            transport.abort()

    async def _hang_up(self) -> None:
        Orders.hangs_up = True
        for transport in list(Orders.open):
            transport.close()

    async def _answer_again(self) -> None:
        Orders.hangs_up = False

    async def _freeze(self) -> None:
        Orders.is_frozen = True

    async def _thaw(self) -> None:
        Orders.is_frozen = False
        held, Orders.held = Orders.held, []
        for transport, answer in held:
            if not transport.is_closing():
                transport.write(answer)


async def main() -> None:
    """Serve, and fail as standard input tells."""
    server = Server(int(sys.argv[1]))
    await server.listen()
    print(json.dumps({"event": "ready"}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        start_ns, end_ns = await server.fail(order["do"], order["seconds"])
        print(json.dumps({"event": "outage", "start_ns": start_ns, "end_ns": end_ns}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
