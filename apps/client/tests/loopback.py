"""A server on loopback that answers each request as told."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Behaviour = Callable[[socket.socket, bytes], None]


@dataclass
class Loopback:
    """Where it is, and what it heard."""

    address: tuple[str, int]
    behave: Behaviour
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


def reply(status: int = 200, body: Any = None, *headers: str) -> bytes:
    """An HTTP answer with a JSON body."""
    text = json.dumps(body if body is not None else {})
    lines = [f"HTTP/1.1 {status} Whatever", "X-Served-By: web1", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join([*lines, "", text]).encode()


def say(text: bytes) -> Behaviour:
    """Always answer with this."""
    return lambda connection, _: connection.sendall(text)


def say_and_hang_up(text: bytes) -> Behaviour:
    """Answer with this and close the connection."""

    def behave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_RDWR)

    return behave


def reset(connection: socket.socket, _: bytes) -> None:
    """Break the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def say_nothing(_connection: socket.socket, _request: bytes) -> None:
    """Take the request and leave it at that."""


class Handler(socketserver.BaseRequestHandler):
    """One connection: request after request, each read whole."""

    def handle(self) -> None:
        loopback: Loopback = self.server.loopback  # type: ignore[attr-defined]
        loopback.connections += 1
        try:
            while request := self._read():
                loopback.requests.append(request)
                loopback.behave(self.request, request)
        except OSError:
            return

    def _read(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.request.recv(4096)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            body += self.request.recv(4096)
        return head + b"\r\n\r\n" + body


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def serving(behave: Behaviour) -> Iterator[Loopback]:
    """The server, for as long as the context lasts."""
    with Server(("127.0.0.1", 0), Handler) as server:
        host, port = server.server_address[:2]
        loopback = Loopback((str(host), int(port)), behave)
        server.loopback = loopback  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield loopback
        finally:
            server.shutdown()
