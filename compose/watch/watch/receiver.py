"""The alerts as they are delivered: one line for each that begins or ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

# What a line needs not say: it says them elsewhere, or Prometheus added them.
LEFT_OUT = ("alertname", "severity", "instance", "job")


@dataclass
class Receiver:
    """Takes Alertmanager's messages. Each tells a whole group; what was told before is not told again."""

    messages: int = 0
    _firing: dict[str, str] = field(default_factory=dict)
    """The words of what fires, by its fingerprint."""

    def take(self, body: bytes) -> list[str]:
        """The lines that a message is worth. Raises ValueError, KeyError or TypeError for what is none."""
        self.messages += 1
        return [line for alert in json.loads(body)["alerts"] if (line := self._line(alert))]

    def _line(self, alert: dict[str, Any]) -> str:
        key, fires = str(alert["fingerprint"]), alert["status"] == "firing"
        if fires == (key in self._firing):
            return ""
        words = self._firing.pop(key) if not fires else self._firing.setdefault(key, describe(alert))
        return f"alert {'firing' if fires else 'resolved'} (message {self.messages}): {words}"


def describe(alert: dict[str, Any]) -> str:
    """An alert in a line: ServiceDown page kind=write: no write has been served for 3.4 s."""
    labels: dict[str, str] = alert["labels"]
    words = [labels["alertname"], labels.get("severity", "")]
    words += [f"{name}={value}" for name, value in sorted(labels.items()) if name not in LEFT_OUT]
    return f"{' '.join(filter(None, words))}: {alert.get('annotations', {}).get('summary', '')}"
