"""Processes, time and identity: toybox's commands of a virtual phone, second half."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace

from device_agent.virtual.command import Call, command
from device_agent.virtual.processes import Killed

_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "SEGV": 11, "TERM": 15, "CONT": 18, "STOP": 19}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@command("sleep")
def _sleep(call: Call) -> int:
    call.process.pause(sum(map(_seconds, call.arguments)))
    return 0


def _seconds(text: str) -> float:
    return float(text[:-1]) * _UNITS_S[text[-1]] if text[-1] in _UNITS_S else float(text)


@command("timeout")
def _timeout(call: Call) -> int:
    arguments = list(call.arguments)
    number, forced = 15, False
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in ("-s", "-k"):
            value = arguments.pop(0)
            number = _SIGNALS[value.removeprefix("SIG")] if option == "-s" else number
    limit_s, words = _seconds(arguments[0]), tuple(arguments[1:])
    child = call.phone.processes.spawn(words, call.process)

    def expire() -> None:
        nonlocal forced
        forced = True
        child.kill(number)

    timer = threading.Timer(limit_s, expire)
    timer.daemon = True
    timer.start()
    try:
        return replace(call, process=child, words=words).execute()
    except Killed as killed:
        return 124 if forced and number != 9 else 128 + killed.number
    finally:
        timer.cancel()
        call.phone.processes.reap(child)


@command("setsid")
def _setsid(call: Call) -> int:
    return call.spawn(call.split_flags()[1], new_group=True)


@command("nohup")
def _nohup(call: Call) -> int:
    return replace(call, words=call.arguments).execute()


@command("taskset")
def _taskset(call: Call) -> int:
    arguments = list(call.arguments)
    if arguments[:1] == ["-p"]:
        target = call.phone.processes.find(int(arguments[-1]))
        if target is None:
            return call.complain(f"failed to get {arguments[-1]}'s affinity: No such process")
        call.print(f"pid {arguments[-1]}'s current affinity mask: {sum(1 << cpu for cpu in target.cpus):x}")
        return 0
    mask = int(arguments[0], 16)
    cpus = frozenset(cpu for cpu in call.phone.profile.cpus if mask >> cpu & 1)
    if not cpus:
        return call.complain(f"failed to set mask {arguments[0]}: Invalid argument")
    call.process.cpus = cpus
    return replace(call, words=tuple(arguments[1:])).execute()


@command("nproc")
def _nproc(call: Call) -> int:
    call.print(str(len(call.process.cpus)))
    return 0


@command("kill")
def _kill(call: Call) -> int:
    number, targets = 15, list(call.arguments)
    if targets[:1] == ["-s"]:
        number = _signal(targets[1])
        targets = targets[2:]
    elif targets and re.fullmatch(r"-\w+", targets[0]):
        number = _signal(targets.pop(0)[1:])
    if targets[:1] == ["--"]:
        targets.pop(0)
    code = 0
    for target in targets:
        if not call.phone.processes.signal(int(target), number):
            code = call.complain(f"{target}: No such process")
    return code


def _signal(text: str) -> int:
    return int(text) if text.isdigit() else _SIGNALS[text.upper().removeprefix("SIG")]


@command("pidof")
def _pidof(call: Call) -> int:
    names = {name.rsplit("/", 1)[-1] for name in call.split_flags()[1]}
    found = [str(item.pid) for item in call.phone.processes.listing() if item.words[0].rsplit("/", 1)[-1] in names]
    if found:
        call.print(" ".join(found))
    return int(not found)


@command("pgrep")
def _pgrep(call: Call) -> int:
    letters, operands = call.split_flags()
    pattern = re.compile(operands[0])
    found = [
        item.pid
        for item in call.phone.processes.listing()
        if item is not call.process
        and pattern.search(" ".join(item.words) if "f" in letters else item.words[0].rsplit("/", 1)[-1])
    ]
    for pid in found:
        call.print(str(pid))
    return int(not found)


@command("ps")
def _ps(call: Call) -> int:
    columns = {"PID": 0, "PPID": 1, "PGID": 2, "NAME": 3, "ARGS": 4, "CMD": 3, "CMDLINE": 4}
    wanted = ["PID", "PPID", "PGID", "ARGS"]
    if "-o" in call.arguments:
        wanted = call.arguments[call.arguments.index("-o") + 1].upper().split(",")
    call.print(" ".join(wanted))
    for item in call.phone.processes.listing():
        name = item.words[0].rsplit("/", 1)[-1]
        values = (str(item.pid), str(item.parent), str(item.group), name, " ".join(item.words))
        call.print(" ".join(values[columns[column]] for column in wanted))
    return 0


@command("id")
def _id(call: Call) -> int:
    call.print("uid=2000(shell) gid=2000(shell) groups=2000(shell),1004(input) context=u:r:shell:s0")
    return 0


@command("whoami")
def _whoami(call: Call) -> int:
    call.print("shell")
    return 0


@command("uname")
def _uname(call: Call) -> int:
    call.print("aarch64" if "m" in call.split_flags()[0] else "Linux")
    return 0


@command("uptime")
def _uptime(call: Call) -> int:
    up_s = int(call.phone.uptime_s)
    call.print(f" up {up_s // 60} min,  0 users,  load average: 0.20, 0.15, 0.10")
    return 0


@command("date")
def _date(call: Call) -> int:
    now_s = call.phone.clock_s
    text = next((word[1:] for word in call.arguments if word.startswith("+")), "%a %b %d %H:%M:%S UTC %Y")
    text = text.replace("%s", str(int(now_s))).replace("%N", f"{int(now_s % 1 * 1e9):09d}")
    call.print(time.strftime(text, time.gmtime(now_s)))
    return 0


@command("printenv", "env")
def _env(call: Call) -> int:
    arguments = list(call.arguments)
    env = dict(call.env)
    while call.words[0] == "env" and arguments and "=" in arguments[0]:
        name, _, value = arguments.pop(0).partition("=")
        env[name] = value
    if call.words[0] == "env" and arguments:
        return replace(call, words=tuple(arguments), env=env).execute()
    if arguments:
        if arguments[0] not in env:
            return 1
        call.print(env[arguments[0]])
        return 0
    for name, value in sorted(env.items()):
        call.print(f"{name}={value}")
    return 0


@command("sync")
def _sync(call: Call) -> int:
    return 0
