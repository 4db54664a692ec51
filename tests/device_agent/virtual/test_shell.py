"""The shell and its commands, compared with this computer's own shell where both have the same commands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.virtual.command import Buffer, Streams
from device_agent.virtual.phone import VirtualPhone
from device_agent.virtual.processes import Killed
from device_agent.virtual.profile import PROFILES
from device_agent.virtual.shell import Shell
from tests.device_agent.conftest import TEMPORARY


@dataclass(frozen=True)
class Ended:
    """How a script ended."""

    code: int
    stdout: str
    stderr: str


Run = Callable[[str], Ended]


@pytest.fixture
def phone(tmp_path: Path) -> VirtualPhone:
    return VirtualPhone(PROFILES["virtual8"], tmp_path / "phone")


@pytest.fixture
def run(phone: VirtualPhone) -> Iterator[Run]:
    """Runs a script on the phone, in its temporary folder."""

    def run(text: str) -> Ended:
        out, err = Buffer(), Buffer()
        process = phone.processes.spawn(("sh",), None)
        shell = Shell(phone, process, Streams(out.write, err.write, lambda: b"typed\n"), cwd=TEMPORARY)
        try:
            code = shell.run(text)
        except Killed as killed:
            code = 128 + killed.number
        finally:
            phone.processes.reap(process)
        return Ended(code, out.value().decode(), err.value().decode())

    yield run
    phone.processes.kill_all()


@pytest.mark.parametrize(
    "script",
    [
        "echo a; echo b && echo c || echo d",
        "false && echo no || echo yes; echo $?",
        "true || echo no; ! false; echo $?",
        "x=1; y='a  b'; echo $x $y \"$y\" ${z:-none} ${x:-none}",
        'x=\'a b\'; for i in $x "$x" c; do echo "<$i>"; done',
        "for i in 1 2; do for j in a b; do echo $i$j; done; done",
        "if [ -e /nowhere ]; then echo a; elif test 1 -lt 2; then echo b; else echo c; fi",
        "if false; then echo a; fi; echo $?",
        'x=; while [ "$x" != aaa ]; do x=a$x; echo $x; done',
        'x=; until [ "$x" = aa ]; do x=a$x; done; echo $x',
        "(cd / && pwd; exit 3); echo $?",
        "{ echo a; echo b; } > f; cat f; wc -c < f",
        'echo $(echo a; echo b) "$(echo a; echo b)" `echo c`',
        'echo $(echo $(echo "nested )"))',
        "echo a | cat | grep a; echo x | grep y; echo $?",
        "printf 'b\\na\\n' > f; grep -c . f; cat f f | head -n 3 | tail -n 1",
        "echo out; echo err >&2; ls /nowhere 2>/dev/null; echo done",
        "(echo a; echo b >&2) 2>&1 | grep -c .",
        "echo 1 > f; echo 2 >> f; cat f; echo 3 > f; cat f",
        "mkdir -p a/b/c && touch a/b/c/f && ls a/b/c && mv a/b z && ls z && rm -rf a z; ls",
        "mkdir d; mkdir d 2>/dev/null; echo $?; rm d/none 2>/dev/null; echo $?; rm -f d/none; echo $?",
        "touch b.x a.x c.y; echo *.x *.z '*.x' \"*\".x",
        "echo hello > f; sha256sum f; sha256sum < f; md5sum f",
        "sh -c 'echo \"$0 $1 $#\"; exit 4' name 'a b'; echo $?",
        "sh -c 'kill -9 $$'; echo $?; sh -c 'kill -s TERM $$'; echo $?",
        "exit 7; echo unreachable",
        "(exit 300); echo $?",
        "A=1 sh -c 'echo $A'; echo \"[$A]\"; export B=2; sh -c 'echo $B'; unset B; sh -c 'echo \"[$B]\"'",
        "printf '%s\\n' \"a\\$b \\\"c\\\" \\\\ \\n\" 'a\\b'",
        "set_by=${unset:-default value}; echo $set_by",
        'sleep 0.01 & wait; echo $?; [ -n "$!" ] && echo pid',
        "eval 'x=5; echo $x'; echo $x",
        "nohup echo x 2>/dev/null; env A=3 printenv A; timeout 5 echo in time",
        "timeout -s KILL 0.05 sleep 5; echo $?; timeout 0.05 sleep 5; echo $?",
        "f=file; echo x > $f.txt; cat file.txt; test -s file.txt && test -f file.txt && test ! -d file.txt; echo $?",
        "cp /dev/null e; test -s e; echo $?; echo abc > e; cp e e2; cat e2; chmod 755 e2; test -x e2; echo $?",
        "cat; cat < /dev/null; echo end",
        "command -v no-such-command || echo no; :; echo $?",
        "exec echo replaced; echo unreachable",
        "stat -c '%s %a' /nowhere 2>/dev/null; echo 12345 > s; chmod 640 s; stat -c '%s %a' s",
        "no-such-command 2>/dev/null; echo $?; ./not-executable 2>/dev/null; echo $?",
    ],
)
def test_as_the_shell_of_this_computer(run: Run, script: str, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    host = subprocess.run(
        ["/bin/sh", "-c", script], cwd=folder, input=b"typed\n", capture_output=True, timeout=120, check=False
    )
    ended = run(script)
    assert (ended.stdout, ended.code) == (host.stdout.decode(), host.returncode)


def test_errors_are_worded_as_on_android(run: Run) -> None:
    assert run("nothing").stderr == "/system/bin/sh: nothing: inaccessible or not found\n"
    assert run("ls /nowhere").stderr == "ls: /nowhere: No such file or directory\n"
    assert run("echo x > /system/f").stderr == "/system/bin/sh: can't create /system/f: Permission denied\n"
    assert run("touch f; ./f") == Ended(126, "", "/system/bin/sh: ./f: can't execute: Permission denied\n")
    assert run("echo (").code == 2


def test_bad_arguments_are_complaints_not_crashes(run: Run) -> None:
    for text in ("kill x", "taskset", "head -n x f", "settings", "settings get global", "timeout", "grep", "sleep x"):
        ended = run(text)
        assert ended.code != 0
        assert ended.stderr


def test_scripts_that_were_pushed(run: Run, phone: VirtualPhone) -> None:
    phone.files.write(f"{TEMPORARY}/probe", b"#!/system/bin/sh\necho ran $1\nexit 5\n")
    assert run("chmod 755 probe; ./probe here") == Ended(5, "ran here\n", "")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"\x7fELF\x02" + bytes(13) + b"\x3e\x00", "not executable: 64-bit ELF file"),
        (b"\x7fELF\x01" + bytes(13) + b"\x28\x00", "not executable: 32-bit ELF file"),
    ],
    ids=["x86_64", "arm"],
)
def test_programs_for_another_processor(run: Run, phone: VirtualPhone, header: bytes, says: str) -> None:
    phone.files.write(f"{TEMPORARY}/program", header)
    ended = run("chmod 755 program; ./program")
    assert ended.code == 126
    assert says in ended.stderr


def test_nothing_outside_the_folder_can_be_reached(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for path in ("/../secret", f"{TEMPORARY}/../../../../secret", "../../../../../secret", str(tmp_path / "secret")):
        assert run(f"cat {path}").stdout == ""
        assert run(f"echo x > {path}").code != 0
    assert (tmp_path / "secret").read_text() == "secret"


def test_room_runs_out_as_on_a_disk(run: Run, phone: VirtualPhone) -> None:
    phone.files.capacity_bytes = 10_000
    phone.files.write(f"{TEMPORARY}/f", bytes(9_000))
    assert phone.files.free_bytes == 1_000
    ended = run("cat f > g")
    assert (ended.code, ended.stderr) == (1, "cat: No space left on device\n")
    assert run("stat -c %s g").stdout == "1000\n"
    run("rm f g")
    assert phone.files.free_bytes == 10_000


def test_processes_are_listed_and_killed_by_group(run: Run, phone: VirtualPhone) -> None:
    run("setsid sleep 50 & sleep 60 & true")
    listed = run("ps -o PID,PGID,NAME").stdout
    assert listed.count("sleep") == 2
    (detached,) = [item for item in phone.processes.listing() if item.words[:2] == ("sleep", "50")]
    assert detached.group == detached.pid
    assert run(f"kill -0 -- -{detached.group}; echo $?").stdout == "0\n"
    assert run("pidof sleep | wc -l").stdout == "1\n"
    assert run("kill -9 $(pidof sleep)").code == 0


def test_affinity_is_inherited_and_read_back(run: Run) -> None:
    assert "Cpus_allowed_list:\t4-7\n" in run("taskset f0 sh -c 'cat /proc/self/status'").stdout
    assert run("taskset f0 nproc; nproc").stdout == "4\n9\n"
    assert "Invalid argument" in run("taskset 10000 true").stderr
    assert run("taskset 3 sh -c 'taskset -p $$'").stdout.endswith("mask: 3\n")
