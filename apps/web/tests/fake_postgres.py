"""Just enough of PostgreSQL's side of its protocol to be a primary or a standby, and to hang, break off or answer at a
chosen statement. What a server is and does can be changed while it runs.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

SILENCE = "silence"
HANG_UP = "hang up"
ANSWER = "answer"

PARAMETERS = {"client_encoding": "UTF8", "DateStyle": "ISO, MDY", "TimeZone": "UTC", "server_version": "17.0"}
# Columns of an order as in its table: name, type. BOOL, INT4: those of other answers.
ORDER = [("id", 20), ("key", 25), ("item", 25), ("quantity", 23), ("placed_by", 25), ("placed_at", 1184)]
BOOL, INT4, INT8 = 16, 23, 20

Columns = list[tuple[str, int]]


@dataclass
class FakePostgres:
    """`behave` says what becomes of a statement: SILENCE, HANG_UP or ANSWER. "connect" is the first one.

    It says who it is in `placed_by` of every order.
    """

    behave: Callable[[str], str] = lambda _: ANSWER
    name: str = "db"
    in_recovery: bool = False
    read_only: bool = False
    timeline: int = 1
    position: int = 0
    commit_warning: str = ""
    port: int = 0
    heard: list[str] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)
    serves: bool = False
    awake: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.awake.set()
        self.start()

    @property
    def conninfo(self) -> str:
        return conninfo(self)

    def start(self) -> None:
        """Accept connections, on the same port as before."""
        self.serves = True
        self._server = Server(("127.0.0.1", self.port), Session)
        self._server.postgres = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def kill(self) -> None:
        """Break every connection off, refuse new ones."""
        self.serves = False
        self._server.shutdown()
        self._server.server_close()
        while self.connections:
            with suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)
        self.awake.set()

    def freeze(self) -> None:
        """Accept connections and statements as a kernel does, but do nothing until `resume`."""
        self.awake.clear()

    def resume(self) -> None:
        """Go on as if nothing had been."""
        self.awake.set()

    def promote(self, timeline: int) -> None:
        """Be the primary."""
        self.timeline = timeline
        self.in_recovery = self.read_only = False

    def statements(self, word: str) -> int:
        """How often a statement that begins with this word was heard."""
        return sum(statement.startswith(word) for statement in self.heard)

    def rows(self, statement: str) -> tuple[Columns, list[str]] | None:
        """The columns of what a statement returns, and the one row of it."""
        if statement.startswith("SELECT pg_is_in_recovery()"):
            state = [
                "ft"[self.in_recovery],
                "ft"[self.in_recovery or self.read_only],
                str(0 if self.in_recovery else self.timeline),
                str(self.position),
            ]
            return [("a", BOOL), ("b", BOOL), ("c", INT4), ("d", INT8)], state
        if statement.startswith(("INSERT", "SELECT id")):
            return ORDER, ["1", "k-1", "coffee", "2", self.name, "2026-01-31 00:00:00+00"]
        return ([("a", INT4)], ["1"]) if statement.startswith("SELECT") else None

    def refuses(self, statement: str) -> bool:
        """Whether a statement is an error because it writes."""
        return statement.startswith("INSERT") and (self.in_recovery or self.read_only)


def conninfo(*servers: FakePostgres) -> str:
    """A libpq connection string that names these servers."""
    hosts, ports = ",".join("127.0.0.1" for _ in servers), ",".join(str(server.port) for server in servers)
    return f"host={hosts} port={ports} user=u dbname=d sslmode=disable gssencmode=disable connect_timeout=2"


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def description(columns: Columns) -> bytes:
    each = b"".join(name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0) for name, oid in columns)
    return message(b"T", struct.pack("!h", len(columns)) + each)


def data(values: list[str]) -> bytes:
    each = b"".join(struct.pack("!i", len(value)) + value.encode() for value in values)
    return message(b"D", struct.pack("!h", len(values)) + each)


def report(kind: bytes, severity: str, code: str, text: str) -> bytes:
    return message(kind, f"S{severity}\0V{severity}\0C{code}\0M{text}\0\0".encode())


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def setup(self) -> None:
        super().setup()
        self.postgres: FakePostgres = self.server.postgres  # type: ignore[attr-defined]
        self.postgres.connections.add(self.connection)
        self.status = b"I"
        self.prepared: dict[bytes, str] = {}
        self.bound = ""
        self.reply = b""

    def handle(self) -> None:
        try:
            self._converse()
        except (OSError, struct.error):
            return  # closed, by the other side or by `kill`

    def finish(self) -> None:
        self.postgres.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def _converse(self) -> None:
        self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)
        if self._hear("connect"):
            self.wfile.write(self._welcome())
            while self._listen():
                pass

    def _listen(self) -> bool:
        """Do what one message asks for; whether the conversation goes on."""
        kind = self.rfile.read(1)
        if kind in (b"", b"X"):
            return False
        content = self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)
        does = {
            b"Q": self._query,
            b"P": self._parse,
            b"B": self._bind,
            b"D": self._describe,
            b"E": self._execute,
            b"S": self._sync,
        }
        return does[kind](content)

    def _query(self, content: bytes) -> bool:
        statement = content.rstrip(b"\0").decode().strip()
        rows = self.postgres.rows(statement)
        return self._run(statement, description(rows[0]) if rows else b"") and self._sync(b"")

    def _parse(self, content: bytes) -> bool:
        name, statement, _ = content.split(b"\0", 2)
        self.prepared[name] = statement.decode().strip()
        self.reply += message(b"1")
        return True

    def _bind(self, content: bytes) -> bool:
        self.bound = self.prepared[content.split(b"\0")[1]]
        self.reply += message(b"2")
        return True

    def _describe(self, _: bytes) -> bool:
        rows = self.postgres.rows(self.bound)
        self.reply += description(rows[0]) if rows else message(b"n")
        return True

    def _execute(self, _: bytes) -> bool:
        return self._run(self.bound, b"")

    def _sync(self, _: bytes) -> bool:
        self.wfile.write(self.reply + message(b"Z", self.status))
        self.reply = b""
        return True

    def _run(self, statement: str, columns: bytes) -> bool:
        going = self._hear(statement)
        if self.postgres.refuses(statement):
            self.status = b"E"
            self.reply += report(b"E", "ERROR", "25006", "cannot execute INSERT in a read-only transaction")
        else:
            self._succeed(statement, columns)
        return going

    def _succeed(self, statement: str, columns: bytes) -> None:
        word, rows = statement.split(maxsplit=1)[0], self.postgres.rows(statement)
        self.status = {"BEGIN": b"T", "COMMIT": b"I", "ROLLBACK": b"I"}.get(word, self.status)
        if word == "COMMIT" and self.postgres.commit_warning:
            self.reply += report(b"N", "WARNING", "01000", self.postgres.commit_warning)
        tag = {"INSERT": "INSERT 0 1", "SELECT": "SELECT 1"}.get(word, word)
        self.reply += columns + (data(rows[1]) if rows else b"") + message(b"C", tag.encode() + b"\0")

    def _hear(self, statement: str) -> bool:
        """Whether the statement will be answered."""
        self.postgres.awake.wait()
        if self.connection not in self.postgres.connections:
            return False
        self.postgres.heard.append(statement)
        behaviour = self.postgres.behave(statement)
        if behaviour == SILENCE:
            self.rfile.read()  # until the other side gives up
        return behaviour == ANSWER

    @staticmethod
    def _welcome() -> bytes:
        parameters = [message(b"S", f"{name}\0{value}\0".encode()) for name, value in PARAMETERS.items()]
        return b"".join([message(b"R", struct.pack("!i", 0)), *parameters, message(b"Z", b"I")])


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    postgres: FakePostgres


@contextmanager
def serving(behave: Callable[[str], str] = lambda _: ANSWER, **settings: object) -> Iterator[FakePostgres]:
    """A server on loopback for as long as the context lasts."""
    postgres = FakePostgres(behave, **settings)  # type: ignore[arg-type]
    try:
        yield postgres
    finally:
        postgres.kill()
