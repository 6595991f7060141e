"""The helper's protocol, against the same shell without a container around it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from time import time

import pytest

from lab.engine.sidecar import SHELL, Helper
from lab.errors import LabError
from lab.process import wait_until


def started(*command: str) -> tuple[subprocess.Popen[bytes], Helper]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return process, Helper(process, "helper beside web1")


@pytest.fixture
def helper() -> Iterator[Helper]:
    _, helper = started("bash", "-c", SHELL)
    yield helper
    helper.close()


def test_each_line_is_answered(helper: Helper) -> None:
    assert helper.ask("echo one").output == "one"
    reply = helper.ask("echo two; echo three >&2; exit 7")
    assert (reply.exit_code, reply.output) == (7, "two\nthree")
    assert helper.ask("true").output == ""
    assert helper.ask("printf 'no end of line'").output == "no end of line"
    assert helper.ask("echo \"a  b\" 'c $HOME' | cat").output == "a  b c $HOME"


def test_answer_says_when(helper: Helper) -> None:
    before = time()
    assert before - 0.001 <= helper.ask("true").at_s <= time() + 0.001


def test_one_line_does_not_change_the_next(helper: Helper) -> None:
    helper.ask("devices=none; exit 1")
    helper.ask("cd /nowhere")
    assert helper.ask('echo "$devices" $?').output != "none 0"
    assert helper.ask("if then").exit_code


def test_much_is_read_whole(helper: Helper) -> None:
    assert helper.ask("seq 3000").output.splitlines()[-1] == "3000"


def test_two_threads_get_their_own_answers(helper: Helper) -> None:
    said: dict[int, str] = {}

    def ask(number: int) -> None:
        said[number] = helper.ask(f"echo {number}").output

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: str(number) for number in range(20)}


def test_it_ends_with_its_input() -> None:
    process, helper = started("bash", "-c", SHELL)
    helper.ask("true")
    helper.close()
    assert wait_until(lambda: process.poll() is not None, 5)


def test_what_did_not_start_says_why() -> None:
    words = (
        "docker: Error response from daemon: cannot join network of a non running container: 0a1b.\\n\\nRun 'docker run --help'"
    )
    _, helper = started("bash", "-c", f'printf "{words}" >&2; exit 125')
    with pytest.raises(LabError, match=r"the helper beside web1 could not be started: Error response .* container: 0a1b\.$"):
        helper.ask("true")


def test_what_says_nothing_is_not_waited_for() -> None:
    process, helper = started("sleep", "60")
    with pytest.raises(LabError, match="the helper beside web1 does not answer"):
        helper.ask("true", timeout_s=0.2)
    process.kill()
    helper.close()
