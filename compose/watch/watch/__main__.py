"""`python -m watch FOLDER`: watch the boxes that the environment names (watch.targets), and write for Prometheus into a folder
which of them it is to ask.

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
    found = targets.read(os.environ)
    targets.write(found, Path(sys.argv[1]))
    eyes, receiver = Eyes(found, os.environ["AUDITOR_PASSWORD"]), Receiver()

    def take(body: bytes) -> None:
        for line in receiver.take(body):
            print(line, flush=True)

    async with await server.serve(PORT, eyes.metrics, take):
        await eyes.watch()


if __name__ == "__main__":
    asyncio.run(main())
