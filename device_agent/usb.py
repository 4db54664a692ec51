"""Phones with USB debugging as the kernel sees them, whether or not any adb server does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from profiling.records import Record

_SYSFS = Path("/sys/bus/usb/devices")
_ADB_INTERFACE = ("ff", "42", "01")  # class, subclass, protocol


@dataclass(frozen=True)
class UsbPhone(Record):
    """A device with adb's USB interface: its place on the bus, e.g. `1-4.2`, its vendor and its product."""

    port: str
    vendor_id: str
    product: str


def usb_phones(sysfs: Path = _SYSFS) -> tuple[UsbPhone, ...] | None:
    """Phones that are plugged in with USB debugging turned on; None where the kernel does not tell (not Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    found = {}
    for interface in sorted(sysfs.glob("*:*")):
        names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
        if tuple(_line(interface / name) for name in names) == _ADB_INTERFACE:
            port = interface.name.partition(":")[0]
            found[port] = UsbPhone(port, _line(sysfs / port / "idVendor"), _line(sysfs / port / "product"))
    return tuple(found.values())


def udev_rule(phones: tuple[UsbPhone, ...]) -> str:
    """The rules that let users in the group plugdev, and whoever sits at the computer, open these phones."""
    vendors = sorted({phone.vendor_id for phone in phones if phone.vendor_id}) or ["VENDOR"]
    return "\n".join(
        f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", MODE="0660", GROUP="plugdev", TAG+="uaccess"'
        for vendor in vendors
    )


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:  # unplugged just now, or the device does not say
        return ""
