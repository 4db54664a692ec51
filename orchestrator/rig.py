"""Rig: devices behind one backend, from their configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agent.adb import AdbClient, AdbPhone
from device_agent.android import AndroidDevice
from device_agent.backend import MeasurementBackend
from device_agent.device import Device
from device_agent.discovery import AdbDiscovery, Discovery, FixedDevices
from device_agent.fleet import FleetBackend
from device_agent.gate import HostGate
from device_agent.host import HostDevice
from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.local import LocalBackend
from device_agent.phone_identity import describe
from device_agent.phone_runner import runner_for
from device_agent.reference import ReferencePlan
from device_agent.session import FleetPolicy, OnSuspect
from device_agent.table import TableDevice
from device_agent.virtual import PROFILES, VirtualLab
from orchestrator.campaign.config import SpaceConfig
from orchestrator.campaign.device_config import (
    AdbDeviceConfig,
    DeviceConfig,
    HostDeviceConfig,
    LutDeviceConfig,
    TableDeviceConfig,
    VirtualDeviceConfig,
)
from orchestrator.campaign.lut import lut_device
from orchestrator.errors import DataError, DevicesMissing
from profiling.table import TableError

JOURNAL = "journal.sqlite"


@dataclass(frozen=True)
class Rig:
    """What is measured on.

    Attributes:
        backend: Takes jobs for the devices' names.
        tables: Names of devices that look latencies up instead of running anything.
        gate: Keeps training and latency blocks on this machine apart.
    """

    backend: MeasurementBackend
    tables: frozenset[str]
    gate: HostGate


@contextmanager
def open_rig(
    devices: Sequence[DeviceConfig],
    run: Path,
    *,
    seed: int = 0,
    space: SpaceConfig | None = None,
    always_fleet: bool = False,
    references: Callable[[], ReferencePlan] | None = None,
    policy: FleetPolicy | None = None,
    on_suspect: OnSuspect | None = None,
) -> Iterator[Rig]:
    """Devices, ready to take jobs; closed and put back as they were at the end.

    Args:
        devices: Which.
        run: The run folder; a fleet's results go to its journal first, with the marks of drifting references.
        seed: Of virtual phones' and tables' noise.
        space: Of the architectures; only block tables need it.
        always_fleet: Journal, references and policy also where there is no phone.
        references: Makes the plan of what is measured between a fleet's jobs; None: nothing is.
        policy: The fleet's rules.
        on_suspect: Told by the fleet of jobs whose measurements a drift may have touched, from a thread of it.

    Raises:
        DataError: A table cannot be used.
        DeviceError: A virtual lab or the adb server cannot be started.
    """
    gate = HostGate()
    fixed = [_fixed(device, space, seed) for device in devices if _is_fixed(device)]
    tables = frozenset(device.info.name for device in fixed if device.identity == "architecture")
    with ExitStack() as stack:
        phones = list(_phones(devices, seed, stack))
        if phones or always_fleet:
            leases = stack.enter_context(LeaseBook())
            journal = stack.enter_context(Journal(run / JOURNAL))
            backend: MeasurementBackend = FleetBackend(
                [*phones, FixedDevices(fixed)],
                leases=leases,
                journal=journal,
                references=references() if references is not None else None,
                policy=policy,
                host_gate=gate,
                on_suspect=on_suspect,
            )
        else:
            backend = LocalBackend(fixed, gate)
        stack.callback(backend.close)
        yield Rig(backend, tables, gate)


def named(devices: Sequence[DeviceConfig]) -> tuple[DeviceConfig, ...]:
    """Devices with names: `{kind: adb}`, every attached phone, becomes the models that are attached now.

    Raises:
        DevicesMissing: No phone is ready.
        DeviceError: The adb server cannot be asked.
    """
    found: list[DeviceConfig] = []
    for device in devices:
        if isinstance(device, AdbDeviceConfig) and not device.names:
            attached = _attached_models(device.port)
            if not attached:
                raise DevicesMissing(
                    "no phone is attached and ready", "connect one, then look with: nag devices, nag doctor"
                )
            found += [device.model_copy(update={"model": model}) for model in sorted(attached)]
        else:
            found.append(device)
    return tuple(found)


def replicas(devices: Sequence[DeviceConfig]) -> Counter[str]:
    """Name -> how many devices share its jobs now: more than one only where the name is that of a phone model.

    Raises:
        DeviceError: The adb server cannot be asked.
    """
    counts: Counter[str] = Counter()
    for device in devices:
        if isinstance(device, VirtualDeviceConfig):
            counts.update(device.models)
        elif isinstance(device, AdbDeviceConfig) and device.model and not device.serial:
            counts[device.model] = _attached_models(device.port)[device.model]
        else:
            counts.update(device.names)
    return counts


def _attached_models(port: int | None) -> Counter[str]:
    """Model -> how many phones of it are ready."""
    client = AdbClient(port=port)
    client.ensure_server()
    ready = [listed for listed in client.devices() if listed.state == "device"]
    return Counter(describe(client.phone(listed.serial, listed.transport_id)).model for listed in ready)


def _is_fixed(device: object) -> bool:
    return isinstance(device, HostDeviceConfig | TableDeviceConfig | LutDeviceConfig)


def _fixed(device: DeviceConfig, space: SpaceConfig | None, seed: int) -> Device:
    """A device of this process."""
    if isinstance(device, HostDeviceConfig):
        return HostDevice(name=device.name, python=device.python)
    if isinstance(device, LutDeviceConfig):
        if space is None:
            raise DataError("a block table needs to know the space", "give the space of the architectures")
        return lut_device(device, space.make(), space.network_options(), seed)
    assert isinstance(device, TableDeviceConfig)
    try:
        return TableDevice.of_column(
            device.path,
            device.column,
            name=device.name,
            noise=device.noise,
            block_noise=device.block_noise,
            seed=seed,
        )
    except TableError as error:
        raise DataError(error.message, error.hint) from error


def _phones(devices: Sequence[DeviceConfig], seed: int, stack: ExitStack) -> Iterator[Discovery]:
    """One source of phones for each adb server, and one for each virtual lab."""
    wanted: dict[int | None, list[AdbDeviceConfig]] = {}
    for device in devices:
        if isinstance(device, VirtualDeviceConfig):
            profiles = [PROFILES[name] for name in device.profiles] or None
            lab = stack.enter_context(VirtualLab(device.count, profiles, seed=seed))
            yield AdbDiscovery(lab.client, _android)
        elif isinstance(device, AdbDeviceConfig):
            wanted.setdefault(device.port, []).append(device)
    for port, asked in wanted.items():
        client = AdbClient(port=port)
        client.ensure_server()
        serials = None if any(device.model for device in asked) else [device.serial for device in asked]
        yield AdbDiscovery(client, _android, serials)


def _android(phone: AdbPhone) -> Device:
    return AndroidDevice(phone, runner_for(phone))
