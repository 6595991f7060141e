"""A page that answers its own site only: not what other pages ask through the browser that shows both.

Locust's page allows every site to read it (CORS), and a mere GET stops the load. It is on loopback, without a password, and so
is every browser of that machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

OWN_NAME = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
OWN_SITES = ("same-origin", "none")
"""Who asks, as browsers say it (Sec-Fetch-Site): the page itself, or whoever has typed its address."""
CORS = "access-control-"


def is_own(environ: WSGIEnvironment) -> bool:
    """Whether the page itself asks, or a person, or a program that is no browser.

    The name must be one of loopback: the name of another site may lead here too (DNS rebinding).
    """
    host = environ.get("HTTP_HOST", "")
    if not OWN_NAME.fullmatch(host):
        return False
    return environ.get("HTTP_ORIGIN", f"http://{host}") == f"http://{host}" and (
        environ.get("HTTP_SEC_FETCH_SITE", "none") in OWN_SITES
    )


class SameSite:
    """A WSGI application, for its own site only."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, without leave for any other site; 403 where another one asks."""
        if not is_own(environ):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"not for other sites\n"]

        def start(status: str, headers: list[tuple[str, str]], *exception: Any) -> Any:
            return start_response(status, [each for each in headers if not each[0].lower().startswith(CORS)], *exception)

        return self._application(environ, start)
