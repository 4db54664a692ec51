"""Measure one artifact on one device: blocks until the stop rule is content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from device_agent.device import Artifact, Device
from profiling.plan import MeasurementPlan
from profiling.records import Block, Measurement
from profiling.statistics import estimate, should_stop


def measure(
    device: Device,
    artifact: Artifact,
    plan: MeasurementPlan,
    *,
    earlier_blocks: Sequence[Block] = (),
    first_index: int | None = None,
    on_block: Callable[[Block], None] | None = None,
    before_block: Callable[[], None] | None = None,
) -> Measurement:
    """Run blocks until the stop rule says so, and estimate the latency.

    A table is looked up once: looking again gives no new information. Where the device knows how well its measurements
    can be reproduced (`info.properties["reproducibility_sd_log"]`), the standard error does not go below that.

    Args:
        device: Owned by the caller for as long as this takes.
        artifact: What to run.
        plan: How.
        earlier_blocks: Blocks of the same measurement from before an interruption; they count.
        first_index: Of the next block; None: the one after the earlier blocks.
        on_block: Called with each new block the moment it exists, to keep it.
        before_block: Called before each block.

    Raises:
        DeviceError: The artifact could not be measured; blocks given to `on_block` stay valid.
    """
    blocks = list(earlier_blocks)
    next_index = max((block.index for block in blocks), default=-1) + 1 if first_index is None else first_index
    if not _finished(blocks, plan):
        device.deploy(artifact)
    while not _finished(blocks, plan):
        if before_block is not None:
            before_block()
        block = device.run_block(artifact, plan, index=next_index)
        next_index += 1
        blocks.append(block)
        if on_block is not None:
            on_block(block)
    info = device.info
    sha256 = artifact.sha256 if device.identity == "artifact" else ""
    return estimate(blocks, plan, sha256, info, float(info.properties.get("reproducibility_sd_log", 0.0)))


def _finished(blocks: Sequence[Block], plan: MeasurementPlan) -> bool:
    return bool(blocks) and (blocks[0].statistic == "table" or should_stop(blocks, plan))
