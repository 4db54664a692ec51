"""Which stored runner a phone is measured with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from device_agent.adb_phone import AdbPhone
from device_agent.phone_identity import VIRTUAL_PROPERTY
from device_agent.phone_state import parse_identity, parse_properties
from device_agent.runner_store import Runner, RunnerStore

_BUNDLED = Path(__file__).with_name("runner.py")
_TIMEOUT_S = 10.0
VIRTUAL_ABI = "virtual"


def runner_for(phone: AdbPhone, store: RunnerStore | None = None) -> Runner:
    """The runner for a phone: that of the first of its ABIs that one was added for.

    On a virtual phone `runner.py` runs in place of whatever was deployed; that file is used where none was added.

    Raises:
        RunnerMissing: None was added for any of its ABIs, or it was changed since.
        DeviceError: The phone cannot be asked.
    """
    store = store or RunnerStore()
    abis = runner_abis(phone)
    added = {runner.abi for runner in store.list()}
    abi = next((abi for abi in abis if abi in added), abis[0])
    if abi == VIRTUAL_ABI and abi not in added:
        return bundled_runner()
    return store.get(abi)


def runner_abis(phone: AdbPhone) -> tuple[str, ...]:
    """ABIs that runners for this phone may have, the best first.

    Raises:
        DeviceError: The phone cannot be asked, or does not say.
    """
    text = phone.run(["getprop"], _TIMEOUT_S).stdout
    if parse_properties(text).get(VIRTUAL_PROPERTY) == "1":
        return (VIRTUAL_ABI, *parse_identity(text).abis)
    return parse_identity(text).abis


def bundled_runner() -> Runner:
    """`runner.py` as a runner for virtual phones."""
    data = _BUNDLED.read_bytes()
    return Runner(
        sha256=hashlib.sha256(data).hexdigest(),
        abi=VIRTUAL_ABI,
        path=str(_BUNDLED),
        version_hint="",
        source=_BUNDLED.name,
        size_bytes=len(data),
        added_at=0.0,
    )
