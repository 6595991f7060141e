"""The only place that talks to Docker: boxes, images, Compose. Touches nothing without our labels, or of a project that was named."""

from __future__ import annotations

import copy
import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from lab.engine.compose import _context, _without
from lab.engine.inspect import WATCHED, EngineEvent, _box, _event, _link, _nanoseconds
from lab.engine.scope import FOREIGN_LABEL, PROJECT_LABEL, ROLE_LABEL, SERVICE_LABEL, STAGE_LABEL, ForeignScope, Scope, is_ours
from lab.engine.sidecar import SHELL, Helper
from lab.errors import HealError, LabError, PreflightError, UsageError
from lab.model.history import LogLine
from lab.model.topology import FOREIGN, INTERNET_ROLE, Box, Link, Stage
from lab.process import wait_until
from lab.spec.stages import PROJECT_PREFIX, ROOT

SOURCE_LABEL = "lab.source"
IMAGE_PREFIX = "redundancy-lab/"
HELPER_IMAGE = "network"
HELPER_NAME = "helper"
API_TIMEOUT_S = 30
GRACE_S = 10
"""What Docker gives a container that has no `stop_grace_period`."""
MISSING_LINES = 'for line; do grep -qxF "$line" /etc/hosts || printf "%s\\n" "$line" >>/etc/hosts; done'
NO_SHELL = (126, 127)
"""What `docker exec` ends with where there is nothing to run."""
EXEC_TIMEOUT_S = 30
CHECK_TIMEOUT_S = 5.0
CONFLICT = 409
INTERNET_CPU_SHARES = 8192
"""As in the stage files: who measures gets the processor first."""

NO_ENGINE_HINT = "start Docker (Desktop: open it; Linux: 'systemctl start docker'), or run 'make setup' to have one installed"


@dataclass(frozen=True)
class EngineInfo:
    """What answers."""

    version: str
    compose_version: str
    buildx: bool
    memory_mib: int
    processors: int
    system: str
    kernel: str = ""


@dataclass(frozen=True)
class ExecResult:
    """What a command in a box left."""

    exit_code: int
    output: str


class Engine:
    """A Docker Engine that answers. Every failure to answer is a PreflightError or a LabError of one line."""

    _scope = Scope()

    def __init__(self) -> None:
        """Raises PreflightError when no engine answers."""
        try:
            self._api = docker.from_env(timeout=API_TIMEOUT_S).api
            self._api.ping()
        except (DockerException, requests.RequestException, OSError) as error:
            raise PreflightError(f"no Docker Engine answers ({_first_line(error)})", NO_ENGINE_HINT) from error

    def info(self) -> EngineInfo:
        """Versions and size of the engine and its tools."""
        with _explained("ask the engine what it is"):
            info = self._api.info()
        if shutil.which("docker") is None:
            raise PreflightError(
                "there is no 'docker' command", "install Docker's command line with its compose and buildx plugins"
            )
        compose = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, check=False)
        buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
        return EngineInfo(
            version=info.get("ServerVersion", ""),
            compose_version=compose.stdout.strip().removeprefix("v") if compose.returncode == 0 else "",
            buildx=buildx.returncode == 0,
            memory_mib=int(info.get("MemTotal", 0)) // 2**20,
            processors=int(info.get("NCPU", 0)),
            system=info.get("OperatingSystem", ""),
            kernel=info.get("KernelVersion", ""),
        )

    @property
    def identity(self) -> str:
        """What tells this engine from every other one, whoever asks and from where. Raises PreflightError."""
        with _explained("ask the engine what it is"):
            return str(self._api.info().get("ID", ""))

    def visiting(self, project: str, roles: Mapping[str, tuple[str, ...]] | None = None) -> Engine:
        """The same engine, which sees and may touch this Compose project and the internet box in it, and nothing else."""
        other = copy.copy(self)
        other._scope = ForeignScope(project, roles or {})
        return other

    # Boxes

    def boxes(self, stage: int | None = None) -> list[Box]:
        """The boxes of a stage, or of all, in order of their names; whatever their state."""
        with _explained("list the lab's containers"):
            found = [
                entry
                for labels in self._scope.filters(stage)
                for entry in self._api.containers(all=True, filters={"label": labels})
            ]
            details = [self._inspect(entry["Id"]) for entry in found if self._scope.owns(entry["Labels"])]
        return sorted((_box(each, self._scope) for each in details if each), key=lambda box: (box.stage, box.service))

    def box(self, box: Box) -> Box | None:
        """The box as it is now; None when it is gone."""
        with _explained(f"look at {box.service}"):
            details = self._inspect(box.id)
        return _box(details, self._scope) if details else None

    def kill(self, box: Box) -> None:
        """SIGKILL to everything in the box; Docker then leaves it dead."""
        self._act(box, "kill", self._api.kill)

    def start(self, box: Box) -> None:
        """Start the box again."""
        self._act(box, "start", self._api.start)

    def stop(self, box: Box) -> None:
        """Shut the box down in order, within the grace period of its Compose file; returns when it is down."""
        self._act(box, "stop", lambda which: self._api.stop(which, timeout=self._grace_s(which)))

    def restart(self, box: Box) -> None:
        """Shut the box down in order, within that period, and start it again."""
        self._act(box, "restart", lambda which: self._api.restart(which, timeout=self._grace_s(which)))

    def pause(self, box: Box) -> None:
        """Freeze every process of the box."""
        self._act(box, "pause", self._api.pause)

    def resize(self, box: Box, cpus: float) -> None:
        """Give the box so much of a processor, from now on. Raises LabError."""
        self._act(box, "resize", lambda id_: _update(id_, cpus))

    def cpus(self, box: Box) -> float:
        """How much of the processors the box may use; 0: all of them."""
        with _explained(f"look at {box.service}"):
            details = self._inspect(box.id) or {}
        return int(details.get("HostConfig", {}).get("NanoCpus") or 0) / 1e9

    def unpause(self, box: Box) -> None:
        """Let a frozen box go on."""
        self._act(box, "unpause", self._api.unpause)

    def links(self, box: Box) -> tuple[Link, ...]:
        """The networks that the box is connected to, with what is needed to connect it in the same way again."""
        with _explained(f"look at {box.service}"):
            details = self._inspect(box.id) or {}
        found = details.get("NetworkSettings", {}).get("Networks", {})
        return tuple(_link(name, each) for name, each in sorted(found.items()))

    def disconnect(self, box: Box) -> None:
        """Take the box off every network."""
        for link in self.links(box):
            self._act(box, "cut off", lambda id_, link=link: self._api.disconnect_container_from_network(id_, link.network))  # type: ignore[misc]

    def reconnect(self, box: Box, links: Sequence[Link]) -> None:
        """Connect the box again to those of the networks that it is not on."""
        present = {link.network for link in self.links(box)}
        for link in links:
            if link.network not in present:
                self._act(box, "reconnect", lambda id_, link=link: self._connect(id_, link))  # type: ignore[misc]
        self._give_names_back(box)

    def _give_names_back(self, box: Box) -> None:
        """Write what is missing of the names that the stage file gave to the box (extra_hosts) into its /etc/hosts.

        Docker (26.1) forgets them when a box that was on no network comes back to one. Its DNS then answers, with any address
        of those that live, and for one that is dead after 8 s: decision 0022. A box without a shell stays as Docker made it. Raises HealError.
        """
        with _explained(f"look at {box.service}"):
            details = self._inspect(box.id) or {}
        given = details.get("HostConfig", {}).get("ExtraHosts") or []
        lines = [
            f"{address}\t{name}" for name, _, address in (each.partition(":") for each in given) if address != "host-gateway"
        ]
        # Who does not run gets all of them when it starts.
        if lines and details.get("State", {}).get("Status") == "running":
            done = self.run_in(box, ["sh", "-c", MISSING_LINES, "sh", *lines], user="root")
            if done.exit_code not in (0, *NO_SHELL):
                raise HealError(f"{box.service} does not know its neighbours' names any more: {done.output}", "restart it")

    def _connect(self, container_id: str, link: Link) -> None:
        self._api.connect_container_to_network(
            container_id,
            link.network,
            ipv4_address=link.address or None,
            ipv6_address=link.address6 or None,
            aliases=list(link.aliases),
            mac_address=link.mac or None,
        )

    def remove(self, box: Box) -> None:
        """Remove the box and its disks: nothing of it is left. Raises UsageError for a box of somebody else."""
        if box.is_foreign:
            raise UsageError(f"{box.service} is not the lab's to remove", "its disk would be gone for good")
        with _explained(f"look at {box.service}"):
            mounts = (self._inspect(box.id) or {}).get("Mounts", [])
        self._act(box, "remove", lambda id_: self._api.remove_container(id_, force=True, v=True))
        with _explained(f"remove the disk of {box.service}"):
            for name in [mount["Name"] for mount in mounts if mount.get("Type") == "volume"]:
                with suppress(NotFound):  # an anonymous one went with the box
                    self._api.remove_volume(name)

    def is_healthy(self, box: Box, timeout_s: float = CHECK_TIMEOUT_S) -> bool:
        """Whether the box runs and passes its health check.

        Docker asks at intervals, seldom once a box is up, and calls a box that was frozen unhealthy until it
        asks again; so where its word is not "healthy", the check is run now, and has so many seconds to pass.
        """
        if box.is_healthy:
            return True
        if box.status != "running" or box.health == "starting":  # Docker asks a starting box several times a second
            return False
        with _explained(f"look at {box.service}"):
            details = self._inspect(box.id)
        test = ((details or {}).get("Config", {}).get("Healthcheck") or {}).get("Test") or []
        command = ["sh", "-c", test[1]] if test[:1] == ["CMD-SHELL"] else test[1:]
        return bool(command) and self.run_in(box, command, timeout_s).exit_code == 0

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
        if self.image_source(HELPER_IMAGE) is None:
            raise PreflightError(f"the image {IMAGE_PREFIX}{HELPER_IMAGE} is missing", "'lab build' builds it")
        if box:
            self._act(box, "look at", lambda _: None)
        network = f"container:{box.id}" if box else "none"
        process = subprocess.Popen(
            ["docker", "run", *_helper_options(network), IMAGE_PREFIX + HELPER_IMAGE, "bash", "-c", SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return Helper(process, f"helper beside {box.service}" if box else "helper")

    def logs(self, box: Box, lines: int = 5) -> str:
        """The last lines that a box printed."""
        with _explained(f"read the log of {box.service}"):
            text: bytes = self._api.logs(box.id, tail=lines)
        return text.decode(errors="replace").strip()

    def log_lines(self, box: Box, since_s: float) -> list[LogLine]:
        """What a box printed since a wall-clock instant (seconds), each line with when the engine read it."""
        with _explained(f"read the log of {box.service}"):
            text: bytes = self._api.logs(box.id, timestamps=True, since=int(since_s))
        stamped = (line.split(" ", 1) for line in text.decode(errors="replace").splitlines() if " " in line)
        return [LogLine(box.service, at_ns, said) for stamp, said in stamped if (at_ns := _nanoseconds(stamp))]

    def watch(self, heard: Callable[[EngineEvent], None]) -> Callable[[], None]:
        """Call `heard`, in another thread, for each event of our boxes; returns how to stop that.

        Of a connection to a network only the container is named: of whoever was connected, the service is empty.
        """
        stream = self._api.events(decode=True, filters={"type": ["container", "network"], "event": list(WATCHED)})

        def listen() -> None:
            # Closing the stream is what ends this; how the library reports that differs by platform.
            try:
                for event in stream:
                    if found := _event(event, self._scope):
                        heard(found)
            except (DockerException, requests.RequestException, OSError, ValueError, AttributeError):
                return

        threading.Thread(target=listen, daemon=True, name="engine events").start()
        return stream.close  # type: ignore[no-any-return]

    def _act(self, box: Box, verb: str, call: Callable[[str], None]) -> None:
        with _explained(f"{verb} {box.service}"):
            details = self._inspect(box.id)
            # Asked again at the last moment: what is broken is a container of ours, or nothing.
            if not details or not self._scope.owns(details["Config"]["Labels"]):
                raise UsageError(f"{box.service} is not a box of the lab (any more)", "see 'lab status'")
            call(box.id)

    def _grace_s(self, container_id: str) -> int:
        """How long a box may take to end. Said to the engine's client, too: it waits so much longer for an answer."""
        given = (self._inspect(container_id) or {}).get("Config", {}).get("StopTimeout")
        return GRACE_S if given is None else int(given)

    def _inspect(self, container_id: str) -> dict[str, Any] | None:
        try:
            details: dict[str, Any] = self._api.inspect_container(container_id)
        except NotFound:
            return None
        return details

    def internet_box(self, stage: Stage) -> Box:
        """The box where users stand. Raises UsageError when the stage is not up."""
        for box in self.boxes(stage.number):
            if INTERNET_ROLE in box.roles:
                return box
        raise UsageError(f"stage {stage.number} is not up", f"'lab up {stage.number}' starts it")

    def put_file(self, box: Box, path: str, content: str) -> None:
        """Put a small text file into a box, which need not run."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(Path(path).name)
            data = content.encode()
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
        with _explained(f"put a file into {box.service}"):
            self._api.put_archive(box.id, str(Path(path).parent), archive.getvalue())

    # Stages

    def up(self, stage: Stage, only: str = "") -> None:
        """Create and start what of a stage (or only this service) is not there or not running. Raises LabError."""
        chosen = ["--no-deps", only] if only else _without(stage)
        self._compose(stage, "up", "--detach", "--no-build", "--pull", "never", *chosen)

    def create(self, stage: Stage) -> None:
        """Create what of a stage is not there, without starting it. Raises LabError."""
        self._compose(stage, "up", "--no-start", "--no-build", "--pull", "never", *_without(stage))

    def down(self, stage: Stage) -> None:
        """Remove a stage's containers, networks and volumes. Nothing is kept, so nothing need stop in order."""
        self._compose(stage, "down", "--volumes", "--timeout", "0", "--remove-orphans")

    def leftovers(self) -> list[str]:
        """Names of containers, networks and volumes with our labels, whatever made them."""
        filters = {"label": [STAGE_LABEL]}
        with _explained("list what the lab has made"):
            containers = [
                (entry["Names"] or [entry["Id"]])[0].lstrip("/")
                for entry in self._api.containers(all=True, filters=filters)
                if is_ours(entry["Labels"])
            ]
            networks = [entry["Name"] for entry in self._api.networks(filters=filters) if is_ours(entry["Labels"])]
            volumes = [entry["Name"] for entry in self._api.volumes(filters=filters)["Volumes"] or [] if is_ours(entry["Labels"])]
        return [*containers, *networks, *volumes]

    def remove_leftovers(self) -> None:
        """Remove every container, network and volume with our labels, also of stages whose file is gone."""
        filters = {"label": [STAGE_LABEL]}
        with _explained("remove what the lab has made"):
            for entry in self._api.containers(all=True, filters=filters):
                if is_ours(entry["Labels"]):
                    self._remove_container(entry["Id"])
            for entry in self._api.networks(filters=filters):
                if is_ours(entry["Labels"]):
                    self._api.remove_network(entry["Id"])
            for entry in self._api.volumes(filters=filters)["Volumes"] or []:
                if is_ours(entry["Labels"]):
                    self._api.remove_volume(entry["Name"], force=True)

    def _remove_container(self, container_id: str) -> None:
        try:
            self._api.remove_container(container_id, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            # Somebody else is removing it: that will do.
            if error.status_code != CONFLICT:
                raise
        wait_until(lambda: self._inspect(container_id) is None, API_TIMEOUT_S)

    def _compose(self, stage: Stage, *arguments: str) -> None:
        if stage.is_foreign:
            raise UsageError(f"{stage.place} is not the lab's to start or stop", f"docker compose -f {stage.file} up -d")
        # The project by name: COMPOSE_PROJECT_NAME would outrank the file, and make somebody else's project ours.
        command = [
            "docker",
            "compose",
            "--progress",
            "plain",
            "--project-name",
            stage.project,
            "--file",
            str(stage.file),
            *arguments,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, start_new_session=True
        )
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            raise LabError(
                f"docker compose {arguments[0]} failed for stage {stage.number}: {lines[-1] if lines else 'it said nothing'}",
                "run 'lab doctor'; with --debug the whole output is shown" if len(lines) < 2 else " / ".join(lines[-4:-1]),
            )

    # Images

    def image_source(self, name: str) -> str | None:
        """The digest of the files that an image of ours was built from; None where there is no such image."""
        with _explained("look for the lab's images"):
            try:
                labels = self._api.inspect_image(IMAGE_PREFIX + name)["Config"].get("Labels") or {}
            except NotFound:
                return None
        return str(labels.get(SOURCE_LABEL, ""))

    def build_image(self, name: str, source: str, ca_bundle: Path | None) -> None:
        """Build an image of compose/NAME/Dockerfile. Raises LabError with the builder's last words."""
        command = [
            "docker",
            "buildx",
            "build",
            "--load",
            # The engine's own builder: others (docker-container) do not see images that are only here.
            "--builder",
            _context(),
            "--quiet",
            "--tag",
            IMAGE_PREFIX + name,
            "--label",
            f"{SOURCE_LABEL}={source}",
        ]
        command += ["--file", str(ROOT / "compose" / name / "Dockerfile")]
        # An option, not a must: only who sits behind a proxy with its own certificate has one.
        command += ["--secret", f"id=ca,src={ca_bundle}"] if ca_bundle else []
        done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            tail = " / ".join(line.strip() for line in done.stderr.strip().splitlines()[-3:])
            raise LabError(
                f"building the image {name} failed: {tail}",
                "is there a network? behind a company proxy, set LAB_CA_BUNDLE to its certificate file",
            )

    def ensure_base_image(self) -> None:
        """Pull or make the base image. Raises LabError."""
        done = subprocess.run([str(ROOT / "scripts" / "ensure-base-image")], check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise PreflightError(
                "the base image could not be made (the reason is above)", "check the network, then 'lab build' again"
            )

    @contextmanager
    def container(self, image: str, command: Sequence[str]) -> Iterator[Box]:
        """A container of its own, without a network, for as long as the context lasts (the self-test)."""
        labels = {STAGE_LABEL: "0", ROLE_LABEL: "internet", PROJECT_LABEL: PROJECT_PREFIX + "selftest", SERVICE_LABEL: "selftest"}
        created = self._create(image, command, labels, network_mode="none")
        try:
            yield self._started(created)
        finally:
            self._remove_container(created)

    # Visits

    def visit(self, project: str, network: str) -> Box:
        """Put an internet box into a network of somebody else's project. Raises LabError, and leaves none then."""
        labels = {
            STAGE_LABEL: str(FOREIGN),
            ROLE_LABEL: INTERNET_ROLE,
            FOREIGN_LABEL: project,
            PROJECT_LABEL: PROJECT_PREFIX + "visit",
            SERVICE_LABEL: INTERNET_ROLE,
        }
        # Names of the project only, and at once: nobody else is asked for a name that its network does not know.
        created = self._create(
            "internet", ["sleep", "infinity"], labels, network_mode=network, dns=["127.0.0.1"], cpu_shares=INTERNET_CPU_SHARES
        )
        try:
            return self._started(created)
        except BaseException:
            self._remove_container(created)
            raise

    def end_visits(self, project: str = "") -> int:
        """Remove the internet box from the networks of a project (of all that are not the lab's); returns how many there were."""
        with _explained("remove the internet box"):
            found = self._api.containers(
                all=True, filters={"label": [f"{FOREIGN_LABEL}={project}" if project else FOREIGN_LABEL]}
            )
            ours = [entry["Id"] for entry in found if is_ours(entry["Labels"])]
            for container_id in ours:
                self._remove_container(container_id)
        return len(ours)

    def subnets(self, network: str) -> tuple[str, ...]:
        """The ranges of addresses that a network has."""
        with _explained(f"look at the network {network}"):
            details = self._api.inspect_network(network)
        return tuple(each["Subnet"] for each in (details.get("IPAM") or {}).get("Config") or [] if each.get("Subnet"))

    def _create(self, image: str, command: Sequence[str], labels: dict[str, str], **host: Any) -> str:
        with _explained(f"create a container of {IMAGE_PREFIX}{image}"):
            config = self._api.create_host_config(cap_drop=["ALL"], pids_limit=256, mem_limit="512m", **host)
            # The observer reads it, also where there is no database to be asked.
            environment = {"AUDITOR_PASSWORD": ""}
            created = self._api.create_container(
                IMAGE_PREFIX + image, list(command), labels=labels, host_config=config, environment=environment
            )
        return str(created["Id"])

    def _started(self, container_id: str) -> Box:
        with _explained("start a container"):
            self._api.start(container_id)
            details = self._inspect(container_id)
        assert details is not None
        return _box(details, self._scope)


def _as_user(box: Box) -> list[str]:
    """In the internet box nobody needs to be root, not even where its router is."""
    return ["--user", "lab"] if INTERNET_ROLE in box.roles else []


def _update(container_id: str, cpus: float) -> None:
    # The library has no word for this limit.
    command = ["docker", "update", "--cpus", f"{cpus:g}", container_id]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"a box could not be resized: {_first_line(done.stderr)}", "see 'lab doctor'")


def _helper_options(network: str) -> list[str]:
    """A container that may do nothing but change its network, is removed when it ends, and is no box of any stage."""
    labels = {STAGE_LABEL: "0", PROJECT_LABEL: PROJECT_PREFIX + HELPER_NAME, SERVICE_LABEL: HELPER_NAME}
    options = ["--rm", "--interactive", "--pull", "never", "--network", network, "--log-driver", "none"]
    options += ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges:true", "--read-only"]
    options += ["--pids-limit", "64", "--memory", "64m"]
    return [*options, *(word for key, value in labels.items() for word in ("--label", f"{key}={value}"))]


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise LabError(
            f"Docker could not {what}: {_first_line(error.explanation or error)}", "see 'lab status' and 'lab doctor'"
        ) from error
    except (DockerException, requests.RequestException) as error:
        raise PreflightError(
            f"the Docker Engine stopped answering (asked to {what}: {_first_line(error)})", NO_ENGINE_HINT
        ) from error


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
