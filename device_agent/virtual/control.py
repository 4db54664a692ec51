"""Controls a lab in another process: one JSON object per line over a Unix socket, one answer per line.

{"do": "status"}                                     phones with their processes, changed settings, waiting faults
{"do": "inject", "phone": P, "kind": K, ...}         a `Fault`; other fields as there
{"do": "unplug" | "replug" | "heal" | "reboot", "phone": P}
{"do": "kill_server"} {"do": "start_server"}         the private adb server; start also connects all phones again

P is a serial or the phone's own name. Answers are {"ok": true, ...} or {"ok": false, "error": TEXT}.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from pathlib import Path
from typing import Any

from device_agent.errors import DeviceError
from device_agent.virtual.faults import Fault
from device_agent.virtual.lab import VirtualLab
from device_agent.virtual.phone import VirtualPhone

_PHONE_VERBS = frozenset({"inject", "unplug", "replug", "heal", "reboot"})


class ControlServer:
    """Listens for control of a lab.

    Args:
        lab: The lab.
        path: The socket; it is removed by `close`.
    """

    def __init__(self, lab: VirtualLab, path: Path) -> None:
        self._path = path

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(json.dumps(_answer(lab, line)).encode() + b"\n")

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink(missing_ok=True)


def ask(path: Path, **request: Any) -> dict[str, Any]:
    """Send one request to the lab that listens there.

    Raises:
        OSError: None does.
        ValueError: It refused; the message says why.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
    if not answer.pop("ok"):
        raise ValueError(answer["error"])
    return answer


def _answer(lab: VirtualLab, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        return {"ok": True, **_do(lab, dict(request))}
    except (ValueError, TypeError, KeyError, DeviceError) as error:
        return {"ok": False, "error": str(error)}


def _do(lab: VirtualLab, request: dict[str, Any]) -> dict[str, Any]:
    verb = request.pop("do", "nothing")
    if verb == "status":
        return {"adb_port": lab.port, "adb_pid": lab.server.pid, "phones": [_status(phone) for phone in lab.phones]}
    if verb == "kill_server":
        lab.server.kill()
        return {}
    if verb == "start_server":
        lab.server.start()
        lab.connect()
        return {}
    if verb not in _PHONE_VERBS:
        raise ValueError(f"unknown request {verb!r}")
    phone = lab.phone(str(request.pop("phone", "")))
    if verb == "inject":
        phone.inject(Fault(**request))
    elif verb == "unplug":
        phone.unplug()
    elif verb == "replug":
        lab.replug(phone)
    elif verb == "heal":
        lab.heal(phone)
    else:
        phone.reboot()
    return {}


def _status(phone: VirtualPhone) -> dict[str, Any]:
    return {
        "serial": phone.serial,
        "name": phone.name,
        "model": phone.profile.model,
        "plugged": phone.daemon.listening,
        "processes": [list(process.words) for process in phone.processes.listing()],
        "changes": phone.changes(),
        "waiting": [fault.kind for fault in phone.faults.waiting],
        "runs": phone.activity.runs,
        "busy_s": phone.activity.busy_s,
    }
