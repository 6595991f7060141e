"""Users get no figures; those who watch still do. Asked from the users' box, at every address that it reaches."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from lab.process import wait_until
from lab.spec import stages
from tests.integration.driver import Lab, container, docker, reach

pytestmark = pytest.mark.docker

PASSWORD = "metrics:counts-are-kept"
REFUSED = "000"
WATCH_AT_THE_EDGE, PAGES = "198.18.0.3:9090", "198.18.3.3:9090"
STATISTICS = ("/", "/;csv", "/metrics", "/web", "//metrics", "/?stats")
FIGURES = ("/metrics", "/%6detrics", "//metrics", "/metrics?x")
SCRAPED_WITHIN_S = 30.0


def status(stage: int, url: str, *options: str) -> str:
    """The status of an answer to the users' box, after redirections; REFUSED where there is none."""
    ask = ("curl", "-s", "-L", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", *options, f"http://{url}")
    command = ["docker", "exec", container(stage, "internet"), *ask]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def users_get_no_figures(stage: int) -> None:
    """At the front door, at the balancers' own addresses, and of the monitoring."""
    about = stages.find(str(stage))
    entry = f"{about.entry[0]}:{about.entry[1]}"
    assert status(stage, f"{entry}/readyz") == "200"
    assert {path: status(stage, entry + path) for path in FIGURES} == dict.fromkeys(FIGURES, "404")
    assert {status(stage, entry + path, "-u", "metrics:guessed") for path in FIGURES} == {"404"}
    balancers = [*about.balancers.values()] or [about.entry[0]] * any("lb" in spec.roles for spec in about.services)
    for balancer in balancers:
        assert status(stage, f"{balancer}:8404/health") == "200"
        found = {path: status(stage, f"{balancer}:8404{path}") for path in STATISTICS}
        assert found == dict.fromkeys(STATISTICS, "403"), balancer
        assert status(stage, f"{balancer}:8404/metrics", "-u", "metrics:") == "403"
    assert status(stage, WATCH_AT_THE_EDGE) == REFUSED


def those_who_watch_get_them(lab: Lab, stage: int) -> None:
    """Prometheus asks every balancer and web box with success; a person, and the map of the stage, see what is there."""
    about = stages.find(str(stage))
    assert status(stage, f"{about.entry[0]}:{about.entry[1]}/metrics", "-u", PASSWORD) == "200"
    assert status(stage, f"{PAGES}/-/healthy") == "200"
    asked = sum(bool({"web", "lb"} & set(spec.roles)) for spec in about.services)
    assert wait_until(lambda: answering(lab) == asked, SCRAPED_WITHIN_S, 1.0), f"{answering(lab)} of {asked} answer Prometheus"
    lab.must("status", str(stage))


def answering(lab: Lab) -> int:
    """How many balancers and web boxes give Prometheus their figures, as it says on the port of this machine."""
    query = quote('count(up{job=~"balancer|web"} == 1) or vector(0)')
    url = f"http://127.0.0.1:{lab.environment['LAB_WATCH_PORT']}/api/v1/query?query={query}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        found = json.load(answer)
    return int(found["data"]["result"][0]["value"][1])


def test_users_get_no_figures(stage_2: Lab) -> None:
    users_get_no_figures(2)
    those_who_watch_get_them(stage_2, 2)


def test_users_get_no_figures_of_one_balancer(stage_3: Lab) -> None:
    users_get_no_figures(3)
    those_who_watch_get_them(stage_3, 3)


def test_users_get_no_figures_of_balancers_that_share_an_address(stage_5: Lab) -> None:
    users_get_no_figures(5)
    those_who_watch_get_them(stage_5, 5)


def test_users_get_no_figures_of_a_region(stage_7: Lab) -> None:
    users_get_no_figures(7)
    those_who_watch_get_them(stage_7, 7)


# Pages in a browser


@pytest.mark.night
def test_no_other_site_reads_prometheus(stage_3: Lab) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{stage_3.environment['LAB_WATCH_PORT']}/api/v1/query?query=up",
        headers={"Origin": "http://elsewhere.example"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None


def test_no_other_site_reads_or_stops_the_load(stage_3: Lab) -> None:
    page = f"http://127.0.0.1:{stage_3.environment['LAB_LOCUST_PORT']}"
    run = stage_3.start("run", "3", "baseline", "--web-ui")
    try:
        reach(run, "start")
        assert wait_until(lambda: asked(page, {}) == 200, 20.0, 0.2)
        assert asked(f"{page}/stop", {"Origin": "http://elsewhere.example"}) == 403
        assert asked(f"{page}/stop", {"Sec-Fetch-Site": "cross-site"}) == 403
        with urllib.request.urlopen(f"{page}/stats/requests", timeout=5) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] is None
            assert json.load(answer)["state"] in ("spawning", "running")
    finally:
        run.wait(timeout=120)


def asked(url: str, headers: dict[str, str]) -> int:
    """The status of the answer; 0 where there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            code: int = answer.status
            return code
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


# Disks


def test_a_read_only_disk_is_one_and_its_box_works(stage_7: Lab) -> None:
    for box in ("watch", "wan"):
        name = container(7, box)
        assert docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}} {{.State.Health.Status}}", name) == "true healthy"
        done = subprocess.run(
            ["docker", "exec", "--user", "root", name, "touch", "/etc/x"], capture_output=True, text=True, check=False
        )
        assert "Read-only file system" in done.stderr
