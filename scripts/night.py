"""Every test and every variant, with more examples for the properties: `make test-all`, some fifty minutes on two cores.

What came of it is kept in docs/measured/test-all.json, passed or not, and named in docs/measured/README.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from lab.spec.stages import ROOT
from lab.store.jsonl import write_whole
from scripts.figures import FOLDER, commit_now
from scripts.measured import TEST_RUN

PARTS = (("-m", "not docker", "-n", "auto", "--hypothesis-profile", "night"), ("-m", "docker"))
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Outcome:
    """What a run of tests came to: so many of each, and how long it took."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    duration_s: float = 0.0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            round(self.duration_s + other.duration_s, 1),
        )

    @classmethod
    def read(cls, report: Path, duration_s: float) -> Outcome:
        """From pytest's JUnit report; a run that left none has failed."""
        if not report.exists():
            return cls(failed=1, duration_s=duration_s)
        suites = list(ET.parse(report).getroot().iter("testsuite"))
        tests, skipped = (sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped"))
        failed = sum(int(suite.get(key, 0)) for suite in suites for key in ("failures", "errors"))
        return cls(tests - skipped - failed, failed, skipped, duration_s)


def run(options: Sequence[str], folder: Path) -> tuple[Outcome, int]:
    """Run a part of the tests; what it came to, and pytest's exit code."""
    report, since = folder / "report.xml", time.monotonic()
    report.unlink(missing_ok=True)
    code = subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={report}", *options], cwd=ROOT, check=False).returncode
    return Outcome.read(report, time.monotonic() - since), code


def main() -> None:
    """Run all parts, whatever became of the one before; keep the sum, and end with 1 where one failed."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [run(options, Path(folder)) for options in PARTS]
    outcome = sum((each for each, _ in parts), Outcome())
    passed = all(code == 0 for _, code in parts)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    write_whole(
        FOLDER / TEST_RUN,
        {"schema_version": SCHEMA_VERSION, "date": date, "commit": commit_now(), "all_passed": passed, **asdict(outcome)},
    )
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
