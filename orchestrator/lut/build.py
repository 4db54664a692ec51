"""Build a block table on a device: measure, calibrate, validate. Every block is kept; a killed build goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from device_agent.device import Device
from device_agent.journal import Journal, JournalError
from device_agent.local import LocalBackend
from orchestrator.errors import DataError
from orchestrator.lut.items import EMPTY, Target, empty_item, network_items, part_items, part_name, spread_architectures
from orchestrator.lut.ledger import Ledger
from orchestrator.lut.passes import Passes, Progress
from orchestrator.lut.result import LutResult
from profiling.plan import MeasurementPlan
from profiling.records import DeviceInfo

# A network adds up about twenty parts, whose errors average out: 3 % each are plenty, and blocks may be short.
DEFAULT_PLAN = MeasurementPlan(
    min_blocks=3,
    max_blocks=8,
    target_half_width=0.03,
    min_runs=10,
    block_seconds=0.15,
    warmup_runs=3,
    warmup_seconds=0.05,
)


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        target: Which networks the table is for.
        validate: How many whole networks to measure, or 0.
        plan: How each thing is measured.
        seed: Of the networks, and of the order.
    """

    target: Target
    validate: int = 20
    plan: MeasurementPlan = DEFAULT_PLAN
    seed: int = 0


def build_table(
    device: Device,
    request: BuildRequest,
    journal: Path,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> LutResult | None:
    """Measure what a table needs.

    Args:
        device: Runs artifacts; it is closed at the end.
        request: What to build.
        journal: Where every block is kept; blocks that are there already count.
        progress: Told after each block.
        stop: Asked before each block.

    Returns:
        The table; None when it was stopped, and then the journal has all that was measured.

    Raises:
        DataPartial: The device is gone, or something cannot be measured there.
        DataError: The journal is of another build, or cannot be written.
        NagError: What the plan asks for cannot be done on the device.
        DeviceError: The device cannot be asked what it is.
    """
    target, info = request.target, device.info
    parts = part_items(target)
    architectures = spread_architectures(target, request.validate, request.seed)
    networks = network_items(target, architectures)
    try:
        backend = LocalBackend([device], accept_unusable=True)
        try:
            with Journal(journal) as kept:
                ledger = Ledger(kept, _scope(info, request))
                passes = Passes(backend, info, request.plan, ledger, seed=request.seed, progress=progress, stop=stop)
                items = (empty_item(), *parts, *networks)
                if not passes.run(items):
                    return None
                found = passes.measurements(items)
        finally:
            backend.close()
    except JournalError as error:
        raise DataError(error.message, error.hint) from error
    return LutResult(
        target=target,
        device=info,
        plan=request.plan,
        empty=found[EMPTY],
        parts={(size, key): found[part_name(size, key)] for size, key in target.parts()},
        networks={architecture: found[architecture] for architecture in architectures},
        drift=ledger.drift,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _scope(info: DeviceInfo, request: BuildRequest) -> str:
    """What blocks must have in common to make one table."""
    target, plan = request.target, request.plan
    return (
        f"width {target.width:g}, {target.classes} classes, {plan.threads} threads, delegate {plan.delegate}, "
        f"{plan.clock} clock, on {info.model or info.name} ({info.runtime}, epoch {info.epoch})"
    )
