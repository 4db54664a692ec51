"""Which phone this is: a `DeviceInfo` that stays the same over sessions, cables and computers' adb servers."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Any

from device_agent.adb_phone import AdbPhone
from device_agent.phone_script import run_all
from device_agent.phone_state import (
    CLUSTERS_COMMAND,
    Identity,
    StateUnreadable,
    parse_clusters,
    parse_identity,
    parse_properties,
)
from device_agent.runner_store import default_home
from profiling.records import DeviceInfo

SALT_FILE = "salt"
VIRTUAL_PROPERTY = "ro.devicenag.virtual"  # is 1 on virtual phones, and on no other
_TIMEOUT_S = 15.0
_NO_SERIALS = ("", "unknown", "0123456789ABCDEF")  # what phones say that were never given one


def salt(home: Path | None = None) -> str:
    """This user's salt, made on first use: without it serials, which are short, could be guessed from their hashes.

    Args:
        home: The user's data folder; None: `runner_store.default_home()`.
    """
    path = (home or default_home()) / SALT_FILE
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{SALT_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    part.touch(mode=0o600)
    part.write_text(secrets.token_hex(16), encoding="ascii")
    try:
        os.link(part, path)  # unlike a rename, it does not replace the salt of a faster process
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_text(encoding="ascii")


def serial_hash(serial: str, home: Path | None = None) -> str:
    """Salted hash of a serial, 16 hexadecimal digits."""
    return hashlib.sha256(f"devicenag phone {salt(home)} {serial}".encode()).hexdigest()[:16]


def describe(phone: AdbPhone, *, name: str | None = None, runtime: str = "", home: Path | None = None) -> DeviceInfo:
    """Identity and properties of a phone.

    Args:
        phone: Which.
        name: How configs and people call it; None: its model and the beginning of its serial's hash, `Pixel 7 3fa9`.
        runtime: What executes artifacts on it.
        home: Where the salt is; see `salt`.

    Raises:
        StateUnreadable: It does not say what it is.
        DeviceError: The link failed; see `AdbPhone.run`.
    """
    properties_answer, clusters_answer, memory_answer = run_all(
        phone, [("getprop",), CLUSTERS_COMMAND, ("cat", "/proc/meminfo")], _TIMEOUT_S
    )
    properties = parse_properties(properties_answer.text)
    try:
        identity = parse_identity(properties_answer.text)
    except StateUnreadable as error:
        error.device = phone.serial
        raise
    # The serial as adb lists it is an address for phones on TCP; the phone's own does not change.
    own = (properties.get(key, "") for key in ("ro.serialno", "ro.boot.serialno"))
    digest = serial_hash(next((serial for serial in own if serial not in _NO_SERIALS), phone.serial), home)
    return DeviceInfo(
        name=name or f"{identity.model} {digest[:4]}",
        kind="virtual" if properties.get(VIRTUAL_PROPERTY) == "1" else "adb",
        model=identity.model,
        serial_hash=digest,
        epoch=identity.fingerprint,
        abi=identity.abi,
        runtime=runtime,
        properties=_details(identity, properties, clusters_answer.text, memory_answer.text),
    )


def _details(identity: Identity, properties: dict[str, str], clusters: str, memory: str) -> dict[str, Any]:
    try:
        cores = [
            {"cpus": list(cluster.cpus), "max_khz": cluster.max_khz, "capacity": cluster.capacity}
            for cluster in parse_clusters(clusters)
        ]
    except StateUnreadable:  # kept from the shell user
        cores = []
    memory_kb = re.search(r"^MemTotal:\s+([0-9]+) kB", memory, re.MULTILINE)
    return {
        "soc": identity.soc,
        "sdk": identity.sdk,
        "android": properties.get("ro.build.version.release", ""),
        "abis": list(identity.abis),
        "fingerprint": identity.fingerprint,
        "clusters": cores,
        "memory_kb": int(memory_kb[1]) if memory_kb else None,
    }
