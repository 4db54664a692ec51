"""Rig: the devices of a campaign behind one backend, from its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from device_agent.table import TableDevice
from device_agent.virtual import PROFILES, VirtualLab
from orchestrator.campaign.config import Config
from orchestrator.campaign.device_config import (
    AdbDeviceConfig,
    DeviceConfig,
    HostDeviceConfig,
    LutDeviceConfig,
    TableDeviceConfig,
    VirtualDeviceConfig,
)
from orchestrator.campaign.folder import STORE
from orchestrator.campaign.lut import lut_device
from orchestrator.campaign.state import read_config
from orchestrator.errors import DataError, DevicesMissing
from profiling.store import CampaignStore
from profiling.table import TableError


@dataclass(frozen=True)
class Rig:
    """What a campaign measures on.

    Attributes:
        backend: Takes jobs for the devices' names.
        tables: Names of devices that look latencies up instead of running anything.
        gate: Keeps training and latency blocks on this machine apart.
    """

    backend: MeasurementBackend
    tables: frozenset[str]
    gate: HostGate


@contextmanager
def open_rig(config: Config, run: Path) -> Iterator[Rig]:
    """The devices, ready to take jobs; closed and put back as they were at the end.

    Args:
        config: Names them.
        run: The run folder; phones' results go to its journal first, with the marks of drifting references.

    Raises:
        DataError: A table cannot be used.
        DeviceError: A virtual lab or the adb server cannot be started.
    """
    gate = HostGate()
    fixed = [_fixed(device, config) for device in config.devices if _is_fixed(device)]
    tables = frozenset(device.info.name for device in fixed if device.identity == "architecture")
    with ExitStack() as stack:
        phones = list(_phones(config, stack))
        if phones:
            leases = stack.enter_context(LeaseBook())
            journal = stack.enter_context(Journal(run / "journal.sqlite"))
            sources: list[Discovery] = [*phones, FixedDevices(fixed)]
            backend: MeasurementBackend = FleetBackend(
                sources, leases=leases, journal=journal, references=ReferencePlan(), host_gate=gate
            )
        else:
            backend = LocalBackend(fixed, gate)
        stack.callback(backend.close)
        yield Rig(backend, tables, gate)


def resolve(config: Config, run: Path) -> Config:
    """The configuration with every device named.

    `{kind: adb}`, every attached phone, becomes the models that are attached now, or, for a campaign that has begun,
    those that were attached then.

    Raises:
        DevicesMissing: No phone is ready.
        DeviceError: The adb server cannot be asked.
    """
    if all(device.names for device in config.devices):
        return config
    if (run / STORE).is_file():
        with CampaignStore.read(run / STORE) as store:
            return config.model_copy(update={"devices": read_config(store).devices})
    devices: list[DeviceConfig] = []
    for device in config.devices:
        if isinstance(device, AdbDeviceConfig) and not device.names:
            models = _attached_models(device.port)
            devices += [device.model_copy(update={"model": model}) for model in models]
        else:
            devices.append(device)
    return config.model_copy(update={"devices": tuple(devices)})


def _attached_models(port: int | None) -> Sequence[str]:
    client = AdbClient(port=port)
    client.ensure_server()
    ready = [listed for listed in client.devices() if listed.state == "device"]
    if not ready:
        raise DevicesMissing("no phone is attached and ready", "connect one, then look with: nag devices, nag doctor")
    return sorted({describe(client.phone(listed.serial, listed.transport_id)).model for listed in ready})


def _is_fixed(device: object) -> bool:
    return isinstance(device, HostDeviceConfig | TableDeviceConfig | LutDeviceConfig)


def _fixed(device: object, config: Config) -> Device:
    """A device of this process."""
    if isinstance(device, HostDeviceConfig):
        return HostDevice(name=device.name, python=device.python)
    if isinstance(device, LutDeviceConfig):
        return lut_device(device, config.make_space(), config.space.network_options(), config.seed)
    assert isinstance(device, TableDeviceConfig)
    try:
        return TableDevice.of_column(device.path, device.column, name=device.name, noise=device.noise, seed=config.seed)
    except TableError as error:
        raise DataError(error.message, error.hint) from error


def _phones(config: Config, stack: ExitStack) -> Iterator[Discovery]:
    """One source of phones for each adb server, and one for each virtual lab."""
    wanted: dict[int | None, list[AdbDeviceConfig]] = {}
    for device in config.devices:
        if isinstance(device, VirtualDeviceConfig):
            profiles = [PROFILES[name] for name in device.profiles] or None
            lab = stack.enter_context(VirtualLab(device.count, profiles, seed=config.seed))
            yield AdbDiscovery(lab.client, _android)
        elif isinstance(device, AdbDeviceConfig):
            wanted.setdefault(device.port, []).append(device)
    for port, devices in wanted.items():
        client = AdbClient(port=port)
        client.ensure_server()
        serials = None if any(device.model for device in devices) else [device.serial for device in devices]
        yield AdbDiscovery(client, _android, serials)


def _android(phone: AdbPhone) -> Device:
    return AndroidDevice(phone, runner_for(phone))
