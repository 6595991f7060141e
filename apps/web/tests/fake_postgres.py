"""Just enough of PostgreSQL's side of its protocol to hang, break off or answer at a chosen statement."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SILENCE = "silence"
HANG_UP = "hang up"
ANSWER = "answer"

PARAMETERS = {"client_encoding": "UTF8", "DateStyle": "ISO, MDY", "TimeZone": "UTC", "server_version": "17.0"}
# Columns of an order as in its table: name, type, value.
ORDER = [
    ("id", 20, "1"),
    ("key", 25, "k-1"),
    ("item", 25, "coffee"),
    ("quantity", 23, "2"),
    ("placed_by", 25, "web1"),
    ("placed_at", 1184, "2026-01-31 00:00:00+00"),
]


@dataclass
class FakePostgres:
    """`behave` says what becomes of a statement: SILENCE, HANG_UP or ANSWER. "connect" is the first one."""

    behave: Callable[[str], str] = lambda _: ANSWER
    port: int = 0
    heard: list[str] = field(default_factory=list)

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=u dbname=d sslmode=disable gssencmode=disable connect_timeout=2"

    def statements(self, word: str) -> int:
        """How often a statement that begins with this word was heard."""
        return sum(statement.startswith(word) for statement in self.heard)


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def row() -> bytes:
    columns = b"".join(name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0) for name, oid, _ in ORDER)
    values = b"".join(struct.pack("!i", len(value)) + value.encode() for _, _, value in ORDER)
    count = struct.pack("!h", len(ORDER))
    return message(b"T", count + columns) + message(b"D", count + values)


def answer(statement: str, extended: bool) -> bytes:
    word = statement.split(maxsplit=1)[0]
    parts = [message(b"1"), message(b"2")] if extended else []
    if word == "INSERT":
        parts.append(row())
    elif extended:
        parts.append(message(b"n"))
    tag = {"INSERT": "INSERT 0 1", "SELECT": "SELECT 0"}.get(word, word)
    in_transaction = word not in ("COMMIT", "ROLLBACK")
    return b"".join([*parts, message(b"C", tag.encode() + b"\0"), message(b"Z", b"T" if in_transaction else b"I")])


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        postgres: FakePostgres = self.server.postgres  # type: ignore[attr-defined]
        try:
            self._converse(postgres)
        except (OSError, struct.error):
            return  # the other side has closed the connection

    def _converse(self, postgres: FakePostgres) -> None:
        self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)
        if not self._say(postgres, "connect", self._welcome()):
            return
        statement = ""
        while kind := self.rfile.read(1):
            content = self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)
            if kind == b"P":
                statement = content.split(b"\0")[1].decode()
            elif kind == b"Q":
                statement = content.rstrip(b"\0").decode()
            if kind in (b"Q", b"S") and not self._say(postgres, statement, answer(statement, extended=kind == b"S")):
                return

    def _say(self, postgres: FakePostgres, statement: str, text: bytes) -> bool:
        postgres.heard.append(statement)
        behaviour = postgres.behave(statement)
        if behaviour == ANSWER:
            self.wfile.write(text)
        elif behaviour == SILENCE:
            self.rfile.read()  # until the other side gives up
        return behaviour == ANSWER

    @staticmethod
    def _welcome() -> bytes:
        parameters = [message(b"S", f"{name}\0{value}\0".encode()) for name, value in PARAMETERS.items()]
        return b"".join([message(b"R", struct.pack("!i", 0)), *parameters, message(b"Z", b"I")])


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def serving(behave: Callable[[str], str]) -> Iterator[FakePostgres]:
    """A server on loopback for as long as the context lasts."""
    with Server(("127.0.0.1", 0), Session) as server:
        postgres = FakePostgres(behave, port=server.server_address[1])
        server.postgres = postgres  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield postgres
        finally:
            server.shutdown()
