"""`nag measure` and `nag devices`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from device_agent.device import Device
    from profiling.records import Measurement

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def measure(
    model: Annotated[Path, typer.Argument(help="A .tflite file.", show_default=False)],
    device: Annotated[str, typer.Option(help="host, or table:FILE:COLUMN.")] = "host",
    threads: Annotated[int, typer.Option(min=1, help="Interpreter threads.")] = 1,
    delegate: Annotated[str, typer.Option(help="cpu (XNNPACK) or none (built-in kernels).")] = "cpu",
    target: Annotated[float, typer.Option(min=0.001, max=0.4, help="Relative half-width to aim at.")] = 0.02,
    max_blocks: Annotated[int, typer.Option(min=1, help="Most processes to start.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency of any model on a device: several processes, an interval, a grade."""
    import json
    from dataclasses import replace

    from device_agent.device import Artifact
    from device_agent.measure import measure as measure_on
    from orchestrator.errors import DataError
    from profiling.plan import MeasurementPlan

    try:
        data = model.read_bytes()
    except OSError as error:
        raise DataError(f"{model}: {error.strerror}", "give the path of a .tflite file") from error
    plan = replace(
        MeasurementPlan(),
        threads=threads,
        delegate=delegate,
        target_half_width=target,
        max_blocks=max_blocks,
        min_blocks=min(MeasurementPlan.min_blocks, max_blocks),
    )
    with_device = open_device(device)
    try:
        for problem in with_device.health():
            print(f"note: {problem}", file=sys.stderr)
        result = measure_on(with_device, Artifact.of(data, model.name), plan)
    finally:
        with_device.close()
    if as_json:
        print(json.dumps(_values(result), indent=2))
    else:
        _print(result)


def devices(as_json: JsonOption = False) -> None:
    """Devices that can be measured on from here."""
    import json

    device = open_device("host")
    try:
        info, problems = device.info, device.health()
    finally:
        device.close()
    if as_json:
        print(json.dumps([{"device": "host", **info.to_json(), "limits": list(problems)}], indent=2))
        return
    print(f"host  {info.model}, {info.runtime}, {info.abi}")
    for problem in problems:
        print(f"      {problem}")


def open_device(name: str) -> Device:
    """The device that `--device` names. Raises ConfigError or DataError."""
    from device_agent.host import HostDevice
    from device_agent.table import TableDevice
    from orchestrator.errors import ConfigError, DataError, Problem
    from profiling.table import TableError

    if name == "host":
        return HostDevice()
    kind, _, rest = name.partition(":")
    path, _, column = rest.rpartition(":")
    if kind != "table" or not path or not column:
        raise ConfigError("--device", [Problem("--device", name, "host, or table:FILE:COLUMN")])
    try:
        return TableDevice(Path(path), column)
    except TableError as error:
        raise DataError(error.message, error.hint) from error


def _values(result: Measurement) -> dict[str, object]:
    """The JSON of a measurement."""
    values = result.to_json()
    runtime = result.device.runtime.split(" ", 1)
    values["runtime"] = {"name": runtime[0], "version": runtime[1] if len(runtime) > 1 else ""}
    return values


def _print(result: Measurement) -> None:
    used = sum(block.status == "ok" for block in result.blocks)
    print(f"{result.latency_ms:.4f} ms  [{result.ci_low_ms:.4f}, {result.ci_high_ms:.4f}] (95 %)")
    print(f"grade {result.grade}, {used} of {len(result.blocks)} blocks used, on {result.device.name}")
    for reason in result.reasons:
        print(f"  {reason}")
