"""Shell that makes the base image, or in an image writes a configuration: run here, with stand-ins for the programs it starts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from lab.spec.stages import ROOT, find

COMPOSE = ROOT / "compose"
BALANCERS = {"lb1": "198.18.0.33", "lb2": "198.18.0.65", "lb3": "198.18.0.129", "lb4": "198.18.0.161"}


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In bash, with the stand-ins of a folder before all other programs."""
    path = f"{folder}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(["bash", "-c", script], env={"PATH": path, **environment}, capture_output=True, text=True, check=False)


def stand_in(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


# Packages

LOCK = "# locked\nhaproxy 3.0.11-1\nkeepalived 1:2.3.3-1\nlibpq5 17.1-1\n"
HERE = "haproxy 3.0.12-1\nkeepalived 1:2.3.3-1\nbase-files 13\n"
INSTALL = "-qq -y install --no-install-recommends haproxy keepalived"


def lab_install(folder: Path, apt_get: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What it says where apt-get behaves like this, and what apt-get was asked for, with the pins of that time."""
    programs = folder / "bin"
    programs.mkdir()
    stand_in(programs, "apt-get", f'echo "$* $(grep -c Pin: {folder}/pins 2>/dev/null)" >>{folder}/asked; {apt_get}')
    stand_in(programs, "dpkg-query", f"cat {folder}/here")
    stand_in(programs, "rm", '[ "$1" = -rf ] || exec /bin/rm "$@"')
    (folder / "packages.lock").write_text(LOCK, encoding="utf-8")
    (folder / "here").write_text(HERE, encoding="utf-8")
    script = f"{COMPOSE}/base/lab-install haproxy keepalived"
    done = run(script, programs, LOCK=f"{folder}/packages.lock", PINS=f"{folder}/pins")
    return done, (folder / "asked").read_text(encoding="utf-8").splitlines()


def test_locked_versions_are_pinned_while_packages_are_installed(tmp_path: Path) -> None:
    done, asked = lab_install(tmp_path, f"cp {tmp_path}/pins {tmp_path}/seen")
    assert (done.returncode, asked) == (0, [f"{INSTALL} 3"])
    pins = (tmp_path / "seen").read_text(encoding="utf-8").split("\n\n")
    assert pins[1] == "Package: keepalived\nPin: version 1:2.3.3-1\nPin-Priority: 990"
    assert not (tmp_path / "pins").exists()


def test_a_package_of_another_version_is_named(tmp_path: Path) -> None:
    done, _ = lab_install(tmp_path, "exit 0")
    assert done.stdout == "lab-install: haproxy 3.0.12-1 (locked: 3.0.11-1)\n"


def test_lists_are_fetched_and_then_pins_given_up_before_a_build_fails(tmp_path: Path) -> None:
    done, asked = lab_install(tmp_path, '[ "$2" = update ]')
    assert asked == [f"{INSTALL} 3", "-qq update 3", f"{INSTALL} 3", f"{INSTALL} "]
    assert done.returncode != 0


def test_versions_that_do_not_go_together_are_no_reason_not_to_build(tmp_path: Path) -> None:
    done, asked = lab_install(tmp_path, f"[ ! -e {tmp_path}/pins ]")
    assert (done.returncode, asked[-1]) == (0, f"{INSTALL} ")


# The base image


def test_base_is_unpacked_in_a_folder_of_its_own_that_is_removed_again(tmp_path: Path) -> None:
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    stand_in(programs, "docker", f'[ "$1" = import ] && cat >{tmp_path}/imported')
    stand_in(programs, "apt-get", "exit 0")
    stand_in(programs, "sudo", 'exec env -u TMPDIR "$@"')
    said = f'{{ ls -ld "$TMPDIR" | cut -c 1-10; echo "$TMPDIR"; }} >{tmp_path}/unpacked'
    stand_in(programs, "mmdebstrap", f'for tar; do case "$tar" in */root.tar) echo packed >"$tar"; {said};; esac; done')
    done = run(str(ROOT / "scripts" / "ensure-base-image"), programs, TMPDIR=str(work))
    assert done.returncode == 0, done.stderr
    mode, folder = (tmp_path / "unpacked").read_text().splitlines()
    assert (mode, Path(folder).parent) == ("drwx--x--x", work)
    assert (tmp_path / "imported").read_text() == "packed\n"
    assert list(work.iterdir()) == []


# The single server


SUPERVISORD = 'printf "%s\\n" "$WEB_COMMAND" "$DATABASE_COMMAND" "$AUTORESTART" "$*"'


def test_single_server_gives_its_supervisor_both_commands(tmp_path: Path) -> None:
    stand_in(tmp_path, "supervisord", SUPERVISORD)
    done = run(f"{COMPOSE}/box/lab-box gunicorn --threads=64 app -- lab-postgres -c fsync=off", tmp_path, AUTORESTART="true")
    assert done.stdout.splitlines() == [
        "gunicorn --threads=64 app",
        "lab-postgres -c fsync=off",
        "true",
        "--nodaemon --configuration=/etc/lab/supervisord.conf",
    ]


@pytest.mark.parametrize("arguments", ["", "gunicorn", "gunicorn --", "gunicorn lab-postgres"])
def test_single_server_wants_two_commands(tmp_path: Path, arguments: str) -> None:
    stand_in(tmp_path, "supervisord", SUPERVISORD)
    done = run(f"{COMPOSE}/box/lab-box {arguments}", tmp_path, AUTORESTART="true")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr


def test_single_server_wants_to_know_whether_programs_are_restarted(tmp_path: Path) -> None:
    stand_in(tmp_path, "supervisord", SUPERVISORD)
    assert run(f"{COMPOSE}/box/lab-box gunicorn -- lab-postgres", tmp_path).returncode != 0


def test_both_programs_of_the_single_server_are_restarted_as_the_stage_file_says() -> None:
    text = (COMPOSE / "box" / "supervisord.conf").read_text(encoding="utf-8")
    assert (
        re.findall(r"^(?:autorestart|startretries|startsecs)=.*", text, re.M)
        == [
            "autorestart=%(ENV_AUTORESTART)s",
            "startretries=1000000",
            "startsecs=0",
        ]
        * 2
    )


# HAProxy


def test_stage_file_stands_between_what_no_stage_changes_and_what_is_asked(tmp_path: Path) -> None:
    """HAProxy wants the number of threads before all else, and the last file has the defaults of the stage's."""
    stand_in(tmp_path, "haproxy", 'echo "$*"')
    files = re.findall(r"-f (\S+)", run(str(COMPOSE / "balancer" / "lab-haproxy"), tmp_path).stdout)
    assert files == ["/usr/local/lib/lab/global.cfg", "/etc/lab/haproxy.cfg", "/usr/local/lib/lab/questions.cfg"]


# Two balancers with one address

VRRP = f"set -u; . {COMPOSE}/balancer/vrrp.sh 2>/dev/null; edge=eth7"


@pytest.mark.parametrize(
    ("partner", "known"),
    [
        ("198.18.0.65 198.18.1.65", ""),
        (
            "198.18.0.65 198.18.1.65 02:42:c6:12:00:41",
            "neighbour replace 198.18.0.65 lladdr 02:42:c6:12:00:41 nud permanent dev eth7\n",
        ),
    ],
)
def test_partner_is_known_where_the_stage_says_its_mac_address(tmp_path: Path, partner: str, known: str) -> None:
    stand_in(tmp_path, "ip", 'echo "$*"')
    done = run(f"{VRRP}; know_partner", tmp_path, PARTNER=partner)
    assert (done.stdout, done.returncode) == (known, 0)


@pytest.mark.parametrize(("ran_s", "forgets"), [(0, True), (4, True), (5, False), (600, False)])
def test_a_judge_that_cannot_run_keeps_no_balancer_apart(tmp_path: Path, ran_s: int, forgets: bool) -> None:
    """The next one goes on from the last word of one that ran for a while."""
    stand_ins = (
        'become() { echo "$*"; }; reset_tracked() { echo reset; }; sleep() { exit 3; }; '
        f'now_s=100; uptime_s() {{ echo "$now_s"; }}; lasts() {{ now_s={100 + ran_s}; }}'
    )
    # The program runs in a shell of its own, so its time passes where it is looked at.
    script = f"{VRRP}; {stand_ins}; eval \"$(declare -f judge | sed 's/^ *( become/lasts; &/')\"; judge"
    done = run(script, tmp_path)
    assert done.stdout.splitlines() == ["reach lab-reach", *(["reset"] if forgets else [])]
    assert done.returncode == 3


# The users' router


def made(function: str, tmp_path: Path) -> str:
    balancers = " ".join(f"{name}={address}" for name, address in BALANCERS.items())
    script = f"set -eu; . {COMPOSE}/internet/router.sh; {function}"
    done = run(script, tmp_path, ENTRY="198.18.0.10", BALANCERS=balancers)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_router_marks_the_connections_of_each_balancer(tmp_path: Path) -> None:
    flows = made("flows", tmp_path)
    assert "elements = { 198.18.0.33 : 33, 198.18.0.65 : 65, 198.18.0.129 : 129, 198.18.0.161 : 161 }" in flows
    assert "ip daddr 198.18.0.10 rt ip nexthop 198.18.0.10 ip protocol tcp reject with tcp reset" in flows
    assert flows.count("{") == flows.count("}")


def test_router_has_a_session_and_a_table_for_each_balancer(tmp_path: Path) -> None:
    peers = made("peers", tmp_path)
    for name, address in BALANCERS.items():
        number = address.rpartition(".")[2]
        assert f"protocol bgp {name} from balancer {{ neighbor {address} as 64500; ipv4 {{ table {name}_alone;" in peers
        assert f"protocol kernel {{ kernel table {number}; ipv4 {{ table {name}_alone; export all; import none; }}; }}" in peers
        assert peers.index(f"ipv4 table {name}_alone;") < peers.index(f"protocol bgp {name} ")
    assert peers.count("protocol bgp") == peers.count("protocol pipe") == len(BALANCERS)
    assert "protocol kernel { ipv4 { export all; import none; }; }" in peers


def test_template_of_the_sessions_stands_in_the_stage_file() -> None:
    document = yaml.safe_load(find("7").file.read_text(encoding="utf-8"))
    assert "template bgp balancer {" in document["configs"]["bird_internet"]["content"]
    said = document["services"]["internet"]["environment"]["BALANCERS"]
    assert said == " ".join(f"{name}={address}" for name, address in document["x-lab"]["balancers"].items())


# Time

PROGRAMS = [file for folder in ("compose", "apps") for file in (ROOT / folder).rglob("*") if file.suffix in ("", ".py", ".sh")]
WALL_CLOCK = re.compile(r"date \+%s|\$\{?SECONDS\b|^\s*SECONDS=|\btime\.time\(|from time import .*\btime\b", re.MULTILINE)
ABOUT_THE_WALL_CLOCK = ["compose/clock/Dockerfile"]
"""It measures no while: it asks whether the library sets the wall clock ahead."""


def test_seconds_of_a_deadline_are_whole_and_those_since_the_start(tmp_path: Path) -> None:
    text = (COMPOSE / "postgres" / "uptime.sh").read_text(encoding="utf-8")
    assert "</proc/uptime" in text
    (tmp_path / "uptime").write_text("12345.67 98765.43\n", encoding="utf-8")
    script = text.replace("/proc/uptime", f"{tmp_path}/uptime")
    # With the shell of the programs that use it, and as strict as they are.
    done = subprocess.run(["sh", "-euc", f"{script}\necho $(($(uptime_s) + 5))"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("12350\n", "")


@pytest.mark.parametrize("program", ["database.sh", "lab-hurry", "lab-pg-ctl"])
def test_who_has_a_deadline_knows_the_time_since_the_start(program: str) -> None:
    text = (COMPOSE / "postgres" / program).read_text(encoding="utf-8")
    assert text.index("\n. /usr/local/lib/lab/uptime.sh\n") < text.index("$(uptime_s)")


def test_no_program_of_ours_measures_a_while_by_the_wall_clock() -> None:
    files = [file for file in PROGRAMS if file.is_file() and not {"tests", "__pycache__"} & set(file.parts)]
    assert len(files) > 40
    found = [file.relative_to(ROOT).as_posix() for file in files if WALL_CLOCK.search(file.read_text(encoding="utf-8"))]
    assert found == ABOUT_THE_WALL_CLOCK


# Settings of PostgreSQL


def written_settings(tmp_path: Path, arguments: str) -> list[str]:
    """The lines of the file that the stage file's settings go to."""
    text = (COMPOSE / "postgres" / "settings.sh").read_text(encoding="utf-8")
    (tmp_path / "settings.sh").write_text(text.replace("/var/lib/lab/", f"{tmp_path}/"), encoding="utf-8")
    done = run(f"set -eu; . {tmp_path}/settings.sh; write_settings {arguments}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    return (tmp_path / "settings.conf").read_text(encoding="utf-8").splitlines()


def test_settings_of_the_stage_file_come_last_and_the_log_has_a_bound(tmp_path: Path) -> None:
    lines = written_settings(tmp_path, "-c wal_keep_size=64MB -c synchronous_standby_names= -c log_filename=a=b.log")
    assert lines[-3:] == ["wal_keep_size = '64MB'", "synchronous_standby_names = ''", "log_filename = 'a=b.log'"]
    assert lines[:-3] == ["log_filename = '%H.log'", "log_rotation_age = 60", "log_truncate_on_rotation = on"]


# The box of a database with a keeper


def function_of(script: str, *names: str) -> str:
    """The text of functions of a script that cannot be run here as a whole."""
    text = (COMPOSE / "postgres" / script).read_text(encoding="utf-8")
    found = [re.search(rf"^{name}\(\) \{{\n.*?^\}}\n", text, re.M | re.DOTALL) for name in names]
    assert all(found)
    return "".join(each[0] for each in found if each)


def rewound(tmp_path: Path, pg_rewind: str, configuration: str = "") -> Path:
    """The data directory of a database that was rewound by such a pg_rewind."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "postgresql.conf").write_text(f"{configuration}port = 5432\n", encoding="utf-8")
    for mark in ("joined", "diverged"):
        (tmp_path / mark).touch()
    stand_in(tmp_path, "pg_rewind", pg_rewind)
    settings = f"PGDATA={data} joined={tmp_path}/joined diverged={tmp_path}/diverged followed={FOLLOWED}"
    played = "await() { :; }; primary() { echo db3; }"
    done = run(f"set -eu; {settings}; {played}\n{function_of('lab-keeper', 'follow', 'rewind')}\nrewind", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "diverged").exists()
    return data


FOLLOWED = "postgresql-auto-failover-standby.conf"


@pytest.mark.parametrize("configuration", ["", f"include '{FOLLOWED}' # Auto-generated\n"])
def test_a_database_that_was_rewound_follows_and_does_not_open_for_writes(tmp_path: Path, configuration: str) -> None:
    data = rewound(tmp_path, 'echo "pg_rewind: Done!"', configuration)
    assert (data / "standby.signal").exists()
    assert (data / FOLLOWED).read_text(encoding="utf-8") == "primary_conninfo = 'host=db3 user=pgautofailover_replicator'\n"
    lines = (data / "postgresql.conf").read_text(encoding="utf-8").splitlines()
    assert [line.startswith(f"include '{FOLLOWED}'") for line in lines] == [True, False]
    assert (tmp_path / "joined").exists()


@pytest.mark.parametrize("pg_rewind", ['echo "pg_rewind: no rewind required"', "echo no common ancestor >&2; exit 1"])
def test_a_database_that_cannot_be_rewound_is_copied(tmp_path: Path, pg_rewind: str) -> None:
    data = rewound(tmp_path, pg_rewind)
    assert not (data / "standby.signal").exists()
    assert not (tmp_path / "joined").exists()


def test_databases_that_answer_are_found_by_the_hosts_file(tmp_path: Path) -> None:
    hosts = (
        "127.0.0.1 localhost\n198.18.2.35\tdb1\n198.18.2.67\tdb2\n198.18.2.131\tdb3\n198.18.2.196\tmonitor\n198.18.2.35\tdb1\n"
    )
    (tmp_path / "hosts").write_text(hosts, encoding="utf-8")
    stand_in(tmp_path, "pg_isready", 'echo "$*" >>"$ASKED"; [ "${*: -1}" = db3 ]')
    script = function_of("lab-keeper", "answering").replace("/etc/hosts", f"{tmp_path}/hosts")
    done = run(f"set -eu; me=db1\n{script}\nanswering", tmp_path, ASKED=f"{tmp_path}/asked")
    assert (done.returncode, done.stdout, done.stderr) == (0, "db3\n", "")
    assert sorted((tmp_path / "asked").read_text(encoding="utf-8").splitlines()) == ["-q -t 1 -h db2", "-q -t 1 -h db3"]


def test_a_box_with_an_empty_disk_waits_until_the_monitor_may_forget_what_it_was(tmp_path: Path) -> None:
    """It says why once for each reason, and keeps asking; no restart, for that would only hide it."""
    said = ("db2 is lost with its disk", "db2 is lost with its disk", "no connection", "")
    (tmp_path / "answers").write_text("\n".join(said) + "\n", encoding="utf-8")
    played = (
        'ask() { echo "$1" >>asked; answer=$(head -n 1 answers); sed -i 1d answers; echo "$answer"; [ "$answer" != "no connection" ]; }; '
        "sleep() { :; }"
    )
    done = run(f"set -eu; cd {tmp_path}; me=db2; {played}\n{function_of('lab-keeper', 'forget')}\nforget", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == ["lab-keeper: waiting: db2 is lost with its disk", "lab-keeper: waiting: no connection"]
    assert (tmp_path / "asked").read_text(encoding="utf-8").splitlines() == ["SELECT public.forget('db2')"] * 4


def test_a_box_is_forgotten_before_its_data_is_removed_and_joins() -> None:
    join = function_of("lab-keeper", "join")
    steps = [join.index(words) for words in ("  forget\n", 'rm -rf "$PGDATA"', "initialise", "pg_autoctl create postgres")]
    assert steps == sorted(steps)
    # All else goes on: what the monitor knows is never removed by the box itself.
    assert "remove_node" not in (COMPOSE / "postgres" / "lab-keeper").read_text(encoding="utf-8")
