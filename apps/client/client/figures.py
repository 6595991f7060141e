"""What the load does, as OpenMetrics: https://prometheus.io/docs/specs/om/open_metrics_spec/. For graphs of cause and effect.

Counted beside what is measured: every figure of the lab comes from the arrivals themselves.
"""

from __future__ import annotations

from collections import Counter

PORT = 9100
TEXT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Figures:
    """Arrivals so far, and what is broken."""

    def __init__(self) -> None:
        self._arrivals = Counter({(kind, outcome): 0 for kind in ("read", "write") for outcome in ("good", "bad")})
        self.fault = ""
        """What the lab has broken and not yet healed, as in "kill web1"; empty for nothing."""

    def count(self, kind: str, good: bool) -> None:
        """Note an arrival that has ended."""
        self._arrivals[kind, "good" if good else "bad"] += 1

    def text(self) -> str:
        """All of it."""
        lines = [
            "# TYPE lab_arrivals counter",
            "# HELP lab_arrivals Intended requests that have ended; good: correct and within the deadline.",
        ]
        lines += [
            f'lab_arrivals_total{{kind="{kind}",outcome="{outcome}"}} {count}'
            for (kind, outcome), count in self._arrivals.items()
        ]
        lines += ["# TYPE lab_fault_active gauge", "# HELP lab_fault_active Whether something is broken by the lab."]
        lines += [f'lab_fault_active{{fault="{escaped(self.fault)}"}} {int(bool(self.fault))}']
        return "\n".join([*lines, "# EOF", ""])

    def answer(self) -> bytes:
        """An answer over HTTP, whatever was asked."""
        body = self.text().encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {TEXT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return head.encode() + body


def escaped(value: str) -> str:
    """A label's value as it is written."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
