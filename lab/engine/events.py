"""What Docker reports of boxes while they are watched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import requests
from docker.errors import DockerException

from lab.engine.api import DockerConnection, explained
from lab.engine.inspect import WATCHED, EngineEvent, event_of
from lab.model.topology import Box


class DockerEvents(DockerConnection):
    """The stream of events."""

    def watch(self, heard: Callable[[EngineEvent], None]) -> Callable[[], None]:
        """Call `heard`, in another thread, for each event of our boxes; returns how to stop that.

        Of a connection to a network only the container is named: of whoever was connected, the service is empty.
        """
        stream = self.api.events(decode=True, filters={"type": ["container", "network"], "event": list(WATCHED)})

        def listen() -> None:
            # Closing the stream is what ends this; how the library reports that differs by platform.
            try:
                for event in stream:
                    if found := event_of(event, self.scope):
                        heard(found)
            except (DockerException, requests.RequestException, OSError, ValueError, AttributeError):
                return

        threading.Thread(target=listen, daemon=True, name="engine events").start()
        return stream.close  # type: ignore[no-any-return]

    def last_oom_ns(self, box: Box) -> int:
        """When the kernel last killed a process of the box for want of memory, on the engine's wall clock; 0: not known of any.

        Docker remembers its last few hundred events.
        """
        wanted = {"type": "container", "container": box.id, "event": "oom"}
        with explained(f"ask what happened to {box.service}"):
            # By its own clock: what is asked for until later is waited for.
            until_s = int(datetime.fromisoformat(self.api.info()["SystemTime"]).timestamp())
            past = list(self.api.events(since=1, until=until_s, filters=wanted, decode=True))
        return max((int(event.get("timeNano", 0)) for event in past), default=0)
