"""The program that deploys a release in a web box, with stand-ins for gunicorn and what it is asked with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.spec.stages import ROOT

PROGRAM = ROOT / "apps" / "web" / "lab-release"
BAD = "bad answer=error percent=100"
# What gunicorn loads when it is asked to: the release that the file names then.
LOAD = 'cat "$RELEASE_FILE" 2>/dev/null >{folder}/loaded || echo good >{folder}/loaded'


class WebBox:
    """A box with a gunicorn that is as its files say: what it has loaded, for how many seconds it has run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "release"
        self._stand_in("curl", f'[ -s {folder}/loaded ] && printf \'{{"release": "%s"}}\' "$(cat {folder}/loaded)"')
        self._stand_in("pgrep", "echo 7")
        self._stand_in("ps", f"cat {folder}/age")
        self._stand_in("pkill", f'echo "$*" >>{folder}/signals; {LOAD.format(folder=folder)}')
        self.loads("good")
        self.is_so_old(60)

    def loads(self, release: str) -> None:
        (self.folder / "loaded").write_text(release, encoding="utf-8")

    def is_so_old(self, age_s: int) -> None:
        (self.folder / "age").write_text(f"  {age_s}\n", encoding="utf-8")

    @property
    def signals(self) -> list[str]:
        found = self.folder / "signals"
        return found.read_text(encoding="utf-8").splitlines() if found.exists() else []

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin", "RELEASE_FILE": str(self.file), "READY_S": "2", "RELOAD_S": "1"}
        command = ["bash", str(PROGRAM), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def _stand_in(self, name: str, script: str) -> None:
        program = self.folder / name
        program.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        program.chmod(0o755)


@pytest.fixture
def web(tmp_path: Path) -> WebBox:
    return WebBox(tmp_path)


def test_it_says_which_release_answers(web: WebBox) -> None:
    assert (web.run().returncode, web.run().stdout) == (0, "good\n")
    web.loads("")
    assert (web.run().returncode, web.run().stdout) == (3, "")


def test_a_release_is_named_and_loaded_by_the_first_process_only(web: WebBox) -> None:
    done = web.run("deploy", BAD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")
    assert web.file.read_text(encoding="utf-8") == f"{BAD}\n"
    assert web.signals == ["-HUP -o -x gunicorn"]
    assert web.run().stdout == f"{BAD}\n"


def test_the_own_release_is_loaded_again_and_what_ran_is_said(web: WebBox) -> None:
    web.run("deploy", BAD)
    done = web.run("deploy", "good")
    assert (done.returncode, done.stdout) == (0, f"{BAD}\n")
    assert not web.file.exists()
    assert web.run().stdout == "good\n"


def test_what_runs_already_is_not_loaded_again(web: WebBox) -> None:
    assert web.run("deploy", "good").stdout == ""
    assert web.signals == []


def test_a_release_that_is_named_and_not_loaded_yet_would_come_with_the_next_worker(web: WebBox) -> None:
    web.file.write_text("poisonous\n", encoding="utf-8")
    assert web.run("deploy", "good").stdout == "poisonous\n"
    assert (web.signals, web.file.exists()) == ([], False)


def test_a_release_that_is_loaded_and_not_named_any_more_is_replaced(web: WebBox) -> None:
    web.loads("poisonous")
    assert web.run("deploy", "good").stdout == "poisonous\n"
    assert web.run().stdout == "good\n"


def test_what_does_not_answer_and_is_not_just_starting_is_loaded_again(web: WebBox) -> None:
    web.loads("")
    done = web.run("deploy", "good")
    assert (done.returncode, done.stdout) == (0, "unknown\n")
    assert len(web.signals) == 1


def test_what_is_just_starting_is_waited_for(web: WebBox) -> None:
    web.loads("")
    web.is_so_old(0)
    # It answers when it is asked for the third time.
    script = f"[ -e {web.folder}/first ] && echo good >{web.folder}/loaded; touch {web.folder}/first; cat {web.folder}/age"
    web._stand_in("ps", script)
    done = web.run("deploy", "good")
    assert (done.returncode, done.stdout, web.signals) == (0, "", [])


def test_a_release_that_does_not_come_up_is_an_error(web: WebBox) -> None:
    web._stand_in("pkill", "true")
    done = web.run("deploy", BAD)
    assert (done.returncode, done.stderr) == (1, f"lab-release: '{BAD}' does not answer after 1 s\n")
    web._stand_in("pkill", "exit 1")
    assert web.run("deploy", BAD).stderr == "lab-release: gunicorn does not run\n"


@pytest.mark.parametrize("arguments", [("deploy",), ("deploy", "newest"), ("deploy", "../bad"), ("undeploy", "bad")])
def test_what_is_no_release_changes_nothing(web: WebBox, arguments: tuple[str, ...]) -> None:
    done = web.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lab-release: ")
    assert (web.file.exists(), web.signals) == (False, [])
