"""A small POSIX shell: executes the trees of `device_agent.virtual.syntax` on a virtual phone.

The commands of a pipeline run one after the other, each on all the output of the one before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from device_agent.virtual.command import COMMANDS, SIGNAL_NAMES, Buffer, Call, Streams, Writer, command, nothing
from device_agent.virtual.expansion import Expansion
from device_agent.virtual.processes import Killed, VirtualProcess
from device_agent.virtual.protocol import LinkClosed
from device_agent.virtual.syntax import ShellSyntaxError, parse
from device_agent.virtual.tree import (
    AndOr,
    Command,
    Compound,
    For,
    If,
    Pipeline,
    Redirect,
    Script,
    Simple,
    Substitution,
    Text,
    Variable,
    While,
    Word,
)

if TYPE_CHECKING:
    from device_agent.virtual.phone import VirtualPhone

SYNTAX_ERROR = 2
ENVIRONMENT = {
    "PATH": "/system/bin",
    "HOME": "/",
    "TMPDIR": "/data/local/tmp",
    "USER": "shell",
    "SHELL": "/system/bin/sh",
}


class ShellExit(Exception):
    """`exit`, or the end of `exec`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit {code}")
        self.code = code


class Shell:
    """One shell process.

    Args:
        phone: Where it runs.
        process: As what.
        streams: Input and output.
        cwd: Folder to start in.
        env: Exported variables.
        arguments: `$0`, `$1`, ...
    """

    def __init__(
        self,
        phone: VirtualPhone,
        process: VirtualProcess,
        streams: Streams,
        *,
        cwd: str = "/",
        env: Mapping[str, str] = ENVIRONMENT,
        arguments: tuple[str, ...] = ("sh",),
    ) -> None:
        self.phone = phone
        self.process = process
        self.cwd = cwd
        self.variables = dict(env)
        self.exported = set(env)
        self._streams = streams
        self._arguments = arguments
        self._code = 0
        self._background: list[tuple[int, threading.Thread]] = []

    def run(self, text: str) -> int:
        """Run a script; its exit code.

        Raises:
            Killed: A signal ended the shell.
        """
        try:
            self._script(parse(text), self._streams)
        except ShellSyntaxError as error:
            self._complain(self._streams, f"syntax error: {error}")
            return SYNTAX_ERROR
        except ShellExit as ended:
            return ended.code
        return self._code

    def _complain(self, streams: Streams, text: str) -> None:
        streams.stderr(f"/system/bin/sh: {text}\n".encode())

    def _script(self, script: Script, streams: Streams) -> None:
        for item in script.items:
            self.process.check()
            if item.background:
                self._start(item, streams)
            else:
                self._and_or(item, streams)

    def _start(self, item: AndOr, streams: Streams) -> None:
        child = self.phone.processes.spawn(("sh",), self.process)
        shell = self._fork(child)

        def work() -> None:
            try:
                shell._and_or(item, replace(streams, stdin=nothing))
            except (Killed, ShellExit, LinkClosed):  # the last one: nobody reads its output any more
                return
            finally:
                self.phone.processes.reap(child)

        thread = threading.Thread(target=work, name=f"background {child.pid}", daemon=True)
        self._background.append((child.pid, thread))
        self._code = 0
        thread.start()

    def _fork(self, process: VirtualProcess) -> Shell:
        env = {name: self.variables[name] for name in self.exported if name in self.variables}
        shell = Shell(self.phone, process, self._streams, cwd=self.cwd, env=env, arguments=self._arguments)
        shell.variables.update(self.variables)
        shell._code = self._code
        return shell

    def _and_or(self, item: AndOr, streams: Streams) -> None:
        self._pipeline(item.pipelines[0][1], streams)
        for connector, pipeline in item.pipelines[1:]:
            if (connector == "&&") == (self._code == 0):
                self._pipeline(pipeline, streams)

    def _pipeline(self, pipeline: Pipeline, streams: Streams) -> None:
        stdin = streams.stdin
        for part in pipeline.commands[:-1]:
            buffer = Buffer()
            self._fork(self.process)._command(part, Streams(buffer.write, streams.stderr, stdin))
            stdin = buffer.value
        self._command(pipeline.commands[-1], replace(streams, stdin=stdin))
        if pipeline.negated:
            self._code = int(self._code == 0)

    def _command(self, tree: Command, streams: Streams) -> None:
        redirected = self._redirected(tree.redirects, streams)
        if redirected is None:
            self._code = 1
        elif isinstance(tree, Simple):
            self._simple(tree, redirected)
        elif isinstance(tree, Compound):
            self._compound(tree, redirected)
        elif isinstance(tree, If):
            self._if(tree, redirected)
        elif isinstance(tree, For):
            for value in self._fields(tree.words, redirected):
                self.variables[tree.name] = value
                self._script(tree.body, redirected)
        else:
            self._while(tree, redirected)

    def _compound(self, tree: Compound, streams: Streams) -> None:
        if not tree.subshell:
            self._script(tree.body, streams)
            return
        inner = self._fork(self.process)
        try:
            inner._script(tree.body, streams)
            self._code = inner._code
        except ShellExit as ended:
            self._code = ended.code

    def _if(self, tree: If, streams: Streams) -> None:
        for condition, body in tree.branches:
            self._script(condition, streams)
            if self._code == 0:
                self._script(body, streams)
                return
        self._code = 0
        if tree.otherwise is not None:
            self._script(tree.otherwise, streams)

    def _while(self, tree: While, streams: Streams) -> None:
        while True:
            self._script(tree.condition, streams)
            if (self._code == 0) == tree.until:
                self._code = 0
                return
            self._script(tree.body, streams)

    def _redirected(self, redirects: tuple[Redirect, ...], streams: Streams) -> Streams | None:
        for redirect in redirects:
            target = " ".join(self._fields((redirect.target,), streams))
            try:
                streams = self._redirect(redirect, target, streams)
            except OSError as error:
                verb = "open" if redirect.operator == "<" else "create"
                self._complain(streams, f"can't {verb} {target}: {os.strerror(error.errno or 0)}")
                return None
        return streams

    def _redirect(self, redirect: Redirect, target: str, streams: Streams) -> Streams:
        if redirect.operator == "<":
            data = self.phone.files.read(self.phone.files.normal(target, self.cwd), self.process.pid)
            return replace(streams, stdin=lambda: data)
        if redirect.operator == ">&":
            writer = {"1": streams.stdout, "2": streams.stderr}.get(target, streams.stdout)
        else:
            writer = self._file_writer(target, append=redirect.operator == ">>")
        return replace(streams, stderr=writer) if redirect.descriptor == 2 else replace(streams, stdout=writer)

    def _file_writer(self, target: str, *, append: bool) -> Writer:
        path = self.phone.files.normal(target, self.cwd)
        self.phone.files.write(path, b"", append=append)
        return lambda data: self.phone.files.write(path, data, append=True)

    def _simple(self, tree: Simple, streams: Streams) -> None:
        words = self._fields(tree.words, streams)
        assigned = {name: "".join(self._fields((word,), streams, split=False)) for name, word in tree.assignments}
        if not words:
            self.variables.update(assigned)
            self._code = 0
            return
        builtin = _BUILTINS.get(words[0])
        try:
            if builtin is not None:
                self.variables.update(assigned)
                self._code = builtin(self, words[1:], streams)
            else:
                self._code = self._external(words, assigned, streams)
        except OSError as error:  # writing to a redirected file failed
            self._complain(streams, os.strerror(error.errno or 0))
            self._code = 1
        self.process.check()

    def _external(self, words: tuple[str, ...], assigned: Mapping[str, str], streams: Streams) -> int:
        code = self._call(words, assigned, streams).spawn(words)
        if code - 128 in SIGNAL_NAMES:
            streams.stderr(f"{SIGNAL_NAMES[code - 128]} \n".encode())
        return code

    def _call(self, words: tuple[str, ...], assigned: Mapping[str, str], streams: Streams) -> Call:
        env = {name: self.variables[name] for name in self.exported if name in self.variables}
        return Call(self.phone, self.process, words, streams, self.cwd, {**env, **assigned})

    def _fields(self, words: tuple[Word, ...], streams: Streams, *, split: bool = True) -> tuple[str, ...]:
        expansion = Expansion(lambda part: self._value(part, streams), self._arguments[1:], self.phone.files, self.cwd)
        return tuple(field for word in words for field in expansion.fields(word, split=split))

    def _value(self, part: Text | Variable | Substitution, streams: Streams) -> str:
        if isinstance(part, Text):
            return part.text
        if isinstance(part, Substitution):
            buffer = Buffer()
            inner = self._fork(self.process)
            try:
                inner._script(part.script, replace(streams, stdout=buffer.write))
                self._code = inner._code
            except ShellExit as ended:
                self._code = ended.code
            return buffer.value().decode(errors="surrogateescape").rstrip("\n")
        return self._variable(part.name) or part.default or ""

    def _variable(self, name: str) -> str:
        if name.isdigit():
            return self._arguments[int(name)] if int(name) < len(self._arguments) else ""
        special: dict[str, Callable[[], str]] = {
            "?": lambda: str(self._code),
            "$": lambda: str(self.process.pid),
            "!": lambda: str(self._background[-1][0]) if self._background else "",
            "#": lambda: str(len(self._arguments) - 1),
            "@": lambda: " ".join(self._arguments[1:]),
            "*": lambda: " ".join(self._arguments[1:]),
            "PWD": lambda: self.cwd,
        }
        return special[name]() if name in special else self.variables.get(name, "")

    def _cd(self, arguments: tuple[str, ...], streams: Streams) -> int:
        target = self.phone.files.normal(arguments[0] if arguments else "/", self.cwd)
        if not self.phone.files.is_folder(target):
            self._complain(streams, f"cd: {target}: No such file or directory")
            return 2
        self.cwd = target
        return 0

    def _pwd(self, arguments: tuple[str, ...], streams: Streams) -> int:
        streams.stdout(self.cwd.encode() + b"\n")
        return 0

    def _exit(self, arguments: tuple[str, ...], streams: Streams) -> int:
        raise ShellExit(int(arguments[0]) & 255 if arguments and arguments[0].isdigit() else self._code)

    def _exec(self, arguments: tuple[str, ...], streams: Streams) -> int:
        if not arguments:
            return 0
        raise ShellExit(self._call(arguments, {}, streams).execute())

    def _export(self, arguments: tuple[str, ...], streams: Streams) -> int:
        for argument in arguments:
            name, equals, value = argument.partition("=")
            self.exported.add(name)
            if equals:
                self.variables[name] = value
        return 0

    def _unset(self, arguments: tuple[str, ...], streams: Streams) -> int:
        for name in arguments:
            self.variables.pop(name, None)
        return 0

    def _wait(self, arguments: tuple[str, ...], streams: Streams) -> int:
        for pid, thread in self._background:
            while thread.is_alive() and (not arguments or str(pid) in arguments):
                thread.join(0.1)
                self.process.check()
        return 0

    def _command_builtin(self, arguments: tuple[str, ...], streams: Streams) -> int:
        if arguments[:1] != ("-v",):
            return self._external(arguments, {}, streams) if arguments else 0
        if len(arguments) < 2 or arguments[1] not in {*COMMANDS, *_BUILTINS}:
            return 1
        streams.stdout((arguments[1] if arguments[1] in _BUILTINS else f"/system/bin/{arguments[1]}").encode() + b"\n")
        return 0

    def _eval(self, arguments: tuple[str, ...], streams: Streams) -> int:
        self._script(parse(" ".join(arguments)), streams)
        return self._code


_BUILTINS: dict[str, Callable[[Shell, tuple[str, ...], Streams], int]] = {
    "cd": Shell._cd,
    "pwd": Shell._pwd,
    "exit": Shell._exit,
    "exec": Shell._exec,
    "export": Shell._export,
    "unset": Shell._unset,
    "wait": Shell._wait,
    "command": Shell._command_builtin,
    "eval": Shell._eval,
    ":": lambda shell, arguments, streams: 0,
}


@command("sh")
def _sh(call: Call) -> int:
    """`sh -c SCRIPT [NAME [ARGUMENT...]]`, `sh FILE [ARGUMENT...]`, or a script on standard input."""
    letters, operands = call.split_flags()
    if "c" in letters:
        text, arguments = (operands[0] if operands else ""), operands[1:] or ("sh",)
    elif operands:
        path = call.path(operands[0])
        try:
            text, arguments = call.phone.files.read(path).decode(errors="replace"), operands
        except OSError as error:
            call.failed(operands[0], error)
            return 127
    else:
        text, arguments = call.streams.stdin().decode(errors="replace"), ("sh",)
    shell = Shell(call.phone, call.process, call.streams, cwd=call.cwd, env=call.env, arguments=arguments)
    return shell.run(text)
