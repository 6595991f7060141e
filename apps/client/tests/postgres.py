"""A server on loopback that speaks as much of PostgreSQL's protocol as it takes to be asked one thing."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STARTUP, CANCEL = 196608, 80877102
TEXT, INT8, FLOAT8, JSON = 25, 20, 701, 114


@dataclass
class Postgres:
    """`row` is what it answers to every question; without `awake` it takes everything and says nothing."""

    row: tuple[object, ...] = ("primary", 1, 1)
    columns: tuple[tuple[str, int], ...] = (("state", TEXT), ("standbys", INT8), ("synchronous", INT8))
    """Name and type of each."""
    port: int = 0
    connections: int = 0
    cancels: int = 0
    """Requests to cancel what is under way: each is a connection of its own."""
    awake: threading.Event = field(default_factory=threading.Event)
    mute_from_the_start: bool = False


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def header(columns: tuple[tuple[str, int], ...]) -> bytes:
    each = b"".join(name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0) for name, oid in columns)
    return message(b"T", struct.pack("!h", len(columns)) + each)


def values(row: tuple[object, ...]) -> bytes:
    each = b"".join(
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(str(value))) + str(value).encode() for value in row
    )
    return message(b"D", struct.pack("!h", len(row)) + each) + message(b"C", b"SELECT 1\0")


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        self.postgres: Postgres = self.server.postgres  # type: ignore[attr-defined]
        try:
            if self._starts():
                while self._answers():
                    pass
        except (OSError, struct.error):
            return

    def _starts(self) -> bool:
        while True:
            length, code = struct.unpack("!ii", self.rfile.read(8))
            self.rfile.read(length - 8)
            if code == CANCEL:
                self.postgres.cancels += 1
                return False
            if self.postgres.mute_from_the_start:
                self.postgres.awake.wait()
            if code == STARTUP:
                break
            self.wfile.write(b"N")  # neither SSL nor GSS
        self.postgres.connections += 1
        settings = b"".join(message(b"S", pair) for pair in (b"client_encoding\0UTF8\0", b"server_version\x0017.0\0"))
        self.wfile.write(message(b"R", struct.pack("!i", 0)) + settings + message(b"K", bytes(8)) + message(b"Z", b"I"))
        return True

    def _answers(self) -> bool:
        kind = self.rfile.read(1)
        if kind in (b"", b"X"):
            return False
        (length,) = struct.unpack("!i", self.rfile.read(4))
        self.rfile.read(length - 4)
        self.postgres.awake.wait()
        columns, row, ready = header(self.postgres.columns), values(self.postgres.row), message(b"Z", b"I")
        # A simple query; and parse, bind, describe, execute, sync, once the client prepares what it asks often.
        replies = {
            b"Q": columns + row + ready,
            b"P": message(b"1"),
            b"B": message(b"2"),
            b"D": columns,
            b"E": row,
            b"S": ready,
        }
        self.wfile.write(replies[kind])
        return True


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def serving(row: tuple[object, ...] = ("primary", 1, 1)) -> Iterator[Postgres]:
    """The server, for as long as the context lasts."""
    postgres = Postgres(row)
    postgres.awake.set()
    with Server(("127.0.0.1", 0), Session) as server:
        server.postgres = postgres  # type: ignore[attr-defined]
        postgres.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield postgres
        finally:
            postgres.awake.set()
            server.shutdown()
