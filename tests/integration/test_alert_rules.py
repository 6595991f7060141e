"""The alert rules by Prometheus' own tests of rules, in the image that has promtool: seconds instead of a stage."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest

from lab.spec.stages import ROOT
from tests.integration.driver import Lab

pytestmark = pytest.mark.docker

FOLDER = ROOT / "compose" / "watch"
RULES, TESTS = "alerts.yaml", "alerts.test.yaml"


def promtool_test(**files: str) -> subprocess.CompletedProcess[bytes]:
    """Run the tests of rules on these texts, which come in by standard input: no folder of this machine is mounted."""
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "redundancy-lab/watch"]
    script = f"cd /tmp && tar -x && promtool test rules {TESTS}"
    return subprocess.run([*command, "sh", "-c", script], input=tarred(files), capture_output=True, check=False, timeout=60)


def tarred(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def test_rules_say_what_their_tests_say(lab: Lab) -> None:
    done = promtool_test(**{name: (FOLDER / name).read_text(encoding="utf-8") for name in (RULES, TESTS)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_says_something_else_is_found(lab: Lab) -> None:
    rules = (FOLDER / RULES).read_text(encoding="utf-8")
    late = rules.replace("severity: page", "severity: ticket")
    assert late != rules
    done = promtool_test(**{RULES: late, TESTS: (FOLDER / TESTS).read_text(encoding="utf-8")})
    assert done.returncode == 1
    assert b"FAILED" in done.stdout + done.stderr
