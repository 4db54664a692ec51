"""What of a device may leave the lab: its model and a salted hash of its serial, never the serial itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from device_agent.phone_identity import serial_hash
from profiling.records import DeviceInfo, Failure


@dataclass(frozen=True)
class Publisher:
    """Turns the names that a lab's configuration uses into those of a set.

    Attributes:
        serials: Phones that the configuration names by serial; their latencies are called by their models.
    """

    serials: frozenset[str] = frozenset()
    _hashes: dict[str, str] = field(default_factory=dict, compare=False)

    def device(self, name: str, info: DeviceInfo) -> DeviceInfo:
        """A device as the set shows it.

        Args:
            name: What the run calls it.
            info: Who it is.
        """
        public = name
        if name in self.serials:
            public = info.model or f"phone {self._hash(name)[:4]}"
        if info.kind == "host" and info.serial_hash:
            # Of a machine's id, which is not salted where it is made.
            info = replace(info, serial_hash=self._hash(info.serial_hash))
        return replace(info, name=public)

    def failure(self, failure: Failure) -> Failure:
        """A failure as the set shows it: texts about links and phones stay in the lab, those about models do not."""
        if failure.kind != "model":
            return replace(failure, detail="", stderr_tail="")
        detail = failure.detail
        for serial in self.serials:
            detail = detail.replace(serial, self._hash(serial))
        return replace(failure, detail=detail, stderr_tail="")

    def _hash(self, serial: str) -> str:
        if serial not in self._hashes:
            self._hashes[serial] = serial_hash(serial)
        return self._hashes[serial]


def publisher(devices: Iterable[object]) -> Publisher:
    """For a run with these device configurations."""
    serials = (getattr(device, "serial", "") for device in devices)
    return Publisher(frozenset(serial for serial in serials if isinstance(serial, str) and serial))


def in_common(name: str, infos: Iterable[DeviceInfo]) -> DeviceInfo:
    """What several phones agree on: who a failure happened to, where that is all that is known."""
    known: dict[str, set[str]] = {"kind": set(), "model": set(), "epoch": set(), "abi": set(), "runtime": set()}
    for info in infos:
        for key, values in known.items():
            values.add(getattr(info, key))
    agreed: dict[str, Any] = {key: values.pop() if len(values) == 1 else "" for key, values in known.items()}
    return DeviceInfo(name, **agreed)
