"""The release `poisonous`: it reads the limit of a list with a new parser, and dies of one that is nested too deeply.

As a library in C does that overflows its stack: the process ends at once, with all that its other threads were doing, and
the client's connection is closed without an answer. It leaves no core dump, which the machine that measures would have to write.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from flask import Flask, request

DEPTH_MAX = 32
EXIT_CODE = 70
"""Neither 3 nor 4: with these gunicorn would take it for an app that cannot be loaded, and end."""


def depth(text: str) -> int:
    """How many brackets are open at the beginning of a text."""
    return len(text) - len(text.lstrip("("))


def install(app: Flask, _: Mapping[str, str]) -> None:
    """Put the defect into an app."""

    @app.before_request
    def parse() -> None:
        if request.endpoint == "latest" and depth(request.args.get("limit", "")) > DEPTH_MAX:
            os._exit(EXIT_CODE)
