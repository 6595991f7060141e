"""docs/timeouts.md says what stands in the stage files."""

from __future__ import annotations

import re

import pytest

from lab.spec import stages
from lab.spec.stages import ROOT

PAGE = (ROOT / "docs" / "timeouts.md").read_text(encoding="utf-8")
FILE = stages.find("5").file.read_text(encoding="utf-8")
SECONDS = {"ms": 0.001, "s": 1.0}

# As the page names it; how the stage file sets it (seconds where no unit is caught).
SETTINGS = {
    "health_check_period": r"health_check_period=(\d+)()\b",
    "health_check_timeout": r"health_check_timeout=(\d+)()\b",
    "health_check_retry_delay": r"health_check_retry_delay=(\d+)()\b",
    "node_considered_unhealthy_timeout": r"node_considered_unhealthy_timeout=(\d+)()\b",
    "primary_demote_timeout": r"primary_demote_timeout=(\d+)()\b",
    "SEARCH_PERIOD_S": r'SEARCH_PERIOD_S: "([\d.]+)"(s?)',
    "WRITE_DEADLINE_S": r'WRITE_DEADLINE_S: "([\d.]+)"(s?)',
    "READ_DEADLINE_S": r'READ_DEADLINE_S: "([\d.]+)"(s?)',
    "READ_PATIENCE_S": r'READ_PATIENCE_S: "([\d.]+)"(s?)',
    "FIND_DEADLINE_S": r'FIND_DEADLINE_S: "([\d.]+)"(s?)',
    "CONNECT_TIMEOUT_S": r'CONNECT_TIMEOUT_S: "([\d.]+)"(s?)',
    "advert_int": r"advert_int ([\d.]+)(s?)",
    "vrrp_startup_delay": r"vrrp_startup_delay ([\d.]+)(s?)",
    "timeout connect": r"timeout connect (\d+)(ms)",
    "timeout check": r"timeout check (\d+)(ms)",
    "inter": r"check inter (\d+)(ms)",
    "fastinter": r"fastinter (\d+)(ms)",
    "tcp_user_timeout": r"tcp_user_timeout=(\d+)()\b",
}
MILLISECONDS_WITHOUT_UNIT = {"health", "node_c", "primar", "tcp_us"}


def in_file(name: str) -> float:
    found = re.search(SETTINGS[name], FILE)
    assert found, f"{name} is not in the stage file"
    unit = found[2] or ("ms" if name[:6] in MILLISECONDS_WITHOUT_UNIT else "s")
    return float(found[1]) * SECONDS[unit]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_page_gives_the_setting_of_the_stage_file(name: str) -> None:
    said = re.findall(rf"`{re.escape(name)}` \(?([\d.]+) (ms|s)\b", PAGE)
    values = [float(value) * SECONDS[unit] for value, unit in said]
    assert values, f"{name} has no value on the page"
    assert all(value == pytest.approx(in_file(name)) for value in values)
