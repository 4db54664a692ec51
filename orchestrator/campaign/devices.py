"""Devices of a campaign, from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from device_agent.device import Device
from device_agent.host import HostDevice
from device_agent.table import TableDevice
from orchestrator.campaign.config import Config, HostDeviceConfig, TableDeviceConfig
from orchestrator.errors import DataError
from profiling.table import TableError


def make_devices(config: Config) -> list[Device]:
    """The devices, ready to use. Raises DataError for an unusable table."""
    return [_MAKERS[type(device)](device, config) for device in config.devices]


def _host(device: HostDeviceConfig, _: Config) -> Device:
    return HostDevice(name=device.name, python=device.python)


def _table(device: TableDeviceConfig, config: Config) -> Device:
    try:
        return TableDevice(device.path, device.column, name=device.name, noise=device.noise, seed=config.seed)
    except TableError as error:
        raise DataError(error.message, error.hint) from error


_MAKERS: Mapping[type, Callable[[Any, Config], Device]] = {HostDeviceConfig: _host, TableDeviceConfig: _table}
