"""The pages in a real browser, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.report import strip
from lab.report.html_page import matrix_page, run_page
from lab.spec.stages import ROOT
from scripts.pictures import BROWSERS
from tests.unit.helpers import record
from tests.unit.reports import WATCHED, a_matrix, a_run, hostile

BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
DEADLINE_S = 120
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def browse(page: Path, *options: str) -> tuple[str, list[str]]:
    """What the browser prints, and what the page's console says."""
    assert BROWSER is not None
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}",
    )
    done = subprocess.run(
        [BROWSER, *flags, *options, page.as_uri()], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def written(folder: Path, content: str, name: str = "report.html") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@needs_browser
@pytest.mark.parametrize("kind", ["run", "matrix", "hostile"])
def test_page_opens_from_disk_and_its_console_stays_silent(tmp_path: Path, kind: str) -> None:
    run = hostile() if kind == "hostile" else a_run(record((2.0, 3.0), events=WATCHED))
    page = written(tmp_path, matrix_page(a_matrix()) if kind == "matrix" else run_page(*run))
    dom, said = browse(page, "--dump-dom")
    assert said == []
    # Its script ran: the switch is there, and offers what is not shown.
    assert re.search(r'<button type="button" id="theme">dark</button>', dom)
    dom, said = browse(page, "--dump-dom", "--blink-settings=preferredColorScheme=0")
    assert said == []
    assert re.search(r'<button type="button" id="theme">light</button>', dom)


@needs_browser
def test_page_prints_and_strip_draws(tmp_path: Path) -> None:
    run = a_run(record((2.0, 3.0), events=WATCHED))
    paper, picture = tmp_path / "report.pdf", tmp_path / "strip.png"
    browse(written(tmp_path, run_page(*run)), f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF-")
    browse(written(tmp_path, strip.run(*run), "strip.svg"), f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_reports_need_no_docker() -> None:
    loaded = (
        "import sys, lab.report.files; print(*sorted(name for name in sys.modules if name.split('.')[0] in ('docker', 'lab')))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    names = done.stdout.split()
    assert "lab.report.html_page" in names
    assert not {"docker", "lab.engine.engine", "lab.trial.runner", "lab.load.load"} & set(names)
