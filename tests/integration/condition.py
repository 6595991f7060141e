"""How boxes are, as Docker, their kernel and their database say it: nothing of that comes from the lab.

What `lab heal` leaves is held against it. It also sees each fault while it is in effect, which a test of its own proves.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.process import wait_until
from tests.integration.driver import container, docker, look_beside

Condition = dict[str, dict[str, Any]]
"""Of each service, by name."""

UNDONE_TIMEOUT_S = 20.0
"""For so long after `lab heal` a box may still be ending a health check, or a database a connection."""
SETTLED_TIMEOUT_S = 30.0
LOOKED_AT_ONCE = 4
APART_S = 0.5
"""Of two looks at the processes: what is in both is no health check."""
ASK_TIMEOUT_S = 20.0
WRITE_TIMEOUT_S = 3.0
SILENT, DIFFERENT_MAX, VALUE_MAX_CHARACTERS = "no answer", 8, 120
STANDS_STILL = "stands still: "
FILES = (
    "ls -Ad /dev/shm/lab_* /run/lab-write.* /var/lib/orderdesk/* /var/lib/lab/.lab* 2>/dev/null; "
    "command -v lab-clock >/dev/null && lab-clock show; command -v lab-release >/dev/null && lab-release; true"
)
"""What faults leave: memory that leaked, writes to a disk, a release, what fills a disk; and what a clock and a release say."""
PSQL = ("psql", "-U", "postgres", "-h", "/run/postgresql", "-X", "-At")
SETTINGS = (
    "SELECT name || '=' || setting FROM pg_settings "
    "WHERE source IN ('configuration file', 'command line', 'database', 'user', 'global') "
    "UNION SELECT 'file: ' || name || '=' || coalesce(setting, '') FROM pg_file_settings WHERE sourcefile LIKE '%.auto.conf' "
    "ORDER BY 1"
)
WRITE = "trap 'rm -f /var/lib/lab/.test' EXIT; head -c 8192 /dev/zero >/var/lib/lab/.test && echo taken"
RULES = "nft list ruleset; tc qdisc show | grep -v ' 0: ' || true"
DOCKERS_OWN = re.compile(r"^table ip6? nat \{.*?^\}$\n?", re.M | re.S)
# A database has a process for each connection, a front door one for each user: that changes all the time.
AS_MANY_AS_USERS = re.compile(r"postgres: .*(\(\d+\)|\[local\])|socat ")


def condition(number: int, *services: str) -> Condition:
    """How these boxes of a stage are now."""
    first = together(_processes, number, services)
    since = time.monotonic()
    found = together(_of_one, number, services)
    time.sleep(max(since + APART_S - time.monotonic(), 0))
    second = together(_processes, number, services)
    return {
        name: {**about, "processes": lasting(before, after)}
        for (name, about), before, after in zip(found.items(), first.values(), second.values(), strict=True)
    }


def together(look: Callable[[str], Any], number: int, services: Sequence[str]) -> dict[str, Any]:
    """The same look at several boxes, a few at a time."""
    with ThreadPoolExecutor(LOOKED_AT_ONCE) as pool:
        return dict(zip(services, pool.map(lambda name: look(container(number, name)), services), strict=True))


def settled(number: int, *services: str) -> Condition:
    """The same, when two looks in a row agree."""
    looks = [condition(number, *services)]

    def agree() -> bool:
        looks.append(condition(number, *services))
        return not differences(looks[-2], looks[-1])

    assert wait_until(agree, SETTLED_TIMEOUT_S), differences(looks[-2], looks[-1])
    # What is not known before could not differ from what is not known after.
    assert unknown(looks[-1]) == []
    return looks[-1]


def unknown(found: Condition) -> list[str]:
    """What a box did not say."""
    return [f"{name} {key}" for name, about in found.items() for key, said in about.items() if said == SILENT]


def assert_as_before(before: Condition, number: int) -> None:
    """The boxes are as they were, or are so soon."""
    found: list[str] = []

    def are_alike() -> bool:
        found[:] = differences(before, condition(number, *before))
        return not found

    assert wait_until(are_alike, UNDONE_TIMEOUT_S), found


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """In what two conditions differ, a line each: `web1 settings Memory: 134217728, then 44040192`."""
    if before == now:
        return []
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [f"{where.strip()}: {_short(before)}, then {_short(now)}"]
    keys = sorted({*before, *now}, key=str)
    found = [line for key in keys for line in differences(before.get(key), now.get(key), f"{where} {key}")]
    return found[:DIFFERENT_MAX]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_MAX_CHARACTERS else f"{text[: VALUE_MAX_CHARACTERS - 1]}…"


# One box


def _of_one(name: str) -> dict[str, Any]:
    details = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=False, timeout=60)
    if details.returncode:
        return {"status": "removed"}
    [about] = json.loads(details.stdout)
    labels, status = about["Config"]["Labels"], about["State"]["Status"]
    found = {
        "status": status,
        "settings": about["HostConfig"],
        "networks": {network: _link(about["Id"], link) for network, link in about["NetworkSettings"]["Networks"].items()},
    }
    if status != "running":
        return found
    is_database = "db" in labels["lab.role"].split()
    return {
        **found,
        "packets": _rules(about["Id"]),
        "files": asked(name, "sh", "-c", FILES),
        "database": _settings(name) if is_database else {},
        "disk": asked(name, "bash", "-c", WRITE, timeout_s=WRITE_TIMEOUT_S) if is_database else "",
    }


def _rules(box_id: str) -> str:
    """The packet rules and queues in the network of a box, without those by which Docker answers for names."""
    try:
        said = look_beside(box_id, RULES)
    except subprocess.CalledProcessError:
        return SILENT
    lines = [line for line in DOCKERS_OWN.sub("", said).splitlines() if not line.startswith("#")]
    return "\n".join(lines).strip()


def _settings(name: str) -> dict[str, str] | str:
    """What a database is set to, in its files too."""
    said = asked(name, *PSQL, "-c", SETTINGS)
    return said if said == SILENT else {key: value for key, _, value in (line.partition("=") for line in said.splitlines())}


def _link(box_id: str, link: dict[str, Any]) -> dict[str, Any]:
    """An address, and the names under which others find the box: not the one that Docker made of its number."""
    aliases = [each for each in link["Aliases"] or [] if not box_id.startswith(each)]
    return {"address": link["IPAddress"], "aliases": sorted(aliases)}


def asked(name: str, *command: str, timeout_s: float = ASK_TIMEOUT_S) -> str:
    """What a box answers; SILENT where it does not, which is as it was before if it did not then either."""
    try:
        done = subprocess.run(
            ["docker", "exec", name, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return SILENT
    return done.stdout.strip() if done.returncode == 0 else SILENT


# Processes


def _processes(name: str) -> dict[str, str]:
    """The processes of a box by their numbers, as the kernel of the host says it; none where it does not run."""
    done = subprocess.run(
        ["docker", "top", name, "-eo", "pid,stat,args"], capture_output=True, text=True, check=False, timeout=60
    )
    lines = done.stdout.splitlines()[1:] if done.returncode == 0 else []
    found = [line.split(maxsplit=2) for line in lines if len(line.split(maxsplit=2)) == 3]
    alive = [(pid, state, args) for pid, state, args in found if not state.startswith("Z")]
    return {pid: (STANDS_STILL if state.startswith("T") else "") + args for pid, state, args in alive}


def lasting(before: dict[str, str], after: dict[str, str]) -> dict[str, int]:
    """How many processes of each kind are in both looks, without those that come and go with users."""
    return dict(Counter(kind(args) for pid, args in after.items() if pid in before and not AS_MANY_AS_USERS.search(args)))


def kind(args: str) -> str:
    """A process without what is another number after each start."""
    return re.sub(r"\d+", "#", args)


def helpers() -> list[str]:
    """The containers that the lab has put beside boxes, and which end with what they do."""
    return docker("ps", "--all", "--filter", "label=lab.stage=0", "--format", "{{.Names}} {{.State}}").splitlines()
