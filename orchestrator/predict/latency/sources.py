"""Sources: the latencies on known devices that a prior is learned from, as the command line names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.pool import draw_distinct, width
from orchestrator.predict.latency.structures import relaxed
from orchestrator.predict.latency.synthetic import synthetic_tables
from orchestrator.predict.latency.tables import device_columns, read_latencies
from orchestrator.space.base import FloatArray, Space

Tables = dict[str, tuple[Tensor, FloatArray]]


def gather_sources(
    space: Space,
    table: Path | None,
    devices: Sequence[str] | None,
    labels: Sequence[str],
    *,
    synthetic: int = 0,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Tables:
    """Device -> (`N`, `S`, `V`) architectures and (`N`,) milliseconds.

    Args:
        space: Whose architectures they are.
        table: A table of many devices.
        devices: Its columns; None: all that hold latencies.
        labels: Further devices, `FILE:COLUMN` or `lut:FILE[@WIDTH]`; block tables go by their file's name.
        synthetic: Made-up devices to add. Their names make them one family: together they have one device's say.
        draws: Architectures that these and block tables are asked for.
        seed: Of both.
        progress: Told what is being done.

    Raises:
        ConfigError, DataError, IllegalArchitecture: Something cannot be used; a device has two sources.
    """
    from orchestrator.generate.dinas.labels import latency_label

    found: Tables = {}

    def add(device: str, inputs: Tensor, latency_ms: FloatArray) -> None:
        if device in found:
            raise ConfigError("sources", [Problem("device", device, "each device once")])
        found[device] = (inputs, latency_ms)

    if table is not None:
        progress(f"reading {table.name}")
        read = read_latencies(table, devices if devices is not None else device_columns(table), space)
        inputs = relaxed(read.slots, width(space))
        for device, values in read.latency_ms.items():
            add(device, inputs, values)
    drawn = draw_distinct(space, draws, np.random.default_rng(seed))
    drawn_inputs = relaxed(drawn, width(space))
    for text in labels:
        progress(f"reading {text}")
        label = latency_label(space, text)
        name = label.name.rpartition(":")[2]
        if label.listed is None:
            add(name.partition(".")[0], drawn_inputs, label.of(drawn))
        else:
            add(name, relaxed(label.listed, width(space)), label.of(label.listed))
    if synthetic:
        progress(f"making up {synthetic} devices and {len(drawn):,} networks")
        for device, values in synthetic_tables(space, drawn, synthetic, seed=seed).items():
            add(device, drawn_inputs, values)
    return found
