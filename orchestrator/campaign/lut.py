"""Devices of kind `lut`: latencies are sums of a block table's entries."""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.table import TableDevice
from orchestrator.campaign.device_config import LutDeviceConfig
from orchestrator.errors import DataError, IllegalArchitecture, Problem
from orchestrator.predict.block_table import BlockTable
from orchestrator.space.base import NetworkOptions, Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.mobilenetv3_network import DEFAULT_WIDTH


def lut_problems(field: str, device: LutDeviceConfig, space: Space, options: NetworkOptions) -> Sequence[Problem]:
    """What is wrong with a `lut` device of a campaign.

    Args:
        field: Where the configuration names it.
        device: Its file exists.
        space: The campaign's.
        options: Of the campaign's networks; they are valid.
    """
    if not isinstance(space, MobileNetV3):
        return [Problem(f"{field}.kind", device.kind, "only with space.kind mobilenetv3, whose blocks are in tables")]
    problems = []
    width = options.options.get("width", DEFAULT_WIDTH)
    if device.width is not None and device.width != width:
        problems.append(Problem(f"{field}.width", device.width, f"that of the space, space.width = {width:g}"))
    _, height, columns, _ = options.input_shape
    if height != columns and not space.resolutions:
        problems.append(Problem("space.input", list(options.input_shape), "height = width, as in the table's networks"))
    if not problems:
        try:
            _table(device, space, options)
        except DataError as error:
            problems.append(Problem(f"{field}.path", str(device.path), f"{error.message}; {error.hint}"))
    return problems


def lut_device(device: LutDeviceConfig, space: Space, options: NetworkOptions, seed: int) -> TableDevice:
    """The device that a valid configuration names.

    Args:
        device: Names the table.
        space: The campaign's, whose strings are looked up.
        options: Of the campaign's networks.
        seed: Of the noise.

    Raises:
        DataError: The table cannot be used.
    """
    assert isinstance(space, MobileNetV3)
    table = _table(device, space, options)

    def look_up(text: str) -> float:
        try:
            return table.look_up(text)
        except IllegalArchitecture as error:
            raise KeyError(text) from error

    return TableDevice(
        look_up,
        name=device.name,
        content=table.content,
        source=str(device.path),
        kind="lut",
        noise=device.noise,
        seed=seed,
        properties={"table": device.path.name, "width": options.options.get("width", DEFAULT_WIDTH)},
    )


def _table(device: LutDeviceConfig, space: MobileNetV3, options: NetworkOptions) -> BlockTable:
    """The device's table, for the networks of the space. Raises DataError."""
    return BlockTable.read(
        device.path,
        space,
        width=options.options.get("width", DEFAULT_WIDTH),
        resolution=options.input_shape[1],
        classes=options.classes,
    )
