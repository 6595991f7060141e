"""A server with outages that are known to the microsecond, for the self-test of the measuring.

`python -m client.faulty PORT` prints {"event": "ready"} and then, for each line
{"do": "refused" | "closed" | "frozen", "seconds": S} on standard input, fails in that way for S seconds
and prints {"event": "outage", "start_ns": ..., "end_ns": ...} on the machine's monotonic clock.

refused: the port is closed, connections are reset; closed: each connection is accepted and closed without
an answer; frozen: the process is stopped by a signal, the kernel goes on accepting.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection as Channel
from typing import Any, ClassVar


class Orders(asyncio.Protocol):
    """Answers like the order desk, from memory."""

    placed: ClassVar[dict[str, int]] = {}
    open: ClassVar[set[asyncio.Transport]] = set()
    hangs_up = False

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
        self._transport.write(self._answer(head, body))
        if b"connection: close" in head.lower():
            self._transport.close()

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


async def serve(port: int, channel: Channel) -> None:
    """Serve until the channel ends; "refuse", "close" and "good" on it change how."""
    loop = asyncio.get_running_loop()

    async def listen() -> asyncio.Server:
        return await loop.create_server(Orders, "127.0.0.1", port, backlog=2048)

    server: asyncio.Server | None = await listen()
    while True:
        try:
            order = await loop.run_in_executor(None, channel.recv)
        except EOFError:
            return
        if order == "refuse" and server:
            server.close()
            server = None
            for transport in list(Orders.open):
                transport.abort()
        elif order == "good" and server is None:
            server = await listen()
        Orders.hangs_up = order == "close"
        if order == "close":
            for transport in list(Orders.open):
                transport.close()
        channel.send(time.monotonic_ns())


def child(port: int, channel: Channel) -> None:
    """The process that serves."""
    asyncio.run(serve(port, channel))


def ask(channel: Channel, order: str) -> int:
    """Change the server; returns when that took effect, in nanoseconds."""
    channel.send(order)
    instant: int = channel.recv()
    return instant


def signal_at(pid: int, number: signal.Signals) -> int:
    """Send a signal; returns when."""
    os.kill(pid, number)
    return time.monotonic_ns()


def fail(pid: int, channel: Channel, how: str, seconds: float) -> tuple[int, int]:
    """Fail in one way for so long; returns start and end in nanoseconds."""
    begin: Callable[[], int]
    end: Callable[[], int]
    if how == "frozen":
        begin, end = lambda: signal_at(pid, signal.SIGSTOP), lambda: signal_at(pid, signal.SIGCONT)
    else:
        begin, end = lambda: ask(channel, "refuse" if how == "refused" else "close"), lambda: ask(channel, "good")
    start = begin()
    time.sleep(max(start / 1e9 + seconds - time.monotonic(), 0))
    return start, end()


def main() -> None:
    """Serve, and fail as told."""
    port = int(sys.argv[1])
    ours, theirs = Pipe()
    process = Process(target=child, args=(port, theirs), daemon=True)
    process.start()
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    print(json.dumps({"event": "ready"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        start, end = fail(process.pid or 0, ours, order["do"], order["seconds"])
        print(json.dumps({"event": "outage", "start_ns": start, "end_ns": end}), flush=True)
    process.kill()


if __name__ == "__main__":
    main()
