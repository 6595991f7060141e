"""Idle connections, kept as every keep-alive client keeps them."""

from __future__ import annotations

from collections.abc import Callable

from client.http import Connection, Response

IDLE_CONNECTIONS_MAX = 200


class Connections:
    """Sends requests on connections that are made as needed, and kept afterwards."""

    def __init__(self, connect: Callable[[float], Connection]) -> None:
        """`connect` makes a connection before a deadline (monotonic seconds), or raises RequestFailed."""
        self._connect = connect
        self._idle: list[Connection] = []

    def exchange(self, method: str, path: str, body: bytes, deadline: float, new: bool) -> Response:
        """Send once, on a connection of its own if `new`; return the whole answer, or raise RequestFailed."""
        connection = self._connection(new, deadline)
        try:
            response = connection.request(method, path, body, deadline, close=new)
        except BaseException:
            connection.close()
            raise
        self._release(connection, response, new)
        return response

    def _connection(self, new: bool, deadline: float) -> Connection:
        while self._idle and not new:
            connection = self._idle.pop()
            if not connection.is_stale():
                return connection
            connection.close()
        return self._connect(deadline)

    def _release(self, connection: Connection, response: Response, new: bool) -> None:
        if new or not response.keeps_alive or len(self._idle) >= IDLE_CONNECTIONS_MAX:
            connection.close()
        else:
            self._idle.append(connection)
