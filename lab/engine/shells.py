"""Commands in boxes, and helpers beside them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab.engine.api import explained
from lab.engine.engine import HELPER_IMAGE, IMAGE_PREFIX, ExecResult
from lab.engine.images import DockerImages
from lab.engine.scope import PROJECT_LABEL, SERVICE_LABEL, STAGE_LABEL
from lab.engine.sidecar import SHELL, Helper
from lab.errors import PreflightError
from lab.model.topology import INTERNET_ROLE, Box
from lab.spec.stages import PROJECT_PREFIX

HELPER_NAME = "helper"
EXEC_TIMEOUT_S = 30
CHECK_TIMEOUT_S = 5.0
HELPER_TIMEOUT_S = 60.0


class DockerShells(DockerImages):
    """Runs commands inside boxes and in their networks."""

    def run_in(self, box: Box, command: Sequence[str], timeout_s: float = EXEC_TIMEOUT_S, user: str = "") -> ExecResult:
        """Run a command in a box (as its own user, or this one) and wait for it. A command that overruns has exit code 124."""
        try:
            done = subprocess.run(
                ["docker", "exec", *(["--user", user] if user else _as_user(box)), box.id, *command],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return ExecResult(124, f"no answer within {timeout_s:g} s")
        return ExecResult(done.returncode, done.stdout if done.returncode == 0 else (done.stdout + done.stderr))

    def talk_to(self, box: Box, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run a command in a box with its standard input and output as pipes.

        In a session of its own: a Ctrl-C at the terminal is for the lab, which then heals and ends the command.
        """
        return subprocess.Popen(
            ["docker", "exec", "-i", *_as_user(box), box.id, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def beside(self, box: Box | None) -> Helper:
        """Start a helper that shares a box's network and nothing else of it (None: it has a network of its own).

        Nothing is installed in the box, which may be frozen. Raises PreflightError without the image, UsageError for
        what is no box of ours; that the helper itself does not start shows when it is asked.
        """
        if box:
            self.act(box, "look at", lambda _: None)
        network = f"container:{box.id}" if box else "none"
        options = helper_options(network, "NET_ADMIN")
        return self.helper(options, f"helper beside {box.service}" if box else "helper")

    def helper(self, options: Sequence[str], name: str) -> Helper:
        """Start a helper that runs one line after the other. Raises PreflightError without the image."""
        process = subprocess.Popen(
            ["docker", "run", "--interactive", *options, self._helper_image(), "bash", "-c", SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return Helper(process, name)

    def have_helper(self, options: Sequence[str], command: Sequence[str], timeout_s: float = HELPER_TIMEOUT_S) -> ExecResult:
        """Have a helper run one command; it is gone when this returns. Raises PreflightError without the image."""
        try:
            done = subprocess.run(
                ["docker", "run", *options, self._helper_image(), *command],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return ExecResult(124, f"no answer within {timeout_s:g} s")
        return ExecResult(done.returncode, done.stdout if done.returncode == 0 else (done.stdout + done.stderr))

    def _helper_image(self) -> str:
        if self.image_source(HELPER_IMAGE) is None:
            raise PreflightError(f"the image {IMAGE_PREFIX}{HELPER_IMAGE} is missing", "'lab build' builds it")
        return IMAGE_PREFIX + HELPER_IMAGE

    def is_healthy(self, box: Box, timeout_s: float = CHECK_TIMEOUT_S) -> bool:
        """Whether the box runs and passes its health check.

        Docker asks at intervals, seldom once a box is up, and calls a box that was frozen unhealthy until it
        asks again; so where its word is not "healthy", the check is run now, and has so many seconds to pass.
        """
        if box.is_healthy:
            return True
        if box.status != "running" or box.health == "starting":  # Docker asks a starting box several times a second
            return False
        with explained(f"look at {box.service}"):
            details = self.inspect(box.id)
        test = ((details or {}).get("Config", {}).get("Healthcheck") or {}).get("Test") or []
        command = ["sh", "-c", test[1]] if test[:1] == ["CMD-SHELL"] else test[1:]
        return bool(command) and self.run_in(box, command, timeout_s).exit_code == 0


def _as_user(box: Box) -> list[str]:
    """In the internet box nothing needs to be root, not even where its router is."""
    return ["--user", "lab"] if INTERNET_ROLE in box.roles else []


def helper_options(network: str, *capabilities: str) -> list[str]:
    """A container that may do nothing but what these capabilities allow, is removed when it ends, and is no box of any stage."""
    labels = {STAGE_LABEL: "0", PROJECT_LABEL: PROJECT_PREFIX + HELPER_NAME, SERVICE_LABEL: HELPER_NAME}
    options = ["--rm", "--pull", "never", "--network", network, "--log-driver", "none", "--cap-drop", "ALL"]
    options += [word for each in capabilities for word in ("--cap-add", each)]
    options += ["--security-opt", "no-new-privileges:true", "--read-only", "--pids-limit", "64", "--memory", "64m"]
    return [*options, *(word for key, value in labels.items() for word in ("--label", f"{key}={value}"))]
