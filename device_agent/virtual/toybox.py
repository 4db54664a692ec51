"""Text and files: the Unix commands of a virtual phone, with the options and messages of toybox that matter here."""

from __future__ import annotations

import hashlib
import re
import stat
import time

from device_agent.virtual.command import Call, command


@command("true")
def _true(call: Call) -> int:
    return 0


@command("false")
def _false(call: Call) -> int:
    return 1


@command("echo")
def _echo(call: Call) -> int:
    newline = call.arguments[:1] != ("-n",)
    words = call.arguments if newline else call.arguments[1:]
    call.streams.stdout(" ".join(words).encode(errors="surrogateescape") + (b"\n" if newline else b""))
    return 0


@command("printf")
def _printf(call: Call) -> int:
    form, values = call.arguments[0].replace("\\n", "\n").replace("\\t", "\t"), list(call.arguments[1:])
    while True:
        before = len(values)
        text = re.sub(r"%[sd]", lambda _: values.pop(0) if values else "", form)
        call.streams.stdout(text.replace("%%", "%").encode(errors="surrogateescape"))
        if not values or len(values) == before:  # the format is used again for the values that are left
            return 0


@command("cat")
def _cat(call: Call) -> int:
    code = 0
    for operand in call.arguments or ("-",):
        try:
            data = (
                call.streams.stdin() if operand == "-" else call.phone.files.read(call.path(operand), call.process.pid)
            )
        except OSError as error:
            code = call.failed(operand, error)
        else:
            call.streams.stdout(data)
    return code


@command("head", "tail")
def _head(call: Call) -> int:
    arguments = list(call.arguments)
    count = 10
    if arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        count = int(option[2:] or arguments.pop(0)) if option[1] in "nc" else int(option[1:])
    data = b"".join(call.phone.files.read(call.path(name)) for name in arguments) if arguments else call.streams.stdin()
    lines = data.splitlines(keepends=True)
    call.streams.stdout(b"".join(lines[:count] if call.words[0] == "head" else lines[-count:]))
    return 0


@command("wc")
def _wc(call: Call) -> int:
    letters, operands = call.split_flags()
    data = call.phone.files.read(call.path(operands[0])) if operands else call.streams.stdin()
    call.print(str(len(data) if "c" in letters else data.count(b"\n")))
    return 0


@command("grep")
def _grep(call: Call) -> int:
    letters, operands = call.split_flags()
    pattern = re.compile(re.escape(operands[0]) if "F" in letters else operands[0], re.IGNORECASE * ("i" in letters))
    names = operands[1:] or ("-",)
    with_name = "H" in letters or (len(names) > 1 and "h" not in letters)
    found, code = 0, 0
    for name in names:
        try:
            data = call.streams.stdin() if name == "-" else call.phone.files.read(call.path(name), call.process.pid)
        except OSError as error:
            if "s" not in letters:
                call.failed(name, error)
            code = 2
            continue
        for line in data.decode(errors="replace").splitlines():
            if (pattern.search(line) is None) == ("v" in letters):
                found += 1
                if not set(letters) & set("cq"):
                    call.print(f"{name}:{line}" if with_name else line)
    if "c" in letters:
        call.print(str(found))
    return code or int(not found)


@command("ls")
def _ls(call: Call) -> int:
    letters, operands = call.split_flags()
    files, code = call.phone.files, 0
    for operand in operands or (".",):
        path = call.path(operand)
        try:
            if files.is_folder(path) and "d" not in letters:
                names = [name for name in files.names(path) if "a" in letters or not name.startswith(".")]
                entries = [(name, f"{path.rstrip('/')}/{name}") for name in names]
            else:
                files.status(path)
                entries = [(operand, path)]
            for name, full in entries:
                call.print(_long(call, name, full) if "l" in letters else name)
        except OSError as error:
            code = call.failed(operand, error)
    return code


def _long(call: Call, name: str, path: str) -> str:
    status = call.phone.files.status(path)
    moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(status.st_mtime))
    return f"{stat.filemode(status.st_mode)} {status.st_nlink} shell shell {status.st_size:>9} {moment} {name}"


@command("stat")
def _stat(call: Call) -> int:
    arguments = list(call.arguments)
    text = "  File: %n\n  Size: %s\t Access: (%a)"
    if "-c" in arguments:
        position = arguments.index("-c")
        text = arguments[position + 1]
        del arguments[position : position + 2]
    code = 0
    for operand in arguments:
        try:
            status = call.phone.files.status(call.path(operand))
        except OSError as error:
            code = call.failed(operand, error)
            continue
        values = {
            "%n": operand, "%s": str(status.st_size), "%a": f"{stat.S_IMODE(status.st_mode):o}",
            "%Y": f"{status.st_mtime:.0f}", "%U": "shell", "%X": f"{status.st_atime:.0f}",
        }  # fmt: skip
        call.print(re.sub(r"%\w", lambda match, known=values: known.get(match[0], "?"), text))  # type: ignore[misc]
    return code


@command("mkdir")
def _mkdir(call: Call) -> int:
    letters, operands = call.split_flags()
    code = 0
    for operand in operands:
        try:
            call.phone.files.make_folder(call.path(operand), parents="p" in letters)
        except OSError as error:
            code = call.failed(f"'{operand}'", error)
    return code


@command("rm")
def _rm(call: Call) -> int:
    letters, operands = call.split_flags()
    files, code = call.phone.files, 0
    for operand in operands:
        path = call.path(operand)
        if "f" in letters and not files.real(path).exists():
            continue
        if files.is_folder(path) and "r" not in letters.lower():
            code = call.complain(f"{operand}: Is a directory")
            continue
        try:
            files.remove(path)
        except OSError as error:
            code = call.failed(operand, error)
    return code


@command("mv")
def _mv(call: Call) -> int:
    _, operands = call.split_flags()
    if len(operands) != 2:
        return call.complain("needs 2 arguments")
    source, target = map(call.path, operands)
    if call.phone.files.is_folder(target):
        target = f"{target}/{source.rsplit('/', 1)[-1]}"
    try:
        call.phone.files.move(source, target)
    except OSError as error:
        return call.failed(operands[0], error)
    return 0


@command("cp")
def _cp(call: Call) -> int:
    _, operands = call.split_flags()
    if len(operands) != 2:
        return call.complain("needs 2 arguments")
    source, target = map(call.path, operands)
    try:
        call.phone.files.write(target, call.phone.files.read(source))
        call.phone.files.set_mode(target, stat.S_IMODE(call.phone.files.status(source).st_mode))
    except OSError as error:
        return call.failed(operands[1], error)
    return 0


@command("touch")
def _touch(call: Call) -> int:
    code = 0
    for operand in call.split_flags()[1]:
        path = call.path(operand)
        try:
            call.phone.files.write(path, b"", append=True)
            call.phone.files.real(path).touch()
        except OSError as error:
            code = call.failed(f"'{operand}'", error)
    return code


@command("chmod")
def _chmod(call: Call) -> int:
    operands = [word for word in call.arguments if word != "-R"]
    mode, *names = operands or [""]
    code = 0
    for operand in names:
        path = call.path(operand)
        try:
            old = call.phone.files.status(path).st_mode
            new = int(mode, 8) if mode.isdigit() else (old | 0o111 if "+x" in mode else old & ~0o111)
            call.phone.files.set_mode(path, stat.S_IMODE(new))
        except OSError as error:
            code = call.failed(operand, error)
    return code


@command("df")
def _df(call: Call) -> int:
    files = call.phone.files
    size, free = files.capacity_bytes // 1024, files.free_bytes // 1024
    call.print("Filesystem     1K-blocks    Used Available Use% Mounted on")
    call.print(f"/dev/block/dm-8 {size} {size - free} {free} {100 * (size - free) // size}% /data")
    return 0


@command("du")
def _du(call: Call) -> int:
    for operand in call.split_flags()[1] or (".",):
        real = call.phone.files.real(call.path(operand))
        if not real.exists():
            return call.complain(f"{operand}: No such file or directory")
        files = [real] if real.is_file() else [file for file in real.rglob("*") if file.is_file()]
        call.print(f"{sum((file.stat().st_size + 1023) // 1024 for file in files)}\t{operand}")
    return 0


@command("sha256sum", "md5sum")
def _digest(call: Call) -> int:
    letters, operands = call.split_flags()
    code = 0
    for operand in operands or ("-",):
        try:
            data = call.streams.stdin() if operand == "-" else call.phone.files.read(call.path(operand))
        except OSError as error:
            code = call.failed(operand, error)
            continue
        digest = hashlib.new(call.words[0].removesuffix("sum"), data).hexdigest()
        call.print(digest if "b" in letters else f"{digest}  {operand}")
    return code


@command("test", "[")
def _test(call: Call) -> int:
    words = list(call.arguments)
    if call.words[0] == "[":
        if words[-1:] != ["]"]:
            return call.complain("missing ]") + 1
        words.pop()
    negated = words[:1] == ["!"]
    return int(_holds(call, words[negated:]) == negated)


def _holds(call: Call, words: list[str]) -> bool:
    files = call.phone.files
    if len(words) == 3:
        left, operator, right = words
        if operator in ("=", "==", "!="):
            return (left == right) == (operator != "!=")
        a, b = int(left or 0), int(right or 0)
        return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}[operator]
    if len(words) == 2:
        path = call.path(words[1])
        real = files.real(path)
        return {
            "-z": not words[1], "-n": bool(words[1]), "-e": files.exists(path), "-d": files.is_folder(path),
            "-f": files.exists(path) and not files.is_folder(path), "-x": files.is_executable(path),
            "-s": real.is_file() and real.stat().st_size > 0, "-r": files.exists(path),
            "-w": path.startswith(("/data/local/tmp", "/sdcard")) and files.exists(path),
        }[words[0]]  # fmt: skip
    return bool(words and words[0])
