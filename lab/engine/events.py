"""What Docker reports of boxes while they are watched."""

from __future__ import annotations

import threading
from collections.abc import Callable

import requests
from docker.errors import DockerException

from lab.engine.api import DockerConnection
from lab.engine.inspect import WATCHED, EngineEvent, event_of


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
