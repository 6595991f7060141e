"""What the program answers: GET /metrics says what is seen, POST /alerts takes a message of Alertmanager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

HEAD_MAX_BYTES = 16384
BODY_MAX_BYTES = 1 << 20
REQUEST_TIMEOUT_S = 5.0


class RequestError(Exception):
    """Not what this program answers."""


async def serve(port: int, metrics: Callable[[], str], alerts: Callable[[bytes], None]) -> asyncio.Server:
    """Answer on loopback until the server is closed. Raises OSError where the port cannot be had."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    answer(writer, *_do(*await _request(head, reader)))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # it has hung up
        except (RequestError, ValueError, KeyError, TypeError) as error:
            answer(writer, "400 Bad Request", str(error))
        finally:
            writer.close()

    def _do(request: str, body: bytes) -> tuple[str, str]:
        if request.startswith("GET /metrics "):
            return "200 OK", metrics()
        if request.startswith("POST /alerts "):
            alerts(body)
            return "200 OK", ""
        raise RequestError(request)

    return await asyncio.start_server(handle, "127.0.0.1", port, limit=HEAD_MAX_BYTES)


async def _request(head: bytes, reader: asyncio.StreamReader) -> tuple[str, bytes]:
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(fields.get("content-length", "0"))
    if not 0 <= length <= BODY_MAX_BYTES:
        raise RequestError(f"a body of {length} bytes")
    return first, await reader.readexactly(length)


def answer(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    """Write an answer; the connection can be used again."""
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
