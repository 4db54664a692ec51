"""`nag measure`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.phones import AdbPortOption, JsonOption

if TYPE_CHECKING:
    from device_agent.device import Device
    from profiling.records import Measurement


def measure(
    model: Annotated[Path, typer.Argument(help="A .tflite file.", show_default=False)],
    device: Annotated[
        str, typer.Option(help="host, the adb serial of a phone, virtual:N, or table:FILE:COLUMN.")
    ] = "host",
    runner: Annotated[
        Path | None, typer.Option(help="benchmark_model to use on the phone instead of the one that was added.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Interpreter threads.")] = 1,
    delegate: Annotated[
        str,
        typer.Option(help="cpu (XNNPACK), none (built-in kernels); on phones also gpu, nnapi, external:PATH."),
    ] = "cpu",
    target: Annotated[float, typer.Option(min=0.001, max=0.4, help="Relative half-width to aim at.")] = 0.02,
    max_blocks: Annotated[int, typer.Option(min=1, help="Most processes to start.")] = 10,
    adb_port: AdbPortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency of any model on a device: several processes, an interval, a grade."""
    import json
    from dataclasses import replace

    from device_agent.device import Artifact
    from device_agent.measure import measure as measure_on
    from orchestrator.errors import DataError, DataPartial
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
    with open_device(device, runner=runner, adb_port=adb_port) as opened:
        for problem in opened.health():
            print(f"note: {problem}", file=sys.stderr)
        result = measure_on(opened, Artifact.of(data, model.name), plan)
    if result.grade == "F":
        raise DataPartial(
            f"{model.name} on {result.device.name}: no latency: {'; '.join(result.reasons)}",
            "keep the device cool and free of other work, then measure again; --max-blocks allows more attempts",
        )
    if as_json:
        print(json.dumps(_values(result), indent=2))
    else:
        _print(result)


@contextmanager
def open_device(name: str, *, runner: Path | None = None, adb_port: int | None = None) -> Iterator[Device]:
    """The device that `--device` names, closed at the end.

    Args:
        name: `host`, `table:FILE:COLUMN`, `virtual:N` (the last phone of a fresh lab of N), or an adb serial.
        runner: The `benchmark_model` to measure with, for phones.
        adb_port: Port of the adb server, for phones.

    Raises:
        ConfigError, DataError: It names no device, or the table cannot be used.
        DeviceError: The phone is not there or not ready.
    """
    from device_agent.host import HostDevice
    from device_agent.table import TableDevice
    from orchestrator.cli.phones import opened_phone, opened_virtual
    from orchestrator.errors import ConfigError, DataError, Problem
    from profiling.table import TableError

    kind, _, rest = name.partition(":")
    if runner is not None and kind in ("host", "table"):
        raise ConfigError("--runner", [Problem("--runner", str(runner), "only for phones")])
    path, _, column = rest.rpartition(":")
    with ExitStack() as stack:
        if kind == "table" and path and column:
            try:
                table = TableDevice.of_column(Path(path), column)
            except TableError as error:
                raise DataError(error.message, error.hint) from error
            yield table
        elif name == "host":
            device = HostDevice()
            stack.callback(device.close)
            yield device
        elif kind == "virtual" and rest.isdigit() and int(rest) > 0:
            yield stack.enter_context(opened_virtual(int(rest), runner=runner))
        elif not name or kind in ("host", "table", "virtual"):
            allowed = "host, an adb serial, virtual:N, or table:FILE:COLUMN"
            raise ConfigError("--device", [Problem("--device", name, allowed)], "`nag devices` lists them")
        else:
            yield stack.enter_context(opened_phone(name, runner=runner, adb_port=adb_port))


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
