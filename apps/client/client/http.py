"""A small HTTP/1.1 client with a total deadline that sends each request exactly once.

Libraries resend silently when a connection breaks, which hides failures and doubles writes; here every
failure has one class, and nothing is repeated. Works on plain and on gevent's sockets.

Classes of failure: connect-refused, connect-timeout, connect-unreachable, connect-unresolved, connect-reset (nothing was
sent); reset, closed, timeout, malformed (sent, no whole answer).
"""

from __future__ import annotations

import errno
import select
import socket
from dataclasses import dataclass
from time import monotonic

RECEIVE_BYTES = 65536
ANSWER_MAX_BYTES = 1 << 20
NO_BODY = (204, 304)


class RequestFailed(Exception):
    """No whole answer. `kind` is the class of failure."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    @property
    def sent(self) -> bool:
        """Whether the other side may have seen the request."""
        return not self.kind.startswith("connect-")


@dataclass(frozen=True)
class Response:
    """A whole answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection can carry another request."""
        return self.headers.get("connection", "keep-alive").lower() != "close"


class Connection:
    """One TCP connection to the system's entry."""

    def __init__(self, address: tuple[str, int], deadline: float, host: str = "") -> None:
        """Connect before `deadline` (monotonic seconds), or raise RequestFailed. `host` is whom to ask for, if by a name."""
        self._host = host or f"{address[0]}:{address[1]}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.settimeout(_remaining(deadline, "connect-timeout"))
            self._socket.connect(address)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, OSError):
                raise RequestFailed(_connect_class(error)) from error
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def is_stale(self) -> bool:
        """Whether the other side has hung up while the connection was idle (an end of stream waits to be read).

        Every keep-alive client looks before it sends; what breaks after that is a failure that a user sees.
        """
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def request(self, method: str, path: str, body: bytes, deadline: float, close: bool) -> Response:
        """Send once, return the whole answer before `deadline`, or raise RequestFailed."""
        try:
            self._socket.settimeout(_remaining(deadline, "timeout"))
            self._socket.sendall(self._encode(method, path, body, close))
            return self._receive(deadline)
        except TimeoutError as error:
            raise RequestFailed("timeout") from error
        except OSError as error:
            raise RequestFailed("reset") from error

    def _encode(self, method: str, path: str, body: bytes, close: bool) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _receive(self, deadline: float) -> Response:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more(deadline, len(data))
        status, headers = parse_head(data[:end])
        if data.startswith(b"HTTP/1.0"):
            headers.setdefault("connection", "close")
        return Response(status, headers, self._body(status, headers, data[end + 4 :], deadline))

    def _body(self, status: int, headers: dict[str, str], body: bytes, deadline: float) -> bytes:
        """What follows the head, of which `body` has come already: in chunks, of a given length, or all until the end."""
        if status in NO_BODY:
            return b""
        if "transfer-encoding" in headers:
            return self._chunks(headers["transfer-encoding"], body, deadline)
        if "content-length" not in headers and headers.get("connection", "").lower() == "close":
            return self._rest(body, deadline)
        length = number(headers.get("content-length", "0"))
        if length < 0:
            raise RequestFailed("malformed")
        while len(body) < length:
            body += self._more(deadline, len(body))
        return body[:length]

    def _chunks(self, encoding: str, data: bytes, deadline: float) -> bytes:
        if encoding.lower() != "chunked":
            raise RequestFailed("malformed")
        body = b""
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._more(deadline, len(data))
            size = hexadecimal(data[:end].partition(b";")[0].strip())
            if size < 0 or len(body) + size > ANSWER_MAX_BYTES:
                raise RequestFailed("malformed")
            # The last one is empty; trailers may follow it, and an empty line ends all.
            if size == 0:
                self._end_of_chunks(data[end:], deadline)
                return body
            while len(data) < end + 2 + size + 2:
                data += self._more(deadline, len(data))
            body += data[end + 2 : end + 2 + size]
            data = data[end + 2 + size + 2 :]

    def _end_of_chunks(self, data: bytes, deadline: float) -> None:
        while b"\r\n\r\n" not in data:
            data += self._more(deadline, len(data))

    def _rest(self, body: bytes, deadline: float) -> bytes:
        while data := self._some(deadline, len(body)):
            body += data
        return body

    def _more(self, deadline: float, so_far: int) -> bytes:
        data = self._some(deadline, so_far)
        if not data:
            raise RequestFailed("closed")
        return data

    def _some(self, deadline: float, so_far: int) -> bytes:
        self._socket.settimeout(_remaining(deadline, "timeout"))
        data = self._socket.recv(RECEIVE_BYTES)
        if so_far > ANSWER_MAX_BYTES:
            raise RequestFailed("malformed")
        return data


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer's first part. Raises RequestFailed for what is not HTTP/1.x."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or number(parts[1]) < 0:
        raise RequestFailed("malformed")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(parts[1]), headers


def number(text: str) -> int:
    """The number that ASCII digits spell; -1 for anything else."""
    return int(text) if text.isascii() and text.isdigit() else -1


def hexadecimal(digits: bytes) -> int:
    """The number that hexadecimal digits spell; -1 for anything else."""
    return int(digits, 16) if digits and all(digit in b"0123456789abcdefABCDEF" for digit in digits) else -1


def _remaining(deadline: float, kind: str) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise RequestFailed(kind)
    return left


def _connect_class(error: OSError) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return "connect-timeout"
    return {
        errno.ECONNREFUSED: "connect-refused",
        errno.EHOSTUNREACH: "connect-unreachable",
        errno.ENETUNREACH: "connect-unreachable",
        errno.ETIMEDOUT: "connect-timeout",
    }.get(error.errno or 0, "connect-reset")
