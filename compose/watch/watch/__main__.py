"""`python -m watch TABLE FOLDER`: watch the boxes in a table, and write for Prometheus into a folder whom it shall ask.

Shows what it sees on port 9099 of loopback, where it also takes Alertmanager's messages; each alert that begins or ends is a
line on standard output, which is where the lab reads it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from watch import server, targets
from watch.eyes import Eyes
from watch.receiver import Receiver

PORT = 9099


async def main() -> None:
    """Watch for ever."""
    found = targets.parse(Path(sys.argv[1]).read_text(encoding="utf-8"))
    targets.write(found, Path(sys.argv[2]))
    eyes, receiver = Eyes(found, os.environ["AUDITOR_PASSWORD"]), Receiver()

    def take(body: bytes) -> None:
        for line in receiver.take(body):
            print(line, flush=True)

    async with await server.serve(PORT, eyes.metrics, take):
        await eyes.watch()


if __name__ == "__main__":
    asyncio.run(main())
