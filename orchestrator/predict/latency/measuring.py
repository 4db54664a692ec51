"""Measure architectures on a device for a latency predictor: block by block, interleaved, with its drift watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from device_agent.device import Device
from device_agent.journal import Journal, JournalError
from device_agent.local import LocalBackend
from orchestrator.errors import DataError
from orchestrator.lut.items import Item, Measurable
from orchestrator.lut.ledger import Ledger
from orchestrator.lut.passes import Passes, Progress
from orchestrator.predict.surrogates import Measured
from orchestrator.space.base import IntArray, NetworkOptions, Space
from profiling.plan import MeasurementPlan
from profiling.records import DeviceInfo, Measurement

WATCHED = "drift seen on"
"""Words of a journal's jobs that the artifact which shows drifts is named after."""


def measure_architectures(
    device: Device,
    space: Space,
    slots: IntArray,
    options: NetworkOptions,
    plan: MeasurementPlan,
    journal: Path,
    *,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Measurement, ...] | None:
    """Measure (`N`, `S`) architectures and nothing else: the first of them also shows whether the device drifts.

    Args:
        device: Runs artifacts; it is closed at the end.
        space: Whose architectures they are.
        slots: At least one; no two compile to the same artifact.
        options: Of the networks.
        plan: How each is measured; blocks of different architectures alternate.
        journal: Where every block is kept; blocks that are there already count.
        seed: Of the order.
        progress: Told after each block.
        stop: Asked before each block.

    Returns:
        One measurement an architecture; None when it was stopped, and then the journal has all that was measured.

    Raises:
        DataPartial: The device is gone, or something cannot be measured there.
        DataError: The journal is of another device or other architectures, or cannot be written.
        DeviceError: The device cannot be asked what it is.
    """
    architectures = [space.architecture(row) for row in slots]
    items = [Item(each.text, space.network(each, options)) for each in architectures]
    return measure_items(
        device, items, _network_scope(space, options), plan, journal, seed=seed, progress=progress, stop=stop
    )


def measure_items(
    device: Device,
    items: Sequence[Measurable],
    scope: str,
    plan: MeasurementPlan,
    journal: Path,
    *,
    watched: Measurable | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Measurement, ...] | None:
    """Measure anything and nothing else; see `measure_architectures`.

    Args:
        device: Runs artifacts; it is closed at the end.
        items: At least one; no two are the same artifact.
        scope: What they have in common, beside device and plan.
        plan: How each is measured.
        journal: Where every block is kept.
        watched: The one that shows whether the device drifts; None: the first.
        seed: Of the order.
        progress: Told after each block.
        stop: Asked before each block.

    Raises:
        ItemFailed: One of them cannot be measured there, or the device is gone.
        DataPartial, DataError, DeviceError: As `measure_architectures`.
    """
    info = device.info
    try:
        backend = LocalBackend([device], accept_unusable=True)
        try:
            with Journal(journal) as kept:
                first = (watched or items[0]).artifact()
                ledger = Ledger(kept, f"{scope}, {_plan_scope(info, plan)}, {WATCHED} {first.sha256[:12]}")
                passes = Passes(backend, info, plan, ledger, seed=seed, progress=progress, stop=stop, reference=first)
                if not passes.run(items):
                    return None
                found = passes.measurements(items)
        finally:
            backend.close()
    except JournalError as error:
        raise DataError(error.message, error.hint) from error
    return tuple(found[item.name] for item in items)


def different_networks(space: Space, slots: IntArray) -> IntArray:
    """The rows of (`B`, `S`) whose computation no row before has: isomorphic architectures are one artifact."""
    first: dict[str, int] = {}
    for row, each in enumerate(slots):
        first.setdefault(space.computation(space.architecture(each)), row)
    return np.asarray(slots[sorted(first.values())])


def as_measured(slots: IntArray, measurements: Sequence[Measurement]) -> Measured:
    """What a predictor learns from. Raises DataError when a measurement has no value."""
    for each in measurements:
        if not each.latency_ms > 0:
            raise DataError("a measurement has no value", "keep the device quiet and measure again")
    errors = [each.standard_error_log for each in measurements]
    return Measured(
        slots,
        np.array([each.latency_ms for each in measurements]),
        np.array([np.nan if error is None else error**2 for error in errors]),
    )


def _network_scope(space: Space, options: NetworkOptions) -> str:
    """What networks have in common."""
    shape = "x".join(map(str, options.input_shape))
    sizes = "".join(f", {name} {value}" for name, value in sorted(options.options.items()))
    return f"{space.name} at {shape}, {options.classes} classes{sizes}"


def _plan_scope(info: DeviceInfo, plan: MeasurementPlan) -> str:
    """What blocks must have in common to be one device's."""
    return (
        f"{plan.threads} threads, delegate {plan.delegate}, {plan.clock} clock, "
        f"on {info.model or info.name} ({info.runtime}, epoch {info.epoch})"
    )
