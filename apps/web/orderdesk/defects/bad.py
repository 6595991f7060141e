"""The release `bad`: it answers users with an error, or late. It is alive, and so is its database: every health check stays green.

Settings: answer (error or slow), slow_ms, percent (of the requests of users; each takes its chance).
"""

from __future__ import annotations

from collections.abc import Mapping
from random import random
from time import sleep
from typing import Any

from flask import Flask, request

from orderdesk.app import COUNTED

SLOW = "slow"


def install(app: Flask, settings: Mapping[str, str]) -> None:
    """Put the defect into an app. Raises ValueError for a setting that is no number."""
    is_slow = settings.get("answer") == SLOW
    delay_s, ratio = float(settings.get("slow_ms", 0)) / 1000, float(settings.get("percent", 100)) / 100

    @app.before_request
    def defect() -> tuple[dict[str, Any], int] | None:
        if request.endpoint not in COUNTED or random() >= ratio:
            return None
        if is_slow:
            # The thread waits, as it would for a lock or for a query without an index.
            sleep(delay_s)
            return None
        return {"error": "internal server error"}, 500
