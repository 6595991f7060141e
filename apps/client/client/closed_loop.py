"""A plain closed-loop Locust user, as most load tests have it: `python -m client.closed_loop HOST PORT SECONDS`.

Only for the self-test, to be put beside the open loop: each user waits for its answer before it asks again,
so while the server is frozen nobody asks, and the outage is all but invisible in the share of failures.
"""

from __future__ import annotations

# locust first: it patches the standard library before anything else uses it
from locust import FastHttpUser, constant_pacing, task  # isort: skip
from locust.env import Environment  # isort: skip

import json
import sys

import gevent

USERS = 10
PACING_S = 0.1  # ten users, ten requests a second each: 100 a second, while all is well


def main() -> None:
    """Load for so long; print {"requests": N, "failures": N}."""
    host, port, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])

    class Plain(FastHttpUser):
        wait_time = constant_pacing(PACING_S)
        network_timeout = 10.0

        @task
        def read(self) -> None:
            self.client.get("/orders/self-test", name="read")

    Plain.host = f"http://{host}:{port}"
    environment = Environment(user_classes=[Plain])
    runner = environment.create_local_runner()
    runner.start(USERS, spawn_rate=USERS)
    print(json.dumps({"event": "started"}), flush=True)
    gevent.sleep(seconds)
    total = environment.stats.total
    print(json.dumps({"event": "finished", "requests": total.num_requests, "failures": total.num_failures}), flush=True)
    runner.quit()


if __name__ == "__main__":
    main()
